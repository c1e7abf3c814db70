//! `pebble` and `pebble-challtestsrv` on PATH.

use super::{
    Programs,
    find::{Outcome, Source},
    programs::{CHALLTESTSRV, PEBBLE, on_path},
};

/// The search path.
pub(super) struct SearchPath;

impl Source for SearchPath {
    fn name(&self) -> &'static str {
        "path"
    }

    fn how(&self) -> String {
        "install it, for example with `apt install pebble` (Debian 12 or later)".to_owned()
    }

    fn find(&self, _progress: &mut dyn FnMut(&str)) -> Outcome {
        let found = match (on_path(PEBBLE), on_path(CHALLTESTSRV)) {
            (Some(pebble), Some(challtestsrv)) => Programs::new(pebble, challtestsrv, "path", None),
            (None, _) => Err(format!("`{PEBBLE}` is not on PATH")),
            (Some(_), None) => Err(format!("`{PEBBLE}` is on PATH, `{CHALLTESTSRV}` is not")),
        };
        found.map_or_else(Outcome::Not, Outcome::Found)
    }
}
