//! A run under way.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{event::FaultRecord, fault::Volley, point::Point};

use super::{Detail, Known, Outcome, address_space::AddressSpace, memory::Confined, output::Output};

/// Everything that belongs to one run while it goes on.
pub(super) struct Progress {
    /// Which run of the experiment, from 0.
    pub index: usize,
    /// The leader's process id.
    pub leader: i32,
    pub detail: Detail,
    pub known: Arc<Known>,
    pub started: Instant,
    pub deadline: Instant,
    pub outcome: Outcome,
    pub output: Output,
    /// How often each (process, operation, role) has come.
    pub occurrences: HashMap<(String, String, String), u32>,
    /// Tasks that run a syscall that is looked at when it returns: place of its effect.
    pub returning: HashMap<i32, usize>,
    /// Programs that processes are about to start.
    pub names: HashMap<i32, String>,
    /// Faults that wait for their point.
    pub open_faults: Vec<FaultRecord>,
    /// What limits its processes' address space, if anything does.
    pub address_space: Option<AddressSpace>,
    /// The control group that it is in, if it is in one of its own.
    pub confined: Option<Confined>,
    /// It ends with the kernel's first OOM kill.
    pub until_killed: bool,
    /// Whether a fault was struck.
    pub struck: bool,
    /// Whether that was a second run.
    pub collided: bool,
    /// The process that was held at the point: its one effect may happen.
    pub spared: Option<i32>,
    /// Signals that follow later.
    pub volleys: VecDeque<Volley>,
    pub volley_since: Instant,
    /// The process at the fault's point.
    pub at_point: i32,
    /// Steps of the clock that nobody has been seen to notice yet.
    pub stepped: Vec<FaultRecord>,
    /// The disk error that every write meets from here on.
    pub refusing: Option<i32>,
    /// Writes that a full disk has refused; `None`: it is not full.
    pub refused_for_room: Option<u32>,
    pub last_activity: Instant,
    /// Its deadline is over, and what was left has been killed: until when its end is waited for.
    pub overdue: Option<Instant>,
    /// Nothing more is expected of it.
    pub over: bool,
}

impl Progress {
    /// Takes the fault out that waits for this point.
    pub fn fault_at(&mut self, point: &Point) -> Option<FaultRecord> {
        let position = self.open_faults.iter().position(|fault| fault.point == *point)?;
        Some(self.open_faults.remove(position))
    }

    /// The same for a request, whose process is not compared: which one asks is found out only
    /// where it matters.
    pub fn fault_at_request(&mut self, op: &str, occurrence: u32) -> Option<FaultRecord> {
        let matching = |fault: &FaultRecord| fault.point.op == op && fault.point.occurrence == occurrence;
        let position = self.open_faults.iter().position(matching)?;
        Some(self.open_faults.remove(position))
    }

    /// Ends the books: what was never reached was not delivered.
    pub fn close(mut self) -> Outcome {
        if let Some(confined) = self.confined.take() {
            confined.close(&mut self.outcome);
        }
        if let Some(limited) = self.address_space.take() {
            limited.close(&mut self.outcome);
        }
        if self.struck {
            self.outcome.left_over.append(&mut self.open_faults);
        } else {
            for fault in &self.open_faults {
                self.outcome.no_occasion.push(match fault.after_ms {
                    Some(_) => format!("the run was over before: {fault}"),
                    None => format!("the point was not reached: {}", fault.point),
                });
            }
        }
        if let Some(refused) = self.refused_for_room {
            self.outcome.notes.push(match refused {
                0 => "disk: full; nothing was written that needed room".to_owned(),
                1 => "disk: full; it refused 1 write".to_owned(),
                more => format!("disk: full; it refused {more} writes"),
            });
        }
        self.outcome.run.output = self.output.text(crate::limits::OUTPUT_KEPT);
        self.outcome.run.wall_ms = self.started.elapsed().as_millis() as u64;
        self.outcome
    }
}
