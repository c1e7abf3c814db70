//! A hidden subcommand for people who work on worlds: builds one and runs a command in it.

use std::{process::ExitCode, time::Instant};

use nix::sys::wait::waitpid;
use process_roulette_tracer as tracer;

use super::{Stage as _, World as _, private};
use crate::{pebble, scenario::Scenario};

/// Stages set and left to see how long one takes.
const ROUNDS: u32 = 50;

/// `roulette __world-shell SCENARIO -- COMMAND...`: builds a private world for the scenario,
/// runs the command on a stage and says which paths it touched.
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
    let [file, "--", command @ ..] = words.as_slice() else {
        return Err("usage: roulette __world-shell SCENARIO -- COMMAND...".into());
    };
    private::isolate()?;
    let scenario = Scenario::load(std::path::Path::new(file))?;
    let programs = pebble::find(None, &mut |text| eprintln!("{text}"))?;
    let start = Instant::now();
    let mut world = private::PrivateWorld::build(&scenario, &programs, "")?;
    eprintln!("built in {:?}", start.elapsed());
    let command: Vec<String> = command.iter().map(ToString::to_string).collect();
    let snapshot = {
        let mut stage = world.stage(None)?;
        let mut first = stage.command(&command);
        let output = std::fs::File::create("/run/output")?;
        first.stdout = Some(output.try_clone()?.into());
        first.stderr = Some(output.into());
        let pid = tracer::spawn_untraced(&first)?;
        let status = waitpid(pid, None)?;
        print!("{}", std::fs::read_to_string("/run/output")?);
        eprintln!("{status:?}");
        for (pid, command) in stage.processes()? {
            eprintln!("left {pid} {command}");
        }
        for path in stage.touched()? {
            eprintln!("touched {}", path.display());
        }
        stage.snapshot()?
    };
    for from in [None, Some(&snapshot)] {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            drop(world.stage(from)?);
        }
        eprintln!("set and left {ROUNDS} stages, {:?} each", start.elapsed() / ROUNDS);
    }
    Ok(0)
}
