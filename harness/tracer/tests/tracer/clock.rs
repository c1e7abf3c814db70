//! The clock that is stepped, for every kind of program that asks it.

use std::{
    fs,
    path::Path,
    process,
    time::{SystemTime, UNIX_EPOCH},
};

use process_roulette_tracer::{Event, Status, Tracer};

use crate::world::{Folder, Story, command, drive, guest, next, resume, tracer, writes};

/// Far more than any of these programs runs, far less than any step here.
const TOLERANCE: i64 = 600;

const DAY: i64 = 86_400;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn watching(seconds: i64) -> Tracer {
    let mut tracer = tracer();
    tracer.watch_clock(true);
    tracer.step_clock(seconds);
    tracer
}

/// What a command that prints the seconds since the epoch to its last argument is told.
fn told<const N: usize>(argv: [&str; N], seconds: i64) -> Option<i64> {
    let folder = Folder::new();
    let mut tracer = watching(seconds);
    let argv = argv.into_iter().map(str::to_owned).chain([folder.path("time")]);
    let pid = tracer.spawn(&command(argv)).ok()?;
    assert_eq!(drive(&mut tracer, resume).status(pid), Status::Exited(0));
    assert_eq!(tracer.clock_shifted() > 0, seconds != 0);
    Some(folder.read("time").trim().parse().unwrap())
}

/// Ahead and behind, many times over: what is told is the stepped time, each time.
fn sees_every_step<const N: usize>(argv: [&str; N]) {
    for round in 1..=25 {
        for seconds in [round * DAY, -round * DAY] {
            let Some(told) = told(argv, seconds) else {
                eprintln!("NOT TRIED: {} is not installed", argv[0]);
                return;
            };
            let off = told - now() - seconds;
            assert!(off.abs() < TOLERANCE, "{argv:?}: {off} s off after a step by {seconds} s");
        }
    }
}

#[test]
fn a_shell_sees_the_step() {
    sees_every_step(["bash", "-c", r#"echo $EPOCHSECONDS >"$0""#]);
    sees_every_step(["bash", "-c", r#"printf '%(%s)T' -1 >"$0""#]);
}

#[test]
fn programs_of_the_c_library_see_the_step() {
    sees_every_step(["sh", "-c", r#"date +%s >"$0""#]);
}

#[test]
fn an_interpreter_sees_the_step() {
    sees_every_step([
        "/usr/bin/python3",
        "-c",
        "import sys, time; open(sys.argv[1], 'w').write(str(int(time.time())))",
    ]);
}

#[test]
fn a_static_program_sees_the_step() {
    let folder = Folder::new();
    let (source, program) = (folder.path("time.c"), folder.path("program"));
    let text = "#include <stdio.h>\n#include <time.h>\nint main(int c, char **v) { FILE *f = fopen(v[1], \"w\"); return fprintf(f, \"%ld\", (long)time(0)) < 0; }";
    fs::write(&source, text).unwrap();
    let made = process::Command::new("cc").args(["-static", "-o", &program, &source]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("NOT TRIED: there is no compiler for static C programs");
        return;
    }
    sees_every_step([program.as_str()]);
}

#[test]
fn a_go_program_sees_the_step() {
    if !Path::new("/usr/bin/lego").exists() {
        eprintln!("NOT TRIED: lego is not installed");
        return;
    }
    // It says what it tries with the time before it, and fails as nobody listens there.
    let arguments =
        "--server http://127.0.0.1:1/ --email a@example.com --domains example.com --http --accept-tos run";
    let script = format!(r#"TZ=UTC /usr/bin/lego --path "$0.d" {arguments} 2>"$0" || :"#);
    for round in 1..=25 {
        for seconds in [round * DAY, -round * DAY] {
            let folder = Folder::new();
            let mut tracer = watching(seconds);
            tracer.spawn(&command(["bash", "-c", &script, &folder.path("out")])).unwrap();
            drive(&mut tracer, resume);
            let expected = process::Command::new("date")
                .args(["-u", "+%Y/%m/%d", "-d", &format!("@{}", now() + seconds)])
                .output()
                .unwrap();
            let expected = String::from_utf8(expected.stdout).unwrap();
            let printed = folder.read("out");
            // Midnight may pass in between.
            let line = printed.lines().last().unwrap();
            assert!(line.starts_with(expected.trim()), "{line}, a step by {seconds} s, {expected}");
        }
    }
}

#[test]
fn every_clock_of_the_wall_is_stepped_in_the_middle_and_no_other() {
    for _ in 0..50 {
        let folder = Folder::new();
        let mut tracer = watching(0);
        let pid = tracer.spawn(&guest(["clocks", &folder.path("f")])).unwrap();
        let mut story = Story::default();
        loop {
            match next(&mut tracer) {
                Event::Stopped(stopped) => {
                    // Between the first line and the second.
                    if writes(&stopped, "\n") {
                        tracer.step_clock(DAY);
                    }
                    resume(stopped);
                }
                Event::Ended(ended) => story.ends.push(ended),
                Event::Empty => break,
                _ => {}
            }
        }
        assert_eq!(story.status(pid), Status::Exited(0));
        let text = folder.read("f");
        let lines: Vec<Vec<i64>> =
            text.lines().map(|line| line.split(' ').map(|word| word.parse().unwrap()).collect()).collect();
        let [before, after] = lines.as_slice() else { panic!("{text}") };
        let (wall, machine) = (0..before.len() - 1, before.len() - 1);
        for clock in wall {
            let off = after[clock] - before[clock] - DAY;
            assert!(off.abs() < TOLERANCE, "clock {clock}: {text}");
        }
        assert!((after[machine] - before[machine]).abs() < TOLERANCE, "{text}");
        assert_eq!(tracer.clock_shifted(), 5, "three clocks, gettimeofday and time");
        assert!(tracer.clock_asked() >= 10);
    }
}

#[test]
fn nothing_is_stepped_that_is_not_watched() {
    let folder = Folder::new();
    let mut tracer = tracer();
    tracer.step_clock(DAY);
    tracer.spawn(&command(["sh", "-c", r#"date +%s >"$0""#, &folder.path("f")])).unwrap();
    drive(&mut tracer, resume);
    assert!((folder.read("f").trim().parse::<i64>().unwrap() - now()).abs() < TOLERANCE);
    assert_eq!((tracer.clock_asked(), tracer.clock_shifted()), (0, 0));
}
