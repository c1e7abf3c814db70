//! `roulette census`: what a clean run does.

use std::fmt::Write as _;

use serde_json::json;

use crate::{
    event::{EffectRecord, Event},
    lab,
};

use super::{
    arguments::{CensusOptions, TextOrJson},
    error::CliError,
    exit_code::ExitCode,
    interrupt,
    output::{print, print_json},
    session::{check_machine, lab_options, load},
};

pub(super) fn census(options: &CensusOptions) -> Result<ExitCode, CliError> {
    let scenario = load(&options.scenario)?;
    check_machine(&scenario, &options.world)?;
    let interrupt = interrupt::install()?;
    let name = scenario.name.clone();
    let mut found = None;
    lab::census(&lab_options(scenario, &options.world, &interrupt), &mut |event| match event {
        Event::Census { effects, partial, wall_ms } => found = Some((effects, partial, wall_ms)),
        Event::Step { what } => eprintln!("{what}"),
        Event::Note { text } => eprintln!("note: {text}"),
        _ => {}
    })?;
    let Some((effects, partial, wall_ms)) = found else {
        return Err(CliError {
            code: ExitCode::Interrupted,
            message: "ended before the clean run was over".to_owned(),
        });
    };
    match options.format {
        TextOrJson::Text => print(&text(&effects, partial.as_deref(), wall_ms)),
        TextOrJson::Json => print_json(&json!({
            "schema": 1,
            "scenario": name,
            "wall_ms": wall_ms,
            "partial": partial,
            "effects": effects,
        })),
    }
}

/// One line an effect, grouped by process; the last part of each line is the point as `--faults`
/// experiments and findings name it.
fn text(effects: &[EffectRecord], partial: Option<&str>, wall_ms: u64) -> String {
    let mut out = String::new();
    let width = effects.len().to_string().len();
    let mut process = "";
    for (index, effect) in effects.iter().enumerate() {
        if effect.process != process {
            process = &effect.process;
            let _ = writeln!(out, "{process}");
        }
        let point = effect.point.to_string();
        let role = point.split_once(": ").map_or(point.as_str(), |(_, role)| role);
        let control = if effect.durable { "" } else { "  (changes nothing outside the process)" };
        let _ = writeln!(out, "  {:>width$}  {role}{control}", index + 1);
    }
    let durable = effects.iter().filter(|effect| effect.durable).count();
    let _ = writeln!(out, "\n{} effects, {durable} of them durable, in {wall_ms} ms", effects.len());
    if let Some(reason) = partial {
        let _ = writeln!(out, "coverage is only partial: {reason}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_numbered_under_their_process() {
        let effect = |point: &str, durable| {
            let point: crate::point::Point = point.parse().unwrap();
            let (process, op) = (point.process.clone(), point.op.clone());
            EffectRecord { point, process, op, path: String::new(), durable, processes: 1 }
        };
        let effects = [
            effect("before renew.sh: flock /run/x.lock", true),
            effect("before renew.sh > guard: rename /etc/site/live #2", true),
            effect("before renew.sh > guard: exit", false),
        ];
        insta::assert_snapshot!(text(&effects, Some("an io_uring was set up"), 41), @r"
        renew.sh
          1  flock /run/x.lock
        renew.sh > guard
          2  rename /etc/site/live #2
          3  exit  (changes nothing outside the process)

        3 effects, 2 of them durable, in 41 ms
        coverage is only partial: an io_uring was set up
        ");
    }
}
