//! A real memory limit and the kernel's own OOM killer, through a control group that the run is
//! in. Whom the kernel kills, and when, is its own choice; `oom-kill` of the senders is the same
//! signal at a chosen point. And a limit of the address space, by which nobody is killed and memory is
//! refused.

use super::{Act, Family, Fault};
use crate::{census::CensusEffect, event::FaultRecord};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] = &[&Limit, &Lowered, &AddressSpace];

/// The limit that is in force from the run's start.
pub const LIMIT: &str = "memory-limit";

/// The limit that is lowered at a point.
pub const LOWERED: &str = "memory-lowered";

/// The limit of the address space, which takes no control group.
pub const ADDRESS_SPACE: &str = "address-space";

/// Whom the kernel kills: the one it chooses, or with it all others of the group.
pub const KILLS: [&str; 2] = ["process", GROUP];

/// That all of the control group is killed (`memory.oom.group`).
const GROUP: &str = "group";

/// A record's scope: the limit, if it is known beforehand, and whom the kernel kills, if that is not the one process
/// it chooses: `12MiB`, `12MiB, group`, `group`.
pub fn scope(limit: Option<u64>, kills: &str) -> Option<String> {
    let parts: Vec<String> =
        limit.map(text).into_iter().chain((kills == GROUP).then(|| GROUP.to_owned())).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Whether the fault of this name takes a control group.
pub fn takes_group(name: &str) -> bool {
    name == LIMIT || name == LOWERED
}

struct Limit;

impl Fault for Limit {
    fn name(&self) -> &'static str {
        LIMIT
    }

    fn family(&self) -> Family {
        Family::Memory
    }

    fn models(&self) -> &'static str {
        "out of memory"
    }

    fn strikes_at(&self, _effect: &CensusEffect) -> bool {
        // At the run's start, which is no effect of its own.
        false
    }

    fn act(&self, record: &FaultRecord) -> Option<Act> {
        let scope = record.scope.as_deref()?;
        let (limit, all) = match scope.split_once(", ") {
            Some((limit, GROUP)) => (limit, true),
            _ => (scope, false),
        };
        Some(Act::LimitMemory { bytes: bytes(limit)?, all })
    }
}

struct Lowered;

impl Fault for Lowered {
    fn name(&self) -> &'static str {
        LOWERED
    }

    fn family(&self) -> Family {
        Family::Memory
    }

    fn models(&self) -> &'static str {
        "memory limit lowered"
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        effect.class.decides()
    }

    fn settings(&self) -> &'static [&'static str] {
        &KILLS
    }

    fn act(&self, record: &FaultRecord) -> Option<Act> {
        Some(Act::LowerMemory { all: record.scope.as_deref() == Some(GROUP) })
    }
}

struct AddressSpace;

impl Fault for AddressSpace {
    fn name(&self) -> &'static str {
        ADDRESS_SPACE
    }

    fn family(&self) -> Family {
        Family::Memory
    }

    fn models(&self) -> &'static str {
        "address space limited"
    }

    fn strikes_at(&self, _effect: &CensusEffect) -> bool {
        // At the run's start, which is no effect of its own.
        false
    }

    fn act(&self, record: &FaultRecord) -> Option<Act> {
        Some(Act::LimitAddressSpace { bytes: bytes(record.scope.as_deref()?)? })
    }
}

const MIB: f64 = 1_048_576.0;

/// A limit as a record's scope has it: `12MiB`, `7.5MiB`.
pub fn text(bytes: u64) -> String {
    // Exact for every rounded limit of a page and more.
    let mib = format!("{:.10}", bytes as f64 / MIB);
    format!("{}MiB", mib.trim_end_matches('0').trim_end_matches('.'))
}

fn bytes(text: &str) -> Option<u64> {
    let mib: f64 = text.strip_suffix("MiB")?.parse().ok()?;
    (mib > 0.0).then_some((mib * MIB) as u64)
}

/// The next lower number that is worth telling from its neighbours: four significant bits. So the
/// same pipeline has the same limits, and ids, although its need is never quite the same.
pub fn rounded(bytes: u64) -> u64 {
    let spare = 64_u32.saturating_sub(bytes.leading_zeros()).saturating_sub(4);
    bytes >> spare << spare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_back_as_they_were_written() {
        for (limit, written) in
            [(12 << 20, "12MiB"), (15 << 19, "7.5MiB"), (9 << 17, "1.125MiB"), (9 << 16, "0.5625MiB")]
        {
            assert_eq!(text(limit), written);
            assert_eq!(bytes(written), Some(limit));
        }
        assert_eq!((bytes("12"), bytes("MiB"), bytes("-1MiB"), bytes("NaNMiB")), (None, None, None, None));
    }

    #[test]
    fn a_rounded_limit_is_never_higher_and_at_most_an_eighth_lower() {
        for limit in [4096, 70_000, 1 << 20, 12_345_678, (1 << 30) + 1] {
            let rounded = rounded(limit);
            assert!(rounded <= limit && limit - rounded <= limit / 8, "{limit}: {rounded}");
        }
    }
}
