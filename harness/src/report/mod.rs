//! Reporters: each consumes the event stream and nothing else, one file each. Adding one touches a
//! new file and one line of [`Format`].

mod collect;
mod format;
mod html;
mod json;
mod junit;
mod log;
mod message;
mod render;
pub mod store;
mod style;
mod terminal;
#[cfg(test)]
mod tests;

pub use collect::{Brief, Collected};
pub use format::{Format, Output};
pub use html::Html;
pub use json::JsonReport;
pub use junit::Junit;
pub use log::EventLog;
pub use render::render;
pub use style::Style;
pub use terminal::{Progress, Terminal};

use crate::event::Event;

/// Something that tells people or machines what happens in a run.
pub trait Reporter {
    /// Takes the next event. The events of several scenarios come one scenario after the other,
    /// each beginning with [`Event::Started`].
    fn event(&mut self, event: &Event) -> Result<(), ReportError>;
    /// No event follows: writes what is still to be written. A scenario without
    /// [`Event::Ended`] was cut short, and is reported as far as it went.
    fn finish(&mut self) -> Result<(), ReportError>;
}

/// A report that could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{tried}: {source}")]
pub struct ReportError {
    /// What was tried, on what: `failed to write the json report out.json`.
    pub tried: String,
    /// What went wrong.
    #[source]
    pub source: std::io::Error,
}

impl ReportError {
    pub(crate) fn new(tried: impl Into<String>) -> impl FnOnce(std::io::Error) -> ReportError {
        let tried = tried.into();
        move |source| ReportError { tried, source }
    }

    /// Whether the reader of the output went away (`roulette list | head`), which is no error.
    pub fn is_broken_pipe(&self) -> bool {
        self.source.kind() == std::io::ErrorKind::BrokenPipe
    }
}
