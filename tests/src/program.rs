//! The `roulette` command as a user has it: the built program.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// The built `roulette`. `cargo test --workspace` has just built it; cargo does not for the tests of
/// this package alone, so one that is older than its sources is built here. (Not by asking cargo in
/// any case: without the other packages it may choose other features, and build everything twice.)
/// `ROULETTE_PROGRAM` names another one.
///
/// # Panics
/// When it cannot be built.
pub fn roulette() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os("ROULETTE_PROGRAM") {
            return program.into();
        }
        // target/PROFILE/deps/this-test
        let test = std::env::current_exe().expect("a test knows where it is");
        let profile = test.ancestors().nth(2).expect("tests are in target/PROFILE/deps");
        let program = profile.join("roulette");
        if is_newer(&program) {
            return program;
        }
        let target = profile.parent().expect("PROFILE is in target");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args([
            "build",
            "--quiet",
            "--package",
            "process-roulette",
            "--bin",
            "roulette",
            "--target-dir",
        ]);
        build.arg(target).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let status = build.status().expect("cargo can be started");
        assert!(status.success(), "failed to build the roulette command: {status}");
        program
    })
}

/// Whether it was built after everything it is made of was last changed.
fn is_newer(program: &Path) -> bool {
    fn last(path: &Path) -> Option<SystemTime> {
        let own = path.metadata().and_then(|data| data.modified()).ok()?;
        let inside = path.read_dir().into_iter().flatten().flatten().filter_map(|entry| last(&entry.path()));
        Some(inside.fold(own, SystemTime::max))
    }
    let sources = [
        "Cargo.lock",
        "Cargo.toml",
        "harness/Cargo.toml",
        "harness/src",
        "harness/tracer/Cargo.toml",
        "harness/tracer/src",
        "scenarios/guard/Cargo.toml",
        "scenarios/guard/src",
    ];
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let changed = sources.iter().map(|source| last(&root.join(source))).max().flatten();
    program.metadata().and_then(|data| data.modified()).ok() > changed
}
