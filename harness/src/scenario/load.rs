//! From a file to a [`Scenario`], or to everything that is wrong with it.

use std::path::Path;

use toml::de::DeTable;

use super::{
    meaning,
    model::Scenario,
    problem::{Place, Problem, ScenarioError},
    reference, shape,
};

/// The names of all invariants, in the order of the documentation.
pub const INVARIANTS: [&str; 13] = [
    "pair-intact",
    "no-partial-files",
    "lock-released",
    "one-at-a-time",
    "at-most-one-reload",
    "no-lost-reload",
    "always-serving",
    "recovers",
    "key-private",
    "no-orphans",
    "honest-exit",
    "bounded-issuance",
    "ends",
];

impl Scenario {
    /// Reads and checks a scenario file. The error lists everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read(path).map_err(|error| error.to_string()).and_then(|bytes| {
            String::from_utf8(bytes)
                .map_err(|error| format!("it is not UTF-8 text (byte {})", error.utf8_error().valid_up_to()))
        });
        match text {
            Ok(text) => Scenario::parse(&text, path),
            Err(error) => Err(ScenarioError {
                file: path.to_owned(),
                problems: vec![Problem {
                    at: None,
                    message: format!("failed to read the scenario file: {error}"),
                    help: Some("`roulette list` shows the scenarios in ./scenarios".to_owned()),
                }],
            }),
        }
    }

    /// The same for a text that was read from `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Scenario, ScenarioError> {
        let fail = |mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| problem.at.as_ref().map(|at| (at.line, at.column)));
            ScenarioError { file: path.to_owned(), problems }
        };
        let from_toml = |error: &toml::de::Error| Problem {
            at: error.span().map(|span| Place::of(text, span)),
            message: error.message().lines().collect::<Vec<_>>().join("; "),
            help: None,
        };
        let (document, syntax) = DeTable::parse_recoverable(text);
        if !syntax.is_empty() {
            return Err(fail(syntax.iter().map(from_toml).collect()));
        }
        if let Some(problem) = meaning::check_version(text, &document) {
            return Err(fail(vec![problem]));
        }
        let mut problems = shape::check(text, &document, &reference::schema());
        problems.extend(meaning::check_deadline(text, &document));
        if !problems.is_empty() {
            return Err(fail(problems));
        }
        let mut scenario: Scenario = toml::from_str(text).map_err(|error| fail(vec![from_toml(&error)]))?;
        scenario.file = path.to_owned();
        scenario.folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => ".".into(),
        };
        let problems = meaning::check(text, &document, &scenario, &INVARIANTS);
        if !problems.is_empty() {
            return Err(fail(problems));
        }
        meaning::add_artifact_folders(&mut scenario);
        Ok(scenario)
    }
}
