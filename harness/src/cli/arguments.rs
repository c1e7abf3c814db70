//! What the command line says.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::{
    fault::Family,
    lab::{Shard, When, WorldChoice},
    report::{Format, Output},
    scenario::{INVARIANTS, Pairs, nearest, parse_duration},
};

const EXIT_CODES: &str = "\
Exit codes:
  0    every promise was kept
  1    a promise was broken
  2    the command line or a scenario file is wrong
  3    inconclusive: not everything could be judged, or the subject fails without any fault
  4    this machine lacks something
  70   a bug of Process Roulette
  130  ended by Ctrl-C";

/// Chaos test harness for TLS certificate renewal pipelines.
///
/// Runs a renewal pipeline, unmodified, against a real local Pebble in a private world, kills it at
/// every point that matters, lets the next scheduled run happen, and says which promises were
/// broken, where exactly, and how to see it again.
#[derive(Debug, Parser)]
#[command(name = "roulette", version, propagate_version = true, after_long_help = EXIT_CODES)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sweep scenarios: every fault at every point
    #[command(after_help = "\
Examples:
  roulette run scenarios/reference.toml
  roulette run scenarios/*.toml --report junit=roulette.xml --report json=roulette.json
  roulette run mine.toml --shard 2/5 --fail-fast

A JSON report of one scenario is one object; of several, an array of them in the order given.")]
    Run(RunOptions),
    /// Random experiments from a seed, for a time or a count
    #[command(after_help = "\
Examples:
  roulette spin scenarios/reference.toml --for 60s
  roulette spin mine.toml --count 500 --seed 42")]
    Spin(SpinOptions),
    /// Show the effects and points of one clean run
    #[command(after_help = "\
Examples:
  roulette census scenarios/reference.toml
  roulette census mine.toml --format json")]
    Census(CensusOptions),
    /// Run one experiment again, with a narrated timeline
    #[command(after_help = "\
Examples:
  roulette replay certbot-flock.3fa9c1
  roulette replay scenarios/certbot-flock.toml --experiment 5c0ffe")]
    Replay(ReplayOptions),
    /// List the scenarios in ./scenarios, the fault families and the invariants
    #[command(after_help = "\
Examples:
  roulette list
  roulette list --format json")]
    List(ListOptions),
    /// Say what this machine can do, and how to enable the rest
    #[command(after_help = "\
Examples:
  roulette check
  roulette check --format json")]
    Check(CheckOptions),
    /// Tell a stored run again
    #[command(after_help = "\
Examples:
  roulette report last
  roulette report certbot-flock --format html --output report.html")]
    Report(ReportOptions),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  roulette completions bash > /usr/share/bash-completion/completions/roulette")]
    Completions(CompletionsOptions),
    /// Print the JSON schema of scenario files
    #[command(after_help = "\
Examples:
  roulette schema > scenario.schema.json")]
    Schema,
}

/// What every command that starts worlds takes.
#[derive(Debug, Clone, Args)]
pub(super) struct WorldOptions {
    /// Worlds at work at once [default: chosen from the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// Seed of everything that is drawn [default: drawn, and reported]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// The `pebble` program to use, pebble-challtestsrv beside it; `$ROULETTE_PEBBLE` does the same
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub pebble: Option<PathBuf>,
    /// Which kind of world
    #[arg(long, value_enum, default_value_t)]
    pub world: WorldChoice,
    /// Fail with exit code 4 where this capability (as `roulette check` names it) is missing
    #[arg(long, value_name = "CAPABILITY")]
    pub require: Vec<String>,
}

/// What every command that judges experiments takes.
#[derive(Debug, Clone, Args)]
pub(super) struct JudgeOptions {
    /// Only these of the scenario's fault families
    #[arg(long, value_name = "FAMILY", value_delimiter = ',')]
    pub faults: Option<Vec<Family>>,
    /// Write a report, too: json=PATH, junit=PATH, html=PATH or terminal=PATH (`-`: standard output)
    #[arg(long, value_name = "FORMAT=PATH")]
    pub report: Vec<Output>,
    /// Let this invariant be inconclusive without failing the run (`diverged`: points not reached)
    #[arg(long, value_name = "NAME", value_parser = inconclusive)]
    pub allow_inconclusive: Vec<String>,
    /// End at the first violation that is not expected
    #[arg(long)]
    pub fail_fast: bool,
}

#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// Scenario files
    #[arg(required = true, value_name = "SCENARIO", value_hint = ValueHint::FilePath)]
    pub scenarios: Vec<PathBuf>,
    #[command(flatten)]
    pub judge: JudgeOptions,
    /// Only part I of N equal parts of the experiments
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// At most this many experiments, the first of the plan (which is spread over the whole run)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_experiments: Option<u64>,
    /// After each fault a second one, too: `all` pairs, or at most N of them, spread
    #[arg(long, value_name = "all|N", value_parser = pairs)]
    pub pairs: Option<Pairs>,
    #[command(flatten)]
    pub world: WorldOptions,
}

#[derive(Debug, Args)]
pub(super) struct SpinOptions {
    /// Scenario file
    #[arg(value_hint = ValueHint::FilePath)]
    pub scenario: PathBuf,
    /// For how long, such as 60s or 10m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration, required_unless_present = "count")]
    pub time: Option<Duration>,
    /// How many experiments
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// When faults strike
    #[arg(long, value_enum, default_value_t)]
    pub when: When,
    /// At most this many faults in one experiment
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub most_faults: u8,
    /// Do not save what is found beside the scenario (regressions/NAME.toml)
    #[arg(long)]
    pub no_save: bool,
    #[command(flatten)]
    pub judge: JudgeOptions,
    #[command(flatten)]
    pub world: WorldOptions,
}

/// Text for people or JSON for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TextOrJson {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct CensusOptions {
    /// Scenario file
    #[arg(value_hint = ValueHint::FilePath)]
    pub scenario: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextOrJson,
    #[command(flatten)]
    pub world: WorldOptions,
}

#[derive(Debug, Args)]
pub(super) struct ReplayOptions {
    /// A finding's or experiment's id from a report, or a scenario file (with --experiment)
    #[arg(value_name = "FINDING|FILE", value_hint = ValueHint::FilePath)]
    pub what: PathBuf,
    /// Which experiment of the scenario file
    #[arg(long, value_name = "ID")]
    pub experiment: Option<String>,
    #[command(flatten)]
    pub world: WorldOptions,
}

#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextOrJson,
}

#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextOrJson,
    /// Fail with exit code 4 where this capability is missing
    #[arg(long, value_name = "CAPABILITY")]
    pub require: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReportOptions {
    /// The beginning of a stored run's name (such as the scenario's), `last`, or a run's folder
    #[arg(default_value = "last")]
    pub run: String,
    /// How to tell it: terminal, json, junit or html
    #[arg(long, default_value = "terminal")]
    pub format: Format,
    /// Where to write it [default: standard output]
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsOptions {
    /// Which shell
    pub shell: clap_complete::Shell,
}

fn pairs(text: &str) -> Result<Pairs, String> {
    match (text, text.parse()) {
        ("all", _) => Ok(Pairs { most: None }),
        (_, Ok(most @ 1..)) => Ok(Pairs { most: Some(most) }),
        _ => Err("write `all`, or a number from 1".to_owned()),
    }
}

fn inconclusive(text: &str) -> Result<String, String> {
    let known = || INVARIANTS.into_iter().chain(["diverged"]);
    if known().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    Err(match nearest(text, known()) {
        Some(found) => format!("unknown invariant: did you mean `{found}`?"),
        None => "unknown invariant: `roulette list` shows them".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
