//! The harness under its own medicine: killed at random moments, it leaves nothing behind and works
//! again; asked to stop, it says what it has found.
//!
//! `ROULETTE_TEST_KILLS` is the number of kills (100 before a release), `ROULETTE_TEST_SEED` repeats
//! the moments of an earlier run.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    sys::{
        prctl::set_child_subreaper,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use process_roulette_tests::home::{Home, Who, everybody};

/// Kills of an ordinary `cargo test`.
const KILLS: u32 = 16;

/// How long after a kill something may still be going away. It takes milliseconds; a machine that
/// ends six worlds and builds others needs more.
const GONE: Duration = Duration::from_secs(30);

/// Orphans become children of this process, whose tests must then not run at the same time.
static ALONE: Mutex<()> = Mutex::new(());

/// A few experiments in two worlds: every stage of a run in a second or two.
const RUN: [&str; 6] = ["run", "scenarios/reference.toml", "--jobs", "2", "--max-experiments", "8"];

struct Setting {
    home: Home,
    who: Who,
    world: &'static str,
}

fn settings() -> Vec<Setting> {
    let mut settings = Vec::new();
    for who in everybody() {
        for world in ["private", "bare"] {
            let Some(home) = Home::new(who) else { continue };
            if world == "bare" || home.has_private_world() {
                settings.push(Setting { home, who, world });
            }
        }
    }
    settings
}

impl Setting {
    fn start(&self) -> Child {
        let mut command = self.home.roulette();
        command.args(RUN).args(["--world", self.world]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the roulette command starts")
    }

    /// Waits until nothing is left.
    fn settle(&self, devices: &BTreeSet<String>, what: &str) {
        let deadline = Instant::now() + GONE;
        loop {
            // Orphans end up here, and are waited for as an init would.
            while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                if status == WaitStatus::StillAlive {
                    break;
                }
            }
            let mut left = self.home.left();
            left.extend(below(std::process::id()));
            left.extend(network_devices().difference(devices).map(|name| format!("network device {name}")));
            left.extend(cgroups());
            if left.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}, {:?}, {}: still there:\n{}",
                self.who,
                self.world,
                left.join("\n")
            );
            std::thread::yield_now();
        }
    }

    fn works(&self) {
        let ran = self.home.run(&[&RUN[..], &["--world", self.world]].concat());
        assert_eq!(ran.code, Some(0), "{:?}, {}: {}{}", self.who, self.world, ran.stdout, ran.stderr);
    }
}

/// Every process below `pid`, the dead that nobody waited for included.
fn below(pid: u32) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir("/proc") else { return found };
    for entry in entries.flatten() {
        // pid (name) state ppid ...; the name may contain anything.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
        let parent = tail.split(' ').nth(1).and_then(|parent| parent.parse::<u32>().ok());
        if parent == Some(pid) {
            found.push(format!("child {head}) {}", tail.get(..1).unwrap_or_default()));
        }
    }
    found
}

fn network_devices() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// Control groups that carry our name.
fn cgroups() -> Vec<String> {
    fn look(folder: &Path, depth: u32, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with("roulette") {
                found.push(format!("cgroup {}", entry.path().display()));
            }
            if depth > 0 {
                look(&entry.path(), depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    look(Path::new("/sys/fs/cgroup"), 3, &mut found);
    found
}

/// splitmix64: enough to spread moments.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_behind_and_works_again() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    set_child_subreaper(true).unwrap();
    let settings = settings();
    if settings.is_empty() {
        return;
    }
    let kills = number("ROULETTE_TEST_KILLS").map_or(KILLS, |kills| kills as u32);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("ROULETTE_TEST_SEED").unwrap_or(now);
    eprintln!("{kills} kills, ROULETTE_TEST_SEED={seed}");
    let mut random = Random(seed);
    let devices = network_devices();
    // How long a whole run takes here, so that moments spread over all of it.
    let mut lengths = Vec::new();
    for setting in &settings {
        let started = Instant::now();
        setting.works();
        lengths.push(started.elapsed());
        setting.settle(&devices, "after a whole run");
    }
    let signals = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT];
    for index in 0..kills as usize {
        let place = index % settings.len();
        let setting = &settings[place];
        let signal = signals[index / settings.len() % signals.len()];
        let moment = Duration::from_micros(random.below(lengths[place].as_micros() as u64));
        let what = format!("kill {index} with {signal} after {moment:?} (seed {seed})");
        let mut child = setting.start();
        let deadline = Instant::now() + moment;
        // Not a wait for something to happen: the moment itself is what is tried.
        while Instant::now() < deadline {
            std::thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let (out, err) = drain(&mut child);
        let status = child.wait().unwrap();
        // Over already, told to end, or not yet listening to signals.
        let expected = matches!(status.code(), Some(0 | 130)) || status.signal() == Some(signal as i32);
        assert!(expected, "{what}: {status}: {out}{err}");
        assert!(!err.contains("bug of Process Roulette"), "{what}: {err}");
        setting.settle(&devices, &what);
    }
    for setting in &settings {
        setting.works();
        setting.settle(&devices, "after the second run");
    }
}

/// Reads what it says to its end. (The pipes end with it and all it has started.)
fn drain(child: &mut Child) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let _ = stdout.read_to_string(&mut out);
        out
    });
    let _ = child.stderr.take().unwrap().read_to_string(&mut err);
    (reader.join().unwrap(), err)
}

#[test]
fn ctrl_c_tells_what_was_found_so_far() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    set_child_subreaper(true).unwrap();
    let devices = network_devices();
    for setting in settings() {
        let mut command = setting.home.roulette();
        // One world: there is much left to do when the first experiments are done.
        command.args(["run", "scenarios/reference.toml", "--jobs", "1", "--world", setting.world]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut progress = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("experiments,") {
            line.clear();
            assert_ne!(progress.read_line(&mut line).unwrap(), 0, "it ended too early");
        }
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{out}");
        assert!(out.contains("cut short: interrupted"), "{out}");
        assert!(out.contains("pair-intact"), "{out}");
        setting.settle(&devices, "after Ctrl-C");
    }
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    set_child_subreaper(true).unwrap();
    let devices = network_devices();
    for setting in settings() {
        let mut child = setting.start();
        let mut progress = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("experiments,") {
            line.clear();
            assert_ne!(progress.read_line(&mut line).unwrap(), 0, "it ended too early");
        }
        // Workers that do not answer: the first Ctrl-C waits for them.
        let workers = workers_of(child.id());
        assert!(!workers.is_empty(), "it has workers");
        for worker in &workers {
            kill(*worker, Signal::SIGSTOP).unwrap();
        }
        let pid = Pid::from_raw(child.id() as i32);
        kill(pid, Signal::SIGINT).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it waits for its workers");
        let deadline = Instant::now() + GONE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the second Ctrl-C did not end it");
            // Two that come at the same instant may be taken for one.
            kill(pid, Signal::SIGINT).unwrap();
            std::thread::park_timeout(Duration::from_millis(50));
        };
        assert_eq!(status.code(), Some(130));
        setting.settle(&devices, "after two Ctrl-C");
    }
}

fn workers_of(pid: u32) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter(|pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|argument| argument == b"__worker"))
    })
    .map(Pid::from_raw)
    .collect()
}
