//! What the runner does at each stop: names the effect, looks at it, keeps it.

use std::{fs::File, io::Read, path::Path, time::Instant};

use process_roulette_tracer::{self as tracer, Stop, Stopped};

use crate::{
    artifact,
    effect::{Class, Decoded, Effect},
    fault::disk,
    front::Decision,
    gate::Arrival,
    limits, lock,
    point::{Point, Side},
    process::program_name,
};

use super::{Detail, Listener, RunError, Runner, Seen, Told, inside::Step, runner::tell, strike::At};

impl Runner<'_> {
    pub(super) fn stopped(&mut self, task: Stopped, told: &mut Listener<'_>) -> Result<(), RunError> {
        let pid = task.pid().as_raw();
        match *task.stop() {
            Stop::Executed { .. } => {
                let run = self.processes.get(pid).map_or(0, |process| process.run);
                let place = self.place_of(run);
                let named = place.and_then(|place| self.active[place].names.remove(&pid));
                let proc = &self.decoder.proc;
                let path =
                    named.unwrap_or_else(|| proc.arguments(pid).into_iter().next().unwrap_or_default());
                let name = program_name(&path, || proc.arguments(pid));
                self.processes.executed(pid, name);
                if let Some(limited) = place.and_then(|place| self.active[place].address_space.as_mut()) {
                    limited.executed(pid, &self.decoder.proc);
                }
                self.started(task)
            }
            Stop::Refused { .. } => {
                self.refused(task.pid(), told);
                Ok(task.resume()?)
            }
            Stop::Signal { signal } => {
                for pending in &mut self.pending {
                    pending.arrived(pid, signal);
                }
                Ok(task.resume()?)
            }
            Stop::Returned { result, .. } => {
                // From -516 to -512 the kernel runs it again, and it stops again before that.
                let again = (-516..=-512).contains(&result);
                self.returned(&task, result, again, told);
                Ok(task.resume()?)
            }
            Stop::Syscall(syscall) if syscall.again => Ok(task.resume()?),
            Stop::Syscall(syscall) => self.at_syscall(task, &syscall, told),
        }
    }

    fn at_syscall(
        &mut self,
        task: Stopped,
        syscall: &tracer::Syscall,
        told: &mut Listener<'_>,
    ) -> Result<(), RunError> {
        let pid = task.pid().as_raw();
        let Some(process) = self.processes.get(pid).filter(|_| !self.dying.contains(&pid)) else {
            return Ok(task.resume()?);
        };
        let (started, leader, name, run) = (process.started, process.leader, process.name(), process.run);
        let place = self.place_of(run);
        let effect = match (self.decoder.decode(&task, syscall), place) {
            (Decoded::Nothing, _) => return Ok(task.resume()?),
            (Decoded::Unseen(why), place) => {
                if let Some(place) = place {
                    self.active[place].outcome.unseen.get_or_insert(why);
                }
                return Ok(task.resume()?);
            }
            (Decoded::Outside(address), place) => {
                if let Some(place) = place {
                    self.active[place].outcome.refused.push(address);
                }
                return Ok(task.refuse(nix::libc::ENETUNREACH)?);
            }
            (Decoded::Effect(effect), Some(_)) => effect,
            (Decoded::Effect(effect), None) => {
                // Left over from an earlier run: its changes now are two runs at work together.
                if effect.class.visible_change()
                    && let Some(first) = self.active.first_mut()
                {
                    first.outcome.run.overlaps.push(format!("{name}: {} {}", effect.op, effect.path));
                }
                return Ok(task.resume()?);
            }
        };
        let Some(place) = place else { return Ok(task.resume()?) };
        if effect.op == "exec" {
            self.active[place].names.insert(pid, effect.path.clone());
            if let Some(limited) = &mut self.active[place].address_space {
                limited.executes(pid);
            }
            if leader && !started {
                // The run's own start.
                return Ok(task.resume()?);
            }
        }
        let (reload, class, op) = (effect.op == "reload", effect.class, effect.op);
        let on_run = effect.path.starts_with("/run/");
        let seen = self.note(place, effect, name, leader, pid, None, told);
        self.unlocked_work(place, seen, pid);
        if self.disk_full && class == Class::Change {
            // What was freed since has been taken by whoever has filled it.
            self.stage.fill()?;
        }
        let run = &mut self.active[place];
        let point = run.outcome.seen[seen].point.clone();
        if let Some(fault) = run.fault_at(&point) {
            return self.strike(place, fault, At::Syscall(task), pid, told);
        }
        if let Some(errno) = run.refusing
            && !on_run
            && disk::can_fail(errno, op, class)
        {
            return Ok(task.refuse(errno)?);
        }
        if reload || run.detail != Detail::Plain || run.refused_for_room.is_some() {
            run.returning.insert(task.tid().as_raw(), seen);
            Ok(task.resume_and_stop_after()?)
        } else {
            Ok(task.resume()?)
        }
    }

    /// Names an effect and keeps it; returns its place in the run's list.
    #[expect(clippy::too_many_arguments, reason = "all of it is what an effect is")]
    fn note(
        &mut self,
        place: usize,
        effect: Effect,
        name: String,
        leader: bool,
        pid: i32,
        occurrence: Option<u32>,
        told: &mut Listener<'_>,
    ) -> usize {
        let processes = self.processes.of_run(self.active[place].index).len() as u32;
        let census = self.active[place].detail == Detail::Census;
        let locked = if census { lock::taken(self.scenario.lock.as_ref(), &self.decoder.proc) } else { None };
        let default_sigterm =
            !census || self.decoder.proc.dispositions(pid).is_none_or(|d| d.is_default(nix::libc::SIGTERM));
        let run = &mut self.active[place];
        run.last_activity = Instant::now();
        if effect.exclusive {
            run.outcome.roles.made(&effect.path);
        }
        if let Some(from) = &effect.from {
            run.outcome.roles.moved(from, &effect.path);
        }
        let role = run.outcome.roles.of(&effect.path);
        let occurrence = occurrence.unwrap_or_else(|| {
            let count =
                run.occurrences.entry((name.clone(), effect.op.to_owned(), role.clone())).or_insert(0);
            *count += 1;
            *count
        });
        let point = Point { side: Side::Before, process: name, op: effect.op.to_owned(), role, occurrence };
        if effect.class == Class::Request {
            // The same request again: the CA refused the first one, which did nothing.
            for earlier in run.outcome.seen.iter_mut().filter(|earlier| earlier.point == point) {
                earlier.failed = true;
            }
        }
        if effect.class.durable() && effect.class != Class::Log {
            run.outcome.run.changes.push(format!("{} {}", effect.op, effect.path));
        }
        let name = format!("{} {}", point.op, point.role);
        if effect.class.visible_change()
            && let Some(&stretches) = run.known.exclusive.get(&name)
        {
            self.inside.enter(Step { run: run.index, stretches, text: told_short(&point, &effect) });
        }
        let seen = Seen {
            effect,
            point,
            pid,
            by_leader: leader,
            processes,
            failed: false,
            locked,
            default_sigterm,
            time_asked: self.tracer.clock_asked(),
            time_asked_later: false,
        };
        tell(told, Told::Effect(&seen));
        run.outcome.seen.push(seen);
        run.outcome.seen.len() - 1
    }

    /// After a fault: work that a clean run does under the lock is done without it.
    fn unlocked_work(&mut self, place: usize, seen: usize, pid: i32) {
        let run = &mut self.active[place];
        let at = &run.outcome.seen[seen];
        if !run.struck || !at.effect.class.visible_change() || !run.known.locked_points.contains(&at.point) {
            return;
        }
        if run.spared == Some(pid) {
            run.spared = None;
            return;
        }
        if lock::taken(self.scenario.lock.as_ref(), &self.decoder.proc) == Some(false) {
            let text = told_short(&at.point, &at.effect);
            if run.collided {
                // Nobody has ended this run: the other one has freed its lock.
                run.outcome.run.overlaps.push(format!("{text} (its lock is free)"));
            } else {
                run.outcome.run.unlocked.push(text);
            }
        }
    }

    fn returned(&mut self, task: &Stopped, result: i64, again: bool, told: &mut Listener<'_>) {
        let failed = result < 0;
        let tid = task.tid().as_raw();
        let Some(place) = self.active.iter().position(|run| run.returning.contains_key(&tid)) else { return };
        let run = &mut self.active[place];
        let Some(seen) = run.returning.remove(&tid) else { return };
        if again {
            return;
        }
        run.outcome.seen[seen].failed = failed;
        if result == -i64::from(nix::libc::ENOSPC)
            && let Some(refused) = &mut run.refused_for_room
        {
            *refused += 1;
        }
        let (seen, census) = (run.outcome.seen[seen].clone(), run.detail == Detail::Census);
        if seen.effect.op == "reload" && !failed {
            // One that a fault had refused is owed as before.
            run.outcome.run.reloads += u32::from(!self.reloads_refused);
            // Two reloads shortly after one another would be one to the server, and one before an
            // install would be a matter of luck.
            if let Some(server) = &mut self.server {
                // A server that is gone shows in what is served.
                let _ = server.settle();
            }
        }
        if !census {
            return;
        }
        if !failed && matches!(seen.effect.class, Class::Change | Class::Log) {
            let path = self.decoder.on_disk(&seen.effect.path);
            if let Some(mode) = exposed_key(&path, &self.decoder.root) {
                let text = format!(
                    "{} (mode {mode:04o}) after {}: {}",
                    seen.effect.path, seen.point.process, seen.effect.op
                );
                self.active[place].outcome.run.exposed_keys.push(text);
            }
        }
        if seen.effect.class.visible_change()
            && let Err(error) = self.served()
        {
            let text =
                format!("{error}, after {}: {} {}", seen.point.process, seen.effect.op, seen.effect.path);
            self.active[place].outcome.run.dark_moments.push(text);
        }
        if told.is_some() {
            let lines = if seen.effect.class.durable() { self.state() } else { Vec::new() };
            tell(told, Told::Done(&seen));
            tell(told, Told::State(&lines));
        }
    }

    /// A request waits at the front.
    pub(super) fn request(&mut self, arrival: Arrival, told: &mut Listener<'_>) -> Result<(), RunError> {
        let pass = |arrival: Arrival| {
            // The client may be gone by now.
            let _ = arrival.reply.send(Decision::Pass);
            Ok(())
        };
        let runs: Vec<usize> = self.active.iter().map(|run| run.index).collect();
        let pids: Vec<i32> = runs.into_iter().flat_map(|run| self.processes.of_run(run)).collect();
        let Some(pid) = self.decoder.proc.owner_of_connection(arrival.request.client, &pids) else {
            return pass(arrival);
        };
        let Some(process) = self.processes.get(pid) else { return pass(arrival) };
        let (name, leader) = (process.name(), process.leader);
        let Some(place) = self.place_of(process.run) else { return pass(arrival) };
        let effect = Effect {
            op: arrival.op,
            path: String::new(),
            from: None,
            class: arrival.class,
            exclusive: false,
        };
        self.note(place, effect, name, leader, pid, Some(arrival.occurrence), told);
        match self.active[place].fault_at_request(arrival.op, arrival.occurrence) {
            Some(fault) => self.strike(place, fault, At::Request(arrival), pid, told),
            None => pass(arrival),
        }
    }
}

/// An effect in a few words.
pub(super) fn told_short(point: &Point, effect: &Effect) -> String {
    format!("{}: {} {}", point.process, effect.op, effect.path)
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
