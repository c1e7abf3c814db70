//! What is done to a subject, at a point. Each family is one file that lists its faults.

mod act;
pub mod ca;
pub mod clock;
pub mod collide;
pub mod disk;
pub mod kill;
pub mod memory;
pub mod neighbour;
pub mod pause;
pub mod senders;

pub use act::{Act, Between, CaAct, Recipients, Volley, When};

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
    /// What a record's scope may say of it. Empty: it has no settings, or they are no fixed words.
    fn settings(&self) -> &'static [&'static str] {
        &[]
    }
    /// Whether it takes a world with a disk of its own.
    fn needs_private_world(&self) -> bool {
        false
    }
    /// Whether the starts of children are points for it, also of those that have effects later.
    fn strikes_at_starts(&self) -> bool {
        false
    }
    /// Whether it makes a difference before this effect.
    fn strikes_at(&self, effect: &CensusEffect) -> bool;
    /// Whether the first instant stands for all: what it does goes by times from there.
    fn strikes_once(&self) -> bool {
        false
    }
    /// What is done. `None`: the record does not fit this fault.
    fn act(&self, record: &FaultRecord) -> Option<Act>;
}

/// Every fault there is.
pub fn all() -> impl Iterator<Item = &'static dyn Fault> {
    [
        kill::FAULTS,
        senders::FAULTS,
        collide::FAULTS,
        memory::FAULTS,
        disk::FAULTS,
        ca::FAULTS,
        neighbour::FAULTS,
        pause::FAULTS,
        clock::FAULTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The fault of this name.
pub fn find(name: &str) -> Option<&'static dyn Fault> {
    all().find(|fault| fault.name() == name)
}

/// What is done for this record; `None`: there is no such fault, or its setting does not fit.
pub fn act(record: &FaultRecord) -> Option<Act> {
    find(&record.fault)?.act(record)
}

/// The family of this record's fault; `None`: there is no such fault.
pub fn family(record: &FaultRecord) -> Option<Family> {
    find(&record.fault).map(Fault::family)
}

/// The names of a family's faults.
pub fn names(family: Family) -> Vec<&'static str> {
    all().filter(|fault| fault.family() == family).map(Fault::name).collect()
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
    /// A real memory limit, and the kernel's own OOM killer
    Memory,
    /// Disk errors at a point, once or from there on
    Disk,
    /// The CA in trouble at a protocol step
    Ca,
    /// The web server killed, or refusing to reload; a hook or helper slow, or hanging
    Neighbour,
    /// SIGSTOP for longer than a second run takes, then SIGCONT
    Pause,
    /// The clock stepped forward or back at a point
    Clock,
}

impl Family {
    /// Its name, as `--faults` and scenario files take it.
    pub fn name(self) -> &'static str {
        Family::ALL.iter().find(|(_, _, family)| *family == self).map_or("", |(name, ..)| name)
    }

    /// Every family with its name and what it does.
    pub const ALL: [(&'static str, &'static str, Family); 9] = [
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
        (
            "collide",
            "a second run while the first is held at a point; several at once, with jitter",
            Family::Collide,
        ),
        (
            "memory",
            "a memory limit by which the kernel kills, from the start or lowered at a point",
            Family::Memory,
        ),
        (
            "disk",
            "ENOSPC, EDQUOT, EROFS, EIO and short writes, once or from there on; a disk that is really full",
            Family::Disk,
        ),
        (
            "ca",
            "bad nonce, 429, 500, 503, malformed answers, cut connections, a slow CA, an unknown account, an order that stays in processing",
            Family::Ca,
        ),
        (
            "neighbour",
            "the web server killed or refusing to reload, a hook or helper slow or hanging",
            Family::Neighbour,
        ),
        ("pause", "SIGSTOP while a second run comes and goes, then SIGCONT", Family::Pause),
        (
            "clock",
            "the clock stepped forward or back at a point, and right again in the next run",
            Family::Clock,
        ),
    ];
}
