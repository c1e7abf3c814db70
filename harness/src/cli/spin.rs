//! `roulette spin`: the wheel.

use crate::lab;

use super::{
    arguments::SpinOptions,
    error::CliError,
    exit_code::ExitCode,
    interrupt,
    session::{Session, check_machine, lab_options, load},
};

pub(super) fn spin(options: &SpinOptions) -> Result<ExitCode, CliError> {
    let scenario = load(&options.scenario)?;
    check_machine(&scenario, &options.world)?;
    let interrupt = interrupt::install()?;
    let mut lab_options = lab_options(scenario, &options.world, &interrupt);
    lab_options.faults.clone_from(&options.judge.faults);
    lab_options.fail_fast = options.judge.fail_fast;
    lab_options.allow_inconclusive.clone_from(&options.judge.allow_inconclusive);
    let mut session = Session::open(&options.judge.report, false, interrupt)?;
    let result = session.scenario(lab_options, |lab, tell| {
        lab::spin(
            &lab::SpinOptions {
                lab,
                time: options.time,
                count: options.count,
                when: options.when,
                most_faults: options.most_faults,
                save: !options.no_save,
            },
            tell,
        )
    });
    let code = result.unwrap_or_else(|error| error.show());
    session.finish()?;
    Ok(code)
}
