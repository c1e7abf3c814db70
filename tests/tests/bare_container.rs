//! The main job in a default Docker container, on an image of this project's program and a shell.

use std::process::Command;

use process_roulette_tests::{ca::PROGRAMS, program::roulette};

#[test]
fn the_main_job_passes_in_a_default_container() {
    let programs = match &*PROGRAMS {
        Ok(programs) => programs,
        Err(why) => {
            eprintln!("SKIPPED: no Pebble: {why}");
            return;
        }
    };
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../ci/docker-bare.sh"))
        .arg(roulette())
        .env("ROULETTE_PEBBLE", &programs.pebble)
        .output()
        .expect("bash starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    match output.status.code() {
        Some(0) => {}
        Some(4) => eprintln!("SKIPPED: {err}"),
        _ => panic!("{}: {out}{err}", output.status),
    }
}
