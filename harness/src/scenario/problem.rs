//! What is wrong with a scenario file: where, what, and what to write instead.

use std::{fmt, ops::Range, path::PathBuf};

/// Everything that is wrong with one scenario file. Displays as one paragraph a problem, each with
/// the offending line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// The file as it was named.
    pub file: PathBuf,
    /// At least one, in the order of the file.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` when it is about the file as a whole (it cannot be read).
    pub at: Option<Place>,
    /// What: one line, lower case, no full stop.
    pub message: String,
    /// What to do about it, if that is known: one line.
    pub help: Option<String>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The whole line.
    pub text: String,
    /// How many characters to underline, at least 1.
    pub length: usize,
}

impl Place {
    /// The place of a range of bytes. Only its first line is shown.
    pub(super) fn of(source: &str, span: Range<usize>) -> Place {
        let mut start = span.start.min(source.len());
        while !source.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let mut end = span.end.clamp(start, line_end);
        while !source.is_char_boundary(end) {
            end -= 1;
        }
        Place {
            line: source[..line_start].matches('\n').count() + 1,
            column: source[line_start..start].chars().count() + 1,
            text: source[line_start..line_end].trim_end_matches('\r').to_owned(),
            length: source[start..end.max(start)].chars().count().max(1),
        }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            let Some(place) = &problem.at else {
                write!(f, "{file}: {}", problem.message)?;
                if let Some(help) = &problem.help {
                    write!(f, "\n  {help}")?;
                }
                continue;
            };
            let Place { line, column, text, length } = place;
            let gutter = line.to_string().len();
            // Tabs are kept in the indent so that the carets stand under what they mean.
            let indent: String =
                text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(
                f,
                "{file}:{line}:{column}: {message}\n\
                 {blank:gutter$} |\n\
                 {line} | {text}\n\
                 {blank:gutter$} | {indent}{carets}",
                message = problem.message,
                blank = "",
                carets = "^".repeat(*length),
            )?;
            if let Some(help) = &problem.help {
                write!(f, " {help}")?;
            }
        }
        Ok(())
    }
}

/// The known word nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?` where a known word is near, else the list of all.
pub(super) fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(found) => format!("did you mean `{found}`?"),
        None => {
            let all: Vec<String> = known.into_iter().map(|one| format!("`{one}`")).collect();
            format!("known: {}", all.join(", "))
        }
    }
}
