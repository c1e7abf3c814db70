//! A stored run, told again.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use crate::event::Event;

use super::{ReportError, Reporter};

/// Version of the event log that this program writes and reads.
pub(crate) const SCHEMA: u32 = 1;

/// Feeds the events stored in `path` to every reporter, and finishes them. A torn last line (the
/// run was killed while writing it) becomes a note.
pub fn render(path: &Path, reporters: &mut [Box<dyn Reporter>]) -> Result<(), ReportError> {
    let mut tell = |event: &Event| reporters.iter_mut().try_for_each(|reporter| reporter.event(event));
    read_events(path, |event| tell(&event))?;
    reporters.iter_mut().try_for_each(|reporter| reporter.finish())
}

/// Reads stored events, one after the other.
pub(crate) fn read_events(
    path: &Path,
    mut tell: impl FnMut(Event) -> Result<(), ReportError>,
) -> Result<(), ReportError> {
    let name = path.display();
    let fail = || ReportError::new(format!("failed to read the stored run {name}"));
    let mut reader = BufReader::new(File::open(path).map_err(fail())?);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        if reader.read_until(b'\n', &mut line).map_err(fail())? == 0 {
            return Ok(());
        }
        match serde_json::from_slice(&line) {
            Ok(Event::Started { schema, .. }) if schema != SCHEMA => {
                let text = format!("it has schema {schema}, and this version reads schema {SCHEMA}");
                return Err(fail()(std::io::Error::other(text)));
            }
            Ok(event) => tell(event)?,
            Err(_) if !line.ends_with(b"\n") => {
                return tell(Event::Note {
                    text: format!(
                        "line {number}, the last of the stored run, is torn: the run was killed while writing it"
                    ),
                });
            }
            Err(error) => {
                return Err(fail()(std::io::Error::other(format!("line {number} is no event: {error}"))));
            }
        }
    }
}
