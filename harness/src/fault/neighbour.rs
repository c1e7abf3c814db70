//! The neighbours of a renewal in trouble: the web server is killed at a point, so that a
//! challenge or a reload meets nobody. It is started again when the run is over.

use super::{Act, Family, Fault};
use crate::{census::CensusEffect, effect::Class, event::FaultRecord};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] = &[&ServerKilled];

struct ServerKilled;

impl Fault for ServerKilled {
    fn name(&self) -> &'static str {
        "server-killed"
    }

    fn family(&self) -> Family {
        Family::Neighbour
    }

    fn models(&self) -> &'static str {
        "web server killed"
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        matches!(effect.class, Class::Change | Class::Request | Class::Signal)
    }

    fn act(&self, _record: &FaultRecord) -> Option<Act> {
        Some(Act::KillServer)
    }
}
