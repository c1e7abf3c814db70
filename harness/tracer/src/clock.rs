//! The system clock as tracees see it: while it is watched, questions for the time of day come by
//! here, and what the kernel answers can be shifted.
//!
//! A C library or the Go runtime asks the vDSO, a piece of kernel code in the program's own memory,
//! and the kernel never hears of it. A program finds the vDSO by an entry of the auxiliary vector
//! on its first stack (getauxval(3)); with that entry gone it makes real system calls.

use std::{cell::Cell, io};

use nix::unistd::Pid;

use crate::{Call, sys};

/// `AT_NULL`, `AT_IGNORE` and `AT_SYSINFO_EHDR` (linux/auxvec.h).
const AT_NULL: u64 = 0;
const AT_IGNORE: u64 = 1;
const AT_SYSINFO_EHDR: u64 = 33;

/// Words of arguments and environment that are looked through for the auxiliary vector: what
/// execve(2) takes at most, 6 MiB of strings and their pointers, is far less.
const STACK_WORDS: u64 = 1 << 20;

/// The offset, and how often it mattered. One tracer's.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    pub(crate) watched: Cell<bool>,
    /// Seconds that are added to every answer.
    pub(crate) offset: Cell<i64>,
    pub(crate) asked: Cell<u64>,
    pub(crate) shifted: Cell<u64>,
}

impl Clock {
    /// Shifts the answer that a question has just got.
    pub(crate) fn shift(&self, tid: Pid, call: Call, args: [u64; 6], result: i64) -> io::Result<()> {
        let offset = self.offset.get();
        if offset == 0 || result < 0 {
            return Ok(());
        }
        // Seconds are the first word of both structures.
        let seconds = match call {
            Call::ClockGettime => args[1],
            _ => args[0],
        };
        if seconds != 0 {
            let word = sys::peek(tid, seconds)?;
            sys::poke(tid, seconds, word.wrapping_add(offset))?;
        }
        if call == Call::Time {
            sys::set_result(tid, result.wrapping_add(offset))?;
        }
        self.shifted.set(self.shifted.get() + 1);
        Ok(())
    }
}

/// Whether a call asks for the time of day.
pub(crate) fn asks(call: Call) -> bool {
    matches!(call, Call::ClockGettime | Call::Gettimeofday | Call::Time)
}

/// Hides the vDSO from a program that has not run an instruction yet. One of another ABI keeps it:
/// its calls are not understood either.
pub(crate) fn hide_vdso(tid: Pid) -> io::Result<()> {
    let Some(stack) = sys::stack_pointer(tid)? else { return Ok(()) };
    let word = |index: u64| sys::peek(tid, stack + 8 * index).map(i64::cast_unsigned);
    // The number of arguments, they, a null; the environment, a null; pairs of type and value.
    let mut at = word(0)?.saturating_add(2);
    while at < STACK_WORDS && word(at)? != 0 {
        at += 1;
    }
    at += 1;
    while at < STACK_WORDS {
        match word(at)? {
            AT_NULL => break,
            AT_SYSINFO_EHDR => {
                sys::poke(tid, stack + 8 * at, AT_IGNORE.cast_signed())?;
                break;
            }
            _ => at += 2,
        }
    }
    Ok(())
}
