//! The system calls that are effects: one table for both architectures.

/// Flags of `open` that make it an effect: `O_WRONLY`, `O_RDWR`, `O_CREAT`, `O_TRUNC` and the
/// bit that tells `O_TMPFILE` from `O_DIRECTORY`. The same values on x86-64 and aarch64
/// (asm-generic/fcntl.h).
const OPEN_EFFECTS: u32 = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20_000_000;

/// `F_SETLK`, `F_SETLKW`, `F_OFD_SETLK`, `F_OFD_SETLKW` on 64-bit Linux.
const LOCK_COMMANDS: &[u32] = &[6, 7, 37, 38];

/// `FICLONE` and `FICLONERANGE` (linux/fs.h).
const CLONE_REQUESTS: &[u32] = &[0x4004_9409, 0x4020_940d];

/// The clocks that a step changes: `CLOCK_REALTIME`, `CLOCK_REALTIME_COARSE`,
/// `CLOCK_REALTIME_ALARM`, `CLOCK_TAI` (linux/time.h).
const STEPPED_CLOCKS: &[u32] = &[0, 5, 8, 11];

/// When a call of the table is stopped at. Decided by the filter in the kernel, so what is not
/// stopped at costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Always.
    Always,
    /// If the argument has one of these bits.
    AnyBit(u8, u32),
    /// If the lower half of the argument is one of these.
    OneOf(u8, &'static [u32]),
    /// With [`crate::Options::connect`] only.
    Connect,
    /// With [`crate::Options::connect`] only, if the argument is not null.
    ConnectNonNull(u8),
    /// While the clock is watched only.
    Clock,
    /// While the clock is watched only, if the lower half of the argument is one of these.
    ClockOneOf(u8, &'static [u32]),
    /// While requests for memory are watched only.
    Memory,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) call: Call,
    name: &'static str,
    x86_64: Option<u32>,
    aarch64: Option<u32>,
    pub(crate) when: When,
}

impl Entry {
    /// The call's number on the architecture this is built for.
    pub(crate) fn number(&self) -> Option<u32> {
        if cfg!(target_arch = "x86_64") { self.x86_64 } else { self.aarch64 }
    }
}

macro_rules! number {
    (-) => {
        None
    };
    ($number:literal) => {
        Some($number)
    };
}

macro_rules! calls {
    ($($variant:ident $name:literal $x86_64:tt $aarch64:tt $when:expr;)*) => {
        /// A system call that is an effect, whatever its number here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Call {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// A call in another ABI than the tracer's own (i386 or x32 on x86-64, `AArch32` on
            /// aarch64). All of them are stopped at and none is understood: what such a program
            /// does cannot be covered, and this is how the caller learns of it.
            Foreign,
        }

        pub(crate) const TABLE: &[Entry] = &[
            $(Entry {
                call: Call::$variant,
                name: $name,
                x86_64: number!($x86_64),
                aarch64: number!($aarch64),
                when: $when,
            },)*
        ];
    };
}

use When::{Always, AnyBit, Clock, ClockOneOf, Connect, ConnectNonNull, Memory, OneOf};

// Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
// The conditional ones come first: a filter is read from the top, and these are the ones that
// the kernel cannot answer from its cache of always-allowed calls.
calls! {
    // variant         name                 x86-64 aarch64  when
    Openat             "openat"             257  56   AnyBit(2, OPEN_EFFECTS);
    Open               "open"               2    -    AnyBit(1, OPEN_EFFECTS);
    Fcntl              "fcntl"              72   25   OneOf(1, LOCK_COMMANDS);
    Ioctl              "ioctl"              16   29   OneOf(1, CLONE_REQUESTS);
    Sendto             "sendto"             44   206  ConnectNonNull(4);
    Connect            "connect"            42   203  Connect;
    Sendmsg            "sendmsg"            46   211  Connect;
    Sendmmsg           "sendmmsg"           307  269  Connect;
    ClockGettime       "clock_gettime"      228  113  ClockOneOf(0, STEPPED_CLOCKS);
    Gettimeofday       "gettimeofday"       96   169  Clock;
    Time               "time"               201  -    Clock;
    Brk                "brk"                12   214  Memory;
    Mmap               "mmap"               9    222  Memory;
    Mremap             "mremap"             25   216  Memory;
    Write              "write"              1    64   Always;
    Pwrite64           "pwrite64"           18   68   Always;
    Writev             "writev"             20   66   Always;
    Pwritev            "pwritev"            296  70   Always;
    Pwritev2           "pwritev2"           328  287  Always;
    Creat              "creat"              85   -    Always;
    Openat2            "openat2"            437  437  Always;
    Rename             "rename"             82   -    Always;
    Renameat           "renameat"           264  38   Always;
    Renameat2          "renameat2"          316  276  Always;
    Link               "link"               86   -    Always;
    Linkat             "linkat"             265  37   Always;
    Symlink            "symlink"            88   -    Always;
    Symlinkat          "symlinkat"          266  36   Always;
    Unlink             "unlink"             87   -    Always;
    Unlinkat           "unlinkat"           263  35   Always;
    Mkdir              "mkdir"              83   -    Always;
    Mkdirat            "mkdirat"            258  34   Always;
    Rmdir              "rmdir"              84   -    Always;
    Mknod              "mknod"              133  -    Always;
    Mknodat            "mknodat"            259  33   Always;
    Chmod              "chmod"              90   -    Always;
    Fchmod             "fchmod"             91   52   Always;
    Fchmodat           "fchmodat"           268  53   Always;
    Fchmodat2          "fchmodat2"          452  452  Always;
    Chown              "chown"              92   -    Always;
    Fchown             "fchown"             93   55   Always;
    Lchown             "lchown"             94   -    Always;
    Fchownat           "fchownat"           260  54   Always;
    Truncate           "truncate"           76   45   Always;
    Ftruncate          "ftruncate"          77   46   Always;
    Fallocate          "fallocate"          285  47   Always;
    CopyFileRange      "copy_file_range"    326  285  Always;
    Sendfile           "sendfile"           40   71   Always;
    Splice             "splice"             275  76   Always;
    Fsync              "fsync"              74   82   Always;
    Fdatasync          "fdatasync"          75   83   Always;
    Sync               "sync"               162  81   Always;
    Syncfs             "syncfs"             306  267  Always;
    SyncFileRange      "sync_file_range"    277  84   Always;
    Setxattr           "setxattr"           188  5    Always;
    Lsetxattr          "lsetxattr"          189  6    Always;
    Fsetxattr          "fsetxattr"          190  7    Always;
    Setxattrat         "setxattrat"         463  463  Always;
    Removexattr        "removexattr"        197  14   Always;
    Lremovexattr       "lremovexattr"       198  15   Always;
    Fremovexattr       "fremovexattr"       199  16   Always;
    Removexattrat      "removexattrat"      466  466  Always;
    Flock              "flock"              73   32   Always;
    Execve             "execve"             59   221  Always;
    Execveat           "execveat"           322  281  Always;
    Exit               "exit"               60   93   Always;
    ExitGroup          "exit_group"         231  94   Always;
    Kill               "kill"               62   129  Always;
    Tkill              "tkill"              200  130  Always;
    Tgkill             "tgkill"             234  131  Always;
    RtSigqueueinfo     "rt_sigqueueinfo"    129  138  Always;
    RtTgsigqueueinfo   "rt_tgsigqueueinfo"  297  240  Always;
    PidfdSendSignal    "pidfd_send_signal"  424  424  Always;
    IoUringSetup       "io_uring_setup"     425  425  Always;
}

impl Call {
    /// The kernel's name of the call, such as `renameat2`.
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|entry| entry.call == self).map_or("foreign", |entry| entry.name)
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_c_library() {
        let expected = [
            (Call::Openat, libc::SYS_openat),
            (Call::Openat2, libc::SYS_openat2),
            (Call::Fcntl, libc::SYS_fcntl),
            (Call::Ioctl, libc::SYS_ioctl),
            (Call::Sendto, libc::SYS_sendto),
            (Call::Connect, libc::SYS_connect),
            (Call::Sendmsg, libc::SYS_sendmsg),
            (Call::Sendmmsg, libc::SYS_sendmmsg),
            (Call::Brk, libc::SYS_brk),
            (Call::Mmap, libc::SYS_mmap),
            (Call::Mremap, libc::SYS_mremap),
            (Call::Write, libc::SYS_write),
            (Call::Pwrite64, libc::SYS_pwrite64),
            (Call::Writev, libc::SYS_writev),
            (Call::Pwritev, libc::SYS_pwritev),
            (Call::Pwritev2, libc::SYS_pwritev2),
            (Call::Renameat, libc::SYS_renameat),
            (Call::Renameat2, libc::SYS_renameat2),
            (Call::Linkat, libc::SYS_linkat),
            (Call::Symlinkat, libc::SYS_symlinkat),
            (Call::Unlinkat, libc::SYS_unlinkat),
            (Call::Mkdirat, libc::SYS_mkdirat),
            (Call::Mknodat, libc::SYS_mknodat),
            (Call::Fchmod, libc::SYS_fchmod),
            (Call::Fchmodat, libc::SYS_fchmodat),
            (Call::Fchown, libc::SYS_fchown),
            (Call::Fchownat, libc::SYS_fchownat),
            (Call::Truncate, libc::SYS_truncate),
            (Call::Ftruncate, libc::SYS_ftruncate),
            (Call::Fallocate, libc::SYS_fallocate),
            (Call::CopyFileRange, libc::SYS_copy_file_range),
            (Call::Sendfile, libc::SYS_sendfile),
            (Call::Splice, libc::SYS_splice),
            (Call::Fsync, libc::SYS_fsync),
            (Call::Fdatasync, libc::SYS_fdatasync),
            (Call::Sync, libc::SYS_sync),
            (Call::Syncfs, libc::SYS_syncfs),
            (Call::SyncFileRange, libc::SYS_sync_file_range),
            (Call::Setxattr, libc::SYS_setxattr),
            (Call::Lsetxattr, libc::SYS_lsetxattr),
            (Call::Fsetxattr, libc::SYS_fsetxattr),
            (Call::Removexattr, libc::SYS_removexattr),
            (Call::Lremovexattr, libc::SYS_lremovexattr),
            (Call::Fremovexattr, libc::SYS_fremovexattr),
            (Call::Flock, libc::SYS_flock),
            (Call::Execve, libc::SYS_execve),
            (Call::Execveat, libc::SYS_execveat),
            (Call::Exit, libc::SYS_exit),
            (Call::ExitGroup, libc::SYS_exit_group),
            (Call::Kill, libc::SYS_kill),
            (Call::Tkill, libc::SYS_tkill),
            (Call::Tgkill, libc::SYS_tgkill),
            (Call::RtSigqueueinfo, libc::SYS_rt_sigqueueinfo),
            (Call::RtTgsigqueueinfo, libc::SYS_rt_tgsigqueueinfo),
            (Call::PidfdSendSignal, libc::SYS_pidfd_send_signal),
            (Call::IoUringSetup, libc::SYS_io_uring_setup),
            (Call::ClockGettime, libc::SYS_clock_gettime),
            (Call::Gettimeofday, libc::SYS_gettimeofday),
            #[cfg(target_arch = "x86_64")]
            (Call::Time, libc::SYS_time),
            #[cfg(target_arch = "x86_64")]
            (Call::Open, libc::SYS_open),
            #[cfg(target_arch = "x86_64")]
            (Call::Creat, libc::SYS_creat),
            #[cfg(target_arch = "x86_64")]
            (Call::Rename, libc::SYS_rename),
            #[cfg(target_arch = "x86_64")]
            (Call::Link, libc::SYS_link),
            #[cfg(target_arch = "x86_64")]
            (Call::Symlink, libc::SYS_symlink),
            #[cfg(target_arch = "x86_64")]
            (Call::Unlink, libc::SYS_unlink),
            #[cfg(target_arch = "x86_64")]
            (Call::Mkdir, libc::SYS_mkdir),
            #[cfg(target_arch = "x86_64")]
            (Call::Rmdir, libc::SYS_rmdir),
            #[cfg(target_arch = "x86_64")]
            (Call::Mknod, libc::SYS_mknod),
            #[cfg(target_arch = "x86_64")]
            (Call::Chmod, libc::SYS_chmod),
            #[cfg(target_arch = "x86_64")]
            (Call::Chown, libc::SYS_chown),
            #[cfg(target_arch = "x86_64")]
            (Call::Lchown, libc::SYS_lchown),
        ];
        for (call, number) in expected {
            let entry = TABLE.iter().find(|entry| entry.call == call).expect("in the table");
            assert_eq!(entry.number().map(i64::from), Some(number), "{call}");
        }
    }

    #[test]
    fn no_number_is_in_the_table_twice() {
        for column in [|entry: &Entry| entry.x86_64, |entry: &Entry| entry.aarch64] {
            let mut numbers: Vec<u32> = TABLE.iter().filter_map(column).collect();
            let all = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), all);
        }
    }
}
