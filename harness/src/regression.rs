//! Experiments in which a scenario once broke a promise: kept in a small file beside it that is
//! meant for git, and tried first by every later run and spin.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{event::FaultRecord, fault, plan::Planned, scenario::Scenario};

/// The folder beside the scenario. (One of its own, so that `scenarios/*.toml` names scenarios only.)
const FOLDER: &str = "regressions";

/// The version of the format.
const SCHEMA: u32 = 1;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// The invariant that was broken.
    pub invariant: String,
    /// What happened, for people.
    pub title: String,
    /// The seed of the spin that found it.
    pub seed: u64,
    /// What is done.
    pub faults: Vec<FaultRecord>,
}

/// All of one scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regressions {
    scenario: String,
    file: PathBuf,
    kept: Vec<Regression>,
}

/// The file's shape.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    schema: u32,
    #[serde(rename = "regression", default)]
    regressions: Vec<Regression>,
}

/// A file of regressions that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegressionError {
    /// It could not be read or written.
    #[error("failed to {tried} {}: {source}", file.display())]
    Io {
        /// `read` or `write`.
        tried: &'static str,
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It does not have the form of one.
    #[error("{}: {message}; mend it, or delete it and spin again", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its place.
        message: String,
    },
}

impl Regressions {
    /// Those of a scenario; none where there is no file.
    ///
    /// # Errors
    /// The file is there and cannot be read or understood.
    pub fn of(scenario: &Scenario) -> Result<Regressions, RegressionError> {
        let stem = scenario.file.file_stem().map_or_else(|| scenario.name.clone().into(), ToOwned::to_owned);
        let file = scenario.folder.join(FOLDER).join(stem).with_extension("toml");
        let kept = match fs::read_to_string(&file) {
            Ok(text) => read(&text, &file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(RegressionError::Io { tried: "read", file, source }),
        };
        Ok(Regressions { scenario: scenario.name.clone(), file, kept })
    }

    /// Where they are kept.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The experiments, in the file's order.
    pub fn experiments(&self) -> impl Iterator<Item = Planned> + '_ {
        self.kept.iter().map(|regression| Planned::new(regression.faults.clone()))
    }

    /// Adds one, unless it is there already, or another one that is told the same way.
    pub fn add(&mut self, new: Regression) -> bool {
        let known = self.kept.iter().any(|kept| {
            kept.faults == new.faults || (kept.invariant == new.invariant && kept.title == new.title)
        });
        if !known {
            self.kept.push(new);
        }
        !known
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// It could not be written.
    pub fn save(&self) -> Result<(), RegressionError> {
        let failed = |source| RegressionError::Io { tried: "write", file: self.file.clone(), source };
        let folder = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed)?;
        let new = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        fs::write(new.path(), self.text().map_err(|error| failed(io::Error::other(error)))?)
            .map_err(failed)?;
        // As the user's other files: a temporary one is for its owner alone.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(new.path(), mode).map_err(failed)?;
        new.persist(&self.file).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn text(&self) -> Result<String, toml::ser::Error> {
        let shape = Shape { schema: SCHEMA, regressions: self.kept.clone() };
        Ok(format!(
            "# Experiments in which `{}` broke a promise, found by `roulette spin` and made as small as could be.\n\
             # `roulette run` and `roulette spin` try them first. Keep this file in git; take an entry out when\n\
             # its faults can strike no more, because the pipeline does not come to their points.\n{}",
            self.scenario,
            toml::to_string_pretty(&shape)?
        ))
    }
}

fn read(text: &str, file: &Path) -> Result<Vec<Regression>, RegressionError> {
    let form = |message: String| RegressionError::Form { file: file.to_owned(), message };
    let shape: Shape = toml::from_str(text).map_err(|error| form(error.to_string().trim_end().to_owned()))?;
    if shape.schema != SCHEMA {
        return Err(form(format!("schema {} is not known, this version reads {SCHEMA}", shape.schema)));
    }
    for fault in shape.regressions.iter().flat_map(|regression| &regression.faults) {
        if fault::find(&fault.fault).is_none() {
            let near = crate::scenario::nearest(&fault.fault, fault::all().map(fault::Fault::name));
            let help = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            return Err(form(format!("there is no fault `{}`{help}", fault.fault)));
        }
    }
    Ok(shape.regressions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regression(fault: &str) -> Regression {
        let point = "before renew.sh > mv: rename /a #2".parse().unwrap();
        Regression {
            invariant: "pair-intact".into(),
            title: format!("{fault} before `rename /a`: key and certificate do not match"),
            seed: 7,
            faults: vec![FaultRecord::new(fault, Some("tree"), point)],
        }
    }

    #[test]
    fn what_is_saved_is_read_back_and_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FOLDER).join("x.toml");
        let mut all = Regressions { scenario: "x".into(), file: file.clone(), kept: Vec::new() };
        assert!(all.add(regression("sigkill")));
        assert!(all.add(regression("sigterm")));
        assert!(!all.add(regression("sigkill")));
        all.save().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(read(&text, &file).unwrap(), all.kept);
        assert!(text.starts_with("# Experiments in which `x`"), "{text}");
    }

    #[test]
    fn a_file_that_is_none_is_refused_with_its_place_and_the_nearest_name() {
        let broken = |text: &str| read(text, Path::new("r/x.toml")).unwrap_err().to_string();
        assert!(broken("schema = 1\n[[regression]]\ninvariant = 3\n").starts_with("r/x.toml: "));
        assert!(broken("schema = 2\n").contains("schema 2 is not known"));
        let text = toml::to_string(&Shape { schema: 1, regressions: vec![regression("sigkil")] }).unwrap();
        assert!(broken(&text).contains("did you mean `sigkill`?"), "{}", broken(&text));
    }
}
