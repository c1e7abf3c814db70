//! Colour and width of text for people.

use std::io::IsTerminal as _;

/// How text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether escape sequences for colours are written.
    pub colour: bool,
    /// Columns.
    pub width: usize,
}

/// What a colour means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Paint {
    Bold,
    Dim,
    Good,
    Bad,
    Doubt,
}

impl Style {
    /// For standard output: coloured only on a terminal, and not where `NO_COLOR` is set
    /// (<https://no-color.org>) or `TERM` is `dumb`; as wide as the terminal, within reason.
    pub fn of_stdout() -> Style {
        let terminal = std::io::stdout().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
        Style { colour: terminal && wanted, width: if terminal { width.clamp(60, 140) } else { 100 } }
    }

    /// No colour, 100 columns.
    pub fn plain() -> Style {
        Style { colour: false, width: 100 }
    }

    pub(super) fn paint(self, paint: Paint, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Good => "32",
            Paint::Bad => "1;31",
            Paint::Doubt => "33",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// `text` in lines no wider than the style's width, each after `indent` spaces (the first one
    /// too). Words longer than a line (paths) stay whole: they are to be copied.
    pub(super) fn wrap(self, text: &str, indent: usize) -> Vec<String> {
        let room = self.width.saturating_sub(indent).max(20);
        let mut lines = Vec::new();
        let mut line = String::new();
        for word in clean(text).split(' ').filter(|word| !word.is_empty()) {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                lines.push(format!("{:indent$}{line}", ""));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            lines.push(format!("{:indent$}{line}", ""));
        }
        lines
    }
}

/// Text from outside (a subject's output, paths) without escape sequences and control characters,
/// which could move the reader's cursor or change the terminal's state.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.peek() == Some(&'[') {
            // A control sequence (ECMA-48 section 5.4) ends with a byte from `@` to `~`.
            chars.next();
            chars.by_ref().find(|c| ('@'..='~').contains(c));
        } else if c == '\t' || c == '\n' {
            out.push(' ');
        } else if c.is_control() {
            out.push('\u{fffd}');
        } else {
            out.push(c);
        }
    }
    out
}

/// The last lines of an output, cleaned; says how many were left out.
pub(super) fn tail(output: &str, most: usize) -> Vec<String> {
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let left_out = lines.len().saturating_sub(most);
    let mut shown = Vec::new();
    if left_out > 0 {
        shown.push(format!("… {left_out} earlier line{}", if left_out == 1 { "" } else { "s" }));
    }
    shown.extend(lines[left_out..].iter().map(|line| clean(line)));
    shown
}
