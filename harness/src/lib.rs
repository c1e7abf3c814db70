//! Process Roulette: a chaos test harness for TLS certificate renewal pipelines.
//!
//! A run flows one way: [`scenario`] -> [`world`] -> [`census`] -> [`plan`] ->
//! [`experiment`]s -> [`verdict`]s -> [`event`]s -> [`report`]ers. Dependencies between modules
//! run one way too: cli -> lab -> experiment -> (fault, invariant, world) -> tracer.
#![forbid(unsafe_code)]

pub mod artifact;
pub mod census;
pub mod cli;
pub mod effect;
pub mod elf;
pub mod event;
pub mod experiment;
pub mod fault;
pub mod finding;
pub mod front;
pub mod gate;
pub mod invariant;
pub mod lab;
pub mod limits;
pub mod lock;
pub mod narration;
pub mod pebble;
pub mod plan;
pub mod point;
pub mod process;
pub mod procfs;
pub mod regression;
pub mod report;
pub mod role;
pub mod run;
pub mod scenario;
pub mod state;
pub mod sweep;
pub mod target;
pub mod verdict;
pub mod worker;
pub mod world;

pub use sweep::sweep;
