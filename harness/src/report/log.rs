//! The stored log of a run: one event a line, written as it happens.

use std::{fs::File, io::Write as _, path::Path};

use crate::event::Event;

use super::{ReportError, Reporter};

/// Writes `events.jsonl`. Each event is one `write(2)` without a buffer in between: a run that is
/// killed keeps its evidence, and at most its last line is torn.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    name: String,
}

impl EventLog {
    /// Creates the file; one that is there is an error.
    pub fn create(path: &Path) -> Result<EventLog, ReportError> {
        let name = path.display().to_string();
        let file = File::create_new(path)
            .map_err(ReportError::new(format!("failed to create the event log {name}")))?;
        Ok(EventLog { file, name })
    }
}

impl Reporter for EventLog {
    fn event(&mut self, event: &Event) -> Result<(), ReportError> {
        let mut line = serde_json::to_vec(event).map_err(|error| ReportError {
            tried: "failed to encode an event".to_owned(),
            source: error.into(),
        })?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(ReportError::new(format!("failed to write the event log {}", self.name)))
    }

    fn finish(&mut self) -> Result<(), ReportError> {
        Ok(())
    }
}
