//! What the phases of one experiment found, gathered for the judges.

use std::time::Instant;

use crate::{
    artifact::ArtifactState,
    event::{ExperimentRecord, Violation},
    invariant::{self, Evidence, Litter, Run},
    lock,
    plan::Planned,
    run::Runner,
    scenario::Scenario,
    state,
    verdict::{Judgement, Phase, Verdict},
};

use super::baseline::artifacts;

/// What one phase found, gathered for the judges.
pub(super) struct Phases {
    artifacts_before: Vec<ArtifactState>,
    pub runs: Vec<Run>,
    installed: Vec<String>,
    pub judgements: Vec<Judgement>,
    pub aftermath: Vec<String>,
    /// As it was judged last.
    pub state: Vec<String>,
}

impl Phases {
    pub(super) fn begin(scenario: &Scenario) -> Phases {
        let artifacts_before = artifacts(scenario);
        let installed = artifacts_before.first().map(|a| a.fingerprint.clone()).into_iter().collect();
        Phases {
            artifacts_before,
            runs: Vec::new(),
            installed,
            judgements: Vec::new(),
            aftermath: Vec::new(),
            state: Vec::new(),
        }
    }

    /// A certificate was at the first artifact's path; empty: none was.
    pub(super) fn saw(&mut self, fingerprint: String) {
        if !fingerprint.is_empty() && self.installed.last() != Some(&fingerprint) {
            self.installed.push(fingerprint);
        }
    }

    pub(super) fn judge(
        &mut self,
        scenario: &Scenario,
        phase: Phase,
        run: Run,
        runner: &mut Runner<'_>,
        litter: &[Litter],
    ) {
        let served = runner.served();
        let lock = lock::state(scenario.lock.as_ref(), runner.proc());
        let now = artifacts(scenario);
        if let Some(first) = now.first()
            && !first.fingerprint.is_empty()
            && self.installed.last() != Some(&first.fingerprint)
        {
            self.installed.push(first.fingerprint.clone());
        }
        self.runs.push(run);
        let evidence = Evidence {
            scenario,
            phase,
            artifacts_before: &self.artifacts_before,
            artifacts: &now,
            served: &served,
            lock: &lock,
            runs: &self.runs,
            installed: &self.installed,
            litter,
        };
        let judgements = invariant::judge_phase(&evidence, &self.judgements);
        self.judgements.extend(judgements);
        invariant::explain(&mut self.judgements);
        self.state = state::describe(&now, &served, &lock);
        if phase == Phase::Aftermath {
            self.aftermath.clone_from(&self.state);
        }
    }

    pub(super) fn record(
        mut self,
        planned: Planned,
        inconclusive: Option<String>,
        recovery_output: String,
        started: Instant,
    ) -> ExperimentRecord {
        invariant::explain(&mut self.judgements);
        let violations: Vec<Violation> = self
            .judgements
            .iter()
            .filter(|j| j.verdict == Verdict::Violated)
            .map(|j| Violation {
                invariant: j.invariant.clone(),
                phase: j.phase,
                detail: j.detail.clone(),
                explained_by: j.explained_by.clone(),
            })
            .collect();
        let unexplained = |j: &&Judgement| j.explained_by.is_none();
        let verdict = match &inconclusive {
            Some(_) => Verdict::Inconclusive,
            None => self
                .judgements
                .iter()
                .filter(unexplained)
                .map(|j| j.verdict)
                .fold(Verdict::Held, Verdict::and),
        };
        let cpu_ms = self.runs.iter().map(|run| run.cpu_ms).sum();
        ExperimentRecord {
            // What was seen on another path than the planned one proves nothing about it.
            violations: if inconclusive.is_some() { Vec::new() } else { violations },
            judgements: if inconclusive.is_some() { Vec::new() } else { self.judgements },
            inconclusive,
            exits: self
                .runs
                .iter()
                .map(|run| run.end.map_or_else(|| "?".to_owned(), |end| end.to_string()))
                .collect(),
            aftermath: self.aftermath,
            recovery_output,
            wall_ms: started.elapsed().as_millis() as u64,
            cpu_ms,
            runs_ms: self.runs.iter().map(|run| run.wall_ms).collect(),
            ..ExperimentRecord::new(&planned.id, planned.faults, verdict)
        }
    }
}
