//! A run whose processes may each have so much address space (`RLIMIT_AS` of setrlimit(2)): what
//! is left of a memory limit where no control group is to be had. The kernel kills nobody; it refuses
//! memory.

use std::collections::BTreeSet;

use nix::unistd::Pid;
use rustix::process::{Resource, getrlimit, prlimit};

use crate::{
    elf,
    event::{FaultRecord, MemoryRecord},
    fault::{self, Act},
    procfs::Proc,
};

use super::{Assignment, Listener, Outcome, Runner, Told, memory::shortage, runner::tell};

/// The limit of one run while it goes on.
pub(super) struct AddressSpace {
    bytes: u64,
    fault: FaultRecord,
    /// Whom memory was refused, and how many effects the run had come to by then.
    refused: Vec<(String, usize)>,
    /// Programs that go without a limit.
    exempt: BTreeSet<String>,
    /// Why a process could not be limited.
    trouble: Option<String>,
}

impl AddressSpace {
    /// Takes the fault that limits a run's address space out of its faults, if there is one.
    pub fn of(faults: &mut Vec<FaultRecord>) -> Option<AddressSpace> {
        let place = faults.iter().position(|fault| limit(fault).is_some())?;
        let fault = faults.remove(place);
        Some(AddressSpace {
            bytes: limit(&fault)?,
            fault,
            refused: Vec::new(),
            exempt: BTreeSet::new(),
            trouble: None,
        })
    }

    /// A process is about to load a program: that is not to fail for want of room, since it may be one
    /// that is exempt.
    pub fn executes(&mut self, pid: i32) {
        self.set(pid, None);
    }

    /// A program has been loaded and not run yet.
    pub fn executed(&mut self, pid: i32, proc: &Proc) {
        match proc.program(pid).and_then(elf::is_go) {
            Ok(true) => {
                let name = proc.arguments(pid).into_iter().next().unwrap_or_default();
                self.exempt.insert(name.rsplit('/').next().unwrap_or_default().to_owned());
            }
            Ok(false) => self.set(pid, Some(self.bytes)),
            Err(error) => self.trouble = Some(format!("a program's file cannot be read: {error}")),
        }
    }

    /// The soft limit alone: only a privileged process could raise the hard one again.
    fn set(&mut self, pid: i32, bytes: Option<u64>) {
        let mut limit = getrlimit(Resource::As);
        limit.current = bytes.or(limit.maximum);
        let set = rustix::process::Pid::from_raw(pid).map(|pid| prlimit(Some(pid), Resource::As, limit));
        match set {
            // One that is gone needs none.
            Some(Ok(_) | Err(rustix::io::Errno::SRCH)) | None => {}
            Some(Err(error)) => self.trouble = Some(format!("RLIMIT_AS cannot be set: {error}")),
        }
    }

    /// Memory was refused. Whether that is the first time.
    pub fn refused(&mut self, process: String, effects: usize) -> bool {
        let first = self.refused.is_empty();
        // A program that is refused asks again, by other means and for less.
        if self.refused.last().is_none_or(|(last, at)| *last != process || *at != effects) {
            self.refused.push((process, effects));
        }
        first
    }

    /// Ends the books.
    pub fn close(self, outcome: &mut Outcome) {
        let refused = !self.refused.is_empty();
        let seen = &outcome.seen;
        outcome.memory = Some(MemoryRecord {
            address_space: Some(self.bytes),
            refusals: self.refused.into_iter().map(|refused| shortage(refused, seen)).collect(),
            exempt: self.exempt.into_iter().collect(),
            ..MemoryRecord::default()
        });
        if let Some(trouble) = self.trouble {
            outcome.not_delivered.push(trouble);
        } else if refused {
            outcome.run.faults.push(self.fault);
        } else if !outcome.run.faults.is_empty() {
            // Another fault ended the run before.
            outcome.left_over.push(self.fault);
        } else {
            outcome.no_occasion.push(format!("nobody was refused memory: {}", self.fault));
        }
    }
}

impl Runner<'_> {
    /// Has requests for memory watched where some are to be refused.
    pub(super) fn watch_memory(&mut self, assignment: &Assignment<'_>) {
        self.tracer.watch_memory(assignment.faults.iter().any(|fault| limit(fault).is_some()));
    }

    /// The kernel has refused a process memory.
    pub(super) fn refused(&mut self, pid: Pid, told: &mut Listener<'_>) {
        let Some(process) = self.processes.get(pid.as_raw()) else { return };
        let (name, run) = (process.name(), process.run);
        let Some(run) = self.active.iter_mut().find(|active| active.index == run) else { return };
        let effects = run.outcome.seen.len();
        let Some(limited) = &mut run.address_space else { return };
        if limited.refused(name.clone(), effects) {
            tell(told, Told::Refused(name));
        }
        run.struck = true;
        run.outcome.struck_at.get_or_insert(effects);
    }
}

fn limit(record: &FaultRecord) -> Option<u64> {
    match fault::act(record)? {
        Act::LimitAddressSpace { bytes } => Some(bytes),
        _ => None,
    }
}
