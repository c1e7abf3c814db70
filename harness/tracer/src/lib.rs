//! ptrace and seccomp: runs a command and stops its whole process tree at its effects.
//!
//! A [`Command`] is spawned by a [`Tracer`] with a seccomp filter that answers `RET_TRACE` for
//! the system calls of [`Call`] and lets every other one run at full speed. [`Tracer::wait`]
//! returns what happened: mostly a [`Stopped`] task, which stays where it is until it is
//! consumed by [`Stopped::resume`], [`Stopped::refuse`], [`Stopped::postpone`] and the like.
//!
//! Also here, because they need `unsafe`: [`spawn_untraced`], and [`spawn_init`] for the init
//! process of a PID namespace.
//!
//! Needs Linux 5.9 (`PTRACE_GET_SYSCALL_INFO`, `close_range`) on x86-64 or aarch64.
//!
//! # Not seen
//!
//! Writes through a shared `mmap`, what an `io_uring` does (its set-up is seen), and a child
//! that a program deliberately makes with `CLONE_UNTRACED` (its effects get `ENOSYS`).

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("process-roulette-tracer knows Linux on x86-64 and aarch64 only");

mod alarm;
mod allocation;
mod call;
mod child;
mod clock;
mod command;
mod error;
mod event;
mod filter;
mod init;
mod memory;
mod signal;
mod spawn;
mod stopped;
mod sys;
mod task;
mod tracer;

pub use alarm::Waker;
pub use call::Call;
pub use command::Command;
pub use error::{Error, SpawnError, Step};
pub use event::{Ended, Event, Status, Stop, Syscall};
pub use init::{Init, InitOptions, spawn_init};
pub use nix::{sys::signal::Signal, unistd::Pid};
pub use signal::{Sender, signal_process, signal_task};
pub use spawn::spawn_untraced;
pub use stopped::Stopped;
pub use tracer::{Options, Tracer};
