//! A hidden subcommand for people who work on worlds: builds one and runs a command in it.

use std::{process::ExitCode, time::Instant};

use crate::{pebble, scenario::Scenario, world::private};

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
    let mut world = private::PrivateWorld::build(&scenario, &programs)?;
    eprintln!("built in {:?}", start.elapsed());
    world.try_out(command)?;
    Ok(0)
}
