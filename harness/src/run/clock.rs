//! The clock of a run: watched where it may be stepped, and right again when the run is over.

use crate::fault::{self, Act};

use super::{Assignment, Detail, Runner, progress::Progress};

impl Runner<'_> {
    /// Has the programs of a run watched that asks for it: a census, which notes who looks at the
    /// clock when, and a run whose clock will be stepped. All others run with the clock they have.
    pub(super) fn watch_clock(&mut self, assignment: &Assignment<'_>) {
        let steps =
            assignment.faults.iter().any(|record| matches!(fault::act(record), Some(Act::StepClock { .. })));
        self.tracer.watch_clock(steps || assignment.detail == Detail::Census);
    }

    /// Sets the clock right. A step counts as delivered if somebody was told the new time.
    pub(super) fn settle_clock(&mut self, runs: &mut [Progress]) {
        let (asked, noticed) = (self.tracer.clock_asked(), self.tracer.clock_shifted() > 0);
        self.tracer.step_clock(0);
        for run in runs {
            for fault in std::mem::take(&mut run.stepped) {
                if noticed {
                    run.outcome.run.faults.push(fault);
                } else {
                    let why = format!("nobody asked for the time after the clock was stepped: {fault}");
                    run.outcome.no_occasion.push(why);
                }
            }
            for seen in &mut run.outcome.seen {
                seen.time_asked_later = asked > seen.time_asked;
            }
        }
    }
}
