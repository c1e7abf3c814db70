//! The folder of a run: everything it has seen, kept for `roulette report` and `roulette replay`.
//!
//! `$XDG_STATE_HOME/process-roulette/runs/<scenario>-<UTC time>-<4 hex>/` holds `events.jsonl`,
//! `scenario.toml` (a copy) and `origin` (the path of the scenario file it is a copy of).

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use time::OffsetDateTime;

use crate::{
    event::{EffectRecord, Event, ExperimentRecord, Finding},
    limits,
    scenario::Scenario,
};

use super::{ReportError, render::read_events};

/// All stored runs.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// One stored run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRun {
    /// Its folder.
    pub folder: PathBuf,
    /// The folder's name: `<scenario>-<UTC time>-<4 hex>`.
    pub name: String,
}

/// An experiment of a stored run, with the finding that led to it.
#[derive(Debug, Clone)]
pub struct StoredExperiment {
    /// The run.
    pub run: StoredRun,
    /// The scenario file: the original where it still is, else the run's copy.
    pub scenario: PathBuf,
    /// The experiment.
    pub experiment: ExperimentRecord,
    /// The finding, if one was asked for.
    pub finding: Option<Finding>,
    /// The effects of that run's clean run.
    pub effects: Vec<EffectRecord>,
}

impl Store {
    /// The user's: `$XDG_STATE_HOME/process-roulette/runs`, or under `~/.local/state` where that
    /// is not set (XDG Base Directory Specification).
    pub fn of_user() -> Result<Store, ReportError> {
        let absolute = |path: &PathBuf| path.is_absolute();
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(absolute);
        let home = || std::env::home_dir().filter(absolute).map(|home| home.join(".local/state"));
        let state = state.or_else(home).ok_or_else(|| ReportError {
            tried: "failed to find a folder for runs".to_owned(),
            source: std::io::Error::other(
                "neither XDG_STATE_HOME nor HOME is set to an absolute path: set one",
            ),
        })?;
        Ok(Store::at(state.join("process-roulette/runs")))
    }

    /// Runs in another folder.
    pub fn at(root: PathBuf) -> Store {
        Store { root }
    }

    /// Creates the folder of a new run, with the scenario's copy, and deletes the oldest runs
    /// beyond [`limits::RUNS_KEPT`].
    pub fn create(&self, scenario: &Scenario) -> Result<StoredRun, ReportError> {
        self.prune();
        let folder = self.root.display();
        fs::create_dir_all(&self.root).map_err(ReportError::new(format!(
            "failed to create {folder} (XDG_STATE_HOME names another place)"
        )))?;
        let run = loop {
            let name = format!(
                "{}-{}-{:04x}",
                scenario.name,
                stamp(OffsetDateTime::now_utc()),
                rand::random::<u16>()
            );
            let folder = self.root.join(&name);
            match fs::create_dir(&folder) {
                Ok(()) => break StoredRun { folder, name },
                // Two runs began in the same second and drew the same number.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(ReportError::new(format!("failed to create {}", folder.display()))(error));
                }
            }
        };
        let keep = |name: &str, content: &[u8]| {
            let path = run.folder.join(name);
            fs::write(&path, content).map_err(ReportError::new(format!("failed to write {}", path.display())))
        };
        let text = fs::read(&scenario.file)
            .map_err(ReportError::new(format!("failed to read {}", scenario.file.display())))?;
        keep("scenario.toml", &text)?;
        let origin = fs::canonicalize(&scenario.file).unwrap_or_else(|_| scenario.file.clone());
        keep("origin", origin.as_os_str().as_bytes())?;
        Ok(run)
    }

    /// Every stored run, newest first. Folders that are no runs are left alone.
    pub fn runs(&self) -> Vec<StoredRun> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        let mut runs: Vec<StoredRun> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                is_run(&name).then(|| StoredRun { folder: entry.path(), name })
            })
            .collect();
        runs.sort_by(|a, b| time_of(&b.name).cmp(time_of(&a.name)).then_with(|| b.name.cmp(&a.name)));
        runs
    }

    /// The newest run whose name begins with `prefix`; `last` is the newest of all. A path of a
    /// run's folder or of an event log is taken as it is.
    pub fn find(&self, prefix: &str) -> Result<StoredRun, String> {
        if prefix.contains('/') || prefix == "." {
            let path = Path::new(prefix);
            let folder = if path.is_file() { path.parent().unwrap_or(path) } else { path };
            if folder.join("events.jsonl").is_file() {
                let name = folder.file_name().unwrap_or(OsStr::new(prefix)).to_string_lossy().into_owned();
                return Ok(StoredRun { folder: folder.to_owned(), name });
            }
            return Err(format!("{prefix} is no folder of a run: it has no events.jsonl"));
        }
        let runs = self.runs();
        let all = runs.len();
        runs.into_iter().find(|run| prefix == "last" || run.name.starts_with(prefix)).ok_or_else(|| {
            let place = self.root.display();
            if all == 0 {
                format!("there is no stored run in {place} yet: `roulette run SCENARIO` makes one")
            } else {
                format!(
                    "none of the {all} stored runs in {place} begins with `{prefix}`; `last` is the newest"
                )
            }
        })
    }

    /// The smallest reproduction of the finding `id`, or the experiment `id`, from the newest run
    /// that has it. `None`: no stored run has it.
    pub fn find_experiment(&self, id: &str) -> Result<Option<StoredExperiment>, ReportError> {
        for run in self.runs() {
            if let Some((experiment, finding, effects)) = run.experiment(id)? {
                let scenario = run.scenario();
                return Ok(Some(StoredExperiment { run, scenario, experiment, finding, effects }));
            }
        }
        Ok(None)
    }

    /// Old runs that cannot be deleted are no reason not to run.
    fn prune(&self) {
        for run in self.runs().into_iter().skip(limits::RUNS_KEPT - 1) {
            let written = fs::metadata(run.events()).and_then(|found| found.modified());
            let idle = written
                .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > limits::RUN_IDLE));
            if idle {
                let _ = fs::remove_dir_all(&run.folder);
            }
        }
    }
}

impl StoredRun {
    /// The event log.
    pub fn events(&self) -> PathBuf {
        self.folder.join("events.jsonl")
    }

    /// The scenario file: the original where it still is, else the copy (which has lost the files
    /// beside it).
    pub fn scenario(&self) -> PathBuf {
        let origin = fs::read(self.folder.join("origin"))
            .ok()
            .map(|bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes)));
        origin.filter(|path| path.is_file()).unwrap_or_else(|| self.folder.join("scenario.toml"))
    }

    /// Looks an id up: a finding's, or an experiment's. Findings are at the end of the log and name
    /// experiments before it, so it is read twice where it has to be.
    #[expect(clippy::type_complexity, reason = "three parts of the log, taken apart at the only caller")]
    fn experiment(
        &self,
        id: &str,
    ) -> Result<Option<(ExperimentRecord, Option<Finding>, Vec<EffectRecord>)>, ReportError> {
        let mut finding = None;
        let mut clean = Vec::new();
        let mut experiment = None;
        let path = self.events();
        if !path.is_file() {
            return Ok(None);
        }
        let take = |wanted: &str, experiment: &mut Option<ExperimentRecord>, event: Event| match event {
            Event::Experiment(record) if record.id == wanted => *experiment = Some(*record),
            _ => {}
        };
        let mut first = |mut event: Event| {
            match &mut event {
                Event::Census { effects, .. } => clean = std::mem::take(effects),
                Event::Ended(summary) => {
                    finding = summary.findings.iter().find(|finding| finding.id == id).cloned();
                }
                _ => {}
            }
            take(id, &mut experiment, event);
            Ok(())
        };
        // A log of another version, or a damaged one, must not hide the runs before it.
        if read_events(&path, &mut first).is_err() {
            return Ok(None);
        }
        if let Some(smallest) = finding.as_ref().and_then(|finding| finding.experiments.first()) {
            read_events(&path, |event| {
                take(smallest, &mut experiment, event);
                Ok(())
            })?;
        }
        Ok(experiment.map(|experiment| (experiment, finding, clean)))
    }
}

/// `20261121T182107Z`: sorts as time does, and is good in a file's name.
fn stamp(now: OffsetDateTime) -> String {
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    )
}

fn is_run(name: &str) -> bool {
    let mut parts = name.rsplit('-');
    let hex = parts.next().is_some_and(|part| part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit()));
    let time = parts
        .next()
        .is_some_and(|part| part.len() == 16 && part.ends_with('Z') && part.as_bytes()[8] == b'T');
    hex && time && parts.next().is_some()
}

fn time_of(name: &str) -> &str {
    name.rsplit('-').nth(1).unwrap_or_default()
}
