//! Disk errors: the syscall at the point is refused, or cut short.

use nix::libc::{EDQUOT, EIO, ENOSPC, EROFS};

use super::{Act, Family, Fault};
use crate::{census::CensusEffect, effect::Class, event::FaultRecord};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] = &[
    &Refused { name: "enospc", errno: ENOSPC, models: "no space left" },
    &Refused { name: "edquot", errno: EDQUOT, models: "quota exceeded" },
    &Refused { name: "erofs", errno: EROFS, models: "filesystem became read-only" },
    &Refused { name: "eio", errno: EIO, models: "input/output error" },
    &ShortWrite,
    &DiskFull,
];

/// An error number instead of the effect.
struct Refused {
    name: &'static str,
    errno: i32,
    models: &'static str,
}

/// Operations that need room on the disk.
const GROWING: [&str; 8] = ["create", "write", "mkdir", "symlink", "link", "rename", "fallocate", "clone"];

/// Whether an operation can fail with this error, as the manual pages list them.
pub fn can_fail(errno: i32, op: &str, class: Class) -> bool {
    match errno {
        ENOSPC | EDQUOT => GROWING.contains(&op) || class == Class::Sync,
        EROFS => class == Class::Change && op != "write",
        _ => matches!(class, Class::Change | Class::Sync),
    }
}

impl Fault for Refused {
    fn name(&self) -> &'static str {
        self.name
    }

    fn family(&self) -> Family {
        Family::Disk
    }

    fn models(&self) -> &'static str {
        self.models
    }

    fn settings(&self) -> &'static [&'static str] {
        &LASTING
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        // /run is no disk.
        !effect.record.path.starts_with("/run/") && can_fail(self.errno, &effect.record.op, effect.class)
    }

    fn act(&self, record: &FaultRecord) -> Option<Act> {
        match record.scope.as_deref() {
            Some("once") => Some(Act::Refuse { errno: self.errno, from_here_on: false }),
            Some("from-here-on") => Some(Act::Refuse { errno: self.errno, from_here_on: true }),
            _ => None,
        }
    }
}

/// Half of a write.
struct ShortWrite;

impl Fault for ShortWrite {
    fn name(&self) -> &'static str {
        "short-write"
    }

    fn family(&self) -> Family {
        Family::Disk
    }

    fn models(&self) -> &'static str {
        "a write cut short"
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        effect.class == Class::Change && effect.record.op == "write"
    }

    fn act(&self, _record: &FaultRecord) -> Option<Act> {
        Some(Act::ShortWrite)
    }
}

/// A disk with no free block, for as long as the run lasts.
struct DiskFull;

impl Fault for DiskFull {
    fn name(&self) -> &'static str {
        "disk-full"
    }

    fn family(&self) -> Family {
        Family::Disk
    }

    fn models(&self) -> &'static str {
        "disk full"
    }

    fn needs_private_world(&self) -> bool {
        true
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        // Names need no block: a disk that is full before one is full before the next of these.
        effect.class == Class::Change
            && !effect.record.path.starts_with("/run/")
            && ["write", "fallocate", "clone"].contains(&effect.record.op.as_str())
    }

    fn act(&self, _record: &FaultRecord) -> Option<Act> {
        Some(Act::FillDisk)
    }
}

/// How long an error lasts, as scenario files and reports name it.
pub const LASTING: [&str; 2] = ["once", "from-here-on"];
