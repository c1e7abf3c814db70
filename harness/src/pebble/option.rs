//! `--pebble PATH` and `ROULETTE_PEBBLE`.

use std::path::{Path, PathBuf};

use super::{
    Programs,
    find::{Outcome, Source},
    programs::{CHALLTESTSRV, PEBBLE, is_executable, on_path},
};

/// The environment variable that stands in for `--pebble`.
const VARIABLE: &str = "ROULETTE_PEBBLE";

/// A path that somebody named: of the program, or of a folder that has it.
pub(super) struct Named {
    /// What named it, and the path.
    path: Option<(&'static str, PathBuf)>,
}

impl Named {
    pub fn new(option: Option<&Path>) -> Named {
        let variable = || std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        Named {
            path: match option {
                Some(path) => Some(("--pebble", path.to_owned())),
                None => variable().map(|path| (VARIABLE, PathBuf::from(path))),
            },
        }
    }
}

impl Source for Named {
    fn name(&self) -> &'static str {
        "option"
    }

    fn how(&self) -> String {
        format!("`--pebble PATH` or {VARIABLE}=PATH: the `{PEBBLE}` program or a folder with it")
    }

    fn find(&self, _progress: &mut dyn FnMut(&str)) -> Outcome {
        let Some((by, path)) = &self.path else { return Outcome::Not("none was named".to_owned()) };
        match at(path) {
            Ok(programs) => Outcome::Found(programs),
            Err(why) => Outcome::Wrong(format!(
                "{by} names {}, but {why}; name the `{PEBBLE}` program or a folder that has it and \
                 `{CHALLTESTSRV}`, or leave {by} out to have one found",
                path.display()
            )),
        }
    }
}

/// The programs at `path`. The DNS server is looked for beside Pebble, then on PATH.
fn at(path: &Path) -> Result<Programs, String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    let meta = std::fs::metadata(&path).map_err(|error| format!("there is nothing to be had: {error}"))?;
    let pebble = if meta.is_dir() { path.join(PEBBLE) } else { path };
    if !is_executable(&pebble) {
        return Err(format!("{} is not an executable file", pebble.display()));
    }
    let beside = pebble.with_file_name(CHALLTESTSRV);
    let challtestsrv =
        Some(beside.clone()).filter(|file| is_executable(file)).or_else(|| on_path(CHALLTESTSRV));
    let challtestsrv = challtestsrv
        .ok_or_else(|| format!("there is no {} and no `{CHALLTESTSRV}` on PATH", beside.display()))?;
    Programs::new(pebble, challtestsrv, "option", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(path: &Path) -> String {
        match Named::new(Some(path)).find(&mut |_| {}) {
            Outcome::Wrong(why) => why,
            Outcome::Found(_) | Outcome::Not(_) => panic!("a wrong path was not refused"),
        }
    }

    #[test]
    fn a_wrong_path_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(wrong(&folder.path().join("none")).contains("No such file"));
        assert!(wrong(folder.path()).contains("pebble is not an executable file"));
        std::fs::write(folder.path().join("pebble"), "").unwrap();
        assert!(wrong(&folder.path().join("pebble")).contains("is not an executable file"));
    }
}
