//! The whole run stopped (SIGSTOP: a suspended machine, a frozen cgroup, a debugger) for longer
//! than a second run takes, and longer than any lease; then it goes on as if nothing had been.

use super::{Act, Family, Fault};
use crate::{census::CensusEffect, event::FaultRecord};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] = &[&Pause];

struct Pause;

impl Fault for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn family(&self) -> Family {
        Family::Pause
    }

    fn models(&self) -> &'static str {
        "paused while another run comes and goes"
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        effect.class.decides()
    }

    fn act(&self, _record: &FaultRecord) -> Option<Act> {
        Some(Act::SecondRun { stopped: true })
    }
}
