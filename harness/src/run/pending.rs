//! Faults that were struck and are not yet done with: signals until they are proven to have arrived,
//! second runs until they end or block.

use std::{collections::HashSet, time::Instant};

use crate::{artifact, event::FaultRecord, fault::When, front::Decision, invariant::End, limits};

use super::{
    RunError, Runner,
    inside::Step,
    strike::{At, signal_process},
};

/// A fault that was struck and is not yet done with.
pub(super) struct Pending {
    /// The run it was struck in.
    pub run: usize,
    pub fault: FaultRecord,
    /// What is held meanwhile.
    pub at: Option<At>,
    /// The step of the state-changing part that waits with it.
    pub step: Option<Step>,
    pub wait: Wait,
    pub since: Instant,
    /// When to look at it again.
    pub due: Instant,
}

/// What a pending fault waits for.
pub(super) enum Wait {
    /// Signals that are not yet proven to have arrived.
    Signals { signal: i32, awaited: HashSet<i32>, proven: bool, why_not: String },
    /// A second run, by its index; whether the first one is stopped as a whole.
    SecondRun { index: usize, stopped: bool },
}

impl Pending {
    /// The second run that is waited for, if that is what is waited for.
    pub fn second(&self) -> Option<usize> {
        match self.wait {
            Wait::SecondRun { index, .. } => Some(index),
            Wait::Signals { .. } => None,
        }
    }

    /// A process ended.
    pub fn ended(&mut self, pid: i32, end: End) {
        if let Wait::Signals { signal, awaited, proven, .. } = &mut self.wait
            && awaited.remove(&pid)
            && end == End::Killed(*signal)
        {
            *proven = true;
        }
    }

    /// A signal is being delivered.
    pub fn arrived(&mut self, pid: i32, number: i32) {
        if let Wait::Signals { signal, awaited, proven, .. } = &mut self.wait
            && *signal == number
            && awaited.remove(&pid)
        {
            *proven = true;
        }
    }
}

impl Runner<'_> {
    /// Whether something is pending that was struck in this run.
    pub(super) fn waits(&self, run: usize) -> bool {
        self.pending.iter().any(|pending| pending.run == run)
    }

    /// Goes on with what is done with of all that is pending. `empty`: no process is left at all.
    pub(super) fn settle_pending(&mut self, empty: bool) -> Result<(), RunError> {
        // What was struck last first: a second run is over when its own fault is done with.
        for place in (0..self.pending.len()).rev() {
            self.settle(place, empty)?;
        }
        Ok(())
    }

    /// Whether the leader is about to die of what it was sent, and others are to go with it.
    fn leader_dies(&self, pending: &Pending) -> bool {
        let Wait::Signals { signal, .. } = pending.wait else { return false };
        let Some(run) = self.place_of(pending.run).map(|place| &self.active[place]) else { return false };
        let next = run.volleys.front().map(|volley| volley.when);
        matches!(next, Some(When::LeaderGone(_)))
            && run.outcome.run.end.is_none()
            && self.decoder.proc.dispositions(run.leader).is_some_and(|does| does.is_default(signal))
    }

    fn settle(&mut self, place: usize, empty: bool) -> Result<(), RunError> {
        let leader_dies = self.leader_dies(&self.pending[place]);
        let pending = &mut self.pending[place];
        let now = Instant::now();
        let mut proven = true;
        let mut why_not = String::new();
        match &mut pending.wait {
            Wait::Signals { signal, awaited, proven: seen, why_not: why } => {
                if (!awaited.is_empty() || leader_dies) && !empty {
                    if now < pending.due {
                        return Ok(());
                    }
                    for pid in awaited.iter() {
                        let bit = 1u64 << (*signal - 1);
                        match self.decoder.proc.dispositions(*pid) {
                            // Queued by the kernel: it has arrived, and acts when the process
                            // lets it. Or the process does not care, which is an answer too.
                            Some(d) if (d.pending | d.ignored) & bit != 0 => *seen = true,
                            Some(_) => {
                                *why = format!("no trace of the signal in {}", self.decoder.proc.doing(*pid));
                            }
                            None => *seen = true,
                        }
                    }
                }
                proven = *seen;
                why_not = std::mem::take(why);
            }
            Wait::SecondRun { index, .. } => {
                let second = self.active.iter().find(|run| run.index == *index);
                let quiet_since = second.filter(|run| !run.over).map(|run| run.last_activity);
                if let Some(quiet_since) = quiet_since
                    && !empty
                {
                    let due = quiet_since + limits::SECOND_RUN_BLOCKED;
                    // One that is quiet for long waits for the first one, and both go on now.
                    if now < due {
                        pending.due = due;
                        return Ok(());
                    }
                }
            }
        }
        let pending = self.pending.remove(place);
        self.inside.extend(pending.step);
        let Some(place) = self.place_of(pending.run) else { return Ok(()) };
        let alive = self.processes.of_run(pending.run);
        let run = &mut self.active[place];
        run.last_activity = now;
        // The subject is not to blame for the time it was held.
        run.deadline += now - pending.since;
        if proven {
            run.outcome.run.faults.push(pending.fault);
        } else {
            run.outcome
                .not_delivered
                .push(format!("not proven to have arrived: {} ({why_not})", pending.fault));
        }
        if let (Wait::SecondRun { .. }, Some(artifact)) = (&pending.wait, self.scenario.artifacts.first()) {
            run.outcome.between = artifact::read(artifact).fingerprint;
        }
        if let Wait::SecondRun { stopped: true, .. } = pending.wait {
            for pid in &alive {
                signal_process(*pid, nix::libc::SIGCONT)?;
            }
        }
        // Whoever goes with the leader does not get past the point any more: the kernel ends a PID
        // namespace with its process 1.
        let all_killed = self.send_volley(place)?;
        match pending.at {
            // A victim's connection is closed before the CA has acted.
            Some(At::Request(arrival)) if alive.is_empty() || all_killed => {
                drop(arrival.reply.send(Decision::Cut));
            }
            Some(at) => self.release(at)?,
            None => {}
        }
        Ok(())
    }
}
