//! What is done to a subject, at a point. Each fault family is one file.

pub mod kill;

/// A family of faults, as `--faults` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Family {
    /// One signal that kills, to the process, the leader, the group or the tree
    Kill,
}

impl Family {
    /// Every family with its name and what it does.
    pub const ALL: [(&'static str, &'static str, Family); 1] = [(
        "kill",
        "sigkill, sigterm, sigint or sighup to the process, the leader, the group or the tree",
        Family::Kill,
    )];
}
