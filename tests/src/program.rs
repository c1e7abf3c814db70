//! The `roulette` command as a user has it: the built program.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The built `roulette`. Cargo builds no programs of other packages for a test, so it is built
/// here, which takes no time when it is up to date. `ROULETTE_PROGRAM` names another one.
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
        profile.join("roulette")
    })
}
