//! A run under way.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{event::FaultRecord, fault::Volley, point::Point};

use super::{Detail, Known, Outcome, output::Output};

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
    /// The disk error that every write meets from here on.
    pub refusing: Option<i32>,
    pub last_activity: Instant,
    /// Its deadline is over, and what was left has been killed: until when its end is waited for.
    pub overdue: Option<Instant>,
    /// Nothing more is expected of it.
    pub over: bool,
    /// Effects of its state-changing part that it has come to so far.
    pub exclusive_done: u32,
    /// While it was held: what a second run did of the state-changing part, and how much this one
    /// had done of it by then.
    pub intruded: Option<(u32, Vec<String>)>,
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
        if self.struck {
            self.outcome.left_over = self.open_faults;
        } else {
            for fault in &self.open_faults {
                self.outcome.not_delivered.push(format!("the point was not reached: {}", fault.point));
            }
        }
        // Two runs were inside together if the first had begun its part, the second did some of
        // it meanwhile, and the first went on with it.
        if let Some((before, intruded)) = self.intruded.take()
            && before > 0
            && self.exclusive_done > before
        {
            self.outcome.run.overlaps.extend(intruded);
        }
        self.outcome.run.output = self.output.text(crate::limits::OUTPUT_KEPT);
        self.outcome.run.wall_ms = self.started.elapsed().as_millis() as u64;
        self.outcome
    }
}
