//! What the events of one scenario come to, as far as reports need it.

use std::collections::HashMap;

use crate::{
    event::{
        EffectRecord, Event, ExperimentRecord, FaultRecord, Finding, MemoryRecord, PebbleRecord, Skipped,
        Summary, Violation, WorldKind,
    },
    limits,
    verdict::Verdict,
};

/// One experiment without its files and outputs: there may be many thousands.
#[derive(Debug, Clone, PartialEq)]
pub struct Brief {
    /// Its id.
    pub id: String,
    /// What was done.
    pub faults: Vec<FaultRecord>,
    /// What it came to.
    pub verdict: Verdict,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// Why it could not be judged, if so.
    pub inconclusive: Option<String>,
    /// What came of a memory limit, if one was set.
    pub memory: Option<MemoryRecord>,
    /// Milliseconds on the wall.
    pub wall_ms: u64,
}

/// The events of one scenario, collected.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// The scenario's name.
    pub scenario: String,
    /// Its purpose.
    pub purpose: String,
    /// Its file as it was given.
    pub file: String,
    /// The seed.
    pub seed: u64,
    /// The kind of world; `None` before the run began.
    pub world: Option<WorldKind>,
    /// Worlds at work at once.
    pub jobs: u32,
    /// The program and its version.
    pub version: String,
    /// Where Pebble came from.
    pub pebble: Option<PebbleRecord>,
    /// The census.
    pub effects: Vec<EffectRecord>,
    /// Why coverage is only partial, if it is.
    pub partial: Option<String>,
    /// Milliseconds of the clean run.
    pub census_ms: u64,
    /// Experiments planned.
    pub planned: u64,
    /// Points planned.
    pub points: u64,
    /// Experiments proven to be the same as one of the plan.
    pub same: u64,
    /// What the plan leaves out.
    pub skipped: Vec<Skipped>,
    /// Experiments that are over.
    pub experiments: Vec<Brief>,
    /// Those of them that were violated or inconclusive, whole, by id. At most
    /// [`limits::REPORT_DETAILED`].
    pub detailed: HashMap<String, ExperimentRecord>,
    /// Experiments with a fault that are over: the clean run is told as an experiment, too, and is
    /// not in the plan.
    pub done: u64,
    /// Experiments violated so far.
    pub violated: u64,
    /// Experiments inconclusive so far.
    pub inconclusive: u64,
    /// Remarks.
    pub notes: Vec<String>,
    /// Why the run could not go on, if it could not.
    pub failed: Option<String>,
    /// The end; `None` while the run goes on, and when it was cut short.
    pub summary: Option<Summary>,
}

impl Collected {
    /// Takes the next event.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::Started { schema: _, scenario, purpose, file, seed, world, jobs, version } => {
                *self = Collected {
                    scenario: scenario.clone(),
                    purpose: purpose.clone(),
                    file: file.clone(),
                    seed: *seed,
                    world: Some(*world),
                    jobs: *jobs,
                    version: version.clone(),
                    ..Collected::default()
                };
            }
            Event::Pebble(record) => self.pebble = Some(record.clone()),
            Event::Step { .. } => {}
            Event::Census { effects, partial, wall_ms } => {
                self.effects.clone_from(effects);
                self.partial.clone_from(partial);
                self.census_ms = *wall_ms;
            }
            Event::Plan { experiments, points, same, skipped } => {
                self.planned = *experiments;
                self.points = *points;
                self.same = *same;
                self.skipped.clone_from(skipped);
            }
            Event::Experiment(record) => self.experiment(record),
            Event::Note { text } => self.notes.push(text.clone()),
            Event::Failed { message } => self.failed = Some(message.clone()),
            Event::Ended(summary) => self.summary = Some((**summary).clone()),
        }
    }

    fn experiment(&mut self, record: &ExperimentRecord) {
        self.done += u64::from(!record.faults.is_empty());
        match record.verdict {
            Verdict::Held => {}
            Verdict::Violated => self.violated += 1,
            Verdict::Inconclusive => self.inconclusive += 1,
        }
        if record.verdict != Verdict::Held && self.detailed.len() < limits::REPORT_DETAILED {
            self.detailed.insert(record.id.clone(), record.clone());
        }
        self.experiments.push(Brief {
            id: record.id.clone(),
            faults: record.faults.clone(),
            verdict: record.verdict,
            violations: record.violations.clone(),
            inconclusive: record.inconclusive.clone(),
            memory: record.memory.clone(),
            wall_ms: record.wall_ms,
        });
    }

    /// The verdict: inconclusive for a run that did not come to its end.
    pub fn verdict(&self) -> Verdict {
        self.summary.as_ref().map_or(Verdict::Inconclusive, |summary| summary.verdict)
    }

    /// Why the run was cut short, if it was.
    pub fn interrupted(&self) -> Option<String> {
        match (&self.summary, &self.failed) {
            (Some(summary), _) => summary.interrupted.clone(),
            (None, Some(message)) => Some(message.clone()),
            (None, None) => Some("the run did not come to its end".to_owned()),
        }
    }

    /// Findings that no `[[expect]]` explains, and those that one does.
    pub fn findings(&self) -> (Vec<&Finding>, Vec<&Finding>) {
        let all = self.summary.iter().flat_map(|summary| &summary.findings);
        all.partition(|finding| finding.expected.is_none())
    }

    /// The smallest reproduction of a finding, whole, if it was kept.
    pub fn smallest(&self, finding: &Finding) -> Option<&ExperimentRecord> {
        finding.experiments.iter().find_map(|id| self.detailed.get(id))
    }

    /// What was not tried: the plan's and the run's own, each once.
    pub fn not_tried(&self) -> Vec<&Skipped> {
        let mut all: Vec<&Skipped> = Vec::new();
        for skipped in self.skipped.iter().chain(self.summary.iter().flat_map(|summary| &summary.skipped)) {
            if !all.contains(&skipped) {
                all.push(skipped);
            }
        }
        all
    }

    /// Reasons why experiments could not be judged, with how many each.
    pub fn undecided(&self) -> Vec<(&str, u64)> {
        let mut reasons: Vec<(&str, u64)> = Vec::new();
        for reason in self.experiments.iter().filter_map(|experiment| experiment.inconclusive.as_deref()) {
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => reasons.push((reason, 1)),
            }
        }
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        reasons
    }
}
