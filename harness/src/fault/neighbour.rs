//! The neighbours of a renewal in trouble: the web server that is to answer a challenge and to
//! reload, and the programs that the renewal starts and waits for.

use nix::libc::{SIGKILL, SIGTERM};

use super::{Act, Family, Fault, Recipients, Volley, When};
use crate::{census::CensusEffect, effect::Class, event::FaultRecord, limits, world::shim};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] = &[&ServerKilled, &ServerRefuses, &HookSlow, &HookHangs];

/// The web server is killed, so that a challenge or a reload meets nobody. It is started again when
/// the run is over.
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

/// Somebody has broken the server's configuration: it keeps what it has. It is mended when the run is
/// over.
struct ServerRefuses;

impl Fault for ServerRefuses {
    fn name(&self) -> &'static str {
        "server-refuses"
    }

    fn family(&self) -> Family {
        Family::Neighbour
    }

    fn models(&self) -> &'static str {
        "reload refused by the server"
    }

    fn strikes_at_starts(&self) -> bool {
        true
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        // What controls servers looks at the configuration when it starts; a signal that comes
        // from elsewhere meets the server unprepared.
        match effect.record.op.as_str() {
            "exec" => shim::controls_servers(&effect.record.path),
            "reload" => !effect.record.process.rsplit(" > ").next().is_some_and(shim::controls_servers),
            _ => false,
        }
    }

    fn act(&self, _record: &FaultRecord) -> Option<Act> {
        Some(Act::RefuseReloads)
    }
}

/// A hook or helper that takes its time.
struct HookSlow;

impl Fault for HookSlow {
    fn name(&self) -> &'static str {
        "hook-slow"
    }

    fn family(&self) -> Family {
        Family::Neighbour
    }

    fn models(&self) -> &'static str {
        "a child slow"
    }

    fn strikes_at_starts(&self) -> bool {
        true
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        starts_a_child(effect)
    }

    fn act(&self, _record: &FaultRecord) -> Option<Act> {
        Some(Act::HoldStart { time: limits::HOOK_SLOW, volleys: Vec::new() })
    }
}

/// A hook or helper that never comes back, until the whole run is stopped for it as
/// `TimeoutStartSec=` does (systemd.service(5), systemd.kill(5)).
struct HookHangs;

impl Fault for HookHangs {
    fn name(&self) -> &'static str {
        "hook-hangs"
    }

    fn family(&self) -> Family {
        Family::Neighbour
    }

    fn models(&self) -> &'static str {
        "stopped because a child hung"
    }

    fn strikes_at_starts(&self) -> bool {
        true
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        starts_a_child(effect)
    }

    fn act(&self, _record: &FaultRecord) -> Option<Act> {
        let to_all = |when, signal| Volley { when, signal, to: Recipients::Tree };
        Some(Act::HoldStart {
            time: limits::START_TIMEOUT,
            volleys: vec![to_all(When::AtPoint, SIGTERM), to_all(When::After(limits::STOP_TIMEOUT), SIGKILL)],
        })
    }
}

fn starts_a_child(effect: &CensusEffect) -> bool {
    effect.class == Class::Control && effect.record.op == "exec" && !effect.by_leader
}
