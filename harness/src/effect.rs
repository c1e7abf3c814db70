//! Effects: what a caught syscall is about to do that others can see.

use std::{ffi::OsString, path::Path};

use process_roulette_tracer::{Call, Stopped, Syscall};
use serde::{Deserialize, Serialize};

use crate::procfs::Proc;

/// What kind of act an effect is; decides whether it has points of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The filesystem changes.
    Change,
    /// A log grows. Nothing is decided by how far it got, so it has no point of its own: the next
    /// effect's point covers it.
    Log,
    /// Data is asked to reach the disk. Makes no difference to what a kill leaves behind (the
    /// page cache survives); has points for disk faults only.
    Sync,
    /// A lock is taken or let go.
    Lock,
    /// A request that makes the CA act.
    Request,
    /// A request that the CA only answers: the directory, a nonce. Has points for faults of the
    /// CA only.
    Query,
    /// A signal is sent; a reload is one.
    Signal,
    /// A program is started or a process ends: makes a difference only to the process's parent.
    Control,
}

impl Class {
    /// Whether something outside the process is different afterwards.
    pub fn durable(self) -> bool {
        !matches!(self, Class::Control | Class::Query)
    }

    /// Whether it is a change others can see, logs left out.
    pub fn visible_change(self) -> bool {
        matches!(self, Class::Change | Class::Request | Class::Signal)
    }

    /// Whether others find something else after it than before it: a change that they can see, or
    /// a lock.
    pub fn decides(self) -> bool {
        self.visible_change() || self == Class::Lock
    }
}

/// One externally visible act, about to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The operation, such as `rename`.
    pub op: &'static str,
    /// The path as the subject names it (absolute, without the root of a bare world), or another
    /// object (`SIGHUP server`). Empty where there is none.
    pub path: String,
    /// The other path of a rename or link.
    pub from: Option<String>,
    /// Its kind.
    pub class: Class,
    /// The file or directory is made by this run and by nobody else (`O_EXCL`, `mkdir`).
    pub exclusive: bool,
}

/// What a syscall comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// Nothing that others see.
    Nothing,
    /// An effect.
    Effect(Effect),
    /// The subject does something that cannot be followed; what.
    Unseen(&'static str),
    /// A connection or datagram to an address that is not loopback (only caught in a bare world).
    Outside(String),
}

/// Reads effects off stopped syscalls.
#[derive(Debug)]
pub struct Decoder {
    /// The caller's procfs, where process ids are the tracer's.
    pub proc: Proc,
    /// Root folder of a bare world, without a trailing slash; empty in a private one.
    pub root: String,
    /// Process id of the world's server as the subject's namespace numbers it.
    pub server: Option<i32>,
}

const AT_FDCWD: i32 = -100;

impl Decoder {
    /// What `syscall`, at which `task` is stopped, is about to do.
    pub fn decode(&self, task: &Stopped, syscall: &Syscall) -> Decoded {
        use Class::{Change, Control, Lock, Signal, Sync};
        let arg = syscall.args;
        let at = |dir: u64, path: u64| self.path_at(task, dir as i32, path);
        let cwd = |path: u64| self.path_at(task, AT_FDCWD, path);
        let fd = |fd: u64| self.path_of_fd(task, fd as i32);
        let simple = |op, path: Option<String>, class| self.effect(op, path, None, class);
        match syscall.call {
            Call::Open => self.open(cwd(arg[0]), arg[1]),
            Call::Openat => self.open(at(arg[0], arg[1]), arg[2]),
            Call::Openat2 => {
                let flags = task
                    .read_bytes(arg[2], 8)
                    .ok()
                    .and_then(|b| b.try_into().ok())
                    .map_or(0, u64::from_ne_bytes);
                self.open(at(arg[0], arg[1]), flags)
            }
            Call::Creat => {
                self.open(cwd(arg[0]), (libc_flags::CREAT | libc_flags::TRUNC | libc_flags::WRONLY) as u64)
            }
            Call::Write | Call::Pwrite64 if arg[2] == 0 => Decoded::Nothing,
            Call::Write | Call::Pwrite64 | Call::Writev | Call::Pwritev | Call::Pwritev2 => {
                simple("write", fd(arg[0]), Change)
            }
            Call::Sendfile => simple("write", fd(arg[0]), Change),
            Call::CopyFileRange | Call::Splice => simple("write", fd(arg[2]), Change),
            Call::Ioctl => simple("clone", fd(arg[0]), Change),
            Call::Rename => self.effect("rename", cwd(arg[1]), cwd(arg[0]), Change),
            Call::Renameat | Call::Renameat2 => {
                let op =
                    if syscall.call == Call::Renameat2 && arg[4] & 2 != 0 { "exchange" } else { "rename" };
                self.effect(op, at(arg[2], arg[3]), at(arg[0], arg[1]), Change)
            }
            Call::Link => self.effect("link", cwd(arg[1]), cwd(arg[0]), Change),
            Call::Linkat => self.effect("link", at(arg[2], arg[3]), at(arg[0], arg[1]), Change),
            Call::Symlink => {
                self.effect("symlink", cwd(arg[1]), task.read_string(arg[0]).ok().map(lossy), Change)
            }
            Call::Symlinkat => {
                self.effect("symlink", at(arg[1], arg[2]), task.read_string(arg[0]).ok().map(lossy), Change)
            }
            Call::Unlink => simple("unlink", cwd(arg[0]), Change),
            Call::Unlinkat => {
                simple(if arg[2] & 0x200 != 0 { "rmdir" } else { "unlink" }, at(arg[0], arg[1]), Change)
            }
            Call::Rmdir => simple("rmdir", cwd(arg[0]), Change),
            Call::Mkdir => self.mkdir(cwd(arg[0]), arg[1]),
            Call::Mkdirat => self.mkdir(at(arg[0], arg[1]), arg[2]),
            Call::Mknod => simple("mknod", cwd(arg[0]), Change),
            Call::Mknodat => simple("mknod", at(arg[0], arg[1]), Change),
            Call::Chmod => simple("chmod", cwd(arg[0]), Change),
            Call::Fchmod => simple("chmod", fd(arg[0]), Change),
            Call::Fchmodat | Call::Fchmodat2 => simple("chmod", at(arg[0], arg[1]), Change),
            Call::Chown | Call::Lchown => simple("chown", cwd(arg[0]), Change),
            Call::Fchown => simple("chown", fd(arg[0]), Change),
            Call::Fchownat => simple("chown", at(arg[0], arg[1]), Change),
            Call::Truncate => simple("truncate", cwd(arg[0]), Change),
            Call::Ftruncate => simple("truncate", fd(arg[0]), Change),
            Call::Fallocate => simple("fallocate", fd(arg[0]), Change),
            Call::Setxattr | Call::Lsetxattr | Call::Removexattr | Call::Lremovexattr => {
                simple("setxattr", cwd(arg[0]), Change)
            }
            Call::Fsetxattr | Call::Fremovexattr => simple("setxattr", fd(arg[0]), Change),
            Call::Fsync | Call::Fdatasync | Call::SyncFileRange => simple("fsync", fd(arg[0]), Sync),
            Call::Sync | Call::Syncfs => Decoded::Effect(Effect {
                op: "sync",
                path: String::new(),
                from: None,
                class: Sync,
                exclusive: false,
            }),
            Call::Flock => simple(if arg[1] & 8 != 0 { "unlock" } else { "lock" }, fd(arg[0]), Lock),
            Call::Fcntl => {
                // struct flock begins with l_type (short); F_UNLCK is 2 (fcntl(2)).
                let kind = task
                    .read_bytes(arg[2], 2)
                    .ok()
                    .and_then(|b| b.try_into().ok())
                    .map_or(0, u16::from_ne_bytes);
                simple(if kind == 2 { "unlock" } else { "lock" }, fd(arg[0]), Lock)
            }
            Call::Execve => self.exec(cwd(arg[0])),
            Call::Execveat => self.exec(at(arg[0], arg[1]).filter(|p| !p.is_empty()).or_else(|| fd(arg[0]))),
            Call::ExitGroup => Decoded::Effect(Effect {
                op: "exit",
                path: String::new(),
                from: None,
                class: Control,
                exclusive: false,
            }),
            Call::Kill | Call::Tkill | Call::RtSigqueueinfo => {
                self.signal(arg[0] as i32, arg[1] as i32, Signal)
            }
            Call::Tgkill | Call::RtTgsigqueueinfo => self.signal(arg[1] as i32, arg[2] as i32, Signal),
            Call::PidfdSendSignal => self.signal(0, arg[1] as i32, Signal),
            Call::IoUringSetup => {
                Decoded::Unseen("the subject set up an io_uring: what it does through it is not seen")
            }
            Call::Foreign => Decoded::Unseen("the subject runs a 32-bit program: what it does is not seen"),
            Call::Connect => self.outside(task, arg[1], arg[2]),
            Call::Sendto => self.outside(task, arg[4], arg[5]),
            Call::Sendmsg | Call::Sendmmsg => {
                // struct msghdr begins with msg_name (pointer) and msg_namelen (u32).
                let Ok(head) = task.read_bytes(arg[1], 12) else { return Decoded::Nothing };
                let name = u64::from_ne_bytes(head[..8].try_into().unwrap_or_default());
                let length = u32::from_ne_bytes(head[8..12].try_into().unwrap_or_default());
                self.outside(task, name, u64::from(length))
            }
            _ => Decoded::Nothing,
        }
    }

    fn effect(&self, op: &'static str, path: Option<String>, from: Option<String>, class: Class) -> Decoded {
        let Some(path) = path else { return Decoded::Nothing };
        if !counts(&path) {
            return Decoded::Nothing;
        }
        let class = if class == Class::Change && is_log(&path) { Class::Log } else { class };
        Decoded::Effect(Effect { op, path, from, class, exclusive: false })
    }

    fn open(&self, path: Option<String>, flags: u64) -> Decoded {
        let Some(path) = path else { return Decoded::Nothing };
        let flags = flags as i32;
        if flags & libc_flags::TMPFILE == libc_flags::TMPFILE {
            return Decoded::Nothing;
        }
        let there = self.on_disk(&path).metadata();
        let op = match &there {
            Err(_) if flags & libc_flags::CREAT != 0 => "create",
            Ok(data) if flags & libc_flags::TRUNC != 0 && data.is_file() && data.len() > 0 => "truncate",
            _ => return Decoded::Nothing,
        };
        match self.effect(op, Some(path), None, Class::Change) {
            Decoded::Effect(effect) => {
                Decoded::Effect(Effect { exclusive: flags & libc_flags::EXCL != 0, ..effect })
            }
            other => other,
        }
    }

    fn mkdir(&self, path: Option<String>, mode: u64) -> Decoded {
        if path.as_ref().is_some_and(|path| self.on_disk(path).symlink_metadata().is_ok()) {
            return Decoded::Nothing;
        }
        match self.effect("mkdir", path, None, Class::Change) {
            // As `mktemp -d` makes it.
            Decoded::Effect(effect) => Decoded::Effect(Effect { exclusive: mode & 0o777 == 0o700, ..effect }),
            other => other,
        }
    }

    fn exec(&self, path: Option<String>) -> Decoded {
        // A shell or a library tries each folder of PATH in turn; only the one that is there counts.
        match path {
            Some(path) if self.on_disk(&path).is_file() => Decoded::Effect(Effect {
                op: "exec",
                path,
                from: None,
                class: Class::Control,
                exclusive: false,
            }),
            _ => Decoded::Nothing,
        }
    }

    fn signal(&self, target: i32, number: i32, class: Class) -> Decoded {
        // SIGURG is how Go's runtime preempts its own threads: as many as chance has it, and no act.
        if number == 0 || number == nix::libc::SIGURG {
            return Decoded::Nothing;
        }
        let to_server = target > 1 && self.server == Some(target);
        let name = nix::sys::signal::Signal::try_from(number)
            .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned());
        let (op, path) = match (to_server, name.as_str()) {
            (true, "SIGHUP") => ("reload", "server".to_owned()),
            (true, _) => ("signal", format!("{name} server")),
            (false, _) => ("signal", name),
        };
        Decoded::Effect(Effect { op, path, from: None, class, exclusive: false })
    }

    fn outside(&self, task: &Stopped, address: u64, length: u64) -> Decoded {
        if address == 0 || length < 4 {
            return Decoded::Nothing;
        }
        let Ok(bytes) = task.read_bytes(address, (length as usize).min(28)) else { return Decoded::Nothing };
        let family = u16::from_ne_bytes([bytes[0], bytes[1]]);
        // AF_INET 2: port, then four address bytes; AF_INET6 10: port, flow, sixteen.
        let ip: std::net::IpAddr = match family {
            2 if bytes.len() >= 8 => <[u8; 4]>::try_from(&bytes[4..8]).unwrap_or_default().into(),
            10 if bytes.len() >= 24 => <[u8; 16]>::try_from(&bytes[8..24]).unwrap_or_default().into(),
            _ => return Decoded::Nothing,
        };
        let loopback = match ip {
            std::net::IpAddr::V4(v4) => v4.is_loopback() || v4.is_unspecified(),
            std::net::IpAddr::V6(v6) => {
                v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
            }
        };
        if loopback {
            return Decoded::Nothing;
        }
        Decoded::Outside(std::net::SocketAddr::new(ip, u16::from_be_bytes([bytes[2], bytes[3]])).to_string())
    }

    /// Where the caller finds a path of the subject's.
    pub fn on_disk(&self, path: &str) -> std::path::PathBuf {
        if self.root.is_empty() || !path.starts_with('/') {
            path.into()
        } else {
            format!("{}{path}", self.root).into()
        }
    }

    /// The path as reports name it: without the root of a bare world.
    fn named(&self, path: String) -> String {
        if self.root.is_empty() {
            return path;
        }
        match path.strip_prefix(&self.root) {
            Some("") => "/".to_owned(),
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            _ => path,
        }
    }

    fn path_at(&self, task: &Stopped, dir: i32, address: u64) -> Option<String> {
        let path = lossy(task.read_string(address).ok()?);
        if path.starts_with('/') {
            return Some(self.named(clean(&path)));
        }
        let pid = task.pid().as_raw();
        let base = if dir == AT_FDCWD { self.proc.cwd(pid) } else { self.proc.fd(pid, dir) }?;
        Some(self.named(clean(&format!("{base}/{path}"))))
    }

    fn path_of_fd(&self, task: &Stopped, fd: i32) -> Option<String> {
        let path = self.proc.fd(task.pid().as_raw(), fd)?;
        // Pipes, sockets and the like have names without a slash; deleted files no name at all.
        (path.starts_with('/') && !path.ends_with(" (deleted)")).then(|| self.named(path))
    }
}

/// Flag bits of open(2), the same on x86-64 and aarch64 except where said.
mod libc_flags {
    use nix::fcntl::OFlag;
    pub const WRONLY: i32 = OFlag::O_WRONLY.bits();
    pub const CREAT: i32 = OFlag::O_CREAT.bits();
    pub const TRUNC: i32 = OFlag::O_TRUNC.bits();
    pub const EXCL: i32 = OFlag::O_EXCL.bits();
    /// Includes `O_DIRECTORY`, whose bit differs between architectures.
    pub const TMPFILE: i32 = OFlag::O_TMPFILE.bits();
}

fn counts(path: &str) -> bool {
    path.starts_with('/') && !["/dev", "/proc", "/sys"].iter().any(|top| Path::new(path).starts_with(top))
}

/// Whether a path is a log's, by its name.
pub(crate) fn is_log(path: &str) -> bool {
    path.starts_with("/var/log/") || path.ends_with(".log")
}

fn lossy(text: OsString) -> String {
    text.into_string().unwrap_or_else(|text| text.to_string_lossy().into_owned())
}

/// Without `.`, `..` and doubled slashes, by the letters alone.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_letters() {
        assert_eq!(clean("/etc//ssl/./a/../b"), "/etc/ssl/b");
        assert_eq!(clean("/.."), "/");
    }

    #[test]
    fn devices_and_procfs_do_not_count_and_logs_are_known() {
        assert!(!counts("/dev/null") && !counts("/proc/self/oom_score_adj") && counts("/devices"));
        assert!(is_log("/var/log/letsencrypt/x") && is_log("/srv/a.log") && !is_log("/etc/logrotate"));
    }
}
