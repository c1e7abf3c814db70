//! The JSON report, schema 1: fields may be added, the ones that are there stay.

use std::io::Write;

use serde::Serialize;

use crate::{
    event::{
        Coverage, EffectRecord, Event, FaultRecord, Finding, InvariantCount, MemoryRecord, PebbleRecord,
        Skipped, WorldKind,
    },
    verdict::{Phase, Verdict},
};

use super::{Collected, ReportError, Reporter};

/// Writes one object for a run of one scenario, and an array of such objects, in the order of the
/// command line, for a run of several.
pub struct JsonReport {
    out: Box<dyn Write>,
    name: String,
    several: bool,
    current: Option<Collected>,
    /// Finished scenarios, rendered: smaller than what they were rendered from.
    done: Vec<String>,
}

impl JsonReport {
    /// `name` is for errors; `several`: the run has several scenarios.
    pub fn new(out: Box<dyn Write>, name: String, several: bool) -> JsonReport {
        JsonReport { out, name, several, current: None, done: Vec::new() }
    }

    fn close(&mut self) -> Result<(), ReportError> {
        if let Some(collected) = self.current.take() {
            let text = serde_json::to_string_pretty(&Report::of(&collected)).map_err(|error| {
                ReportError { tried: "failed to encode the json report".to_owned(), source: error.into() }
            })?;
            self.done.push(text);
        }
        Ok(())
    }
}

impl Reporter for JsonReport {
    fn event(&mut self, event: &Event) -> Result<(), ReportError> {
        if matches!(event, Event::Started { .. }) {
            self.close()?;
        }
        self.current.get_or_insert_default().add(event);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ReportError> {
        self.close()?;
        let text = match (self.several, self.done.as_slice()) {
            (false, [one]) => one.clone(),
            (_, all) => format!("[{}]", all.join(",\n")),
        };
        let tried = format!("failed to write the json report {}", self.name);
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(ReportError::new(tried))
    }
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    scenario: &'a str,
    purpose: &'a str,
    file: &'a str,
    verdict: Verdict,
    seed: u64,
    wall_s: f64,
    version: &'a str,
    world: Option<WorldKind>,
    jobs: u32,
    pebble: Option<&'a PebbleRecord>,
    census: Census<'a>,
    coverage: Coverage,
    experiments: Vec<Experiment<'a>>,
    invariants: &'a [InvariantCount],
    findings: &'a [Finding],
    stale_expectations: &'a [String],
    skipped: Vec<&'a Skipped>,
    same: u64,
    cpu_efficiency: f64,
    notes: &'a [String],
    interrupted: Option<String>,
    failed: Option<&'a str>,
}

#[derive(Serialize)]
struct Census<'a> {
    effects: &'a [EffectRecord],
    partial: Option<&'a str>,
    wall_ms: u64,
}

#[derive(Serialize)]
struct Experiment<'a> {
    id: &'a str,
    faults: &'a [FaultRecord],
    verdict: Verdict,
    violations: Vec<Violation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inconclusive: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<&'a MemoryRecord>,
    wall_ms: u64,
}

#[derive(Serialize)]
struct Violation<'a> {
    invariant: &'a str,
    phase: Phase,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    explained_by: Option<&'a str>,
}

impl<'a> Report<'a> {
    fn of(collected: &'a Collected) -> Report<'a> {
        let summary = collected.summary.as_ref();
        Report {
            schema: super::render::SCHEMA,
            scenario: &collected.scenario,
            purpose: &collected.purpose,
            file: &collected.file,
            verdict: collected.verdict(),
            seed: collected.seed,
            wall_s: summary.map_or(0.0, |summary| summary.wall_s),
            version: &collected.version,
            world: collected.world,
            jobs: collected.jobs,
            pebble: collected.pebble.as_ref(),
            census: Census {
                effects: &collected.effects,
                partial: collected.partial.as_deref(),
                wall_ms: collected.census_ms,
            },
            // Without a summary nobody has proven which points were covered.
            coverage: summary
                .map_or(Coverage { points: collected.points, covered: 0 }, |summary| summary.coverage),
            experiments: collected
                .experiments
                .iter()
                .map(|experiment| Experiment {
                    id: &experiment.id,
                    faults: &experiment.faults,
                    verdict: experiment.verdict,
                    violations: experiment
                        .violations
                        .iter()
                        .map(|violation| Violation {
                            invariant: &violation.invariant,
                            phase: violation.phase,
                            detail: &violation.detail,
                            explained_by: violation.explained_by.as_deref(),
                        })
                        .collect(),
                    inconclusive: experiment.inconclusive.as_deref(),
                    memory: experiment.memory.as_ref(),
                    wall_ms: experiment.wall_ms,
                })
                .collect(),
            invariants: summary.map_or(&[], |summary| &summary.invariants),
            findings: summary.map_or(&[], |summary| &summary.findings),
            stale_expectations: summary.map_or(&[], |summary| &summary.stale_expectations),
            skipped: collected.not_tried(),
            same: collected.same,
            cpu_efficiency: summary.map_or(0.0, |summary| summary.cpu_efficiency),
            notes: &collected.notes,
            interrupted: collected.interrupted(),
            failed: collected.failed.as_deref(),
        }
    }
}
