//! A panic is our bug: it is told as one, and ends with exit code 70.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::Write as _,
    panic::{self, AssertUnwindSafe},
};

use super::{error::ISSUES, exit_code::ExitCode};

/// Runs `main`; a panic on this thread becomes [`ExitCode::Bug`].
pub(super) fn guarded(main: impl FnOnce() -> ExitCode) -> ExitCode {
    panic::catch_unwind(AssertUnwindSafe(main)).unwrap_or(ExitCode::Bug)
}

/// From now on, a panic on any thread prints what to report and where.
pub(super) fn install_hook() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = payload(info.payload());
        let backtrace = Backtrace::capture();
        let mut text = format!("\nroulette: a bug of Process Roulette itself: {what} ({place})\n");
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("{backtrace}\n"));
        } else {
            text.push_str("RUST_BACKTRACE=1 in the environment would show where it came from.\n");
        }
        text.push_str(&format!("Please report it, with these lines and the command line, at\n{ISSUES}\n"));
        // `eprintln!` in a panic hook could panic again.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }));
}

fn payload(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_with_the_exit_code_of_a_bug() {
        // `resume_unwind` is a panic that no hook is told of.
        assert_eq!(guarded(|| panic::resume_unwind(Box::new("on purpose"))), ExitCode::Bug);
        assert_eq!(guarded(|| ExitCode::Held), ExitCode::Held);
    }
}
