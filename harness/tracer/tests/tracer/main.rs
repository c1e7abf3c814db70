//! The tracer on real programs: every fact it is built on.

mod allocation;
mod clock;
mod init;
mod signals;
mod spawning;
mod stops;
mod trees;
mod waiting;
mod world;
