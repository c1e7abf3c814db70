//! The loop that drives runs to their end.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use process_roulette_tracer::{self as tracer, Status, Step, Tracer};

use crate::{
    artifact,
    effect::Decoder,
    event::{FaultRecord, InRun},
    fault::{Act, CaAct},
    front::{Ca, issuance},
    gate::{Arrival, RequestGate},
    invariant::{End, Survivor},
    limits, lock,
    process::Table,
    procfs::Proc,
    role::Roles,
    scenario::Scenario,
    state,
    target::{Server, ServerSpec, served},
    world::{Stage, WorldError, control},
};

use super::{
    Assignment, Calls, Listener, Outcome, RunError, Told,
    address_space::AddressSpace,
    hold::Hold,
    inside::Inside,
    memory::Confined,
    output::Output,
    pending::Pending,
    progress::Progress,
    strike::{in_time, signal_process},
};

/// Runs the subject on one stage, one run after the other, and a second one beside the first
/// where a fault says so.
pub struct Runner<'a> {
    pub(super) tracer: Tracer,
    pub(super) decoder: Decoder,
    pub(super) scenario: &'a Scenario,
    ca: Arc<Ca>,
    pub(super) stage: &'a mut dyn Stage,
    pub(super) server: Option<Server>,
    server_spec: ServerSpec,
    control: &'a Calls,
    pub(super) processes: Table,
    runs: usize,
    /// Runs of which every process was killed: so is a child that was just being made.
    pub(super) killed: HashSet<usize>,
    /// Processes that were sent SIGKILL and are not gone yet: they do nothing any more, even if a stop of theirs comes.
    pub(super) dying: HashSet<i32>,
    /// What the runs on this stage so far made, and those that led to it.
    roles: Roles,
    pub(super) gate: Arc<RequestGate>,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    /// Runs under way, the first one first.
    pub(super) active: Vec<Progress>,
    /// Children that are, or are about to be, held at their start.
    pub(super) holds: Vec<Hold>,
    /// A fault keeps the disk full until the run is over.
    pub(super) disk_full: bool,
    /// A fault has the server refuse every reload until the run is over.
    pub(super) reloads_refused: bool,
    /// Faults that were struck and are not yet done with.
    pub(super) pending: Vec<Pending>,
    /// Faults for a run that a fault starts beside the first.
    pub(super) for_second: Vec<FaultRecord>,
    /// When more runs are started.
    pub(super) starts: Vec<Instant>,
    pub(super) inside: Inside,
    /// A fault killed the server: it is started again when the run is over.
    pub(super) restart_server: bool,
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
        let tracer = Tracer::new(tracer::Options { connect: !root.is_empty() })?;
        let (gate, arrivals) = RequestGate::new(tracer.waker());
        control.wake(Some(tracer.waker()));
        ca.set_gate(Some(gate.clone()));
        // What an earlier stage's killed runs left under way belongs to nobody here.
        ca.take_requests();
        ca.take_reused();
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
            killed: HashSet::new(),
            dying: HashSet::new(),
            roles: Roles::default(),
            gate,
            arrivals,
            active: Vec::new(),
            holds: Vec::new(),
            disk_full: false,
            reloads_refused: false,
            pending: Vec::new(),
            for_second: Vec::new(),
            starts: Vec::new(),
            inside: Inside::default(),
            restart_server: false,
        })
    }

    /// Lets runs know which names are random that they find, and did not make themselves.
    pub fn knows(&mut self, roles: Roles) {
        self.roles = roles;
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
        if let Some(server) = &mut self.server
            && let Err(error) = server.settle()
        {
            return Err(if server.is_alive() {
                error.to_string()
            } else {
                "no server is running".to_owned()
            });
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

    /// The machine boots again: every process is gone, `/run` and `/tmp` are empty, the server is
    /// started anew if it can be.
    pub fn reboot(&mut self) -> Result<(), RunError> {
        self.end_server();
        self.new_pod()?;
        // One that does not start on what it finds shows in what is served.
        if let Err(error) = self.start_server() {
            tracing::debug!("after the reboot: {error}");
        }
        Ok(())
    }

    /// The next run finds no process of this one, and `/run` and `/tmp` empty but for what is the
    /// server's.
    pub fn new_pod(&mut self) -> Result<(), RunError> {
        self.end_subject()?;
        let of_the_server = std::path::Path::new(&self.server_spec.pid_file);
        for folder in ["/run/lock", "/run", "/tmp"] {
            let folder = self.decoder.on_disk(folder);
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                // tmpfiles.d(5) makes it again at boot.
                if entry.file_name() == "lock" && entry.path().is_dir() {
                    continue;
                }
                let path = entry.path();
                if self.server.is_some() && path == of_the_server {
                    continue;
                }
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                // What cannot be removed is a mount of the world's own.
                let _ = if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            }
        }
        Ok(())
    }

    /// Runs the command to its end, with its faults.
    pub fn run(&mut self, assignment: &Assignment<'_>, mut told: Listener<'_>) -> Result<Outcome, RunError> {
        self.gate.begin(assignment);
        self.watch_clock(assignment);
        self.watch_memory(assignment);
        self.inside = Inside::default();
        let second = |fault: &&FaultRecord| fault.run == InRun::Second;
        self.for_second = assignment.faults.iter().filter(second).cloned().collect();
        let own: Vec<FaultRecord> = assignment.faults.iter().filter(|f| !second(f)).cloned().collect();
        let own = Assignment {
            faults: &own,
            known: assignment.known.clone(),
            group: assignment.group.clone(),
            ..*assignment
        };
        let place = self.start(&own).map(|index| self.place_of(index))?;
        for fault in
            place.and_then(|place| self.active[place].confined.as_ref()).map_or(&[][..], Confined::in_force)
        {
            tell(&mut told, Told::Fault(fault));
        }
        let result = self.drive(&mut told);
        self.gate.end();
        // Whatever happened, nobody waits for anything any more.
        self.end_holds();
        self.pending.clear();
        self.starts.clear();
        if std::mem::take(&mut self.disk_full) {
            self.stage.give_room()?;
        }
        let mut active = std::mem::take(&mut self.active);
        result?;
        self.settle_clock(&mut active);
        let mut active = active.into_iter();
        self.mend_server()?;
        let mut outcome = active.next().map(Progress::close).unwrap_or_default();
        self.roles.clone_from(&outcome.roles);
        outcome.run.overlaps.extend(self.inside.overlaps());
        for fault in self.for_second.drain(..) {
            outcome.no_occasion.push(format!("there was no second run: {fault}"));
        }
        for other in active.map(Progress::close) {
            outcome.run.reloads += other.run.reloads;
            outcome.run.survivors.extend(other.run.survivors.iter().cloned());
            outcome.run.cpu_ms += other.run.cpu_ms;
            outcome.run.faults.extend(other.run.faults.iter().cloned());
            outcome.run.overlaps.extend(other.run.overlaps.iter().cloned());
            outcome.not_delivered.extend(other.not_delivered.iter().cloned());
            outcome.no_occasion.extend(other.no_occasion.iter().cloned());
            outcome.others.push(other);
        }
        if !self.gate.kept_processing() {
            outcome.not_proven(&Act::Ca(CaAct::Processing), "no finalized order was asked for");
        }
        let issued = issuance(&self.ca.take_requests());
        outcome.reused_authorization = self.ca.take_reused();
        outcome.run.orders = issued.orders;
        outcome.run.certificates = issued.certificates;
        Ok(outcome)
    }

    /// What a fault did to the server is over.
    fn mend_server(&mut self) -> Result<(), RunError> {
        if std::mem::take(&mut self.reloads_refused)
            && let Some(server) = &mut self.server
            && server.is_alive()
        {
            server.refuse_reloads(false)?;
        }
        if std::mem::take(&mut self.restart_server) {
            self.start_server()?;
        }
        Ok(())
    }

    /// Starts a run; returns its index.
    pub(super) fn start(&mut self, assignment: &Assignment<'_>) -> Result<usize, RunError> {
        let output = Output::new()?;
        let mut faults = assignment.faults.to_vec();
        let address_space = AddressSpace::of(&mut faults);
        let group = assignment.group.clone();
        let mut confined = group.map(|group| Confined::new(group, &mut faults)).transpose()?;
        let mut command = self.stage.command(assignment.command);
        command.stdout = Some(output.writer()?);
        command.stderr = Some(output.writer()?);
        command.cgroup = confined.as_ref().map(Confined::entrance).transpose()?;
        let started = Instant::now();
        let index = self.runs;
        self.runs += 1;
        let mut outcome = Outcome { roles: self.roles.clone(), ..Outcome::default() };
        let leader = match self.tracer.spawn(&command) {
            Ok(leader) => {
                self.processes.led(leader.as_raw(), index);
                leader.as_raw()
            }
            Err(source) => {
                // Killed by the kernel while it was being loaded: that is a run, too.
                let end = End::Killed(nix::libc::SIGKILL);
                let name = || {
                    assignment.command.first().map_or("?", |c| c.rsplit('/').next().unwrap_or(c)).to_owned()
                };
                let limited = confined.as_mut().filter(|confined| !confined.in_force().is_empty());
                let Some(confined) = limited else {
                    return Err(RunError::Spawn { command: assignment.command.join(" "), source });
                };
                if source.step != Step::Vanished || !confined.ended(name, end, 0) {
                    outcome.not_delivered.push(format!("the command was not started: {source}"));
                }
                outcome.run.end = Some(end);
                NOBODY
            }
        };
        self.active.push(Progress {
            index,
            leader,
            detail: assignment.detail,
            known: assignment.known.clone(),
            started,
            deadline: started + self.scenario.subject.deadline,
            over: outcome.run.end.is_some(),
            struck: outcome.run.end.is_some(),
            outcome,
            output,
            occurrences: HashMap::new(),
            returning: HashMap::new(),
            names: HashMap::new(),
            open_faults: faults,
            address_space,
            confined,
            until_killed: assignment.until_killed,
            collided: false,
            spared: None,
            volleys: VecDeque::new(),
            volley_since: started,
            at_point: 0,
            stepped: Vec::new(),
            refusing: None,
            refused_for_room: None,
            last_activity: started,
            overdue: None,
        });
        Ok(index)
    }

    fn drive(&mut self, told: &mut Listener<'_>) -> Result<(), RunError> {
        loop {
            let wake_at = self.next_look()?;
            let Some(wake_at) = wake_at else { return Ok(()) };
            // A second run that was just found to be over lets the first one go on.
            if self.pending.iter().any(|pending| self.second_is_over(pending)) {
                self.settle_pending(false)?;
                continue;
            }
            match self.tracer.wait(Some(wake_at))? {
                tracer::Event::Stopped(task) => self.stopped(task, told)?,
                tracer::Event::Forked { parent, child, thread } => {
                    if !thread {
                        self.forked(parent.as_raw(), child.as_raw())?;
                    }
                }
                tracer::Event::Ended(ended) => {
                    if ended.leader {
                        self.ended(ended.pid.as_raw(), ended.status, ended.cpu, told)?;
                    }
                }
                tracer::Event::Woken => self.woken(told)?,
                tracer::Event::TimedOut => {}
                tracer::Event::Empty => {
                    self.settle_pending(true)?;
                    for run in self.active.iter_mut().filter(|run| !run.over) {
                        run.outcome.run.end.get_or_insert(End::Killed(nix::libc::SIGKILL));
                        run.over = true;
                    }
                }
            }
            self.settle_pending(false)?;
            self.let_go()?;
            self.send_volleys()?;
            self.start_more()?;
            self.strike_in_time(told)?;
        }
    }

    fn forked(&mut self, parent: i32, child: i32) -> Result<(), RunError> {
        self.processes.forked(parent, child);
        // Born of one that was killed in the middle of it: with all others, or for its deadline.
        let Some(run) = self.processes.get(child).map(|process| process.run) else { return Ok(()) };
        let overdue = |active: &Progress| active.index == run && active.overdue.is_some() && !active.over;
        if self.killed.contains(&run) || self.active.iter().any(overdue) {
            signal_process(child, nix::libc::SIGKILL)?;
        }
        Ok(())
    }

    /// Looks after runs whose leader is gone or whose time is up. Returns when to look again;
    /// `None` when every run is over.
    fn next_look(&mut self) -> Result<Option<Instant>, RunError> {
        let now = Instant::now();
        let mut look = None;
        for place in 0..self.active.len() {
            if self.active[place].over {
                continue;
            }
            let at = self.look_after(place, now)?;
            if !self.active[place].over {
                look = Some(look.map_or(at, |look: Instant| look.min(at)));
            }
        }
        // A run that is yet to start keeps the others' books open.
        let look = look.into_iter().chain(self.starts.first().copied()).min();
        let others =
            self.pending.iter().map(|pending| pending.due).chain(self.holds.iter().filter_map(Hold::due));
        Ok(look.map(|look| others.fold(look, Instant::min)))
    }

    fn look_after(&mut self, place: usize, now: Instant) -> Result<Instant, RunError> {
        let run = &self.active[place];
        let (index, deadline) = (run.index, run.deadline);
        if let Some(until) = run.overdue {
            // One in an uninterruptible wait is left to the stage's end.
            self.active[place].over = self.processes.of_run(index).is_empty() || now >= until;
            return Ok(until);
        }
        if now >= deadline {
            self.deadline_passed(place)?;
            return Ok(now + limits::KILLED);
        }
        let waits = self.waits(index) || self.holds_for(index);
        let mut look = deadline;
        if run.outcome.run.end.is_none()
            && let Some(at) = run.open_faults.iter().filter_map(|fault| in_time(fault, run.started)).min()
        {
            look = look.min(at);
        }
        if let Some(volley) = run.volleys.front() {
            look = look.min(volley.due(run.volley_since, run.outcome.run.end.is_some()));
        }
        if run.outcome.run.end.is_none() || waits {
            return Ok(look);
        }
        if self.processes.of_run(index).is_empty() {
            // A child that was made in the middle of a kill is still to be heard of.
            let patient_until = self.active[place].last_activity + limits::UNANNOUNCED;
            if self.tracer.is_more_to_come() && now < patient_until {
                return Ok(look.min(now + limits::UNANNOUNCED_POLL));
            }
            self.active[place].over = true;
            return Ok(now);
        }
        let grace = self.grace(place);
        let quiet_at = self.active[place].last_activity + grace;
        if now < quiet_at {
            return Ok(look.min(quiet_at));
        }
        if !self.active[place].volleys.is_empty() {
            // Somebody will still kill what is left.
            return Ok(look);
        }
        // With the lock in its hands it may be at legitimate work, such as polling the CA.
        let patient_until = self.active[place].last_activity + limits::SURVIVORS_LOCKED;
        if grace == limits::SURVIVORS && now < patient_until && self.lock_is_taken() {
            return Ok(look.min(patient_until).min(now + limits::SURVIVORS));
        }
        self.survivors(place);
        self.active[place].over = true;
        Ok(now)
    }

    /// Whether somebody has the scenario's lock.
    pub(super) fn lock_is_taken(&self) -> bool {
        lock::taken(self.scenario.lock.as_ref(), &self.decoder.proc) == Some(true)
    }

    /// How long processes that outlive the leader may be quiet before they count as left.
    fn grace(&self, place: usize) -> Duration {
        let run = &self.active[place];
        let known =
            self.processes.of_run(run.index).iter().all(|pid| {
                self.processes.get(*pid).is_some_and(|p| run.known.left_running.contains(&p.name()))
            });
        if known { limits::KNOWN_SURVIVORS } else { limits::SURVIVORS }
    }

    fn survivors(&mut self, place: usize) {
        let locked = lock::taken(self.scenario.lock.as_ref(), &self.decoder.proc);
        for pid in self.processes.of_run(self.active[place].index) {
            if let Some(process) = self.processes.get(pid) {
                let survivor = Survivor { process: process.name(), locked };
                self.active[place].outcome.run.survivors.push(survivor);
            }
        }
    }

    fn deadline_passed(&mut self, place: usize) -> Result<(), RunError> {
        let alive = self.processes.of_run(self.active[place].index);
        let doing: Vec<String> = alive.iter().map(|pid| self.decoder.proc.doing(*pid)).collect();
        if self.active[place].outcome.run.end.is_some() {
            self.survivors(place);
        }
        let run = &mut self.active[place];
        run.outcome.stuck = Some(doing.join(", "));
        run.outcome.run.end.get_or_insert(End::Deadline);
        run.overdue = Some(Instant::now() + limits::KILLED);
        // Ended only when they are gone: until then they may hold the lock.
        for pid in alive {
            signal_process(pid, nix::libc::SIGKILL)?;
        }
        Ok(())
    }

    fn ended(
        &mut self,
        pid: i32,
        status: Status,
        cpu: Duration,
        told: &mut Listener<'_>,
    ) -> Result<(), RunError> {
        self.dying.remove(&pid);
        let Some(process) = self.processes.ended(pid) else { return Ok(()) };
        let end = match status {
            Status::Exited(code) => End::Exited(code),
            Status::Signalled { signal, .. } => End::Killed(signal),
        };
        for pending in &mut self.pending {
            pending.ended(pid, end);
        }
        self.hold_ended(pid);
        let Some(run) = self.active.iter_mut().find(|run| run.index == process.run) else { return Ok(()) };
        run.returning.remove(&pid);
        run.last_activity = Instant::now();
        if pid == run.leader {
            // Includes every descendant that was waited for.
            run.outcome.run.cpu_ms += cpu.as_millis() as u64;
            run.outcome.run.end.get_or_insert(end);
        }
        tell(told, Told::Ended(process.name(), end));
        let effects = run.outcome.seen.len();
        let oom =
            run.confined.as_mut().is_some_and(|confined| confined.ended(|| process.name(), end, effects));
        if !oom {
            return Ok(());
        }
        run.struck = true;
        run.outcome.struck_at.get_or_insert(effects);
        let over = run.until_killed || run.confined.as_ref().is_some_and(Confined::leaves_survivors);
        tell(told, Told::OutOfMemory(process.name()));
        if over {
            self.killed.insert(process.run);
            for pid in self.processes.of_run(process.run) {
                signal_process(pid, nix::libc::SIGKILL)?;
            }
        }
        Ok(())
    }

    fn woken(&mut self, told: &mut Listener<'_>) -> Result<(), RunError> {
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.request(arrival, told)?;
        }
        while let Ok((request, answer)) = self.control.calls.try_recv() {
            let response = match request {
                _ if self.reloads_refused => Err("its configuration is broken".to_owned()),
                control::Request::Start(_) => self.start_server().map_err(|error| error.to_string()),
                control::Request::Test => Ok(()),
            };
            // A shim that was killed does not wait for its answer.
            let _ = answer.send(response);
        }
        Ok(())
    }

    fn second_is_over(&self, pending: &Pending) -> bool {
        pending.second().is_some_and(|index| self.active.iter().any(|run| run.index == index && run.over))
    }

    /// The place of a run among those under way.
    pub(super) fn place_of(&self, run: usize) -> Option<usize> {
        self.active.iter().position(|progress| progress.index == run)
    }
}

impl Drop for Runner<'_> {
    fn drop(&mut self) {
        self.ca.set_gate(None);
        self.control.wake(None);
    }
}

/// The process id of a leader that never came to be: nobody has it.
const NOBODY: i32 = -1;

/// Tells whoever listens.
pub(super) fn tell(listener: &mut Listener<'_>, what: Told<'_>) {
    if let Some(listener) = listener {
        listener(what);
    }
}
