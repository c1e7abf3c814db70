//! Tries the sources in order.

use std::path::Path;

use super::{Programs, container::Container, option::Named, package::Package, path::SearchPath};

/// One place Pebble can come from.
pub(super) trait Source {
    /// What it is in `record.source`.
    fn name(&self) -> &'static str;
    /// How a person uses it, one line, for the error that lists them all.
    fn how(&self) -> String;
    /// Looks there.
    fn find(&self, progress: &mut dyn FnMut(&str)) -> Outcome;
}

/// What a source came to.
pub(super) enum Outcome {
    /// Here they are.
    Found(Programs),
    /// Not here: why, as a fragment. The next source is tried.
    Not(String),
    /// Somebody asked for this source and it is wrong: no other is tried.
    Wrong(String),
}

/// No Pebble. Lists what was tried, why each failed, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PebbleError(String);

/// Finds Pebble and pebble-challtestsrv. `option` is what `--pebble` named; without it
/// `ROULETTE_PEBBLE` is asked. `progress` is told of what takes more than a moment.
pub fn find(option: Option<&Path>, progress: &mut dyn FnMut(&str)) -> Result<Programs, PebbleError> {
    let sources: [&dyn Source; 4] = [&Named::new(option), &SearchPath, &Container::new(), &Package::new()];
    let mut failures = String::new();
    for source in sources {
        match source.find(progress) {
            Outcome::Found(programs) => return Ok(programs),
            Outcome::Wrong(why) => return Err(PebbleError(why)),
            Outcome::Not(why) => {
                failures += &format!("\n  {:<10} {why}\n  {:<10} -> {}", source.name(), "", source.how());
            }
        }
    }
    Err(PebbleError(format!("no Pebble (the test CA) was found; each of these would give one:{failures}")))
}
