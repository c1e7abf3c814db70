//! The event loop.

use std::{
    cell::Cell,
    collections::{BTreeSet, VecDeque},
    io,
    marker::PhantomData,
    rc::Rc,
    time::{Duration, Instant},
};

use nix::unistd::Pid;

use crate::{
    Call, Command, Ended, Error, Event, SpawnError, Status, Stop, Stopped, Syscall, Waker,
    alarm::{Alarm, Outcome},
    allocation, clock,
    filter::{self, Also},
    signal::is_gone,
    spawn,
    sys::{self, Info, Waited},
    task::{Early, Task, Tasks},
};

/// What to stop at beyond the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Also at `connect`, `sendmsg`, `sendmmsg`, and a `sendto` with an address.
    pub connect: bool,
}

thread_local! {
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// Runs commands and stops them at their effects. Everything happens on the thread that made
/// it. Dropped, it kills what is left; and if the whole harness is killed, the kernel does
/// (`PTRACE_O_EXITKILL`).
#[derive(Debug)]
pub struct Tracer {
    tasks: Rc<Tasks>,
    alarm: Alarm,
    options: Options,
    program: Vec<libc::sock_filter>,
    queue: VecDeque<Event>,
    /// The process that last lost a task: it may have been making a child.
    lost: Option<Pid>,
    /// When something last happened.
    happened_at: Instant,
    /// ptrace belongs to a thread.
    not_send: PhantomData<*const ()>,
}

impl Tracer {
    /// Makes this thread a tracer. Takes one of the last real-time signals for its own use, and
    /// blocks it in this thread except while it waits.
    ///
    /// # Errors
    ///
    /// [`Error::SecondTracer`] if the thread has one.
    pub fn new(options: Options) -> Result<Tracer, Error> {
        if TAKEN.get() {
            return Err(Error::SecondTracer);
        }
        let alarm = Alarm::new()?;
        TAKEN.set(true);
        Ok(Tracer {
            tasks: Rc::default(),
            alarm,
            options,
            program: filter::program(Also { connect: options.connect, ..Also::default() }),
            queue: VecDeque::new(),
            lost: None,
            happened_at: Instant::now(),
            not_send: PhantomData,
        })
    }

    /// What wakes [`Tracer::wait`] from another thread.
    pub fn waker(&self) -> Waker {
        self.alarm.waker()
    }

    /// From the next [`Tracer::spawn`] on, questions for the time of day come by here (the calls
    /// stop and go on by themselves, without an event), or do not any more. Watched programs have no
    /// vDSO, so that each of these questions costs microseconds instead of nanoseconds.
    pub fn watch_clock(&mut self, watched: bool) {
        if self.tasks.clock.watched.replace(watched) != watched {
            self.assemble();
        }
    }

    /// From the next [`Tracer::spawn`] on, requests for memory that the kernel refuses are stopped
    /// at ([`Stop::Refused`]), or are not any more. Watched programs are stopped, without an event,
    /// at every request.
    pub fn watch_memory(&mut self, watched: bool) {
        if self.tasks.memory_watched.replace(watched) != watched {
            self.assemble();
        }
    }

    fn assemble(&mut self) {
        self.program = filter::program(Also {
            connect: self.options.connect,
            clock: self.tasks.clock.watched.get(),
            memory: self.tasks.memory_watched.get(),
        });
    }

    /// Steps the clock: from now on every watched program is told a time that is this many seconds
    /// later than it is (earlier, if negative). What is shifted is `CLOCK_REALTIME`, its coarse
    /// and alarm kinds, and `CLOCK_TAI`; timers, timeouts and the times of files are the
    /// kernel's.
    pub fn step_clock(&mut self, seconds: i64) {
        self.tasks.clock.offset.set(seconds);
        self.tasks.clock.shifted.set(0);
    }

    /// How often watched programs have asked for the time of day.
    pub fn clock_asked(&self) -> u64 {
        self.tasks.clock.asked.get()
    }

    /// How often they were told another time than it is, since [`Tracer::step_clock`].
    pub fn clock_shifted(&self) -> u64 {
        self.tasks.clock.shifted.get()
    }

    /// Starts a command under this tracer. When this returns, the program is loaded and has not
    /// run an instruction: the first event is its [`Stop::Executed`]. Until that is resumed it
    /// can be put into a cgroup and the like.
    ///
    /// # Errors
    ///
    /// The step that failed; nothing is left of the attempt.
    pub fn spawn(&mut self, command: &Command) -> Result<Pid, SpawnError> {
        let pid = spawn::spawn_traced(command, &self.program)?;
        if self.tasks.clock.watched.get() {
            // If it cannot be hidden, questions are not seen, which shows in their number.
            let _ = clock::hide_vdso(pid);
        }
        let mut task = Task::new(pid);
        task.stop = self.tasks.number();
        self.tasks.tasks.borrow_mut().insert(pid, task);
        let stopped = Stopped::new(Rc::clone(&self.tasks), pid, Stop::Executed { former: pid });
        self.queue.push_back(Event::Stopped(stopped));
        Ok(pid)
    }

    /// Waits for the next event. Children of this thread that are no tracees are left alone.
    ///
    /// After the deadline it is always [`Event::TimedOut`], even if there is more to report.
    ///
    /// # Errors
    ///
    /// Only if the kernel behaves unexpectedly.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            let patience = self.patience();
            let until =
                patience.map_or(deadline, |at| Some(deadline.map_or(at, |deadline| deadline.min(at))));
            match self.alarm.wait(until)? {
                Outcome::Task(waited) => {
                    self.happened_at = Instant::now();
                    if let Some(event) = self.happened(&waited)? {
                        return Ok(event);
                    }
                }
                Outcome::Woken => return Ok(Event::Woken),
                Outcome::TimedOut if patience.is_some_and(|until| until <= Instant::now()) => {
                    if let Some(lost) = self.lost.take() {
                        self.adopt(lost);
                    }
                }
                Outcome::TimedOut => return Ok(Event::TimedOut),
                Outcome::Empty => return Ok(Event::Empty),
            }
        }
    }

    /// Until when a child that nobody has announced is held, while it may be that its maker is gone and
    /// never will.
    fn patience(&self) -> Option<Instant> {
        (self.lost.is_some() && !self.tasks.early.borrow().is_empty()).then(|| self.happened_at + UNANNOUNCED)
    }

    /// The processes that are traced and not gone (thread-group ids), in order of their ids.
    pub fn live(&self) -> Vec<Pid> {
        let tasks = self.tasks.tasks.borrow();
        let early = self.tasks.early.borrow();
        let mut live: BTreeSet<Pid> = tasks.values().map(|task| task.tgid).collect();
        let known = live.clone();
        let early = early.iter().filter(|(_, early)| matches!(early, Early::Stopped(_)));
        live.extend(early.map(|(tid, _)| process_of(*tid, &known)));
        live.into_iter().collect()
    }

    /// Whether there is a tracee that no event has told of yet: a child whose maker was killed as it made
    /// it. It is told of within some 50 ms of [`Tracer::wait`].
    pub fn is_more_to_come(&self) -> bool {
        !self.queue.is_empty()
            || !self.tasks.early.borrow().is_empty()
            || self.tasks.tasks.borrow().is_empty() && sys::is_there(None)
    }

    /// Kills every tracee with `SIGKILL`, also those that are being made, and waits until none is
    /// left. What was held is let go. Events that were not waited for are lost, except the ends,
    /// which are given back.
    ///
    /// # Errors
    ///
    /// Only if the kernel behaves unexpectedly.
    pub fn kill_all(&mut self) -> Result<Vec<Ended>, Error> {
        let live: BTreeSet<Pid> = self.live().into_iter().collect();
        for (tid, early) in self.tasks.early.borrow_mut().drain() {
            if matches!(early, Early::Stopped(_)) {
                let task = Task::new(process_of(tid, &live));
                self.tasks.tasks.borrow_mut().insert(tid, task);
            }
        }
        for pid in &live {
            kill(*pid);
        }
        loop {
            let waited = match sys::wait4(-1, libc::__WCLONE | libc::__WNOTHREAD) {
                Ok(Some(waited)) => waited,
                Ok(None) => continue,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => continue,
                    Some(libc::ECHILD) => break,
                    _ => return Err(Error::system("waiting for a tracee to die", error)),
                },
            };
            if libc::WIFSTOPPED(waited.status) {
                // One that was being made, or one that stopped before the signal came. The
                // kill also ends the stop.
                kill(waited.tid);
            } else {
                // One that its maker did not live to announce counts as a process.
                self.tasks.tasks.borrow_mut().entry(waited.tid).or_insert_with(|| Task::new(waited.tid));
                if let Some(event) = self.ended(&waited) {
                    self.queue.push_back(event);
                }
            }
        }
        // Also what was waiting there before. A held stop that is let go now does nothing.
        let ends = self.queue.drain(..).filter_map(|event| end(&event)).collect();
        self.tasks.tasks.borrow_mut().clear();
        self.tasks.early.borrow_mut().clear();
        Ok(ends)
    }

    /// Makes an event of what `wait4` said. `None`: it was dealt with here.
    fn happened(&mut self, waited: &Waited) -> Result<Option<Event>, Error> {
        if !libc::WIFSTOPPED(waited.status) {
            return Ok(self.ended(waited));
        }
        let (tid, signal, event) = (waited.tid, libc::WSTOPSIG(waited.status), waited.status >> 16);
        match self.stopped(tid, signal, event) {
            Ok(event) => Ok(event),
            // Killed while it was stopped: its end comes next.
            Err((_, source)) if is_gone(&source) => Ok(None),
            Err((request, source)) => Err(Error::Ptrace { request, tid, source }),
        }
    }

    fn stopped(&mut self, tid: Pid, signal: i32, event: i32) -> Result<Option<Event>, Failure> {
        if event == libc::PTRACE_EVENT_EXEC {
            return self.executed(tid).map(Some);
        }
        {
            let mut tasks = self.tasks.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&tid) else {
                // The child is faster than its maker: hold it until it is known whose it is.
                self.tasks.early.borrow_mut().insert(tid, Early::Stopped(signal));
                return Ok(None);
            };
            task.stop = self.tasks.number();
        }
        match event {
            libc::PTRACE_EVENT_SECCOMP => self.about_to_call(tid),
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                self.forked(tid, event == libc::PTRACE_EVENT_CLONE)
            }
            sys::EVENT_STOP => {
                self.note_interruption(tid)?;
                let request = first_stop_request(signal);
                sys::go(request, tid, 0).map_err(|source| ("LISTEN", source))?;
                Ok(None)
            }
            0 if signal == libc::SIGTRAP | 0x80 => self.returned(tid),
            0 => {
                self.note_interruption(tid)?;
                if matches!(signal, libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH) {
                    proceed(tid, signal)?;
                    return Ok(None);
                }
                Ok(Some(self.surface(tid, Stop::Signal { signal })))
            }
            _ => {
                proceed(tid, 0)?;
                Ok(None)
            }
        }
    }

    fn surface(&self, tid: Pid, stop: Stop) -> Event {
        Event::Stopped(Stopped::new(Rc::clone(&self.tasks), tid, stop))
    }

    fn about_to_call(&mut self, tid: Pid) -> Result<Option<Event>, Failure> {
        let info = sys::syscall_info(tid).map_err(|source| ("GET_SYSCALL_INFO", source))?;
        let Info::Seccomp { number, args, data, at } = info else {
            proceed(tid, 0)?;
            return Ok(None);
        };
        let Some(call) = filter::decode(data) else {
            // A filter of the program's own.
            proceed(tid, 0)?;
            return Ok(None);
        };
        if clock::asks(call) {
            return self.asks_time(tid, call, args);
        }
        if allocation::asks(call) {
            return self.await_answer(tid, call, args);
        }
        let mut syscall = Syscall { call, number, args, again: false, at };
        let tgid = {
            let mut tasks = self.tasks.tasks.borrow_mut();
            let task = tasks.get_mut(&tid).expect("looked up by the caller");
            if let Some(postponed) = task.postponed {
                syscall.again = is_same(&postponed, &syscall);
                // Calls of a signal handler come deeper in the stack; from anywhere else, the
                // program has left the postponed one for good.
                if syscall.again || at.stack >= postponed.at.stack {
                    task.postponed = None;
                }
            }
            task.returning = None;
            task.last = Some(syscall);
            task.tgid
        };
        // A thread that ends while others go on is no effect.
        if call == Call::Exit && self.tasks.of_process(tgid) > 1 {
            proceed(tid, 0)?;
            return Ok(None);
        }
        Ok(Some(self.surface(tid, Stop::Syscall(syscall))))
    }

    /// A question for the time: let go, and stopped after it only if the answer is to be shifted.
    fn asks_time(&mut self, tid: Pid, call: Call, args: [u64; 6]) -> Result<Option<Event>, Failure> {
        let clock = &self.tasks.clock;
        clock.asked.set(clock.asked.get() + 1);
        if clock.offset.get() == 0 {
            proceed(tid, 0)?;
            Ok(None)
        } else {
            self.await_answer(tid, call, args)
        }
    }

    /// Lets a call that is no effect run, and stops after it.
    fn await_answer(&mut self, tid: Pid, call: Call, args: [u64; 6]) -> Result<Option<Event>, Failure> {
        if let Some(task) = self.tasks.tasks.borrow_mut().get_mut(&tid) {
            task.asking = Some((call, args));
        }
        sys::go(libc::PTRACE_SYSCALL as i32, tid, 0).map_err(|source| ("SYSCALL", source))?;
        Ok(None)
    }

    fn returned(&mut self, tid: Pid) -> Result<Option<Event>, Failure> {
        let info = sys::syscall_info(tid).map_err(|source| ("GET_SYSCALL_INFO", source))?;
        let asking = self.tasks.tasks.borrow_mut().get_mut(&tid).and_then(|task| task.asking.take());
        if let (Some((call, args)), Info::Exit { result }) = (asking, &info) {
            if allocation::asks(call) {
                if allocation::is_refused(call, args, *result) {
                    return Ok(Some(self.surface(tid, Stop::Refused { call })));
                }
                proceed(tid, 0)?;
                return Ok(None);
            }
            self.tasks.clock.shift(tid, call, args, *result).map_err(|source| ("POKEDATA", source))?;
            proceed(tid, 0)?;
            return Ok(None);
        }
        let returning = {
            let mut tasks = self.tasks.tasks.borrow_mut();
            let task = tasks.get_mut(&tid).expect("looked up by the caller");
            let returning = task.returning.take();
            if let (Info::Exit { result }, Some(syscall)) = (&info, returning)
                && sys::is_restart(*result)
            {
                task.postponed = Some(syscall);
            }
            returning
        };
        let (Info::Exit { result }, Some(syscall)) = (info, returning) else {
            proceed(tid, 0)?;
            return Ok(None);
        };
        Ok(Some(self.surface(tid, Stop::Returned { syscall, result })))
    }

    /// A signal may have interrupted the call that was let run: when the kernel makes it run
    /// again it is not another one.
    fn note_interruption(&mut self, tid: Pid) -> Result<(), Failure> {
        let mut tasks = self.tasks.tasks.borrow_mut();
        let Some(task) = tasks.get_mut(&tid) else { return Ok(()) };
        if task.postponed.is_none()
            && let Some(last) = task.last
            && sys::is_interrupted(tid, last.at).map_err(|source| ("PEEKUSER", source))?
        {
            task.postponed = Some(last);
        }
        Ok(())
    }

    fn executed(&mut self, tid: Pid) -> Result<Event, Failure> {
        let former = sys::event_message(tid).map_err(|source| ("GETEVENTMSG", source))?;
        if self.tasks.clock.watched.get() {
            // If it cannot be hidden, questions are not seen, which shows in their number.
            let _ = clock::hide_vdso(tid);
        }
        let lost = {
            let mut tasks = self.tasks.tasks.borrow_mut();
            let lost = tasks.get(&tid).is_some_and(|task| task.lost_thread);
            if former != tid {
                tasks.remove(&former);
            }
            let mut task = Task::new(tid);
            task.stop = self.tasks.number();
            tasks.insert(tid, task);
            lost
        };
        let event = self.surface(tid, Stop::Executed { former });
        // The threads that were killed for it may have been making children.
        if former != tid || lost {
            self.adopt(tid);
        }
        Ok(event)
    }

    fn forked(&mut self, tid: Pid, maybe_thread: bool) -> Result<Option<Event>, Failure> {
        let child = sys::event_message(tid).map_err(|source| ("GETEVENTMSG", source))?;
        let parent = self.tasks.tasks.borrow().get(&tid).map_or(tid, |task| task.tgid);
        // Its own stops may have come first, and all of its life: then somebody else got it as a child
        // (see `adopt`), and nobody is to hear of it again. What is left of its id is not its own.
        let known =
            self.tasks.tasks.borrow().contains_key(&child) || self.tasks.early.borrow().contains_key(&child);
        if !known && !sys::is_there(Some(child)) {
            proceed(tid, 0)?;
            return Ok(None);
        }
        let event = self.born(parent, child, maybe_thread);
        match proceed(tid, 0) {
            Err((_, source)) if is_gone(&source) => {}
            other => other?,
        }
        Ok(Some(event))
    }

    /// Enters a new task, and lets it go if it is waiting for that.
    fn born(&mut self, parent: Pid, child: Pid, maybe_thread: bool) -> Event {
        // A process can be made like a thread, with a signal other than SIGCHLD.
        let thread = maybe_thread && sys::tgkill(parent, child, 0).is_ok();
        let tgid = if thread { parent } else { child };
        self.tasks.tasks.borrow_mut().entry(child).or_insert_with(|| Task::new(tgid));
        let early = self.tasks.early.borrow_mut().remove(&child);
        match early {
            // If it is gone, its end is reported.
            Some(Early::Stopped(signal)) => drop(sys::go(first_stop_request(signal), child, 0)),
            Some(Early::Ended(status, cpu)) => {
                if let Some(event) = self.ended(&Waited { tid: child, status, cpu }) {
                    self.queue.push_back(event);
                }
            }
            None => {}
        }
        Event::Forked { parent, child, thread }
    }

    /// Children whose maker was killed before it could say so would be held for ever. They get
    /// the process that has just lost a task as their parent.
    fn adopt(&mut self, parent: Pid) {
        let children: Vec<Pid> = self.tasks.early.borrow().keys().copied().collect();
        for child in children {
            let event = self.born(parent, child, true);
            self.queue.push_front(event);
        }
    }

    fn ended(&mut self, waited: &Waited) -> Option<Event> {
        let tid = waited.tid;
        let Some(task) = self.tasks.tasks.borrow_mut().remove(&tid) else {
            self.tasks.early.borrow_mut().insert(tid, Early::Ended(waited.status, waited.cpu));
            return None;
        };
        let status = if libc::WIFEXITED(waited.status) {
            Status::Exited(libc::WEXITSTATUS(waited.status))
        } else {
            Status::Signalled { signal: libc::WTERMSIG(waited.status), core: libc::WCOREDUMP(waited.status) }
        };
        let leader = task.tgid == tid;
        if matches!(status, Status::Signalled { .. }) {
            if !leader && let Some(task) = self.tasks.tasks.borrow_mut().get_mut(&task.tgid) {
                task.lost_thread = true;
            }
            self.adopt(task.tgid);
        }
        self.lost = Some(task.tgid);
        let cpu = if leader { waited.cpu } else { Duration::ZERO };
        Some(Event::Ended(Ended { pid: task.tgid, tid, leader, status, cpu }))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.kill_all();
        TAKEN.set(false);
    }
}

/// How long nothing at all happens before a child whose maker may be gone is let go: a maker that lives announces
/// it within microseconds of its making.
const UNANNOUNCED: Duration = Duration::from_millis(50);

type Failure = (&'static str, io::Error);

fn proceed(tid: Pid, signal: i32) -> Result<(), Failure> {
    sys::go(libc::PTRACE_CONT as i32, tid, signal).map_err(|source| ("CONT", source))
}

/// How a task in a `PTRACE_EVENT_STOP` goes on: in a group-stop it must stay stopped, and yet
/// notice a `SIGCONT`.
fn first_stop_request(signal: i32) -> i32 {
    match signal {
        libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => sys::LISTEN,
        _ => libc::PTRACE_CONT as i32,
    }
}

/// The process that a task belongs to which nobody has announced: one of these, or its own.
fn process_of(tid: Pid, known: &BTreeSet<Pid>) -> Pid {
    known.iter().copied().find(|tgid| sys::tgkill(*tgid, tid, 0).is_ok()).unwrap_or(tid)
}

fn is_same(one: &Syscall, other: &Syscall) -> bool {
    one.number == other.number && one.args == other.args && one.at == other.at
}

fn kill(pid: Pid) {
    // Gone already is as good. A tracee's id cannot be reused before it is waited for.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

fn end(event: &Event) -> Option<Ended> {
    match event {
        Event::Ended(ended) => Some(*ended),
        _ => None,
    }
}
