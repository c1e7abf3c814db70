//! What tracing costs: runs a command untraced and traced in turn, every stop merely resumed, and
//! compares the CPU time (user and system, of the whole process tree and of the tracer).
//!
//! `cargo run --release -p process-roulette-tracer --example overhead -- [-n TIMES] COMMAND...`

use std::{
    error::Error,
    ffi::OsString,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{Usage, UsageWho, getrusage},
    time::TimeValLike as _,
    wait::waitpid,
};
use process_roulette_tracer::{Command, Event, Options, Tracer, spawn_untraced};

fn main() -> Result<(), Box<dyn Error>> {
    let mut argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut times = 5;
    if argv.first().is_some_and(|first| first == "-n") {
        times = argv.get(1).and_then(|times| times.to_str()).ok_or("-n takes a number")?.parse()?;
        argv.drain(..2);
    }
    if argv.is_empty() {
        return Err("usage: overhead [-n TIMES] COMMAND...".into());
    }
    let mut command = Command::new(argv);
    command.env = std::env::vars_os().collect();
    command.cwd = std::env::current_dir()?;

    let (mut untraced, mut traced) = (Vec::new(), Vec::new());
    for _ in 0..times {
        untraced.push(measure(|| {
            waitpid(spawn_untraced(&command)?, None)?;
            Ok(0)
        })?);
        traced.push(measure(|| run_traced(&command))?);
    }
    let (untraced, traced) = (median(untraced), median(traced));
    println!("untraced  {:8.1?} CPU  {:8.1?} wall", untraced.cpu, untraced.wall);
    println!("traced    {:8.1?} CPU  {:8.1?} wall  {} events", traced.cpu, traced.wall, traced.events);
    println!("ratio     {:8.3} CPU", traced.cpu.as_secs_f64() / untraced.cpu.as_secs_f64());
    Ok(())
}

struct Measured {
    cpu: Duration,
    wall: Duration,
    events: u64,
}

fn measure(run: impl FnOnce() -> Result<u64, Box<dyn Error>>) -> Result<Measured, Box<dyn Error>> {
    let (cpu, start) = (cpu()?, Instant::now());
    let events = run()?;
    Ok(Measured { cpu: self::cpu()? - cpu, wall: start.elapsed(), events })
}

fn cpu() -> Result<Duration, Box<dyn Error>> {
    let time = |usage: Usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let microseconds = time(getrusage(UsageWho::RUSAGE_SELF)?) + time(getrusage(UsageWho::RUSAGE_CHILDREN)?);
    Ok(Duration::from_micros(microseconds.try_into()?))
}

fn run_traced(command: &Command) -> Result<u64, Box<dyn Error>> {
    let mut tracer = Tracer::new(Options::default())?;
    tracer.spawn(command)?;
    let mut events = 0;
    loop {
        events += 1;
        match tracer.wait(None)? {
            Event::Stopped(stopped) => stopped.resume()?,
            Event::Empty => return Ok(events),
            _ => {}
        }
    }
}

fn median(mut measured: Vec<Measured>) -> Measured {
    measured.sort_by_key(|measured| measured.cpu);
    measured.swap_remove(measured.len() / 2)
}
