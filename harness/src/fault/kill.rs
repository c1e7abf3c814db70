//! A single signal at a point: `sigkill`, `sigterm`, `sigint`, `sighup` to the process at the
//! point, the leader, its group or the whole tree.

use super::{Act, Between, Family, Fault, Recipients, Volley, When};
use crate::{
    census::CensusEffect,
    effect::Class,
    event::FaultRecord,
    scenario::{KillSignal, Scope},
};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] =
    &[&KillSignal::Sigkill, &KillSignal::Sigterm, &KillSignal::Sigint, &KillSignal::Sighup];

impl Fault for KillSignal {
    fn name(&self) -> &'static str {
        match self {
            KillSignal::Sigkill => "sigkill",
            KillSignal::Sigterm => "sigterm",
            KillSignal::Sigint => "sigint",
            KillSignal::Sighup => "sighup",
        }
    }

    fn family(&self) -> Family {
        Family::Kill
    }

    fn models(&self) -> &'static str {
        match self {
            KillSignal::Sigkill => "killed",
            KillSignal::Sigterm => "terminated",
            KillSignal::Sigint => "interrupted",
            KillSignal::Sighup => "hung up",
        }
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        !matches!(effect.class, Class::Log | Class::Sync | Class::Query)
    }

    fn act(&self, record: &FaultRecord) -> Option<Act> {
        let to = Scope::ALL.into_iter().find(|scope| Some(scope.name()) == record.scope.as_deref())?.into();
        let volleys = vec![Volley { when: When::AtPoint, signal: self.number(), to }];
        Some(Act::Signals { volleys, between: Between::Nothing })
    }
}

impl KillSignal {
    /// Its number.
    pub fn number(self) -> i32 {
        match self {
            KillSignal::Sigkill => nix::libc::SIGKILL,
            KillSignal::Sigterm => nix::libc::SIGTERM,
            KillSignal::Sigint => nix::libc::SIGINT,
            KillSignal::Sighup => nix::libc::SIGHUP,
        }
    }
}

impl Scope {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Process => "process",
            Scope::Leader => "leader",
            Scope::Group => "group",
            Scope::Tree => "tree",
        }
    }

    /// Every one.
    pub const ALL: [Scope; 4] = [Scope::Process, Scope::Leader, Scope::Group, Scope::Tree];
}

impl From<Scope> for Recipients {
    fn from(scope: Scope) -> Recipients {
        match scope {
            Scope::Process => Recipients::Process,
            Scope::Leader => Recipients::Leader,
            Scope::Group => Recipients::Group,
            Scope::Tree => Recipients::Tree,
        }
    }
}
