//! Whether the subject does its work at all: else nothing can be learned from disturbing it.

use std::sync::Arc;

use crate::{
    artifact::{self, ArtifactState, FileState},
    invariant::End,
    limits,
    role::Roles,
    run::{Assignment, Detail, Outcome, Runner},
    scenario::Scenario,
};

use super::SetupError;

pub(super) fn setup_step(
    runner: &mut Runner<'_>,
    command: &[String],
    what: &str,
) -> Result<Roles, SetupError> {
    let outcome = runner.run(&Assignment::new(command, Detail::Plain, &Arc::default()), None)?;
    match outcome.run.end {
        Some(End::Exited(0)) => Ok(outcome.roles),
        end => Err(SetupError::Baseline(format!(
            "`subject.{what}` command `{}` ended with {}; {}{}",
            command.join(" "),
            end.map_or_else(|| "nothing".to_owned(), |end| end.to_string()),
            outcome.stuck.map(|doing| format!("it was doing {doing}; ")).unwrap_or_default(),
            printed(&outcome.run.output)
        ))),
    }
}

/// The clean run must do what it is for; else nothing can be learned from disturbing it.
pub(super) fn baseline(scenario: &Scenario, outcome: &Outcome) -> Result<(), SetupError> {
    let command = scenario.subject.command.join(" ");
    let fail = |what: String| Err(SetupError::Baseline(format!("{what}; {}", printed(&outcome.run.output))));
    match outcome.run.end {
        Some(End::Exited(0)) => {}
        Some(End::Deadline) => {
            return fail(format!(
                "the clean run of `{command}` did not end within its deadline of {:?}; it was doing {}",
                scenario.subject.deadline,
                outcome.stuck.as_deref().unwrap_or("nothing that can be told")
            ));
        }
        end => {
            return fail(format!(
                "the clean run of `{command}` ended with {}",
                end.map_or_else(String::new, |e| e.to_string())
            ));
        }
    }
    if outcome.run.orders == 0 {
        let refused = if outcome.refused.is_empty() {
            String::new()
        } else {
            format!(" (it tried {}, which this world refuses)", outcome.refused.join(", "))
        };
        return fail(format!(
            "the clean run of `{command}` never asked the CA for a certificate{refused}; with {} days left on the certificate a renewal is due: is the command the one the scheduler starts, and does it use the directory URL of the world? A client that keeps the date of its next renewal itself is made due by `subject.age`",
            limits::AGED_DAYS_LEFT
        ));
    }
    let broken: Vec<String> = artifacts(scenario).iter().filter_map(not_whole).collect();
    if !broken.is_empty() {
        return fail(format!(
            "the clean run of `{command}` left no usable key and certificate: {}",
            broken.join("; ")
        ));
    }
    Ok(())
}

pub(super) fn artifacts(scenario: &Scenario) -> Vec<ArtifactState> {
    scenario.artifacts.iter().map(artifact::read).collect()
}

pub(super) fn not_whole(state: &ArtifactState) -> Option<String> {
    for (path, file) in [(&state.certificate_path, &state.certificate), (&state.key_path, &state.key)] {
        match file {
            FileState::Whole => {}
            FileState::Missing(why) | FileState::Broken(why) | FileState::Unreadable(why) => {
                return Some(format!("{path}: {why}"));
            }
        }
    }
    (state.matches == Some(false))
        .then(|| format!("{} does not belong to {}", state.key_path, state.certificate_path))
}

fn printed(output: &str) -> String {
    if output.trim().is_empty() {
        "it printed nothing".to_owned()
    } else {
        format!("it printed:\n{}", output.trim_end())
    }
}
