//! Sending signals, and naming them.

use std::io;

use nix::{sys::signal::Signal, unistd::Pid};

use crate::{error::Error, sys};

/// Who sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The sender's process id *as the receiver sees it*; 0: the kernel, or a process outside
    /// its PID namespace.
    pub pid: Pid,
    /// Its real user id.
    pub uid: u32,
    /// `si_code` of sigaction(2): 0 for kill, -6 for tgkill, above 0 for the kernel's own.
    pub code: i32,
}

/// Sends a signal to a process, as kill(2) does. False: it is gone.
///
/// # Errors
///
/// `EPERM`, where the process belongs to someone else.
pub fn signal_process(pid: Pid, signal: Signal) -> Result<bool, Error> {
    match nix::sys::signal::kill(pid, signal) {
        Ok(()) => Ok(true),
        Err(nix::Error::ESRCH) => Ok(false),
        Err(error) => Err(Error::system(format!("sending {signal} to process {pid}"), error.into())),
    }
}

/// Sends a signal to one task (thread) of a process. False: it is gone.
///
/// # Errors
///
/// `EPERM`, where the process belongs to someone else.
pub fn signal_task(pid: Pid, tid: Pid, signal: Signal) -> Result<bool, Error> {
    match sys::tgkill(pid, tid, signal as i32) {
        Ok(()) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(Error::system(format!("sending {signal} to task {tid}"), error)),
    }
}

pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

pub(crate) fn name(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}
