//! The programs that the tests trace. `tracer-guest WHAT [ARGUMENT...]`.
//!
//! A guest that sees what it expects exits with 0; a failed system call, where that is what a
//! test asks about, becomes the exit code (the error number). Anything else is a panic (101).

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, exit},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::{
        signal::{
            SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, raise, sigaction, sigprocmask,
        },
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getpid},
};

static COUNT: AtomicUsize = AtomicUsize::new(0);
static NOTES: Mutex<Option<File>> = Mutex::new(None);

extern "C" fn count(_: i32) {
    COUNT.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn note(_: i32) {
    // The tests' handlers only interrupt the write of a file of its own: this lock is free.
    if let Ok(mut notes) = NOTES.try_lock()
        && let Some(notes) = notes.as_mut()
    {
        let _ = notes.write_all(b"handled\n");
    }
}

fn on(signal: Signal, handler: SigHandler, flags: SaFlags) {
    // SAFETY: the handlers above only use atomics, try_lock and write.
    unsafe { sigaction(signal, &SigAction::new(handler, flags, SigSet::empty())) }.expect("sigaction");
}

fn append(path: &str) -> File {
    match OpenOptions::new().append(true).create(true).open(path) {
        Ok(file) => file,
        Err(error) => fail(&error),
    }
}

fn fail(error: &io::Error) -> ! {
    exit(error.raw_os_error().unwrap_or(101))
}

fn write(file: &mut File, text: &str) {
    if let Err(error) = file.write_all(text.as_bytes()) {
        fail(&error);
    }
}

fn fork_child(run: impl FnOnce()) -> Pid {
    // SAFETY: these guests have one thread when they fork.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            run();
            // SAFETY: ends the child without running what the parent registered.
            unsafe { libc::_exit(0) }
        }
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["nothing"] => {}
        // One write of each text.
        ["append", path, ..] => {
            let mut file = append(path);
            for text in &arguments[2..] {
                write(&mut file, text);
            }
        }
        // A single write, whatever comes of it: exits with the number of bytes.
        ["write-once", path, text] => exit(match append(path).write(text.as_bytes()) {
            Ok(written) => i32::try_from(written).expect("few bytes"),
            Err(error) => fail(&error),
        }),
        // Appends "main" to the file; SIGTERM is dealt with as named.
        ["term", how, path] => {
            let mut file = append(path);
            match how {
                "default" => {}
                "ignored" => on(Signal::SIGTERM, SigHandler::SigIgn, SaFlags::empty()),
                "handled" => {
                    *NOTES.lock().expect("not poisoned") = Some(append(path));
                    on(Signal::SIGTERM, SigHandler::Handler(note), SaFlags::empty());
                }
                "blocked" => mask(SigmaskHow::SIG_BLOCK, Signal::SIGTERM),
                other => panic!("no way to deal with SIGTERM is called {other}"),
            }
            write(&mut file, "main\n");
            if how == "blocked" {
                mask(SigmaskHow::SIG_UNBLOCK, Signal::SIGTERM);
            }
        }
        ["exec-from-thread", program, ..] => {
            let (program, rest) = (program.to_owned(), &arguments[2..]);
            thread::scope(|scope| {
                scope.spawn(|| panic!("{}", Command::new(program).args(rest).exec()));
            });
        }
        // Threads that make threads, all alive at once, each writing once.
        ["threads", count] => {
            let count: usize = count.parse().expect("a number");
            let barrier = Arc::new(Barrier::new(2 * count));
            let work = |barrier: Arc<Barrier>| {
                move || {
                    OpenOptions::new()
                        .write(true)
                        .open("/dev/null")
                        .and_then(|mut f| f.write_all(b"."))
                        .expect("write");
                    barrier.wait();
                }
            };
            let threads: Vec<_> = (0..count)
                .map(|_| {
                    let barrier = Arc::clone(&barrier);
                    thread::spawn(move || {
                        let other = thread::spawn(work(Arc::clone(&barrier)));
                        work(barrier)();
                        other.join().expect("thread");
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().expect("thread"));
        }
        // Quick children, waited for one by one.
        ["forks", count] => {
            for _ in 0..count.parse().expect("a number") {
                let child = fork_child(|| {});
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
        // A child that appends its line, then one that is looked for with execvp semantics.
        ["spawn", path] => {
            // The standard library uses posix_spawn here, which is a vfork.
            let status =
                Command::new("/bin/sh").args(["-c", &format!("echo child >> {path}; exit 3")]).status();
            assert_eq!(status.expect("sh starts").code(), Some(3));
            let status = Command::new("/bin/sh").args(["-c", "kill -USR1 $$"]).status().expect("sh starts");
            assert_eq!(status.signal(), Some(libc::SIGUSR1));
        }
        ["waiting"] => waiting(),
        ["job-control"] => job_control(),
        // SIGURG as the Go runtime uses it: many, to threads of its own, under work.
        ["urgent"] => {
            on(Signal::SIGURG, SigHandler::Handler(count), SaFlags::SA_RESTART);
            for sent in 1..=500 {
                raise(Signal::SIGURG).expect("raise");
                assert_eq!(COUNT.load(Ordering::SeqCst), sent);
            }
        }
        // Says it is there, then waits for a lock; a signal with a restarting handler may come.
        ["lock", path] => {
            on(Signal::SIGUSR1, SigHandler::Handler(count), SaFlags::SA_RESTART);
            let _lock = Flock::lock(append(path), FlockArg::LockExclusive).expect("flock");
            assert_eq!(COUNT.load(Ordering::SeqCst), 1, "the handler ran");
        }
        // Never ends by itself, and neither do its children.
        ["for-ever", children] => {
            for _ in 0..children.parse().expect("a number") {
                fork_child(|| for_ever());
            }
            on(Signal::SIGTERM, SigHandler::SigIgn, SaFlags::empty());
            for_ever();
        }
        // Makes children as fast as it can; they make theirs.
        ["multiply"] => loop {
            fork_child(|| {
                fork_child(|| thread::sleep(Duration::from_millis(20)));
                thread::sleep(Duration::from_millis(1));
            });
            while let Ok(WaitStatus::Exited(..)) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {}
        },
        // An orphan that appends after its parent is gone.
        ["orphan", path] => {
            let parent = getpid();
            fork_child(|| {
                while nix::unistd::getppid() == parent {
                    thread::yield_now();
                }
                write(&mut append(path), "orphan\n");
            });
        }
        // Exits with 0 if its three standard streams are all that is open.
        ["open-files"] => {
            let open = std::fs::read_dir("/proc/self/fd").expect("proc").count();
            // The listing has one open itself.
            assert_eq!(open, 4);
        }
        // Exits with 0 if no signal is ignored or blocked.
        ["signals"] => {
            let status = std::fs::read_to_string("/proc/self/status").expect("proc");
            let blocked = status.lines().find(|line| line.starts_with("SigBlk")).expect("a line");
            assert!(blocked.ends_with("0000000000000000"), "{blocked}");
            // The Rust runtime has ignored SIGPIPE since; nothing else.
            let ignored = status.lines().find(|line| line.starts_with("SigIgn")).expect("a line");
            assert!(ignored.ends_with("0000000000001000"), "{ignored}");
        }
        // What every clock says, twice, with a line's end written in between.
        ["clocks", path] => {
            let mut file = append(path);
            let first = clocks();
            write(&mut file, &first);
            write(&mut file, "\n");
            write(&mut file, &clocks());
        }
        ["untraced-child"] => untraced_child(),
        ["pid"] => exit(getpid().as_raw()),
        _ => panic!("no such guest: {arguments:?}"),
    }
}

/// Seconds by three clocks of the wall, by gettimeofday and time, and by one of the machine.
fn clocks() -> String {
    let by = |clock| nix::time::clock_gettime(clock).expect("a clock").tv_sec();
    let mut of_day = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: the pointer is to a timeval; there is no time zone to be told.
    assert_eq!(unsafe { libc::gettimeofday(&raw mut of_day, std::ptr::null_mut()) }, 0);
    // SAFETY: null means that only the result is wanted.
    let time = unsafe { libc::time(std::ptr::null_mut()) };
    let [wall, coarse, tai, machine] = [
        nix::time::ClockId::CLOCK_REALTIME,
        nix::time::ClockId::CLOCK_REALTIME_COARSE,
        nix::time::ClockId::CLOCK_TAI,
        nix::time::ClockId::CLOCK_MONOTONIC,
    ]
    .map(by);
    format!("{wall} {coarse} {tai} {} {time} {machine}", of_day.tv_sec)
}

fn mask(how: SigmaskHow, signal: Signal) {
    sigprocmask(how, Some(&SigSet::from(signal)), None).expect("sigprocmask");
}

fn for_ever() -> ! {
    loop {
        thread::park();
    }
}

/// What wait, sleep and the like tell a program, with a tracer as without.
fn waiting() {
    assert_eq!(waitpid(None, None), Err(Errno::ECHILD));
    // Interrupted by a handler that does not restart.
    on(Signal::SIGUSR1, SigHandler::Handler(count), SaFlags::empty());
    let parent = getpid();
    let child = fork_child(|| {
        thread::sleep(Duration::from_millis(20));
        // Until the parent has noticed: once might be before it waits.
        while kill(parent, Signal::SIGUSR1).is_ok() && nix::unistd::getppid() == parent {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(waitpid(child, None), Err(Errno::EINTR));
    kill(child, Signal::SIGKILL).expect("kill");
    on(Signal::SIGUSR1, SigHandler::SigIgn, SaFlags::empty());
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Signaled(child, Signal::SIGKILL, false)));
    // Children that are not to be waited for leave nothing.
    on(Signal::SIGCHLD, SigHandler::SigIgn, SaFlags::empty());
    let child = fork_child(|| {});
    assert_eq!(waitpid(child, None), Err(Errno::ECHILD));
}

/// A shell's view of Ctrl-Z and fg.
fn job_control() {
    let child = fork_child(|| for_ever());
    for _ in 0..10 {
        kill(child, Signal::SIGSTOP).expect("kill");
        assert_eq!(
            waitpid(child, Some(WaitPidFlag::WUNTRACED)),
            Ok(WaitStatus::Stopped(child, Signal::SIGSTOP))
        );
        kill(child, Signal::SIGCONT).expect("kill");
        assert_eq!(waitpid(child, Some(WaitPidFlag::WCONTINUED)), Ok(WaitStatus::Continued(child)));
    }
    kill(child, Signal::SIGTERM).expect("kill");
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Signaled(child, Signal::SIGTERM, false)));
}

/// A child that evades the tracer, but not the filter. Exits with the error number of its write.
fn untraced_child() {
    // SAFETY: a new anonymous mapping, shared with the child, which is never unmapped; zero is a
    // valid AtomicUsize.
    let seen: &AtomicUsize = unsafe {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let page = libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        &*page.cast()
    };
    let flags = libc::c_long::from(libc::CLONE_UNTRACED | libc::SIGCHLD);
    // SAFETY: like fork, as no memory but the page above is shared.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if child == 0 {
        // SAFETY: one byte of a static string.
        let written = unsafe { libc::write(1, c".".as_ptr().cast(), 1) };
        let errno = Errno::last_raw();
        seen.store(if written == -1 { usize::try_from(errno).unwrap_or(101) } else { 100 }, Ordering::SeqCst);
        // It cannot even exit.
        for_ever();
    }
    while seen.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    let child = Pid::from_raw(i32::try_from(child).expect("a process id"));
    kill(child, Signal::SIGKILL).expect("kill");
    waitpid(child, None).expect("waitpid");
    exit(i32::try_from(seen.load(Ordering::SeqCst)).expect("an error number"));
}
