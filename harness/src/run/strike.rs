//! How a fault is delivered at its point, and how it is proven that it was.

use std::time::{Duration, Instant};

use process_roulette_tracer::{self as tracer, Call, Stopped};

use crate::{
    event::FaultRecord,
    fault::{self, Act, CaAct, Recipients, Volley, When},
    front::Decision,
    gate::Arrival,
    limits,
};

use super::{
    Assignment, Detail, Listener, RunError, Runner, Told,
    inside::Step,
    observe::told_short,
    pending::{Pending, Wait},
    runner::tell,
};

/// What is held at a point.
pub(super) enum At {
    /// A task before its syscall.
    Syscall(Stopped),
    /// A task right after its exec, before its first instruction.
    Started(Stopped),
    /// A request before the CA.
    Request(Arrival),
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
        run.outcome.struck_at.get_or_insert(run.outcome.seen.len());
        run.at_point = pid;
        let Some(act) = fault::act(&fault) else {
            run.outcome.not_delivered.push(format!("there is no such fault: {fault}"));
            return self.release(at);
        };
        // The effect at the point has been noted: it happens later, or not at all.
        let step = match (&act, run.outcome.seen.last()) {
            (Act::Signals { .. } | Act::SecondRun { .. } | Act::Refuse { .. }, Some(seen)) => {
                self.inside.hold(run.index, &told_short(&seen.point, &seen.effect))
            }
            _ => None,
        };
        match (act, at) {
            (Act::Signals { volleys, .. }, at) => self.first_volley(place, fault, volleys, Some(at), pid),
            (Act::SecondRun { stopped }, at) => self.second_run(place, fault, stopped, at, step),
            (Act::MoreRuns { shares }, at) => {
                let now = Instant::now();
                run.collided = true;
                self.starts = shares.iter().map(|share| now + run.known.takes * *share / 100).collect();
                run.outcome.run.faults.push(fault);
                self.release(at)
            }
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
            (Act::FillDisk, at) => {
                match self.stage.fill() {
                    Ok(0) => {
                        self.disk_full = true;
                        run.refused_for_room = Some(0);
                        run.outcome.run.faults.push(fault);
                    }
                    Ok(free) => {
                        run.outcome.not_delivered.push(format!("{free} blocks are still free: {fault}"));
                    }
                    Err(error) => run.outcome.not_delivered.push(format!("{error}: {fault}")),
                }
                self.go_on(place, at)
            }
            (Act::Ca(act), At::Request(arrival)) => {
                run.outcome.run.faults.push(fault);
                if act == CaAct::Processing {
                    // Clients ask for long before they give up, and may.
                    run.deadline += limits::PROCESSING_PATIENCE;
                }
                self.trouble(&act, arrival);
                Ok(())
            }
            (Act::HoldStart { time, volleys }, At::Syscall(task)) => {
                let index = run.index;
                self.hold_start(index, pid, fault, time, volleys, task)
            }
            (Act::RefuseReloads, at) => {
                let refuses = match &mut self.server {
                    Some(server) if server.is_alive() => server.refuse_reloads(true).map(drop),
                    // It does not start again either.
                    _ => Ok(()),
                };
                self.reloads_refused = true;
                match refuses {
                    Ok(()) => run.outcome.run.faults.push(fault),
                    Err(error) => run.outcome.not_delivered.push(format!("{error}: {fault}")),
                }
                self.release(at)
            }
            (Act::LowerMemory { all }, at) => {
                match &mut run.confined {
                    Some(confined) => confined.lower(fault, all),
                    None => {
                        run.outcome.not_delivered.push(format!("the run is in no control group: {fault}"));
                    }
                }
                self.release(at)
            }
            (Act::KillServer, at) => {
                self.server = None;
                self.restart_server = true;
                run.outcome.run.faults.push(fault);
                self.release(at)
            }
            (Act::StepClock { seconds }, at) => {
                // Proven when the run is over: see `settle_clock`.
                run.stepped.push(fault);
                self.tracer.step_clock(seconds);
                self.release(at)
            }
            (_, at) => {
                run.outcome.not_delivered.push(format!("the fault does not fit the point: {fault}"));
                self.release(at)
            }
        }
    }

    /// Lets the effect happen, and looks at what came of it where the disk is full.
    fn go_on(&mut self, place: usize, at: At) -> Result<(), RunError> {
        match at {
            At::Syscall(task) if self.disk_full => {
                let last = self.active[place].outcome.seen.len().saturating_sub(1);
                self.active[place].returning.insert(task.tid().as_raw(), last);
                Ok(task.resume_and_stop_after()?)
            }
            at => self.release(at),
        }
    }

    pub(super) fn release(&mut self, at: At) -> Result<(), RunError> {
        match at {
            At::Syscall(task) | At::Started(task) => task.resume()?,
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
            CaAct::Processing => {
                self.gate.keep_processing();
                Decision::Pass
            }
            CaAct::Answer { status, problem, retry_after } => answer(*status, problem, *retry_after),
        };
        // A client that is gone does not wait for it.
        let _ = arrival.reply.send(decision);
    }

    pub(super) fn first_volley(
        &mut self,
        place: usize,
        fault: FaultRecord,
        volleys: Vec<Volley>,
        at: Option<At>,
        pid: i32,
    ) -> Result<(), RunError> {
        let now = Instant::now();
        let run = &mut self.active[place];
        let index = run.index;
        run.volleys = volleys.into();
        run.volley_since = now;
        let Some(Volley { signal, to, .. }) = run.volleys.pop_front() else {
            return at.map_or(Ok(()), |at| self.release(at));
        };
        let victims = self.recipients(&to, pid, index);
        if victims.is_empty() {
            self.active[place]
                .outcome
                .no_occasion
                .push(format!("there was nobody to get the signal: {fault}"));
            return at.map_or(Ok(()), |at| self.release(at));
        }
        if signal == nix::libc::SIGKILL {
            self.dying.extend(&victims);
            if to == Recipients::Tree {
                self.killed.insert(index);
            }
        }
        let own = victims.contains(&pid);
        // A signal to a process is taken by any of its threads; the one at the point must not go
        // on before one of them has. So it gets the signal itself, where it does not block it.
        let itself = match &at {
            Some(At::Syscall(task)) if own && signal != nix::libc::SIGKILL => Some(task.tid().as_raw()),
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
            Some(At::Syscall(task)) if own && signal == nix::libc::SIGKILL => {
                drop(task);
                None
            }
            Some(At::Syscall(task)) if itself.is_some() => {
                task.postpone()?;
                None
            }
            // What hangs and ignores the signal hangs on, until it is killed.
            Some(At::Started(task)) if own && self.ignores(pid, signal) => {
                drop(task);
                None
            }
            Some(At::Started(task)) if own => {
                task.resume()?;
                None
            }
            at => {
                self.active[place].spared = (!own).then_some(pid);
                at
            }
        };
        self.pending.push(Pending {
            run: index,
            fault,
            at: held,
            step: None,
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

    fn ignores(&self, pid: i32, signal: i32) -> bool {
        self.decoder.proc.dispositions(pid).is_some_and(|d| d.ignored >> (signal - 1) & 1 == 1)
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
            if !self.waits(self.active[place].index) {
                self.send_volley(place)?;
            }
        }
        Ok(())
    }

    /// The next of them, if its time has come. Whether it killed all of the run.
    pub(super) fn send_volley(&mut self, place: usize) -> Result<bool, RunError> {
        let run = &mut self.active[place];
        let leader_gone = run.outcome.run.end.is_some();
        let is_due = |next: &Volley| Instant::now() >= next.due(run.volley_since, leader_gone);
        if !run.volleys.front().is_some_and(is_due) {
            return Ok(false);
        }
        let Some(volley) = run.volleys.pop_front() else { return Ok(false) };
        run.volley_since = Instant::now();
        let (index, at_point) = (run.index, run.at_point);
        for victim in self.recipients(&volley.to, at_point, index) {
            if volley.signal == nix::libc::SIGKILL {
                self.dying.insert(victim);
            }
            signal_process(victim, volley.signal)?;
        }
        let all_killed = volley.to == Recipients::Tree && volley.signal == nix::libc::SIGKILL;
        if all_killed {
            self.killed.insert(index);
        }
        Ok(all_killed)
    }

    fn second_run(
        &mut self,
        place: usize,
        fault: FaultRecord,
        stopped: bool,
        at: At,
        step: Option<Step>,
    ) -> Result<(), RunError> {
        let first = self.active[place].index;
        self.active[place].collided = true;
        if stopped {
            // The process at the point too: it may have other threads.
            for process in self.processes.of_run(first) {
                signal_process(process, nix::libc::SIGSTOP)?;
            }
        }
        let command = self.scenario.subject.command.clone();
        let known = self.active[place].known.clone();
        let faults = std::mem::take(&mut self.for_second);
        // What a second one does is looked at as closely only where it is for further faults.
        let detail = match self.active[place].detail {
            Detail::Census => Detail::Plain,
            other => other,
        };
        let index =
            self.start(&Assignment { faults: &faults, ..Assignment::new(&command, detail, &known) })?;
        let now = Instant::now();
        let due = now + limits::SECOND_RUN_BLOCKED;
        let wait = Wait::SecondRun { index, stopped };
        self.pending.push(Pending { run: first, fault, at: Some(at), step, wait, since: now, due });
        Ok(())
    }

    /// Starts the runs whose time has come.
    pub(super) fn start_more(&mut self) -> Result<(), RunError> {
        while self.starts.first().is_some_and(|start| *start <= Instant::now()) {
            self.starts.remove(0);
            let command = self.scenario.subject.command.clone();
            let Some(known) = self.active.first().map(|first| first.known.clone()) else { return Ok(()) };
            let index = self.start(&Assignment::new(&command, Detail::Plain, &known))?;
            if let Some(place) = self.place_of(index) {
                self.active[place].collided = true;
            }
        }
        Ok(())
    }

    /// Strikes with faults whose time has come.
    pub(super) fn strike_in_time(&mut self, told: &mut Listener<'_>) -> Result<(), RunError> {
        let now = Instant::now();
        for place in 0..self.active.len() {
            let run = &mut self.active[place];
            if run.outcome.run.end.is_some() {
                continue;
            }
            let started = run.started;
            let due = |fault: &FaultRecord| in_time(fault, started).is_some_and(|at| at <= now);
            let Some(position) = run.open_faults.iter().position(due) else { continue };
            let fault = run.open_faults.remove(position);
            tell(told, Told::Fault(&fault));
            run.struck = true;
            run.outcome.struck_at.get_or_insert(run.outcome.seen.len());
            let act = fault::act(&fault);
            // Whoever is at work: the youngest.
            let index = run.index;
            let youngest = self.processes.of_run(index).last().copied();
            match (act, youngest) {
                (Some(Act::Signals { volleys, .. }), Some(pid)) => {
                    self.active[place].at_point = pid;
                    self.first_volley(place, fault, volleys, None, pid)?;
                }
                _ => self.active[place]
                    .outcome
                    .not_delivered
                    .push(format!("it cannot strike at a time: {fault}")),
            }
        }
        Ok(())
    }
}

/// When a fault that waits for a time strikes in a run that started then.
pub(super) fn in_time(fault: &FaultRecord, started: Instant) -> Option<Instant> {
    fault.after_ms.map(|ms| started + Duration::from_millis(ms))
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
