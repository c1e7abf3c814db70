//! The memory limits between which the kernel kills: found by trying.

use std::sync::Arc;

use crate::{
    census::Bounds,
    event::FaultRecord,
    fault::memory,
    limits,
    point::Point,
    run::{Assignment, Detail},
};

use super::{SetupError, Workbench, assignment};

/// What a run under a memory limit came to.
struct Tried {
    killed: bool,
    started: bool,
}

impl Workbench<'_> {
    /// Looks for the highest memory limit under which the kernel kills, and for the lowest under
    /// which the run gets as far as its first effect. `None`: it kills under none.
    pub(super) fn bounds(&mut self, peak: Option<u64>) -> Result<Option<Bounds>, SetupError> {
        let mut holds = peak.unwrap_or(limits::MEMORY_FIRST);
        while self.tried_with(holds)?.killed {
            if holds >= limits::MEMORY_MOST {
                return Ok(None);
            }
            holds *= 2;
        }
        let close =
            |low: u64, high: u64| high - low <= (high / limits::MEMORY_GRAIN).max(limits::MEMORY_STEP);
        let mut kills = 0;
        let mut starts = None;
        while !close(kills, holds) {
            let limit = kills + (holds - kills) / 2;
            let tried = self.tried_with(limit)?;
            if tried.killed {
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
            if self.tried_with(limit)?.started {
                starts = limit;
            } else {
                dead = limit;
            }
        }
        Ok(Some(Bounds { starts, kills }))
    }

    /// A run under this memory limit, as far as the first process that is killed for it.
    fn tried_with(&mut self, limit: u64) -> Result<Tried, SetupError> {
        let group = self.group()?;
        let mut stage = self.world.stage(Some(&self.snapshot))?;
        let mut runner = self.setting.runner(stage.as_mut())?;
        let fault = FaultRecord::new(memory::LIMIT, Some(&memory::text(limit)), Point::start(""));
        let outcome = runner.run(
            &Assignment {
                faults: &[fault],
                group,
                until_killed: true,
                ..assignment(&self.setting.scenario.subject.command, Detail::Plain, &Arc::default())
            },
            None,
        )?;
        runner.end_subject()?;
        let started = !outcome.seen.is_empty();
        let killed = outcome.memory.is_some_and(|memory| !memory.kills.is_empty());
        // One that could not even be loaded had no room to be killed in.
        Ok(Tried { killed: killed || !started, started })
    }
}
