//! `roulette run`: sweeps.

use std::sync::atomic::Ordering;

use crate::{lab, scenario::Scenario};

use super::{
    arguments::RunOptions,
    error::CliError,
    exit_code::ExitCode,
    interrupt,
    session::{Session, check_machine, lab_options, load},
};

pub(super) fn run(options: &RunOptions) -> Result<ExitCode, CliError> {
    // All files are read before anything runs: a typo in the last one must not cost an hour.
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut wrong: Vec<String> = Vec::new();
    for path in &options.scenarios {
        match load(path) {
            Ok(mut scenario) => {
                if options.pairs.is_some() {
                    scenario.faults.pairs.clone_from(&options.pairs);
                }
                scenarios.push(scenario);
            }
            Err(error) => wrong.push(error.message),
        }
    }
    if !wrong.is_empty() {
        return Err(CliError::usage(wrong.join("\n\n")));
    }
    let interrupt = interrupt::install()?;
    let mut session = Session::open(&options.judge.report, scenarios.len() > 1, interrupt.clone())?;
    let mut code = ExitCode::Held;
    for scenario in scenarios {
        let machine = check_machine(&scenario, &options.world);
        let mut lab_options = lab_options(scenario, &options.world, &interrupt);
        lab_options.shard = options.shard;
        lab_options.faults.clone_from(&options.judge.faults);
        lab_options.fail_fast = options.judge.fail_fast;
        lab_options.allow_inconclusive.clone_from(&options.judge.allow_inconclusive);
        lab_options.max_experiments = options.max_experiments;
        let one = match machine {
            Ok(()) => session.scenario(lab_options, |lab, tell| lab::run(&lab, tell)),
            // The reports say so, too: a scenario must not be missing in them without a word.
            Err(error) => session.refused(&lab_options, &error).and(Err(error)),
        };
        let one = one.unwrap_or_else(|error| error.show());
        code = code.and(one);
        if interrupt.load(Ordering::Relaxed) || (options.judge.fail_fast && one == ExitCode::Violated) {
            break;
        }
    }
    session.finish()?;
    Ok(code)
}
