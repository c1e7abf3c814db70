//! Looks at processes through a `/proc` that was opened before the stage was set.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    dir::Dir,
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id, as the `/proc` sees it.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its ids in the PID namespaces below, outermost first.
    pub inner_pids: Vec<i32>,
    /// Whether it runs; `false` for a zombie, which waits to be waited for.
    pub alive: bool,
    /// Whether somebody traces it.
    pub traced: bool,
    /// Its command line; the program's name in brackets when it has none.
    pub command: String,
}

/// A directory that is a `/proc`.
#[derive(Debug)]
pub struct Proc(OwnedFd);

impl Proc {
    /// The `/proc` as it is mounted now.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open() -> io::Result<Self> {
        Ok(Self(File::open("/proc")?.into()))
    }

    /// Every process.
    ///
    /// # Errors
    /// The directory cannot be read. A process that ends meanwhile is no error.
    pub fn all(&self) -> io::Result<BTreeMap<i32, Process>> {
        let processes = self.pids()?.into_iter().filter_map(|pid| self.process(pid));
        Ok(processes.map(|process| (process.pid, process)).collect())
    }

    fn pids(&self) -> io::Result<Vec<i32>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut folder = Dir::openat(self.0.as_fd(), ".", flags, Mode::empty())?;
        let mut found = Vec::new();
        for entry in folder.iter() {
            found.extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<i32>().ok()));
        }
        Ok(found)
    }

    /// Every process below `ancestor`, its own children first.
    ///
    /// # Errors
    /// See [`Proc::all`].
    pub fn below(&self, ancestor: i32) -> io::Result<Vec<Process>> {
        // One small file a process, so that a host with thousands costs milliseconds; only what
        // is found is looked at closely.
        let mut parents: Vec<(i32, i32)> = Vec::new();
        for pid in self.pids()? {
            parents.extend(self.parent(pid).map(|parent| (pid, parent)));
        }
        let mut found = Vec::new();
        let mut waiting = vec![ancestor];
        while let Some(above) = waiting.pop() {
            for (pid, _) in parents.iter().filter(|(_, parent)| *parent == above) {
                found.extend(self.process(*pid));
                waiting.push(*pid);
            }
        }
        Ok(found)
    }

    fn parent(&self, pid: i32) -> Option<i32> {
        let stat = self.read(&format!("{pid}/stat"))?;
        // The name, in parentheses, may hold anything (proc_pid_stat(5)).
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
        rest.split_whitespace().nth(1)?.parse().ok()
    }

    fn process(&self, pid: i32) -> Option<Process> {
        let status = String::from_utf8_lossy(&self.read(&format!("{pid}/status"))?).into_owned();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let pids = field("NSpid:").unwrap_or_default();
        let line = self.read(&format!("{pid}/cmdline"))?;
        let words: Vec<_> = line
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(String::from_utf8_lossy)
            .collect();
        let name = field("Name:").unwrap_or("?");
        Some(Process {
            pid,
            parent: field("PPid:")?.parse().ok()?,
            inner_pids: pids.split_whitespace().skip(1).filter_map(|id| id.parse().ok()).collect(),
            alive: !field("State:")?.starts_with(['Z', 'X']),
            traced: field("TracerPid:").is_some_and(|tracer| tracer != "0"),
            command: if words.is_empty() { format!("[{name}]") } else { words.join(" ") },
        })
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(self.0.as_fd(), path, flags, Mode::empty()).ok()?;
        let mut content = Vec::new();
        File::from(file).read_to_end(&mut content).ok()?;
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_finds_itself_among_the_processes() {
        let all = Proc::open().and_then(|proc| proc.all()).expect("a readable /proc");
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert!(all.get(&own).is_some_and(|process| process.alive && !process.command.is_empty()));
    }
}
