//! What can go wrong, and where.

use std::{ffi::OsString, io};

use nix::unistd::Pid;

/// The tracer failed. A tracee that was killed meanwhile is not an error: its end is reported
/// by [`crate::Tracer::wait`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A ptrace request failed.
    #[error("ptrace {request} of task {tid} failed: {source}")]
    Ptrace {
        /// The request's name, such as `CONT`.
        request: &'static str,
        /// The task it was made for.
        tid: Pid,
        /// Why.
        source: io::Error,
    },
    /// Another call to the kernel failed.
    #[error("{what} failed: {source}")]
    System {
        /// What was tried, with its object.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The bytes are not there, or are not readable.
    #[error("could not read {length} bytes at {address:#x} of task {tid}: {source}")]
    Memory {
        /// Whose memory.
        tid: Pid,
        /// Where.
        address: u64,
        /// How many.
        length: usize,
        /// Why. `ESRCH`: it was killed meanwhile.
        source: io::Error,
    },
    /// A thread can have one [`crate::Tracer`] at a time: the kernel reports stops by thread.
    #[error("this thread already has a tracer")]
    SecondTracer,
    /// [`crate::Stopped::postpone`] and the like at a stop that is no system call's entry.
    #[error("task {tid} is not about to make a system call")]
    NotASyscall {
        /// The task.
        tid: Pid,
    },
}

impl Error {
    pub(crate) fn system(what: impl Into<String>, source: io::Error) -> Error {
        Error::System { what: what.into(), source }
    }
}

/// A program was not started, and the step at which that was decided.
#[derive(Debug, thiserror::Error)]
#[error("could not start {}: {step}: {source}", program.display())]
pub struct SpawnError {
    /// The program, as the command names it.
    pub program: OsString,
    /// Where it failed.
    pub step: Step,
    /// Why.
    pub source: io::Error,
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident $text:literal;)*) => {
        /// What has to be done to start a program, in order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Step {
            $($(#[$doc])* $name,)*
        }

        impl Step {
            const ALL: &[Step] = &[$(Step::$name,)*];
        }

        impl std::fmt::Display for Step {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Step::$name => $text,)* })
            }
        }
    };
}

steps! {
    /// Arguments, environment and path without NUL bytes.
    Prepare "preparing its arguments";
    /// Pipes and /dev/null.
    Open "opening its file descriptors";
    /// `setns` to the PID namespace.
    PidNamespace "entering the PID namespace";
    /// `fork` or `clone`.
    Fork "making a process";
    /// `PTRACE_SEIZE`.
    Seize "tracing it";
    /// `setns` to the mount namespace, or making it private.
    MountNamespace "entering the mount namespace";
    /// `mount` of /proc.
    MountProc "mounting /proc";
    /// `setsid`.
    Session "making a session";
    /// `dup2`.
    Redirect "redirecting its standard streams";
    /// `chdir`.
    WorkingDirectory "changing to its working directory";
    /// Writing to `cgroup.procs`.
    Cgroup "entering the control group";
    /// Installing the seccomp filter.
    Filter "installing the seccomp filter";
    /// `execve`.
    Execute "executing it";
    /// It was killed, or ended, before it said how far it got.
    Vanished "waiting for it to start";
}

impl Step {
    pub(crate) fn from_byte(byte: u8) -> Step {
        Step::ALL.get(usize::from(byte)).copied().unwrap_or(Step::Vanished)
    }
}
