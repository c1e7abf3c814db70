//! A second run of the pipeline (the cron job beside the timer): the first is held at a point
//! while the second runs to its end or blocks. Done at every point, that is every race with one
//! preemption.

use super::{Act, Family, Fault};
use crate::{census::CensusEffect, effect::Class, event::FaultRecord};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] = &[&SecondRun];

struct SecondRun;

impl Fault for SecondRun {
    fn name(&self) -> &'static str {
        "second-run"
    }

    fn family(&self) -> Family {
        Family::Collide
    }

    fn models(&self) -> &'static str {
        "a second run started"
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        matches!(effect.class, Class::Change | Class::Lock | Class::Request | Class::Signal)
    }

    fn act(&self, _record: &FaultRecord) -> Option<Act> {
        Some(Act::SecondRun { stopped: false })
    }
}
