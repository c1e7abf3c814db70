//! `roulette replay`: one experiment again.

use std::path::PathBuf;

use crate::{
    event::{EffectRecord, Event, ExperimentRecord, Finding, Violation},
    lab,
    report::store::Store,
    verdict::Verdict,
};

use super::{
    arguments::ReplayOptions,
    error::CliError,
    exit_code::ExitCode,
    interrupt,
    output::print,
    session::{check_machine, lab_options, load},
};

/// What is to be replayed.
struct Target {
    scenario: PathBuf,
    experiment: String,
    record: Option<ExperimentRecord>,
    finding: Option<Finding>,
    effects: Vec<EffectRecord>,
}

pub(super) fn replay(options: &ReplayOptions) -> Result<ExitCode, CliError> {
    let target = find(options)?;
    let scenario = load(&target.scenario)?;
    check_machine(&scenario, &options.world)?;
    let interrupt = interrupt::install()?;
    if let Some(finding) = &target.finding {
        print(&format!("{}: {}\n", finding.invariant, finding.title))?;
    }
    let mut broken = None;
    let lab = lab_options(scenario, &options.world, &interrupt);
    let recorded = target.record.as_ref().map(|record| record.verdict);
    let replay = lab::ReplayOptions {
        lab,
        experiment: target.experiment,
        record: target.record,
        effects: target.effects,
    };
    let record = lab::replay(&replay, &mut |event| match event {
        Event::Note { text } => {
            if let Err(error) = print(&format!("{text}\n")) {
                broken.get_or_insert(error);
            }
        }
        Event::Step { what } => eprintln!("{what}"),
        _ => {}
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
    let mut text = String::from("\n== verdict ==\n");
    if let Some(memory) = &record.memory {
        text.push_str(&format!("{memory}\n"));
    }
    for line in breaches(&record.violations) {
        text.push_str(&format!("{line}\n"));
    }
    if let Some(reason) = &record.inconclusive {
        text.push_str(&format!("{reason}\n"));
    }
    text.push_str(&record.verdict.to_string());
    if let Some(recorded) = recorded.filter(|recorded| *recorded != record.verdict) {
        text.push_str(&format!(", and was {recorded} when it was recorded"));
    }
    text.push('\n');
    print(&text)?;
    Ok(match record.verdict {
        Verdict::Held => ExitCode::Held,
        Verdict::Violated => ExitCode::Violated,
        Verdict::Inconclusive => ExitCode::Inconclusive,
    })
}

/// One line for each broken promise, with the phases in which it was; its consequences are left
/// to the narration.
fn breaches(violations: &[Violation]) -> Vec<String> {
    let mut lines: Vec<(&str, Vec<String>, &str)> = Vec::new();
    for violation in violations.iter().filter(|v| v.explained_by.is_none()) {
        let phase = violation.phase.to_string();
        match lines.iter_mut().find(|(invariant, ..)| *invariant == violation.invariant) {
            Some((_, phases, _)) if phases.contains(&phase) => {}
            Some((_, phases, _)) => phases.push(phase),
            None => lines.push((&violation.invariant, vec![phase], &violation.detail)),
        }
    }
    lines
        .into_iter()
        .map(|(invariant, phases, detail)| format!("{invariant} ({}): {detail}", phases.join(", ")))
        .collect()
}

fn find(options: &ReplayOptions) -> Result<Target, CliError> {
    let what = options.what.to_string_lossy();
    if options.what.is_file() {
        let Some(experiment) = options.experiment.clone() else {
            return Err(CliError::usage(format!(
                "{what} is a scenario file: say which of its experiments with --experiment ID, as reports name it"
            )));
        };
        let scenario = options.what.clone();
        return Ok(Target { scenario, experiment, record: None, finding: None, effects: Vec::new() });
    }
    if options.experiment.is_some() {
        return Err(CliError::usage(format!("there is no scenario file {what}: --experiment goes with one")));
    }
    match Store::of_user()?.find_experiment(&what)? {
        Some(found) => {
            eprintln!("{what} is from the run {}", found.run.name);
            Ok(Target {
                scenario: found.scenario,
                experiment: found.experiment.id.clone(),
                record: Some(found.experiment),
                finding: found.finding,
                effects: found.effects,
            })
        }
        None => Err(CliError::usage(format!(
            "no stored run has a finding or an experiment `{what}`, and it is no file. Runs are kept on the machine \
             they were made on; elsewhere, name the scenario file and the experiment: \
             `roulette replay FILE --experiment ID`"
        ))),
    }
}
