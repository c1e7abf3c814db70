//! The caller's own procfs, kept open: on a stage `/proc` is another one, where processes have
//! other numbers.

use std::{
    collections::HashMap,
    io::Read,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use nix::{
    fcntl::{OFlag, openat, readlinkat},
    sys::stat::Mode,
};

/// A procfs, held by a descriptor.
#[derive(Debug, Clone)]
pub struct Proc(Arc<OwnedFd>);

/// What a process does with a signal (`SigCgt`, `SigIgn` and `SigBlk` of proc(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dispositions {
    /// Bit N-1 set: signal N has a handler.
    pub caught: u64,
    /// Bit N-1 set: signal N is ignored.
    pub ignored: u64,
    /// Bit N-1 set: signal N is blocked.
    pub blocked: u64,
    /// Bit N-1 set: signal N is pending.
    pub pending: u64,
}

impl Dispositions {
    /// Whether the signal would end the process at once.
    pub fn is_default(self, number: i32) -> bool {
        (self.caught | self.ignored | self.blocked) >> (number - 1) & 1 == 0
    }
}

impl Proc {
    /// Opens `/proc` as it is for the caller now.
    pub fn open() -> std::io::Result<Proc> {
        let fd = openat(
            nix::fcntl::AT_FDCWD,
            "/proc",
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Proc(Arc::new(fd)))
    }

    fn link(&self, path: &str) -> Option<String> {
        readlinkat(self.0.as_fd(), path).ok()?.into_string().ok()
    }

    /// The working directory of a process.
    pub fn cwd(&self, pid: i32) -> Option<String> {
        self.link(&format!("{pid}/cwd"))
    }

    /// What a descriptor of a process is: a path, or `pipe:[…]` and the like.
    pub fn fd(&self, pid: i32, fd: i32) -> Option<String> {
        self.link(&format!("{pid}/fd/{fd}"))
    }

    /// The text of a file such as `123/status`.
    pub fn read(&self, path: &str) -> Option<String> {
        let fd = openat(self.0.as_fd(), path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        let mut bytes = Vec::new();
        std::fs::File::from(fd).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The file that a process runs, open for reading.
    ///
    /// # Errors
    /// It is gone, or belongs to somebody else.
    pub fn program(&self, pid: i32) -> std::io::Result<std::fs::File> {
        let path = format!("{pid}/exe");
        Ok(openat(self.0.as_fd(), path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }

    /// The arguments of a process.
    pub fn arguments(&self, pid: i32) -> Vec<String> {
        let text = self.read(&format!("{pid}/cmdline")).unwrap_or_default();
        text.trim_end_matches('\0').split('\0').map(str::to_owned).collect()
    }

    /// The process id in the innermost namespace.
    pub fn inner_pid(&self, pid: i32) -> Option<i32> {
        let status = self.read(&format!("{pid}/status"))?;
        status.lines().find_map(|l| l.strip_prefix("NSpid:"))?.split_whitespace().next_back()?.parse().ok()
    }

    /// What a process does with signals.
    pub fn dispositions(&self, pid: i32) -> Option<Dispositions> {
        let status = self.read(&format!("{pid}/status"))?;
        let mut found = Dispositions::default();
        for line in status.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let bits = || u64::from_str_radix(value.trim(), 16).unwrap_or(0);
            match key {
                "SigCgt" => found.caught = bits(),
                "SigIgn" => found.ignored = bits(),
                "SigBlk" => found.blocked = bits(),
                "SigPnd" | "ShdPnd" => found.pending |= bits(),
                _ => {}
            }
        }
        Some(found)
    }

    /// What a process is doing, for a person: its arguments and what it waits in.
    pub fn doing(&self, pid: i32) -> String {
        let mut command = self.arguments(pid).join(" ");
        if command.len() > 120 {
            let cut = (0..=117).rev().find(|i| command.is_char_boundary(*i)).unwrap_or(0);
            command.truncate(cut);
            command.push('…');
        }
        let wait = self.read(&format!("{pid}/wchan")).filter(|w| {
            // Stopped by us says nothing.
            !w.is_empty() && w != "0" && w != "ptrace_stop"
        });
        match wait {
            Some(wait) => format!("`{command}` (waiting in {wait})"),
            None => format!("`{command}`"),
        }
    }

    /// Which of `pids` has the TCP connection whose local end is `local`.
    pub fn owner_of_connection(&self, local: SocketAddr, pids: &[i32]) -> Option<i32> {
        let inode = self.socket_inode(local, pids)?;
        let wanted = format!("socket:[{inode}]");
        for pid in pids {
            let Ok(dir) = openat(
                self.0.as_fd(),
                format!("{pid}/fd").as_str(),
                OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
                Mode::empty(),
            ) else {
                continue;
            };
            let Ok(mut dir) = nix::dir::Dir::from_fd(dir) else { continue };
            for entry in dir.iter().flatten() {
                let name = entry.file_name().to_string_lossy();
                if self.link(&format!("{pid}/fd/{name}")).as_deref() == Some(&wanted) {
                    return Some(*pid);
                }
            }
        }
        None
    }

    fn socket_inode(&self, local: SocketAddr, pids: &[i32]) -> Option<u64> {
        // proc_pid_net(5): local address in host byte order hex, port in hex; column 9 the inode.
        // Through a subject's own entry, because its network namespace is the one that counts.
        let port = format!(":{:04X}", local.port());
        let through = pids.first().copied()?;
        for table in ["tcp", "tcp6"] {
            let text = self.read(&format!("{through}/net/{table}")).unwrap_or_default();
            for line in text.lines().skip(1) {
                let columns: Vec<&str> = line.split_whitespace().collect();
                if columns.len() > 9 && columns[1].ends_with(&port) {
                    // The listener's accepted ends have the port on the other side.
                    if let Ok(inode @ 1..) = columns[9].parse::<u64>() {
                        return Some(inode);
                    }
                }
            }
        }
        None
    }

    /// Who holds a lock on the inode, from `/proc/locks`.
    pub fn lock_holder(&self, inode: u64) -> Option<i32> {
        let ending = format!(":{inode}");
        let locks = self.read("locks")?;
        locks.lines().find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let place = columns.iter().position(|c| c.ends_with(&ending))?;
            columns.get(place.checked_sub(1)?)?.parse().ok()
        })
    }

    /// Every process's parent, by process id.
    pub fn parents(&self) -> HashMap<i32, i32> {
        let mut parents = HashMap::new();
        let Ok(dir) = openat(
            self.0.as_fd(),
            ".",
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        ) else {
            return parents;
        };
        let Ok(mut dir) = nix::dir::Dir::from_fd(dir) else { return parents };
        for entry in dir.iter().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            // proc_pid_stat(5): the parent is the second field after the command's last `)`.
            let Some(stat) = self.read(&format!("{pid}/stat")) else { continue };
            let parent =
                stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
            if let Some(parent) = parent {
                parents.insert(pid, parent);
            }
        }
        parents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_own_process_is_described() {
        let proc = Proc::open().unwrap();
        let me = std::process::id() as i32;
        assert_eq!(proc.cwd(me).unwrap(), std::env::current_dir().unwrap().to_str().unwrap());
        assert_eq!(proc.inner_pid(me), Some(me));
        assert!(proc.parents().contains_key(&me));
        assert!(proc.dispositions(me).unwrap().is_default(nix::libc::SIGQUIT));
    }

    #[test]
    fn the_owner_of_a_connection_is_found_by_its_local_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let me = std::process::id() as i32;
        let owner = Proc::open().unwrap().owner_of_connection(client.local_addr().unwrap(), &[me]);
        assert_eq!(owner, Some(me));
    }
}
