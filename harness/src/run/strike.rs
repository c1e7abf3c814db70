//! How a fault is delivered at its point, and how it is proven that it was.

use std::{collections::HashSet, time::Instant};

use process_roulette_tracer::{self as tracer, Call, Stopped};

use crate::{
    artifact,
    event::FaultRecord,
    fault::{self, Act, CaAct, Recipients, Volley, When},
    front::Decision,
    gate::Arrival,
    invariant::End,
    limits,
};

use super::{Assignment, Detail, Listener, RunError, Runner, Told, runner::tell};

/// What is held at a point.
pub(super) enum At {
    /// A task before its syscall.
    Syscall(Stopped),
    /// A request before the CA.
    Request(Arrival),
}

/// A fault that was struck and is not yet done with.
pub(super) struct Pending {
    /// The run it was struck in.
    pub run: usize,
    fault: FaultRecord,
    /// What is held meanwhile.
    at: Option<At>,
    wait: Wait,
    since: Instant,
    /// When to look at it again.
    due: Instant,
}

enum Wait {
    /// Signals that are not yet proven to have arrived.
    Signals { signal: i32, awaited: HashSet<i32>, proven: bool, why_not: String },
    /// A second run, by its index; whether the first one is stopped as a whole.
    SecondRun { index: usize, stopped: bool },
}

impl Pending {
    /// When to look at it again.
    pub fn due(&self) -> Instant {
        self.due
    }

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

impl Volley {
    /// When it is sent, at the latest; at once when what it waits for has happened.
    pub(super) fn due(&self, since: Instant, leader_gone: bool) -> Instant {
        match self.when {
            When::AtPoint => since,
            When::LeaderGone(_) if leader_gone => since,
            When::LeaderGone(patience) | When::After(patience) => since + patience,
        }
    }
}

impl Runner<'_> {
    /// Strikes with a fault at its point.
    pub(super) fn strike(
        &mut self,
        place: usize,
        fault: FaultRecord,
        at: At,
        pid: i32,
        told: &mut Listener<'_>,
    ) -> Result<(), RunError> {
        tell(told, Told::Fault(&fault));
        let run = &mut self.active[place];
        run.struck = true;
        run.at_point = pid;
        let Some(act) = fault::find(&fault.fault).and_then(|known| known.act(&fault)) else {
            run.outcome.not_delivered.push(format!("there is no such fault: {fault}"));
            return self.release(at);
        };
        match (act, at) {
            (Act::Signals { volleys, .. }, at) => self.first_volley(place, fault, volleys, at, pid),
            (Act::SecondRun { stopped }, at) => self.second_run(place, fault, stopped, at, pid),
            (Act::Refuse { errno, from_here_on }, At::Syscall(task)) => {
                task.refuse(errno)?;
                run.refusing = from_here_on.then_some(errno);
                run.outcome.run.faults.push(fault);
                Ok(())
            }
            (Act::ShortWrite, At::Syscall(mut task)) => {
                match halved(&task) {
                    Some((index, half)) => {
                        task.set_argument(index, half)?;
                        run.outcome.run.faults.push(fault);
                    }
                    None => run.outcome.not_delivered.push(format!("the write cannot be cut: {fault}")),
                }
                Ok(task.resume()?)
            }
            (Act::Ca(act), At::Request(arrival)) => {
                run.outcome.run.faults.push(fault);
                self.trouble(&act, arrival);
                Ok(())
            }
            (Act::KillServer, at) => {
                self.server = None;
                self.restart_server = true;
                run.outcome.run.faults.push(fault);
                self.release(at)
            }
            (_, at) => {
                run.outcome.not_delivered.push(format!("the fault does not fit the point: {fault}"));
                self.release(at)
            }
        }
    }

    fn release(&mut self, at: At) -> Result<(), RunError> {
        match at {
            At::Syscall(task) => task.resume()?,
            // The client may be gone by now.
            At::Request(arrival) => drop(arrival.reply.send(Decision::Pass)),
        }
        Ok(())
    }

    fn trouble(&mut self, act: &CaAct, arrival: Arrival) {
        let decision = match act {
            CaAct::CutBefore => Decision::Cut,
            CaAct::CutAfter => {
                self.gate.cut_answer(arrival.request.number);
                Decision::Pass
            }
            CaAct::Delay(time) => Decision::Delay(*time),
            CaAct::Answer { status, problem, retry_after } => answer(*status, problem, *retry_after),
        };
        // A client that is gone does not wait for it.
        let _ = arrival.reply.send(decision);
    }

    fn first_volley(
        &mut self,
        place: usize,
        fault: FaultRecord,
        volleys: Vec<Volley>,
        at: At,
        pid: i32,
    ) -> Result<(), RunError> {
        let now = Instant::now();
        let run = &mut self.active[place];
        let index = run.index;
        run.volleys = volleys.into();
        run.volley_since = now;
        let first = run.volleys.front().is_some_and(|first| first.when == When::AtPoint);
        let Some(Volley { signal, to, .. }) = first.then(|| run.volleys.pop_front()).flatten() else {
            // It comes later: see send_volleys.
            run.outcome.run.faults.push(fault);
            return self.release(at);
        };
        let victims = self.recipients(&to, pid, index);
        if victims.is_empty() {
            self.active[place]
                .outcome
                .not_delivered
                .push(format!("there was nobody to get the signal: {fault}"));
            return self.release(at);
        }
        let own = victims.contains(&pid);
        // A signal to a process is taken by any of its threads; the one at the point must not go
        // on before one of them has. So it gets the signal itself, where it does not block it.
        let itself = match &at {
            At::Syscall(task) if own && signal != nix::libc::SIGKILL => Some(task.tid().as_raw()),
            _ => None,
        };
        let itself = itself.filter(|tid| {
            self.decoder.proc.dispositions(*tid).is_some_and(|d| d.blocked >> (signal - 1) & 1 == 0)
        });
        for victim in &victims {
            // One that died of another's death a moment ago is proven dead by its end.
            match itself {
                Some(tid) if *victim == pid => signal_task(pid, tid, signal)?,
                _ => signal_process(*victim, signal)?,
            }
        }
        let held = match at {
            // It dies at this stop: the syscall does not run.
            At::Syscall(task) if own && signal == nix::libc::SIGKILL => {
                drop(task);
                None
            }
            At::Syscall(task) if itself.is_some() => {
                task.postpone()?;
                None
            }
            at => {
                self.active[place].spared = (!own).then_some(pid);
                Some(at)
            }
        };
        self.pending = Some(Pending {
            run: index,
            fault,
            at: held,
            wait: Wait::Signals {
                signal,
                awaited: victims.into_iter().collect(),
                proven: false,
                why_not: String::new(),
            },
            since: now,
            due: now + limits::SIGNAL_PROOF,
        });
        Ok(())
    }

    /// Who gets a signal, those nearer to the leader first.
    fn recipients(&self, to: &Recipients, at_point: i32, run: usize) -> Vec<i32> {
        let processes = &self.processes;
        let tree = processes.of_run(run);
        match to {
            Recipients::Process => vec![at_point],
            Recipients::Leader => processes.leader(run).into_iter().collect(),
            Recipients::Tree => tree,
            Recipients::Matching(text) => tree
                .into_iter()
                .filter(|pid| self.decoder.proc.arguments(*pid).join(" ").contains(text))
                .collect(),
            Recipients::Group => {
                let group = |pid: i32| nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).ok();
                let wanted = processes.leader(run).and_then(group);
                tree.into_iter().filter(|pid| wanted.is_some() && group(*pid) == wanted).collect()
            }
        }
    }

    /// Sends the signals that follow the first ones, when their time has come.
    pub(super) fn send_volleys(&mut self) -> Result<(), RunError> {
        for place in 0..self.active.len() {
            let run = &self.active[place];
            if self.pending.as_ref().is_some_and(|pending| pending.run == run.index) {
                continue;
            }
            let Some(next) = run.volleys.front() else { continue };
            if Instant::now() < next.due(run.volley_since, run.outcome.run.end.is_some()) {
                continue;
            }
            let (index, at_point) = (run.index, run.at_point);
            let Some(volley) = self.active[place].volleys.pop_front() else { continue };
            for victim in self.recipients(&volley.to, at_point, index) {
                signal_process(victim, volley.signal)?;
            }
            self.active[place].volley_since = Instant::now();
        }
        Ok(())
    }

    fn second_run(
        &mut self,
        place: usize,
        fault: FaultRecord,
        stopped: bool,
        at: At,
        pid: i32,
    ) -> Result<(), RunError> {
        let first = self.active[place].index;
        self.active[place].collided = true;
        if stopped {
            for other in self.processes.of_run(first).into_iter().filter(|other| *other != pid) {
                signal_process(other, nix::libc::SIGSTOP)?;
            }
        }
        let command = self.scenario.subject.command.clone();
        let known = self.active[place].known.clone();
        let index =
            self.start(&Assignment { command: &command, faults: &[], detail: Detail::Plain, known })?;
        let now = Instant::now();
        let due = now + limits::SECOND_RUN_BLOCKED;
        let wait = Wait::SecondRun { index, stopped };
        self.pending = Some(Pending { run: first, fault, at: Some(at), wait, since: now, due });
        Ok(())
    }

    /// A run has come to an effect that belongs to the state-changing part.
    pub(super) fn intrusion(&mut self, place: usize, text: String) {
        let Some(Pending { run, wait: Wait::SecondRun { index, .. }, .. }) = &self.pending else { return };
        if self.active[place].index != *index {
            return;
        }
        let Some(first) = self.place_of(*run) else { return };
        let first = &mut self.active[first];
        // The effect at the point has been counted and has not happened.
        let before = first.exclusive_done.saturating_sub(1);
        first.intruded.get_or_insert_with(|| (before, Vec::new())).1.push(text);
    }

    /// Goes on once what is pending is done with. `empty`: no process is left at all.
    pub(super) fn settle_pending(&mut self, empty: bool) -> Result<(), RunError> {
        let Some(pending) = &mut self.pending else { return Ok(()) };
        let now = Instant::now();
        let mut proven = true;
        let mut why_not = String::new();
        match &mut pending.wait {
            Wait::Signals { signal, awaited, proven: seen, why_not: why } => {
                if !awaited.is_empty() && !empty {
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
        let Some(pending) = self.pending.take() else { return Ok(()) };
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
        match pending.at {
            // A victim's connection is closed before the CA has acted.
            Some(At::Request(arrival)) if alive.is_empty() => drop(arrival.reply.send(Decision::Cut)),
            Some(at) => self.release(at)?,
            None => {}
        }
        Ok(())
    }
}

/// Which argument of a write is its length, and half of that.
fn halved(task: &Stopped) -> Option<(usize, u64)> {
    let syscall = task.syscall()?;
    let index = match syscall.call {
        Call::Write | Call::Pwrite64 | Call::Writev | Call::Pwritev | Call::Pwritev2 => 2,
        Call::Sendfile => 3,
        Call::CopyFileRange | Call::Splice => 4,
        _ => return None,
    };
    let half = syscall.args[index] / 2;
    (half > 0).then_some((index, half))
}

fn answer(status: u16, problem: &str, retry_after: Option<&str>) -> Decision {
    let mut headers = vec![("content-type".to_owned(), "application/problem+json".to_owned())];
    headers.extend(retry_after.map(|value| ("retry-after".to_owned(), value.to_owned())));
    let body = if problem.is_empty() {
        "<html>503 backend fetch failed".to_owned()
    } else {
        format!(
            "{{\"type\":\"urn:ietf:params:acme:error:{problem}\",\"detail\":\"injected by process-roulette\",\"status\":{status}}}"
        )
    };
    Decision::Answer { status, headers, body: body.into_bytes() }
}

/// Sends a signal; a process that is already gone is fine.
pub(super) fn signal_process(pid: i32, number: i32) -> Result<(), RunError> {
    tracer::signal_process(tracer::Pid::from_raw(pid), signal(number)?)?;
    Ok(())
}

/// The same to one task of a process.
fn signal_task(pid: i32, tid: i32, number: i32) -> Result<(), RunError> {
    tracer::signal_task(tracer::Pid::from_raw(pid), tracer::Pid::from_raw(tid), signal(number)?)?;
    Ok(())
}

fn signal(number: i32) -> Result<tracer::Signal, RunError> {
    tracer::Signal::try_from(number)
        .map_err(|error| RunError::Io { tried: format!("name signal {number}"), source: error.into() })
}
