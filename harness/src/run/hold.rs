//! Children that are held at their start: a hook that is slow, or that never comes back.

use std::time::{Duration, Instant};

use process_roulette_tracer::Stopped;

use crate::{event::FaultRecord, fault::Volley, limits};

use super::{RunError, Runner, strike::At};

/// A child on its way: from the point, which is its exec, to its end of being held.
pub(super) struct Hold {
    /// The run it belongs to.
    pub run: usize,
    pid: i32,
    fault: FaultRecord,
    time: Duration,
    /// What ends the waiting; empty: it goes on.
    volleys: Vec<Volley>,
    /// Since when, and what is held; `None`: it has not started yet.
    held: Option<(Instant, Stopped)>,
}

impl Hold {
    /// When to look at it again; `None`: it is not held yet.
    pub fn due(&self) -> Option<Instant> {
        self.held.as_ref().map(|(since, _)| (*since + self.time).min(Instant::now() + limits::HELD_LOOK))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.held.as_ref().is_some_and(|(since, _)| now >= *since + self.time)
    }
}

impl Runner<'_> {
    /// At the point: it is let start, and held then, so that it is the hook that hangs and not its
    /// parent, which waits for a vfork(2) to end.
    pub(super) fn hold_start(
        &mut self,
        run: usize,
        pid: i32,
        fault: FaultRecord,
        time: Duration,
        volleys: Vec<Volley>,
        task: Stopped,
    ) -> Result<(), RunError> {
        self.holds.push(Hold { run, pid, fault, time, volleys, held: None });
        Ok(task.resume()?)
    }

    /// A program was started: holds it if it is one that waits for that.
    pub(super) fn started(&mut self, task: Stopped) -> Result<(), RunError> {
        let pid = task.pid().as_raw();
        match self.holds.iter_mut().find(|hold| hold.pid == pid && hold.held.is_none()) {
            Some(hold) => {
                hold.held = Some((Instant::now(), task));
                Ok(())
            }
            None => Ok(task.resume()?),
        }
    }

    /// Lets go of those whose time is up, and of those that somebody has killed, who would not wait:
    /// a program that is held has no handlers yet. One whose run is about to be stopped waits until
    /// nothing else is pending.
    pub(super) fn let_go(&mut self) -> Result<(), RunError> {
        let now = Instant::now();
        loop {
            let killed = self.holds.iter().position(|hold| hold.held.is_some() && self.is_killed(hold.pid));
            let over = || {
                let free = |hold: &Hold| hold.volleys.is_empty() || self.pending.is_empty();
                self.holds.iter().position(|hold| hold.is_over(now) && free(hold))
            };
            let Some(position) = killed.or_else(over) else { return Ok(()) };
            let Hold { run, pid, fault, mut volleys, held, .. } = self.holds.swap_remove(position);
            if killed.is_some() {
                volleys.clear();
            }
            let (Some((since, task)), Some(place)) = (held, self.place_of(run)) else { continue };
            let progress = &mut self.active[place];
            // The subject is not to blame for the time.
            progress.deadline += now - since;
            progress.last_activity = now;
            if volleys.is_empty() {
                progress.outcome.run.faults.push(fault);
                task.resume()?;
            } else {
                self.first_volley(place, fault, volleys, Some(At::Started(task)), pid)?;
            }
        }
    }

    /// Whether a signal waits for this process that will end it once it may go on.
    fn is_killed(&self, pid: i32) -> bool {
        use nix::libc::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
        let ends = [SIGHUP, SIGINT, SIGQUIT, SIGALRM, SIGTERM, SIGUSR1, SIGUSR2];
        self.decoder.proc.dispositions(pid).is_some_and(|d| {
            let deadly = d.pending & !d.ignored & !d.blocked;
            ends.into_iter().any(|signal| deadly >> (signal - 1) & 1 == 1)
        })
    }

    /// A process ended: one that was held has been killed by somebody who would not wait.
    pub(super) fn hold_ended(&mut self, pid: i32) {
        if let Some(position) = self.holds.iter().position(|hold| hold.pid == pid) {
            self.end_hold(position);
        }
    }

    /// The runs are over, and with them what is held.
    pub(super) fn end_holds(&mut self) {
        while !self.holds.is_empty() {
            self.end_hold(0);
        }
    }

    fn end_hold(&mut self, position: usize) {
        let hold = self.holds.swap_remove(position);
        let Some(place) = self.place_of(hold.run) else { return };
        let outcome = &mut self.active[place].outcome;
        if hold.held.is_some() {
            outcome.run.faults.push(hold.fault);
        } else {
            outcome.no_occasion.push(format!("its program never started: {}", hold.fault));
        }
    }

    /// Whether a child of this run is held.
    pub(super) fn holds_for(&self, run: usize) -> bool {
        self.holds.iter().any(|hold| hold.run == run && hold.held.is_some())
    }
}
