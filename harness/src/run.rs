//! Traced runs of the subject on a stage: names every effect, strikes with a fault at its point,
//! and keeps what judges need to know.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use process_roulette_tracer::{self as tracer, Status, Stop, Stopped, Tracer};

use crate::{
    artifact,
    effect::{Class, Decoded, Decoder, Effect},
    event::FaultRecord,
    fault,
    front::{Ca, Decision, issuance},
    gate::{Arrival, RequestGate},
    invariant::{End, Run, Survivor},
    limits, lock,
    point::{Point, Side},
    process::{Table, program_name},
    procfs::Proc,
    role::Roles,
    scenario::Scenario,
    state,
    target::{Server, ServerSpec, served},
    world::{Stage, WorldError, control},
};

/// What can go wrong with a run that is not the subject's doing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The tracer failed.
    #[error("failed to trace the subject: {0}")]
    Tracer(#[from] tracer::Error),
    /// The command could not be started.
    #[error("failed to start `{command}`: {source}")]
    Spawn {
        /// The command line.
        command: String,
        /// Which step failed and why.
        source: tracer::SpawnError,
    },
    /// The world failed.
    #[error(transparent)]
    World(#[from] WorldError),
    /// Something else of the system's.
    #[error("failed to {tried}: {source}")]
    Io {
        /// What was tried, on what.
        tried: String,
        /// What went wrong.
        source: std::io::Error,
    },
}

/// How closely a run is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Effects are named as they come, which is all that faults need.
    Plain,
    /// Each effect is also looked at afterwards: did it succeed, was the lock held, is a key
    /// exposed, is a certificate served.
    Census,
}

/// One effect as a run came to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What it is.
    pub effect: Effect,
    /// The instant before it.
    pub point: Point,
    /// The acting process, by the tracer's process id.
    pub pid: i32,
    /// Whether it was the leader's own.
    pub by_leader: bool,
    /// Live processes of the run.
    pub processes: u32,
    /// Whether it failed and so changed nothing; known in a census only.
    pub failed: bool,
    /// Whether somebody had the lock; known in a census only.
    pub locked: Option<bool>,
    /// Whether SIGTERM would end the acting process at once.
    pub default_sigterm: bool,
}

/// What is told while a run goes on, for a narrated replay.
#[derive(Debug)]
pub enum Told<'a> {
    /// An effect is about to happen.
    Effect(&'a Seen),
    /// An effect has happened (after `Effect`; census detail only), with an error number if it
    /// failed.
    Done(&'a Seen),
    /// A fault was struck.
    Fault(&'a FaultRecord),
    /// The state of key, certificate, lock and served certificate after that.
    State(&'a [String]),
    /// A process ended.
    Ended(String, End),
}

/// One run to be made.
pub struct Assignment<'a, 't> {
    /// The command.
    pub command: &'a [String],
    /// Faults to strike with, each once.
    pub faults: &'a [FaultRecord],
    /// How closely to watch.
    pub detail: Detail,
    /// Points that a clean run comes to with the lock held: coming to one of them without the
    /// lock, after a fault, is running unlocked.
    pub locked_points: Option<&'a HashSet<Point>>,
    /// Lineages that a clean run leaves running: not waited for.
    pub left_by_clean_run: &'a [String],
    /// Told what happens.
    pub told: Option<&'t mut dyn FnMut(Told<'_>)>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What judges look at.
    pub run: Run,
    /// Every effect, in order.
    pub seen: Vec<Seen>,
    /// Faults whose point was not reached, or that could not be proven, with the reason.
    pub not_delivered: Vec<String>,
    /// Why some of what the subject did was not seen, if that is so.
    pub unseen: Option<&'static str>,
    /// Addresses outside that it tried to reach (told in a bare world only, where they are
    /// refused by the tracer).
    pub refused: Vec<String>,
    /// What it was doing when its deadline came.
    pub stuck: Option<String>,
}

/// Runs the subject on one stage, one run after the other.
pub struct Runner<'a> {
    tracer: Tracer,
    decoder: Decoder,
    scenario: &'a Scenario,
    ca: Arc<Ca>,
    stage: &'a mut dyn Stage,
    server: Option<Server>,
    server_spec: ServerSpec,
    control: &'a Calls,
    processes: Table,
    runs: usize,
    gate: Arc<RequestGate>,
    arrivals: mpsc::Receiver<Arrival>,
}

/// Calls of shims to the world's control socket, taken up by whichever runner is at work.
#[derive(Debug)]
pub struct Calls {
    calls: mpsc::Receiver<(control::Request, mpsc::Sender<control::Response>)>,
    waker: Arc<Mutex<Option<tracer::Waker>>>,
}

impl Calls {
    /// The handler for [`control::Control::listen`], and where its calls arrive.
    pub fn new() -> (impl Fn(control::Request) -> control::Response + Send + 'static, Calls) {
        let (sender, calls) = mpsc::channel();
        let waker: Arc<Mutex<Option<tracer::Waker>>> = Arc::default();
        let slot = waker.clone();
        let handler = move |request| {
            let (answer, answered) = mpsc::channel();
            let gone = || "no run is under way".to_owned();
            sender.send((request, answer)).map_err(|_| gone())?;
            match slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                Some(waker) => waker.wake(),
                None => return Err(gone()),
            }
            answered
                .recv_timeout(limits::CONTROL)
                .map_err(|_| "the harness did not answer in time".to_owned())?
        };
        (handler, Calls { calls, waker })
    }

    fn wake(&self, waker: Option<tracer::Waker>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
        while self.calls.try_recv().is_ok() {}
    }
}

/// Signals that were sent and are not yet proven to have arrived.
struct Pending {
    fault: FaultRecord,
    signal: i32,
    awaited: HashSet<i32>,
    since: Instant,
    /// The task at the point, held until the others have got their signal.
    held: Option<Stopped>,
    /// The request at the point, likewise.
    request: Option<tokio::sync::oneshot::Sender<Decision>>,
    proven: bool,
    why_not: String,
}

struct State<'b, 't, 'c> {
    index: usize,
    leader: i32,
    outcome: Outcome,
    occurrences: HashMap<(String, String, String), u32>,
    roles: Roles,
    /// In census detail: what each stopped task is running, to be looked at when it returns.
    returning: HashMap<i32, usize>,
    names: HashMap<i32, String>,
    open_faults: Vec<FaultRecord>,
    pending: Option<Pending>,
    struck: bool,
    /// The task that was held at the point: its one effect is allowed to happen.
    spared: Option<i32>,
    last_activity: Instant,
    /// The first grace is over, and what is left was found to hold the lock.
    patience: bool,
    assignment: &'c mut Assignment<'b, 't>,
}

impl<'a> Runner<'a> {
    /// Gets ready to run on `stage`.
    pub fn new(
        scenario: &'a Scenario,
        ca: Arc<Ca>,
        stage: &'a mut dyn Stage,
        server_spec: ServerSpec,
        control: &'a Calls,
        proc: Proc,
        root: String,
    ) -> Result<Runner<'a>, RunError> {
        let tracer =
            Tracer::new(tracer::Options { connect: !root.is_empty(), ..tracer::Options::default() })?;
        let (gate, arrivals) = RequestGate::new(tracer.waker());
        control.wake(Some(tracer.waker()));
        ca.set_gate(Some(gate.clone()));
        // What an earlier stage's killed runs left under way belongs to nobody here.
        ca.take_requests();
        let decoder = Decoder { proc, root, server: None };
        Ok(Runner {
            tracer,
            decoder,
            scenario,
            ca,
            stage,
            server: None,
            server_spec,
            control,
            processes: Table::default(),
            runs: 0,
            gate,
            arrivals,
        })
    }

    /// Starts the world's server, as at boot.
    pub fn start_server(&mut self) -> Result<(), WorldError> {
        self.server = None;
        let server = Server::start(self.stage, &self.server_spec)?;
        self.decoder.server = self.decoder.proc.inner_pid(server.pid());
        self.server = Some(server);
        Ok(())
    }

    /// Ends the world's server, as at shutdown. Must come before the stage is cleared: a PID
    /// namespace's end waits for its dead to be reaped.
    pub fn end_server(&mut self) {
        self.server = None;
    }

    /// The procfs where process ids are the tracer's.
    pub fn proc(&self) -> &Proc {
        &self.decoder.proc
    }

    /// The stage.
    pub fn stage(&mut self) -> &mut dyn Stage {
        self.stage
    }

    /// Asks the server what it serves, once it has acted on every reload sent to it.
    pub fn served(&mut self) -> Result<crate::target::Served, String> {
        if let Some(server) = &mut self.server {
            if let Err(error) = server.settle() {
                return Err(format!("the server is gone: {error}"));
            }
        }
        let name = self.scenario.artifacts.first().and_then(|a| a.domains.first()).map_or("", String::as_str);
        served(self.server_spec.tls, name)
    }

    /// The state of key, certificate, lock and served certificate, a line each.
    pub fn state(&mut self) -> Vec<String> {
        let served = self.served();
        let lock = lock::state(self.scenario.lock.as_ref(), &self.decoder.proc);
        let artifacts: Vec<_> = self.scenario.artifacts.iter().map(artifact::read).collect();
        state::describe(&artifacts, &served, &lock)
    }

    /// Kills every process of the subject that is left.
    pub fn end_subject(&mut self) -> Result<(), RunError> {
        self.tracer.kill_all()?;
        Ok(())
    }

    /// Runs the command to its end, with its faults.
    pub fn run(&mut self, mut assignment: Assignment<'_, '_>) -> Result<Outcome, RunError> {
        let output = Output::new()?;
        let mut command = self.stage.command(assignment.command);
        command.stdout = Some(output.writer()?);
        command.stderr = Some(output.writer()?);
        self.gate.begin(&assignment);
        let started = Instant::now();
        let leader = self
            .tracer
            .spawn(&command)
            .map_err(|source| RunError::Spawn { command: assignment.command.join(" "), source })?;
        let index = self.runs;
        self.runs += 1;
        self.processes.led(leader.as_raw(), index);
        let open_faults = assignment.faults.to_vec();
        let mut state = State {
            index,
            leader: leader.as_raw(),
            outcome: Outcome::default(),
            occurrences: HashMap::new(),
            roles: Roles::default(),
            returning: HashMap::new(),
            names: HashMap::new(),
            open_faults,
            pending: None,
            struck: false,
            spared: None,
            last_activity: started,
            patience: false,
            assignment: &mut assignment,
        };
        let result = self.drive(&mut state, started);
        self.gate.end();
        result?;
        let State { mut outcome, open_faults, .. } = state;
        for fault in open_faults {
            outcome.not_delivered.push(format!("the point was not reached: {}", fault.point));
        }
        let requests = self.ca.take_requests();
        let issued = issuance(&requests);
        outcome.run.orders = issued.orders;
        outcome.run.certificates = issued.certificates;
        outcome.run.output = output.text(limits::OUTPUT_KEPT);
        outcome.run.wall_ms = started.elapsed().as_millis() as u64;
        Ok(outcome)
    }

    fn drive(&mut self, state: &mut State<'_, '_, '_>, started: Instant) -> Result<(), RunError> {
        let deadline = started + self.scenario.subject.deadline;
        let mut look_at = deadline;
        loop {
            let leader_gone = state.outcome.run.end.is_some();
            if leader_gone && state.pending.is_none() {
                if self.processes.of_run(state.index).is_empty() {
                    return Ok(());
                }
                if !state.patience {
                    look_at = look_at.min(state.last_activity + self.grace(state));
                }
            }
            let wait_until = match &state.pending {
                Some(pending) => deadline.min(pending.since + limits::SIGNAL_PROOF),
                None => look_at,
            };
            match self.tracer.wait(Some(wait_until))? {
                tracer::Event::Stopped(task) => {
                    self.stopped(state, task)?;
                    look_at = deadline;
                }
                tracer::Event::Forked { parent, child, thread } => {
                    if !thread {
                        self.processes.forked(parent.as_raw(), child.as_raw());
                    }
                }
                tracer::Event::Ended(ended) => {
                    if ended.leader {
                        self.ended(state, ended.pid.as_raw(), ended.status, ended.cpu);
                    }
                    look_at = deadline;
                }
                tracer::Event::Woken => self.woken(state)?,
                tracer::Event::Empty => {
                    self.settle_pending(state, true)?;
                    if state.outcome.run.end.is_none() {
                        state.outcome.run.end = Some(End::Killed(nix::libc::SIGKILL));
                    }
                    return Ok(());
                }
                tracer::Event::TimedOut => {
                    if state.pending.is_some() {
                        self.settle_pending(state, false)?;
                    } else if Instant::now() >= deadline {
                        self.deadline_passed(state)?;
                    } else if leader_gone && self.given_up(state) {
                        self.survivors(state);
                        return Ok(());
                    } else {
                        look_at = deadline.min(Instant::now() + limits::SURVIVORS);
                        state.patience = true;
                    }
                }
            }
            self.settle_pending(state, false)?;
        }
    }

    /// How long processes that outlive the leader may be quiet before they count as left.
    fn grace(&self, state: &State<'_, '_, '_>) -> Duration {
        let known = self.processes.of_run(state.index).iter().all(|pid| {
            self.processes.get(*pid).is_some_and(|p| state.assignment.left_by_clean_run.contains(&p.name()))
        });
        if known { limits::KNOWN_SURVIVORS } else { limits::SURVIVORS }
    }

    /// Whether what outlives the leader is done with: it has been quiet for long enough. With the
    /// lock in its hands it may be at legitimate work, such as polling the CA.
    fn given_up(&self, state: &State<'_, '_, '_>) -> bool {
        let grace = self.grace(state);
        let locked = grace == limits::SURVIVORS
            && lock::taken(self.scenario.lock.as_ref(), &self.decoder.proc) == Some(true);
        state.last_activity.elapsed() >= if locked { limits::SURVIVORS_LOCKED } else { grace }
    }

    fn survivors(&mut self, state: &mut State<'_, '_, '_>) {
        let locked = lock::taken(self.scenario.lock.as_ref(), &self.decoder.proc);
        for pid in self.processes.of_run(state.index) {
            if let Some(process) = self.processes.get(pid) {
                state.outcome.run.survivors.push(Survivor { process: process.name(), locked });
            }
        }
    }

    fn deadline_passed(&mut self, state: &mut State<'_, '_, '_>) -> Result<(), RunError> {
        let alive = self.processes.of_run(state.index);
        let doing: Vec<String> = alive.iter().map(|pid| self.decoder.proc.doing(*pid)).collect();
        state.outcome.stuck = Some(doing.join(", "));
        if state.outcome.run.end.is_none() {
            state.outcome.run.end = Some(End::Deadline);
        } else {
            self.survivors(state);
        }
        for pid in alive {
            signal_process(pid, nix::libc::SIGKILL)?;
            self.processes.ended(pid);
        }
        Ok(())
    }

    fn ended(&mut self, state: &mut State<'_, '_, '_>, pid: i32, status: Status, cpu: Duration) {
        state.returning.remove(&pid);
        let Some(process) = self.processes.ended(pid) else { return };
        if process.run != state.index {
            return;
        }
        state.last_activity = Instant::now();
        if process.leader {
            // Includes every descendant that was waited for.
            state.outcome.run.cpu_ms += cpu.as_millis() as u64;
        }
        let end = match status {
            Status::Exited(code) => End::Exited(code),
            Status::Signalled { signal, .. } => End::Killed(signal),
        };
        if pid == state.leader && state.outcome.run.end.is_none() {
            state.outcome.run.end = Some(end);
        }
        if let Some(pending) = &mut state.pending {
            if pending.awaited.remove(&pid) && matches!(end, End::Killed(signal) if signal == pending.signal)
            {
                pending.proven = true;
            }
        }
        if let Some(told) = &mut state.assignment.told {
            told(Told::Ended(process.name(), end));
        }
    }

    fn stopped(&mut self, state: &mut State<'_, '_, '_>, task: Stopped) -> Result<(), RunError> {
        let pid = task.pid().as_raw();
        match task.stop() {
            Stop::Executed { .. } => {
                let name = state.names.remove(&pid).unwrap_or_else(|| {
                    let arguments = self.decoder.proc.arguments(pid);
                    program_name(arguments.first().map_or("?", String::as_str), || arguments.clone())
                });
                let proc = &self.decoder.proc;
                let name = program_name(&name, || proc.arguments(pid));
                self.processes.executed(pid, name);
                Ok(task.resume()?)
            }
            Stop::Signal { signal } => {
                if let Some(pending) = &mut state.pending {
                    if pending.signal == *signal && pending.awaited.remove(&pid) {
                        pending.proven = true;
                    }
                }
                Ok(task.resume()?)
            }
            Stop::Returned { result, .. } => {
                let failed = *result < 0;
                self.returned(state, &task, failed);
                Ok(task.resume()?)
            }
            Stop::Syscall(syscall) => {
                if syscall.again {
                    return Ok(task.resume()?);
                }
                let syscall = *syscall;
                self.at_syscall(state, task, &syscall)
            }
        }
    }

    fn at_syscall(
        &mut self,
        state: &mut State<'_, '_, '_>,
        task: Stopped,
        syscall: &tracer::Syscall,
    ) -> Result<(), RunError> {
        let pid = task.pid().as_raw();
        let Some(process) = self.processes.get(pid) else { return Ok(task.resume()?) };
        let (started, leader, name, run) = (process.started, process.leader, process.name(), process.run);
        let effect = match self.decoder.decode(&task, syscall) {
            Decoded::Nothing => return Ok(task.resume()?),
            Decoded::Unseen(why) => {
                state.outcome.unseen.get_or_insert(why);
                return Ok(task.resume()?);
            }
            Decoded::Outside(address) => {
                state.outcome.refused.push(address);
                return Ok(task.refuse(nix::libc::ENETUNREACH)?);
            }
            Decoded::Effect(effect) => effect,
        };
        if effect.op == "exec" {
            state.names.insert(pid, effect.path.clone());
            if leader && !started {
                // The run's own start.
                return Ok(task.resume()?);
            }
        }
        state.last_activity = Instant::now();
        if run != state.index {
            // Left over from an earlier run: its effects now are the overlap.
            if effect.class.visible_change() {
                state.outcome.run.overlaps.push(format!("{name}: {} {}", effect.op, effect.path));
            }
            return Ok(task.resume()?);
        }
        let reload = effect.op == "reload";
        let place = self.note(state, effect, name, leader, pid, None);
        let seen = &state.outcome.seen[place];
        let point = seen.point.clone();
        self.unlocked_work(state, place, pid);
        if let Some(position) = state.open_faults.iter().position(|fault| fault.point == point) {
            let fault = state.open_faults.remove(position);
            return self.strike(state, fault, Some(task), None, pid);
        }
        if reload || state.assignment.detail == Detail::Census {
            state.returning.insert(task.tid().as_raw(), place);
            Ok(task.resume_and_stop_after()?)
        } else {
            Ok(task.resume()?)
        }
    }

    /// Names an effect and keeps it; returns its place in the list.
    fn note(
        &mut self,
        state: &mut State<'_, '_, '_>,
        effect: Effect,
        name: String,
        leader: bool,
        pid: i32,
        occurrence: Option<u32>,
    ) -> usize {
        if effect.exclusive {
            state.roles.made(&effect.path);
        }
        let role = state.roles.of(&effect.path);
        let occurrence = occurrence.unwrap_or_else(|| {
            let count =
                state.occurrences.entry((name.clone(), effect.op.to_owned(), role.clone())).or_insert(0);
            *count += 1;
            *count
        });
        let point = Point { side: Side::Before, process: name, op: effect.op.to_owned(), role, occurrence };
        if effect.class == Class::Request {
            // The same request again: the CA refused the first one, which did nothing.
            for earlier in state.outcome.seen.iter_mut().filter(|earlier| earlier.point == point) {
                earlier.failed = true;
            }
        }
        let census = state.assignment.detail == Detail::Census;
        let locked = if census { lock::taken(self.scenario.lock.as_ref(), &self.decoder.proc) } else { None };
        let default_sigterm =
            !census || self.decoder.proc.dispositions(pid).is_none_or(|d| d.is_default(nix::libc::SIGTERM));
        if effect.class.durable() && effect.class != Class::Log {
            state.outcome.run.changes.push(format!("{} {}", effect.op, effect.path));
            if let Some(process) = self.processes.get_mut(pid) {
                process.effects += 1;
            }
        }
        let seen = Seen {
            effect,
            point,
            pid,
            by_leader: leader,
            processes: self.processes.of_run(state.index).len() as u32,
            failed: false,
            locked,
            default_sigterm,
        };
        if let Some(told) = &mut state.assignment.told {
            told(Told::Effect(&seen));
        }
        state.outcome.seen.push(seen);
        state.outcome.seen.len() - 1
    }

    /// After a fault: work that a clean run does under the lock is done without it.
    fn unlocked_work(&mut self, state: &mut State<'_, '_, '_>, place: usize, pid: i32) {
        let Some(locked_points) = state.assignment.locked_points else { return };
        if !state.struck || !state.outcome.seen[place].effect.class.visible_change() {
            return;
        }
        if state.spared == Some(pid) {
            state.spared = None;
            return;
        }
        let seen = &state.outcome.seen[place];
        if locked_points.contains(&seen.point)
            && lock::taken(self.scenario.lock.as_ref(), &self.decoder.proc) == Some(false)
        {
            state
                .outcome
                .run
                .unlocked
                .push(format!("{}: {} {}", seen.point.process, seen.effect.op, seen.effect.path));
        }
    }

    fn returned(&mut self, state: &mut State<'_, '_, '_>, task: &Stopped, failed: bool) {
        let Some(place) = state.returning.remove(&task.tid().as_raw()) else { return };
        let seen = &mut state.outcome.seen[place];
        seen.failed = failed;
        if seen.effect.op == "reload" && !failed {
            state.outcome.run.reloads += 1;
            // Two reloads shortly after one another would be one to the server, and one before an
            // install would be a matter of luck.
            if let Some(server) = &mut self.server {
                // A server that is gone shows in what is served.
                let _ = server.settle();
            }
        }
        if state.assignment.detail == Detail::Census {
            let seen = seen.clone();
            if !failed && matches!(seen.effect.class, Class::Change | Class::Log) {
                let path = self.decoder.on_disk(&seen.effect.path);
                if let Some(mode) = exposed_key(&path, &self.decoder.root) {
                    let text = format!(
                        "{} (mode {mode:04o}) after {}: {}",
                        seen.effect.path, seen.point.process, seen.effect.op
                    );
                    state.outcome.run.exposed_keys.push(text);
                }
            }
            if seen.effect.class.visible_change() {
                if let Err(error) = self.served() {
                    let text = format!(
                        "{error}, after {}: {} {}",
                        seen.point.process, seen.effect.op, seen.effect.path
                    );
                    state.outcome.run.dark_moments.push(text);
                }
            }
            if state.assignment.told.is_some() {
                let lines = if seen.effect.class.durable() { self.state() } else { Vec::new() };
                if let Some(told) = &mut state.assignment.told {
                    told(Told::Done(&seen));
                    told(Told::State(&lines));
                }
            }
        }
    }

    fn woken(&mut self, state: &mut State<'_, '_, '_>) -> Result<(), RunError> {
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.request(state, arrival)?;
        }
        while let Ok((request, answer)) = self.control.calls.try_recv() {
            let response = self.control_call(&request);
            // A shim that was killed does not wait for its answer.
            let _ = answer.send(response);
        }
        Ok(())
    }

    fn control_call(&mut self, request: &control::Request) -> control::Response {
        match request {
            control::Request::Start(_) => self.start_server().map_err(|error| error.to_string()),
        }
    }

    fn request(&mut self, state: &mut State<'_, '_, '_>, arrival: Arrival) -> Result<(), RunError> {
        let pids = self.processes.of_run(state.index);
        let Some(pid) = self.decoder.proc.owner_of_connection(arrival.request.client, &pids) else {
            // The client is already gone, or it is not the subject's.
            let _ = arrival.reply.send(Decision::Pass);
            return Ok(());
        };
        let Some(process) = self.processes.get(pid) else {
            let _ = arrival.reply.send(Decision::Pass);
            return Ok(());
        };
        state.last_activity = Instant::now();
        let (name, leader) = (process.name(), process.leader);
        let effect = Effect {
            op: arrival.op,
            path: String::new(),
            from: None,
            class: Class::Request,
            exclusive: false,
        };
        let place = self.note(state, effect, name, leader, pid, Some(arrival.occurrence));
        let point = state.outcome.seen[place].point.clone();
        let matching =
            |fault: &FaultRecord| fault.point.op == point.op && fault.point.occurrence == point.occurrence;
        if let Some(position) = state.open_faults.iter().position(matching) {
            let fault = state.open_faults.remove(position);
            return self.strike(state, fault, None, Some(arrival.reply), pid);
        }
        let _ = arrival.reply.send(Decision::Pass);
        Ok(())
    }

    fn strike(
        &mut self,
        state: &mut State<'_, '_, '_>,
        fault: FaultRecord,
        task: Option<Stopped>,
        request: Option<tokio::sync::oneshot::Sender<Decision>>,
        pid: i32,
    ) -> Result<(), RunError> {
        if let Some(told) = &mut state.assignment.told {
            told(Told::Fault(&fault));
        }
        state.struck = true;
        let Some((signal, scope)) = fault::kill::parse(&fault) else {
            state.outcome.not_delivered.push(format!("unknown fault `{}`", fault.fault));
            if let Some(task) = task {
                task.resume()?;
            }
            return Ok(());
        };
        let victims = fault::kill::victims(scope, pid, state.index, &self.processes);
        let mut held = None;
        // A signal to a process is taken by any of its threads; the one at the point must not go
        // on before one of them has. So it gets the signal itself, where it does not block it.
        let own = victims.contains(&pid);
        let itself =
            task.as_ref().filter(|_| own && signal != nix::libc::SIGKILL).map(Stopped::tid).filter(|tid| {
                self.decoder
                    .proc
                    .dispositions(tid.as_raw())
                    .is_some_and(|d| d.blocked >> (signal - 1) & 1 == 0)
            });
        for victim in &victims {
            // One that died of another's death a moment ago is proven dead by its end.
            match itself {
                Some(tid) if *victim == pid => signal_task(pid, tid.as_raw(), signal)?,
                _ => signal_process(*victim, signal)?,
            }
        }
        if let Some(task) = task {
            if own && signal == nix::libc::SIGKILL {
                // It dies at this stop: the syscall does not run.
                drop(task);
            } else if itself.is_some() {
                task.postpone()?;
            } else {
                state.spared = Some(pid);
                held = Some(task);
            }
        }
        state.pending = Some(Pending {
            fault,
            signal,
            awaited: victims.into_iter().collect(),
            since: Instant::now(),
            held,
            request,
            proven: false,
            why_not: String::new(),
        });
        Ok(())
    }

    /// Lets the held task go on once every signal is proven to have arrived, or is known to wait
    /// behind a mask, an uninterruptible wait or an ignoring process.
    fn settle_pending(&mut self, state: &mut State<'_, '_, '_>, empty: bool) -> Result<(), RunError> {
        let Some(pending) = &mut state.pending else { return Ok(()) };
        let overdue = pending.since.elapsed() >= limits::SIGNAL_PROOF;
        if !pending.awaited.is_empty() && !empty {
            if !overdue {
                return Ok(());
            }
            for pid in &pending.awaited {
                let bit = 1u64 << (pending.signal - 1);
                match self.decoder.proc.dispositions(*pid) {
                    // Queued by the kernel: it has arrived, and acts when the process lets it.
                    Some(d) if d.pending & bit != 0 => pending.proven = true,
                    Some(d) if d.ignored & bit != 0 => pending.proven = true,
                    Some(_) => {
                        pending.why_not =
                            format!("no trace of the signal in {}", self.decoder.proc.doing(*pid))
                    }
                    None => pending.proven = true,
                }
            }
        }
        let Some(pending) = state.pending.take() else { return Ok(()) };
        if pending.proven {
            state.outcome.run.faults.push(pending.fault);
        } else {
            state
                .outcome
                .not_delivered
                .push(format!("not proven to have arrived: {} ({})", pending.fault, pending.why_not));
        }
        if let Some(task) = pending.held {
            task.resume()?;
        }
        if let Some(request) = pending.request {
            // A victim's connection is closed before the CA has acted; a survivor's goes on.
            let gone = self.processes.of_run(state.index).is_empty();
            let _ = request.send(if gone { Decision::Cut } else { Decision::Pass });
        }
        state.last_activity = Instant::now();
        Ok(())
    }
}

impl Drop for Runner<'_> {
    fn drop(&mut self) {
        self.ca.set_gate(None);
        self.control.wake(None);
    }
}

/// Sends a signal; a process that is already gone is fine.
fn signal_process(pid: i32, number: i32) -> Result<(), RunError> {
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

/// The mode of a file with a private key in it that others can read, folders above it and all.
fn exposed_key(path: &Path, root: &str) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(path).ok()?;
    let root = if root.is_empty() { Path::new("/") } else { Path::new(root) };
    if !data.is_file() || !artifact::readable_by_others(path, root).ok()? {
        return None;
    }
    let mut head = Vec::new();
    File::open(path).ok()?.take(limits::OUTPUT_KEPT as u64).read_to_end(&mut head).ok()?;
    (artifact::looks_like(path, &head) == Some("private key")).then_some(data.mode() & 0o7777)
}

/// What a run prints, kept in memory.
struct Output(OwnedFd);

impl Output {
    fn new() -> Result<Output, RunError> {
        let fd = memfd_create(c"subject-output", MFdFlags::MFD_CLOEXEC).map_err(|e| RunError::Io {
            tried: "make a file in memory for the subject's output".into(),
            source: e.into(),
        })?;
        Ok(Output(fd))
    }

    fn writer(&self) -> Result<OwnedFd, RunError> {
        self.0
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| RunError::Io { tried: "duplicate a descriptor".into(), source })
    }

    /// The last `limit` bytes.
    fn text(&self, limit: usize) -> String {
        let Ok(fd) = self.0.as_fd().try_clone_to_owned() else { return String::new() };
        let mut file = File::from(fd);
        let length = file.metadata().map_or(0, |m| m.len());
        let mut bytes = Vec::new();
        let from = length.saturating_sub(limit as u64);
        if file.seek(SeekFrom::Start(from)).is_ok() {
            let _ = file.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
