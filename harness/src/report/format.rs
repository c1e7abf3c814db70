//! Report files: `--report FORMAT=PATH`.

use std::{fs::File, io::Write, path::PathBuf, str::FromStr};

use super::{Html, JsonReport, Junit, ReportError, Reporter, Style, Terminal};
use crate::scenario::nearest;

/// A format of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Terminal,
    /// JSON, schema 1.
    Json,
    /// `JUnit` XML, as CI systems read it.
    Junit,
    /// One self-contained HTML file.
    Html,
}

impl Format {
    /// Every format with its name.
    pub const ALL: [(&'static str, Format); 4] = [
        ("terminal", Format::Terminal),
        ("json", Format::Json),
        ("junit", Format::Junit),
        ("html", Format::Html),
    ];

    /// A reporter that writes to `out`. `several`: the run has several scenarios, which changes
    /// the outermost level of JSON.
    pub fn reporter(
        self,
        out: Box<dyn Write>,
        name: String,
        several: bool,
        style: Style,
    ) -> Box<dyn Reporter> {
        match self {
            Format::Terminal => Box::new(Terminal::new(out, style)),
            Format::Json => Box::new(JsonReport::new(out, name, several)),
            Format::Junit => Box::new(Junit::new(out, name)),
            Format::Html => Box::new(Html::new(out, name)),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = Format::ALL.map(|(name, _)| name);
        Format::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, format)| format).ok_or_else(|| {
            match nearest(text, names) {
                Some(found) => format!("unknown format `{text}`: did you mean `{found}`?"),
                None => format!("unknown format `{text}`: known are {}", names.join(", ")),
            }
        })
    }
}

/// A report file that was asked for: `json=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its format.
    pub format: Format,
    /// Its path; `-` is standard output.
    pub path: PathBuf,
}

impl Output {
    /// Opens the file (so that a path that cannot be written fails before the run, not after it)
    /// and makes the reporter that fills it.
    pub fn open(&self, several: bool) -> Result<Box<dyn Reporter>, ReportError> {
        let name = self.path.display().to_string();
        let out: Box<dyn Write> = if name == "-" {
            Box::new(std::io::stdout())
        } else {
            Box::new(
                File::create(&self.path)
                    .map_err(ReportError::new(format!("failed to create the report {name}")))?,
            )
        };
        Ok(self.format.reporter(out, name, several, Style::plain()))
    }
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((_, "")) => {
                Err(format!("`{text}` names no file: write FORMAT=PATH, such as json=report.json"))
            }
            Some((format, path)) => Ok(Output { format: format.parse()?, path: path.into() }),
            None => Err(format!("`{text}` is not FORMAT=PATH, such as json=report.json")),
        }
    }
}
