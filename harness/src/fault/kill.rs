//! A single signal at a point: `sigkill`, `sigterm`, `sigint`, `sighup` to the process at the
//! point, the leader, its group or the whole tree.

use crate::{
    event::FaultRecord,
    process::Table,
    scenario::{KillSignal, Scope},
};

impl KillSignal {
    /// Its name as a fault.
    pub fn name(self) -> &'static str {
        match self {
            KillSignal::Sigkill => "sigkill",
            KillSignal::Sigterm => "sigterm",
            KillSignal::Sigint => "sigint",
            KillSignal::Sighup => "sighup",
        }
    }

    /// Its number.
    pub fn number(self) -> i32 {
        match self {
            KillSignal::Sigkill => nix::libc::SIGKILL,
            KillSignal::Sigterm => nix::libc::SIGTERM,
            KillSignal::Sigint => nix::libc::SIGINT,
            KillSignal::Sighup => nix::libc::SIGHUP,
        }
    }

    /// Every one.
    pub const ALL: [KillSignal; 4] =
        [KillSignal::Sigkill, KillSignal::Sigterm, KillSignal::Sigint, KillSignal::Sighup];
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

/// The signal number and the scope of a kill; `None` if the fault is not a kill.
pub fn parse(fault: &FaultRecord) -> Option<(i32, Scope)> {
    let signal = KillSignal::ALL.into_iter().find(|s| s.name() == fault.fault)?;
    let scope = Scope::ALL.into_iter().find(|s| Some(s.name()) == fault.scope.as_deref())?;
    Some((signal.number(), scope))
}

/// Who gets the signal, those nearer to the leader first.
pub fn victims(scope: Scope, at_point: i32, run: usize, processes: &Table) -> Vec<i32> {
    match scope {
        Scope::Process => vec![at_point],
        Scope::Leader => processes.leader(run).into_iter().collect(),
        Scope::Tree => processes.of_run(run),
        Scope::Group => {
            let group = |pid: i32| nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).ok();
            let Some(leader) = processes.leader(run) else { return Vec::new() };
            let wanted = group(leader);
            processes.of_run(run).into_iter().filter(|pid| group(*pid) == wanted).collect()
        }
    }
}
