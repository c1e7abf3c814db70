//! The README, as a reader meets it.

/// Its whole text.
///
/// # Panics
/// When it cannot be read.
pub fn text() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("there is a README")
}

/// The text of its fenced block in `language` that has `word` in it.
///
/// # Panics
/// When there is none.
pub fn block(language: &str, word: &str) -> String {
    let text = text();
    let open = format!("```{language}\n");
    let mut blocks = text.split(&open).skip(1);
    let found = blocks.find_map(|rest| rest.split("```").next().filter(|block| block.contains(word)));
    found.unwrap_or_else(|| panic!("the README has no `{language}` block with `{word}` in it")).to_owned()
}
