//! Kills as those who send them in real life do it, named by them.

use nix::libc::{SIGHUP, SIGINT, SIGKILL, SIGTERM};

use super::{Act, Between, Family, Fault, Recipients, Volley, When};
use crate::{census::CensusEffect, event::FaultRecord, limits};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] = &[
    &Sender::SystemdStop,
    &Sender::SystemdTimeout,
    &Sender::DockerStop,
    &Sender::PodDelete,
    &Sender::OomKill,
    &Sender::OomdKill,
    &Sender::PkillF,
    &Sender::CtrlC,
    &Sender::Hangup,
    &Sender::Reboot,
];

/// Who sends the signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    SystemdStop,
    SystemdTimeout,
    DockerStop,
    PodDelete,
    OomKill,
    OomdKill,
    PkillF,
    CtrlC,
    Hangup,
    Reboot,
}

impl Fault for Sender {
    fn name(&self) -> &'static str {
        match self {
            Sender::SystemdStop => "systemd-stop",
            Sender::SystemdTimeout => "systemd-timeout",
            Sender::DockerStop => "docker-stop",
            Sender::PodDelete => "pod-delete",
            Sender::OomKill => "oom-kill",
            Sender::OomdKill => "oomd-kill",
            Sender::PkillF => "pkill-f",
            Sender::CtrlC => "ctrl-c",
            Sender::Hangup => "hangup",
            Sender::Reboot => "reboot",
        }
    }

    fn family(&self) -> Family {
        Family::Senders
    }

    fn models(&self) -> &'static str {
        match self {
            Sender::SystemdStop => "systemd stop",
            Sender::SystemdTimeout => "systemd timeout",
            Sender::DockerStop => "docker stop",
            Sender::PodDelete => "pod deleted",
            Sender::OomKill => "OOM kill of one process",
            Sender::OomdKill => "oomd kill of the whole cgroup",
            Sender::PkillF => "pkill -f",
            Sender::CtrlC => "Ctrl-C",
            Sender::Hangup => "terminal hung up",
            Sender::Reboot => "reboot",
        }
    }

    fn settings(&self) -> &'static [&'static str] {
        match self {
            Sender::SystemdStop | Sender::SystemdTimeout => &KILL_MODES,
            _ => &[],
        }
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        effect.class.decides() || effect.by_leader && effect.record.op == "exit"
    }

    fn act(&self, record: &FaultRecord) -> Option<Act> {
        let grace = limits::STOP_TIMEOUT;
        let at_point = |signal, to| Volley { when: When::AtPoint, signal, to };
        let volleys = match self {
            Sender::SystemdStop | Sender::SystemdTimeout => {
                // systemd.kill(5). A timeout of a oneshot unit (TimeoutStartSec=) stops it the
                // same way as `systemctl stop`.
                let kill_rest = |when| Volley { when, signal: SIGKILL, to: Recipients::Tree };
                match record.scope.as_deref().unwrap_or("control-group") {
                    "control-group" => {
                        vec![at_point(SIGTERM, Recipients::Tree), kill_rest(When::After(grace))]
                    }
                    "mixed" => {
                        vec![at_point(SIGTERM, Recipients::Leader), kill_rest(When::LeaderGone(grace))]
                    }
                    "process" => vec![
                        at_point(SIGTERM, Recipients::Leader),
                        Volley { when: When::After(grace), signal: SIGKILL, to: Recipients::Leader },
                    ],
                    _ => return None,
                }
            }
            // The runtime signals process 1 of the container; the kernel kills the others with it.
            // A preStop hook only makes it later, which is another point.
            Sender::DockerStop | Sender::PodDelete => vec![
                at_point(SIGTERM, Recipients::Leader),
                Volley { when: When::LeaderGone(grace), signal: SIGKILL, to: Recipients::Tree },
            ],
            Sender::OomKill => vec![at_point(SIGKILL, Recipients::Process)],
            Sender::OomdKill | Sender::Reboot => vec![at_point(SIGKILL, Recipients::Tree)],
            Sender::PkillF => {
                let pattern = record.scope.as_deref()?;
                vec![at_point(SIGTERM, Recipients::Matching(pattern.to_owned()))]
            }
            Sender::CtrlC => vec![at_point(SIGINT, Recipients::Group)],
            Sender::Hangup => vec![at_point(SIGHUP, Recipients::Group)],
        };
        let between = match self {
            Sender::PodDelete => Between::NewPod,
            Sender::Reboot => Between::Boot,
            _ => Between::Nothing,
        };
        Some(Act::Signals { volleys, between })
    }
}

/// The `KillMode=` settings that stop a unit in different ways (systemd.kill(5)).
pub const KILL_MODES: [&str; 3] = ["control-group", "mixed", "process"];
