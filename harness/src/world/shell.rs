//! A hidden subcommand for people who work on worlds: builds one and runs a command in it.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
    wait::{WaitStatus, waitpid},
};
use process_roulette_tracer as tracer;

use super::{
    World, bare, check,
    control::{Control, Request},
    private,
};
use crate::{event::WorldKind, pebble, scenario::Scenario};

/// The hidden subcommand.
pub const SHELL: &str = "__world-shell";

/// Stages set and left to see how long one takes.
const ROUNDS: u32 = 10;

/// `roulette __world-shell check`: says what this machine can do.
/// `roulette __world-shell [private|bare] SCENARIO -- COMMAND...`: builds a world for the
/// scenario, runs the command on a stage, and says what it left, which paths it touched and how
/// long a stage takes.
pub fn main(args: &[String]) -> ExitCode {
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(4)
        }
    }
}

fn run(args: &[String]) -> Result<u8, Box<dyn std::error::Error>> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (kind, file, command) = match words.as_slice() {
        ["check"] => {
            for capability in check::capabilities() {
                let remedy = capability.remedy.map_or(String::new(), |text| format!("\n    -> {text}"));
                println!("{:<8}{:<28}{}{remedy}", capability.state, capability.name, capability.detail);
            }
            return Ok(0);
        }
        ["private", file, "--", command @ ..] => (Some(WorldKind::Private), file, command),
        ["bare", file, "--", command @ ..] => (Some(WorldKind::Bare), file, command),
        [file, "--", command @ ..] => (None, file, command),
        _ => return Err("usage: roulette __world-shell [private|bare] SCENARIO -- COMMAND...".into()),
    };
    let scenario = Scenario::load(Path::new(file))?;
    let kind = if private::is_inside() { WorldKind::Private } else { check::choose(&scenario, kind)?.kind };
    match kind {
        WorldKind::Private => {
            if !private::is_inside() {
                // While there still is a network to get it from.
                pebble::find(None, &mut |text| eprintln!("{text}"))?;
            }
            private::isolate()?;
            let programs = pebble::find(None, &mut |text| eprintln!("{text}"))?;
            show(super::build(kind, &scenario, &programs, "")?.as_mut(), command)
        }
        WorldKind::Bare => {
            bare::isolate()?;
            let programs = pebble::find(None, &mut |text| eprintln!("{text}"))?;
            show(super::build(kind, &scenario, &programs, "")?.as_mut(), command)
        }
    }
}

fn show(world: &mut dyn World, command: &[&str]) -> Result<u8, Box<dyn std::error::Error>> {
    let _control = Control::listen(world.control_name(), |request| match request {
        Request::Test => Ok(()),
        Request::Start(_) => Err("a world that is only looked at has no server".to_owned()),
    })?;
    let placeholders = world.placeholders().clone();
    let command: Vec<String> = command.iter().map(|word| placeholders.replace(word)).collect();
    let (snapshot, code) = {
        let mut stage = world.stage(None)?;
        let mut first = stage.command(&command);
        let printed = format!("{}/run/output", placeholders.root);
        let output = fs::File::create(&printed)?;
        first.stdout = Some(output.try_clone()?.into());
        first.stderr = Some(output.into());
        let start = Instant::now();
        let status = waitpid(tracer::spawn_untraced(&first)?, None)?;
        print!("{}", fs::read_to_string(&printed)?);
        eprintln!("{status:?} after {:?}", start.elapsed());
        for (pid, command) in stage.processes()? {
            eprintln!("left {pid} {command}");
        }
        for path in stage.touched()? {
            eprintln!("touched {}", path.display());
        }
        stage.clear()?;
        eprintln!("{} processes after clear", stage.processes()?.len());
        let code = match status {
            WaitStatus::Exited(_, code) => u8::try_from(code).unwrap_or(1),
            _ => 1,
        };
        (stage.snapshot()?, code)
    };
    for from in [None, Some(&snapshot)] {
        eprintln!("{} paths differ from what was restored", world.stage(from)?.touched()?.len());
        let (start, before) = (Instant::now(), cpu()?);
        for _ in 0..ROUNDS {
            drop(world.stage(from)?);
        }
        let cpu = (cpu()? - before) / ROUNDS;
        eprintln!("set and left {ROUNDS} stages, {:?} each, CPU {cpu:?}", start.elapsed() / ROUNDS);
    }
    Ok(code)
}

/// CPU time of this process and its children so far.
fn cpu() -> nix::Result<Duration> {
    let mut sum = Duration::ZERO;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        for time in [usage.user_time(), usage.system_time()] {
            sum += Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0));
        }
    }
    Ok(sum)
}
