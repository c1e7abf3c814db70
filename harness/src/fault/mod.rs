//! What is done to a subject, at a point. Each family is one file that lists its faults.

mod act;
pub mod ca;
pub mod collide;
pub mod disk;
pub mod kill;
pub mod neighbour;
pub mod pause;
pub mod senders;

pub use act::{Act, CaAct, Recipients, Volley, When};

use crate::{census::CensusEffect, event::FaultRecord};

/// Something that happens to renewals in real life, as the harness does it at a point.
pub trait Fault: Sync {
    /// Its name in plans and reports: `sigkill`, `systemd-stop`.
    fn name(&self) -> &'static str;
    /// The family it belongs to.
    fn family(&self) -> Family;
    /// What it stands for, as a fragment that fits into a finding's title: `killed`,
    /// `systemd stop`.
    fn models(&self) -> &'static str;
    /// Whether it makes a difference before this effect.
    fn strikes_at(&self, effect: &CensusEffect) -> bool;
    /// What is done. `None`: the record does not fit this fault.
    fn act(&self, record: &FaultRecord) -> Option<Act>;
}

/// Every fault there is.
pub fn all() -> impl Iterator<Item = &'static dyn Fault> {
    [
        kill::FAULTS,
        senders::FAULTS,
        collide::FAULTS,
        disk::FAULTS,
        ca::FAULTS,
        neighbour::FAULTS,
        pause::FAULTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The fault of this name.
pub fn find(name: &str) -> Option<&'static dyn Fault> {
    all().find(|fault| fault.name() == name)
}

/// A family of faults, as `--faults` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Family {
    /// One signal that kills, to the process, the leader, the group or the tree
    Kill,
    /// Kills as real senders do them: systemd, docker, Kubernetes, the OOM killers, pkill, a
    /// terminal, a reboot
    Senders,
    /// A second run started while the first is held at a point
    Collide,
    /// Disk errors at a point, once or from there on
    Disk,
    /// The CA in trouble at a protocol step
    Ca,
    /// The web server killed at a point
    Neighbour,
    /// SIGSTOP for longer than a second run takes, then SIGCONT
    Pause,
}

impl Family {
    /// Every family with its name and what it does.
    pub const ALL: [(&'static str, &'static str, Family); 7] = [
        (
            "kill",
            "sigkill, sigterm, sigint or sighup to the process, the leader, the group or the tree",
            Family::Kill,
        ),
        (
            "senders",
            "systemd-stop, systemd-timeout, docker-stop, pod-delete, oom-kill, oomd-kill, pkill-f, ctrl-c, hangup, reboot",
            Family::Senders,
        ),
        ("collide", "a second run while the first is held at a point", Family::Collide),
        ("disk", "ENOSPC, EDQUOT, EROFS, EIO and short writes, once or from there on", Family::Disk),
        (
            "ca",
            "bad nonce, 429, 500, 503, malformed answers, cut connections, a slow CA, an unknown account",
            Family::Ca,
        ),
        ("neighbour", "the web server killed at a point, and started again later", Family::Neighbour),
        ("pause", "SIGSTOP while a second run comes and goes, then SIGCONT", Family::Pause),
    ];
}
