//! A run in a control group: its memory limit, and whom the kernel killed for want of memory.

use std::rc::Rc;

use crate::{
    event::{FaultRecord, MemoryRecord, Shortage},
    fault::{self, Act, memory::LIMIT},
    invariant::End,
    world::cgroup::Group,
};

use super::{Outcome, RunError, Seen};

/// The group of one run while it goes on.
pub(super) struct Confined {
    group: Rc<Group>,
    /// Kills of the kernel's that are accounted for.
    counted: u64,
    limit: Option<u64>,
    /// Whether a kill of one process is a kill of all.
    all: bool,
    /// Faults that are in force; a kill proves them.
    in_force: Vec<FaultRecord>,
    /// Who was killed, and how many effects the run had come to by then.
    kills: Vec<(String, usize)>,
    /// Why the group could not be asked or changed.
    trouble: Option<String>,
}

impl Confined {
    /// Puts the limits in force that hold from the run's start, and takes them out of `faults`.
    pub fn new(group: Rc<Group>, faults: &mut Vec<FaultRecord>) -> Result<Confined, RunError> {
        let counted = group.kills().map_err(failed("count the kernel's OOM kills"))?;
        let mut confined = Confined {
            group,
            counted,
            limit: None,
            all: false,
            in_force: Vec::new(),
            kills: Vec::new(),
            trouble: None,
        };
        for record in std::mem::take(faults) {
            match fault::act(&record) {
                Some(Act::LimitMemory { bytes, all }) => {
                    confined.kills_all(all).map_err(failed("have all of the control group killed"))?;
                    confined.group.limit(bytes).map_err(failed("limit the subject's memory"))?;
                    confined.limit = Some(bytes);
                    confined.in_force.push(record);
                }
                _ => faults.push(record),
            }
        }
        Ok(confined)
    }

    /// What the leader enters it by.
    pub fn entrance(&self) -> Result<std::os::fd::OwnedFd, RunError> {
        self.group.entrance().map_err(failed("open the subject's control group"))
    }

    /// What is in force.
    pub fn in_force(&self) -> &[FaultRecord] {
        &self.in_force
    }

    fn kills_all(&mut self, all: bool) -> std::io::Result<()> {
        self.all |= all;
        if all { self.group.kill_all() } else { Ok(()) }
    }

    /// Whether those whom the kernel has left alive are to be killed here: version 1 of the interface
    /// knows no `memory.oom.group`.
    pub fn leaves_survivors(&self) -> bool {
        self.all && !self.group.can_kill_all()
    }

    /// Lowers the limit to what is in use. `all`: a kill of one process is a kill of all.
    pub fn lower(&mut self, fault: FaultRecord, all: bool) {
        match self.kills_all(all).and_then(|()| self.group.squeeze()) {
            Ok(limit) => {
                self.limit = Some(limit);
                self.in_force.push(fault);
            }
            Err(error) => self.trouble = Some(format!("the limit could not be lowered: {error}")),
        }
    }

    /// A process ended. Whether the kernel killed it for want of memory: it counts before it kills.
    pub fn ended(&mut self, process: impl FnOnce() -> String, end: End, effects: usize) -> bool {
        if end != End::Killed(nix::libc::SIGKILL) {
            return false;
        }
        let killed = match self.group.kills() {
            Ok(kills) => kills > self.counted,
            Err(error) => {
                self.trouble = Some(format!("the kernel's OOM kills cannot be counted: {error}"));
                false
            }
        };
        if killed {
            self.counted += 1;
            self.kills.push((process(), effects));
        }
        killed
    }

    /// Ends the books, and the limit: the next run is free.
    pub fn close(self, outcome: &mut Outcome) {
        let peak = self.group.peak();
        let lifted = self.group.lift();
        let seen = &outcome.seen;
        let kills: Vec<Shortage> = self.kills.into_iter().map(|kill| shortage(kill, seen)).collect();
        let killed = !kills.is_empty();
        outcome.memory = Some(MemoryRecord { limit: self.limit, peak, kills, ..MemoryRecord::default() });
        let trouble =
            self.trouble.or_else(|| lifted.err().map(|e| format!("the limit could not be lifted: {e}")));
        if let Some(trouble) = trouble {
            outcome.not_delivered.push(trouble);
        }
        for fault in self.in_force {
            if killed {
                outcome.run.faults.push(fault);
            } else if !outcome.run.faults.is_empty() {
                // Another fault ended the run before.
                outcome.left_over.push(fault);
            } else if fault.fault == LIMIT {
                outcome.no_occasion.push(format!("the kernel killed nobody: {fault}"));
            } else {
                outcome.spared = Some(SPARED.to_owned());
            }
        }
    }
}

/// Between which effects a process was killed, or refused memory, once all are known. `effects`: how
/// many its run had come to.
pub(super) fn shortage((process, effects): (String, usize), seen: &[Seen]) -> Shortage {
    let at = |index: usize| seen.get(index).map(|seen| seen.point.clone());
    Shortage { process, after: effects.checked_sub(1).and_then(at), before: at(effects) }
}

/// Why a lowered limit came to nothing.
const SPARED: &str = "after that point the run could do with the memory it had, and the kernel killed nobody";

/// An error of the system's, told with what was tried.
pub(super) fn failed(tried: &str) -> impl FnOnce(std::io::Error) -> RunError {
    let tried = tried.to_owned();
    move |source| RunError::Io { tried, source }
}
