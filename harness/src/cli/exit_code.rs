//! What the exit code says. Scripts rely on these: they are part of the interface.

use std::process;

/// The exit codes of `roulette`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Every promise was kept (or what was asked for was done).
    Held,
    /// A promise was broken.
    Violated,
    /// The command line or a scenario file is wrong; nothing was run.
    Usage,
    /// Not everything could be judged, or the subject already fails without any fault.
    Inconclusive,
    /// This machine lacks something; the message says what, and how to get it.
    Machine,
    /// A bug of Process Roulette itself.
    Bug,
    /// Ended by Ctrl-C or SIGTERM.
    Interrupted,
}

impl ExitCode {
    /// Every code, the worst first: which one a run of several scenarios ends with.
    const WORST_FIRST: [ExitCode; 7] = [
        ExitCode::Bug,
        ExitCode::Interrupted,
        ExitCode::Usage,
        ExitCode::Violated,
        ExitCode::Machine,
        ExitCode::Inconclusive,
        ExitCode::Held,
    ];

    /// The number.
    pub fn number(self) -> u8 {
        match self {
            ExitCode::Held => 0,
            ExitCode::Violated => 1,
            ExitCode::Usage => 2,
            ExitCode::Inconclusive => 3,
            ExitCode::Machine => 4,
            ExitCode::Bug => 70,
            // As a shell reports a command that SIGINT ended: 128 + 2.
            ExitCode::Interrupted => 130,
        }
    }

    /// The worse of two.
    #[must_use]
    pub fn and(self, other: ExitCode) -> ExitCode {
        ExitCode::WORST_FIRST.into_iter().find(|code| *code == self || *code == other).unwrap_or(self)
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        process::ExitCode::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_worse_than_not_knowing_and_a_bug_is_worst() {
        assert_eq!(ExitCode::Held.and(ExitCode::Inconclusive), ExitCode::Inconclusive);
        assert_eq!(ExitCode::Violated.and(ExitCode::Machine), ExitCode::Violated);
        assert_eq!(ExitCode::Violated.and(ExitCode::Bug), ExitCode::Bug);
        assert_eq!(ExitCode::Held.and(ExitCode::Held), ExitCode::Held);
    }
}
