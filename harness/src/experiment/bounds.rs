//! The memory limits between which a run goes short: found by trying.

use std::sync::Arc;

use crate::{
    census::{Bisected, Bounds},
    event::{FaultRecord, MemoryRecord},
    fault::memory,
    limits,
    point::Point,
    run::{Assignment, Detail},
};

use super::{SetupError, Workbench};

/// What a run under a limit came to.
struct Tried {
    /// Whether anybody was killed, or refused memory.
    short: bool,
    started: bool,
    memory: MemoryRecord,
}

impl Workbench<'_> {
    /// Where the limits of this fault begin to matter. `peak`: what the clean run used, in bytes, where
    /// that is known.
    pub(super) fn bisected(&mut self, fault: &str, peak: Option<u64>) -> Result<Bisected, SetupError> {
        // What is used and what is reserved have little to do with each other.
        let mut holds = peak.filter(|_| memory::takes_group(fault)).unwrap_or(limits::MEMORY_FIRST);
        let bisected = |bounds, exempt| Ok(Bisected { fault: fault.to_owned(), bounds, exempt });
        loop {
            let tried = self.tried_with(fault, holds)?;
            if !tried.short {
                return bisected(self.bounds(fault, holds)?, tried.memory.exempt);
            }
            if holds >= limits::MEMORY_MOST {
                return bisected(None, tried.memory.exempt);
            }
            holds *= 2;
        }
    }

    /// Looks for the highest limit under which the run goes short, below one that `holds`, and for the
    /// lowest under which it gets as far as its first effect. `None`: it goes short under none.
    fn bounds(&mut self, fault: &str, mut holds: u64) -> Result<Option<Bounds>, SetupError> {
        let close =
            |low: u64, high: u64| high - low <= (high / limits::MEMORY_GRAIN).max(limits::MEMORY_STEP);
        let mut kills = 0;
        let mut starts = None;
        while !close(kills, holds) {
            let limit = kills + (holds - kills) / 2;
            let tried = self.tried_with(fault, limit)?;
            if tried.short {
                kills = limit;
                starts = tried.started.then_some(limit).or(starts);
            } else {
                holds = limit;
            }
        }
        // Below the highest that is known to start it.
        let Some(mut starts) = starts else {
            return Ok((kills > 0).then_some(Bounds { starts: kills, kills }));
        };
        let mut dead = 0;
        while !close(dead, starts) {
            let limit = dead + (starts - dead) / 2;
            if self.tried_with(fault, limit)?.started {
                starts = limit;
            } else {
                dead = limit;
            }
        }
        Ok(Some(Bounds { starts, kills }))
    }

    /// A run under this limit; as far as the first process that is killed for it.
    fn tried_with(&mut self, fault: &str, limit: u64) -> Result<Tried, SetupError> {
        let group = if memory::takes_group(fault) { self.group()? } else { None };
        let mut stage = self.world.stage(Some(&self.snapshot))?;
        let mut runner = self.setting.runner(stage.as_mut())?;
        let fault = FaultRecord::new(fault, Some(&memory::text(limit)), Point::start(""));
        let outcome = runner.run(
            &Assignment {
                faults: &[fault],
                group,
                until_killed: true,
                ..Assignment::new(&self.setting.scenario.subject.command, Detail::Plain, &Arc::default())
            },
            None,
        )?;
        runner.end_subject()?;
        let started = !outcome.seen.is_empty();
        let memory = outcome.memory.unwrap_or_default();
        // One that could not even be loaded had no room to be killed in.
        let short = !memory.kills.is_empty() || !memory.refusals.is_empty() || !started;
        Ok(Tried { short, started, memory })
    }
}
