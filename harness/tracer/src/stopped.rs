//! A task that is stopped: the value is the right to say how it goes on.

use std::{ffi::OsString, io, rc::Rc};

use nix::unistd::Pid;

use crate::{
    error::Error,
    event::{Stop, Syscall},
    memory, signal,
    signal::Sender,
    sys,
    task::Tasks,
};

/// A task that is stopped, and why. It stays so until one of the methods that consume this is
/// called; other tasks go on, and several may be held at once. Dropped, it resumes.
///
/// A task that is killed while it is stopped is gone: then every method that lets it go on does
/// nothing and succeeds, the ones that read fail with `ESRCH`, and its end is reported by
/// [`crate::Tracer::wait`]. To send a signal to a stopped task use [`signal::signal_task`] or
/// [`signal::signal_process`] and then let it go on: `SIGKILL` acts at once, the call does not
/// run; every other signal acts *after* the call, unless it is [postponed](Stopped::postpone).
#[derive(Debug)]
#[must_use = "the task stays stopped only as long as this is held"]
pub struct Stopped {
    tasks: Rc<Tasks>,
    tid: Pid,
    pid: Pid,
    stop: Stop,
    /// The number of this stop.
    number: u64,
    over: bool,
}

impl Stopped {
    pub(crate) fn new(tasks: Rc<Tasks>, tid: Pid, stop: Stop) -> Stopped {
        let (pid, number) = tasks.tasks.borrow().get(&tid).map_or((tid, 0), |task| (task.tgid, task.stop));
        Stopped { tasks, tid, pid, stop, number, over: false }
    }

    /// The task (thread) that is stopped.
    pub fn tid(&self) -> Pid {
        self.tid
    }

    /// Its process (thread-group id).
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Why it is stopped.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The system call it is about to make, if that is why it is stopped.
    pub fn syscall(&self) -> Option<&Syscall> {
        match &self.stop {
            Stop::Syscall(syscall) => Some(syscall),
            _ => None,
        }
    }

    /// Lets it go on. At a [`Stop::Signal`] the signal is delivered.
    ///
    /// # Errors
    ///
    /// If the kernel refuses for another reason than that the task is gone.
    pub fn resume(mut self) -> Result<(), Error> {
        let signal = self.signal();
        self.go(libc::PTRACE_CONT as i32, signal)
    }

    /// Lets its call run and stops it again as [`Stop::Returned`] when it has. At any other
    /// stop the same as [`Stopped::resume`].
    ///
    /// # Errors
    ///
    /// As of [`Stopped::resume`].
    pub fn resume_and_stop_after(mut self) -> Result<(), Error> {
        let Stop::Syscall(syscall) = self.stop else { return self.resume() };
        if let Some(task) = self.tasks.tasks.borrow_mut().get_mut(&self.tid)
            && task.stop == self.number
        {
            task.returning = Some(syscall);
        }
        self.go(libc::PTRACE_SYSCALL as i32, 0)
    }

    /// Its call does not run and fails with this error number (positive, such as
    /// `libc::ENOSPC`).
    ///
    /// # Errors
    ///
    /// As of [`Stopped::resume`]; [`Error::NotASyscall`].
    pub fn refuse(self, errno: i32) -> Result<(), Error> {
        self.answer(-i64::from(errno))
    }

    /// Its call does not run and gives this value. For a short write, run it with a smaller
    /// length instead: [`Stopped::set_argument`].
    ///
    /// # Errors
    ///
    /// As of [`Stopped::resume`]; [`Error::NotASyscall`].
    pub fn answer(mut self, value: i64) -> Result<(), Error> {
        self.entry()?;
        self.request("POKEUSER", |tid| sys::skip(tid, value))?;
        self.go(libc::PTRACE_CONT as i32, 0)
    }

    /// Changes an argument (0 to 5) of its call.
    ///
    /// # Errors
    ///
    /// As of [`Stopped::resume`]; [`Error::NotASyscall`].
    ///
    /// # Panics
    ///
    /// If the index is above 5.
    pub fn set_argument(&mut self, index: usize, value: u64) -> Result<(), Error> {
        self.entry()?;
        self.request("POKEUSER", |tid| sys::set_argument(tid, index, value))?;
        if let Stop::Syscall(syscall) = &mut self.stop {
            syscall.args[index] = value;
        }
        Ok(())
    }

    /// Its call does not run now, but is made again once the signals that are pending have been
    /// dealt with: when a handler has returned, or at once if the signal is ignored or blocked.
    /// A signal that kills does so before the call. So this, after sending the signal, is how a
    /// `SIGTERM` arrives *before* an effect. The second time, the stop has
    /// [`Syscall::again`] set.
    ///
    /// # Errors
    ///
    /// As of [`Stopped::resume`]; [`Error::NotASyscall`].
    pub fn postpone(mut self) -> Result<(), Error> {
        let syscall = self.entry()?;
        self.request("POKEUSER", |tid| sys::rewind(tid, syscall.at, syscall.number))?;
        if let Some(task) = self.tasks.tasks.borrow_mut().get_mut(&self.tid)
            && task.stop == self.number
        {
            task.postponed = Some(syscall);
        }
        self.go(libc::PTRACE_CONT as i32, 0)
    }

    /// Lets it go on without the signal of a [`Stop::Signal`]. At any other stop the same as
    /// [`Stopped::resume`].
    ///
    /// # Errors
    ///
    /// As of [`Stopped::resume`].
    pub fn suppress(mut self) -> Result<(), Error> {
        self.go(libc::PTRACE_CONT as i32, 0)
    }

    /// Who sent the signal of a [`Stop::Signal`].
    ///
    /// # Errors
    ///
    /// If it is gone, or not at such a stop.
    pub fn sender(&self) -> Result<Sender, Error> {
        let (pid, uid, code) = sys::signal_info(self.tid).map_err(|source| Error::Ptrace {
            request: "GETSIGINFO",
            tid: self.tid,
            source,
        })?;
        Ok(Sender { pid: Pid::from_raw(pid), uid, code })
    }

    /// Reads its memory.
    ///
    /// # Errors
    ///
    /// If not all of it can be read, or the task is gone.
    pub fn read_bytes(&self, address: u64, length: usize) -> Result<Vec<u8>, Error> {
        memory::read_bytes(self.tid, address, length)
    }

    /// Reads a string that ends with a NUL, which is left out. At most 4,096 bytes of it.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or the task is gone.
    pub fn read_string(&self, address: u64) -> Result<OsString, Error> {
        memory::read_string(self.tid, address)
    }

    /// Reads 64-bit words, as pointers and structures of them are made of.
    ///
    /// # Errors
    ///
    /// If they cannot all be read, or the task is gone.
    pub fn read_words(&self, address: u64, count: usize) -> Result<Vec<u64>, Error> {
        memory::read_words(self.tid, address, count)
    }

    fn entry(&self) -> Result<Syscall, Error> {
        match self.stop {
            Stop::Syscall(syscall) => Ok(syscall),
            _ => Err(Error::NotASyscall { tid: self.tid }),
        }
    }

    fn signal(&self) -> i32 {
        match self.stop {
            Stop::Signal { signal } => signal,
            _ => 0,
        }
    }

    /// Whether the task is still at this stop: not reaped, and its id not taken over.
    fn is_current(&self) -> bool {
        self.tasks.tasks.borrow().get(&self.tid).is_some_and(|task| task.stop == self.number)
    }

    fn request(&self, request: &'static str, make: impl FnOnce(Pid) -> io::Result<()>) -> Result<(), Error> {
        if !self.is_current() {
            return Ok(());
        }
        match make(self.tid) {
            Err(source) if !signal::is_gone(&source) => Err(Error::Ptrace { request, tid: self.tid, source }),
            _ => Ok(()),
        }
    }

    fn go(&mut self, request: i32, signal: i32) -> Result<(), Error> {
        self.over = true;
        self.request("CONT", |tid| sys::go(request, tid, signal))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if !self.over {
            let signal = self.signal();
            // Nobody is left to tell; the kernel refuses only if the task is gone.
            let _ = self.go(libc::PTRACE_CONT as i32, signal);
        }
    }
}
