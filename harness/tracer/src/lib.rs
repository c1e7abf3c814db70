//! ptrace and seccomp.

/// A program to start.
#[derive(Debug)]
pub struct Command {
    _private: (),
}
