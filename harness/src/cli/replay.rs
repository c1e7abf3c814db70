//! `roulette replay`: one experiment again.

use std::path::PathBuf;

use crate::{
    event::{Event, ExperimentRecord, Finding},
    lab,
    point::Point,
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
    points: Vec<Point>,
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
    let replay = lab::ReplayOptions {
        lab,
        experiment: target.experiment,
        record: target.record,
        points: target.points,
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
    let mut text = String::new();
    for violation in &record.violations {
        text.push_str(&format!(
            "violated in {}: {}: {}\n",
            violation.phase, violation.invariant, violation.detail
        ));
    }
    if let Some(reason) = &record.inconclusive {
        text.push_str(&format!("inconclusive: {reason}\n"));
    }
    text.push_str(&format!("{}\n", record.verdict));
    print(&text)?;
    Ok(match record.verdict {
        Verdict::Held => ExitCode::Held,
        Verdict::Violated => ExitCode::Violated,
        Verdict::Inconclusive => ExitCode::Inconclusive,
    })
}

fn find(options: &ReplayOptions) -> Result<Target, CliError> {
    let what = options.what.to_string_lossy();
    if options.what.is_file() {
        let Some(experiment) = options.experiment.clone() else {
            return Err(CliError::usage(format!(
                "{what} is a scenario file: say which of its experiments with --experiment ID, as reports name it"
            )));
        };
        return Ok(Target {
            scenario: options.what.clone(),
            experiment,
            record: None,
            finding: None,
            points: Vec::new(),
        });
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
                points: found.points,
            })
        }
        None => Err(CliError::usage(format!(
            "no stored run has a finding or an experiment `{what}`, and it is no file. Runs are kept on the machine \
             they were made on; elsewhere, name the scenario file and the experiment: \
             `roulette replay FILE --experiment ID`"
        ))),
    }
}
