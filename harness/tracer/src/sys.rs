//! The calls to the kernel, one thin function each: what is unsafe about them stays here.

use std::{io, mem::MaybeUninit, time::Duration};

use nix::unistd::Pid;

use crate::{event::At, filter};

/// The stop of a group-stop, of a new task, and after `PTRACE_INTERRUPT` (not in libc).
pub(crate) const EVENT_STOP: i32 = 128;

const SEIZE: i32 = 0x4206;
pub(crate) const LISTEN: i32 = 0x4208;
const GET_SYSCALL_INFO: i32 = 0x420e;

const INFO_EXIT: u8 = 2;
const INFO_SECCOMP: u8 = 3;

/// `struct ptrace_syscall_info` with its largest variant (linux/ptrace.h).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawInfo {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction: u64,
    stack: u64,
    /// `nr` at an entry, the return value at an exit.
    first: u64,
    args: [u64; 6],
    ret_data: u64,
}

/// What `PTRACE_GET_SYSCALL_INFO` says at a stop.
pub(crate) enum Info {
    Seccomp { number: u64, args: [u64; 6], data: u32, at: At },
    Exit { result: i64 },
    Other,
}

fn done(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A ptrace request whose address and data are plain numbers, or that has none.
fn ptrace(request: i32, tid: Pid, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: only the requests below come here, and none of them makes the kernel read or write
    // memory of ours: address and data are numbers.
    done(unsafe { libc::syscall(libc::SYS_ptrace, request, tid.as_raw(), address, data) }).map(drop)
}

/// A ptrace request that makes the kernel write to, or read from, `data`.
///
/// # Safety
///
/// `data` must be what the request expects, and `address` a length it has, where that is what
/// the request takes it for (and not an address of the task's).
unsafe fn ptrace_with<T>(request: i32, tid: Pid, address: usize, data: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the caller's promise.
    done(unsafe { libc::syscall(libc::SYS_ptrace, request, tid.as_raw(), address, std::ptr::from_mut(data)) })
}

pub(crate) fn seize(tid: Pid) -> io::Result<()> {
    // No TRACEEXIT: the entries of exit and exit_group are stopped at anyway, and a stop more
    // for every task costs what a fork of a small program cannot afford.
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACESECCOMP;
    ptrace(SEIZE, tid, 0, usize::try_from(options).expect("options are positive"))
}

/// Lets a stopped task go on: `request` is `PTRACE_CONT`, `PTRACE_SYSCALL` or [`LISTEN`].
pub(crate) fn go(request: i32, tid: Pid, signal: i32) -> io::Result<()> {
    ptrace(request, tid, 0, usize::try_from(signal).expect("signals are positive"))
}

pub(crate) fn event_message(tid: Pid) -> io::Result<Pid> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: GETEVENTMSG writes one unsigned long.
    unsafe { ptrace_with(libc::PTRACE_GETEVENTMSG as i32, tid, 0, &mut message) }?;
    Ok(Pid::from_raw(i32::try_from(message).unwrap_or(0)))
}

/// The word at an address of the task's memory.
pub(crate) fn peek(tid: Pid, address: u64) -> io::Result<libc::c_long> {
    let Ok(address) = usize::try_from(address) else { return Err(io::Error::from_raw_os_error(libc::EIO)) };
    let mut word: libc::c_long = 0;
    // SAFETY: the request writes one word to `word`, and takes `address` for one of the task's.
    unsafe { ptrace_with(libc::PTRACE_PEEKDATA as i32, tid, address, &mut word) }?;
    Ok(word)
}

/// Changes the word at an address of the task's memory.
pub(crate) fn poke(tid: Pid, address: u64, word: libc::c_long) -> io::Result<()> {
    let Ok(address) = usize::try_from(address) else { return Err(io::Error::from_raw_os_error(libc::EIO)) };
    #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
    ptrace(libc::PTRACE_POKEDATA as i32, tid, address, word.cast_unsigned() as usize)
}

/// The stack pointer of a stopped task. `None`: it runs in another ABI than ours.
pub(crate) fn stack_pointer(tid: Pid) -> io::Result<Option<u64>> {
    let mut raw = RawInfo::default();
    // SAFETY: GET_SYSCALL_INFO writes at most the length given as the address.
    unsafe { ptrace_with(GET_SYSCALL_INFO, tid, size_of::<RawInfo>(), &mut raw) }?;
    Ok((raw.arch == filter::ARCH).then_some(raw.stack))
}

pub(crate) fn syscall_info(tid: Pid) -> io::Result<Info> {
    let mut raw = RawInfo::default();
    // SAFETY: GET_SYSCALL_INFO writes at most the length given as the address.
    unsafe { ptrace_with(GET_SYSCALL_INFO, tid, size_of::<RawInfo>(), &mut raw) }?;
    Ok(match raw.op {
        INFO_SECCOMP => Info::Seccomp {
            number: raw.first,
            args: raw.args,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the kernel's field has 32 bits, then padding"
            )]
            data: raw.ret_data as u32,
            at: At { instruction: raw.instruction, stack: raw.stack },
        },
        INFO_EXIT => Info::Exit { result: raw.first.cast_signed() },
        _ => Info::Other,
    })
}

/// Who sent the signal that is about to be delivered: pid, uid, code.
pub(crate) fn signal_info(tid: Pid) -> io::Result<(i32, u32, i32)> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: GETSIGINFO writes one siginfo_t.
    unsafe { ptrace_with(libc::PTRACE_GETSIGINFO as i32, tid, 0, &mut info) }?;
    // SAFETY: it was zeroed, which is a valid siginfo_t, and then written by the kernel.
    let info = unsafe { info.assume_init() };
    // SAFETY: both fields are plain integers within the structure for every kind of signal; for
    // kinds without a sender they hold something else, which `code` tells.
    Ok(unsafe { (info.si_pid(), info.si_uid(), info.si_code) })
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use std::mem::offset_of;

    use super::{At, Pid, io, ptrace, ptrace_with};

    // POKEUSER writes single registers, so that none has to be read first.
    macro_rules! register {
        ($name:ident) => {
            offset_of!(libc::user_regs_struct, $name)
        };
    }
    const ARGUMENTS: [usize; 6] =
        [register!(rdi), register!(rsi), register!(rdx), register!(r10), register!(r8), register!(r9)];

    fn poke(tid: Pid, register: usize, value: u64) -> io::Result<()> {
        #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
        ptrace(libc::PTRACE_POKEUSER as i32, tid, register, value as usize)
    }

    pub(crate) fn set_argument(tid: Pid, index: usize, value: u64) -> io::Result<()> {
        poke(tid, ARGUMENTS[index], value)
    }

    pub(crate) fn skip(tid: Pid, result: i64) -> io::Result<()> {
        poke(tid, register!(orig_rax), u64::MAX)?;
        poke(tid, register!(rax), result.cast_unsigned())
    }

    pub(crate) fn set_result(tid: Pid, result: i64) -> io::Result<()> {
        poke(tid, register!(rax), result.cast_unsigned())
    }

    pub(crate) fn rewind(tid: Pid, at: At, number: u64) -> io::Result<()> {
        poke(tid, register!(orig_rax), u64::MAX)?;
        poke(tid, register!(rax), number)?;
        // `syscall`, `sysenter` and `int 0x80` are two bytes long.
        poke(tid, register!(rip), at.instruction - 2)
    }

    pub(crate) fn is_interrupted(tid: Pid, _: At) -> io::Result<bool> {
        let mut result = 0_i64;
        // SAFETY: the system call PEEKUSER (unlike the C library's) writes one long.
        unsafe { ptrace_with(libc::PTRACE_PEEKUSER as i32, tid, register!(rax), &mut result) }?;
        Ok(super::is_restart(result))
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use super::{At, Pid, io, ptrace_with};

    const NT_PRSTATUS: usize = 1;
    const NT_ARM_SYSTEM_CALL: usize = 0x404;

    #[repr(C)]
    #[derive(Default)]
    struct Registers {
        x: [u64; 31],
        sp: u64,
        pc: u64,
        pstate: u64,
    }

    fn set_of<T>(request: u32, tid: Pid, set: usize, data: &mut T) -> io::Result<()> {
        let mut vector = libc::iovec { iov_base: std::ptr::from_mut(data).cast(), iov_len: size_of::<T>() };
        // SAFETY: both requests take a register set's number and an iovec, and stay in the bounds
        // that the iovec gives.
        unsafe { ptrace_with(request as i32, tid, set, &mut vector) }.map(drop)
    }

    fn change(tid: Pid, edit: impl FnOnce(&mut Registers)) -> io::Result<()> {
        let mut registers = Registers::default();
        set_of(libc::PTRACE_GETREGSET, tid, NT_PRSTATUS, &mut registers)?;
        edit(&mut registers);
        set_of(libc::PTRACE_SETREGSET, tid, NT_PRSTATUS, &mut registers)
    }

    fn cancel(tid: Pid) -> io::Result<()> {
        set_of(libc::PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &mut -1_i32)
    }

    pub(crate) fn set_argument(tid: Pid, index: usize, value: u64) -> io::Result<()> {
        change(tid, |registers| registers.x[index] = value)
    }

    pub(crate) fn skip(tid: Pid, result: i64) -> io::Result<()> {
        cancel(tid)?;
        change(tid, |registers| registers.x[0] = result.cast_unsigned())
    }

    pub(crate) fn set_result(tid: Pid, result: i64) -> io::Result<()> {
        change(tid, |registers| registers.x[0] = result.cast_unsigned())
    }

    pub(crate) fn rewind(tid: Pid, at: At, number: u64) -> io::Result<()> {
        cancel(tid)?;
        change(tid, |registers| {
            registers.x[8] = number;
            registers.pc = at.instruction - 4;
        })
    }

    /// This kernel winds the program counter back before it reports the signal.
    pub(crate) fn is_interrupted(tid: Pid, at: At) -> io::Result<bool> {
        let mut registers = Registers::default();
        set_of(libc::PTRACE_GETREGSET, tid, NT_PRSTATUS, &mut registers)?;
        Ok(registers.pc == at.instruction - 4)
    }
}

/// Changes an argument of the call that a task is about to make.
pub(crate) use registers::set_argument;

/// Makes the call that a task is about to make not run, and give `result`.
pub(crate) use registers::skip;

/// Changes what the call that a task has just made gives to the program.
pub(crate) use registers::set_result;

/// Makes the call that a task is about to make not run now, and the task make it again: it goes
/// back to the instruction. What the kernel does for `ERESTARTNOINTR`, but without a signal that
/// would have to be pending, and without another stop.
pub(crate) use registers::rewind;

/// Whether a task in a signal's stop was interrupted in the call at `at`, which the kernel may
/// run again.
pub(crate) use registers::is_interrupted;

/// `ERESTARTSYS`, `ERESTARTNOINTR`, `ERESTARTNOHAND`, `ERESTART_RESTARTBLOCK` (linux/errno.h):
/// a debugger sees them, a program never does.
pub(crate) fn is_restart(result: i64) -> bool {
    matches!(result, -516 | -514..=-512)
}

pub(crate) fn tgkill(pid: Pid, tid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: three numbers.
    done(unsafe { libc::syscall(libc::SYS_tgkill, pid.as_raw(), tid.as_raw(), signal) }).map(drop)
}

/// Whether this thread has a tracee with this id (`None`: any) that has not been waited for to its end.
pub(crate) fn is_there(tid: Option<Pid>) -> bool {
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    let (kind, id, of) = match tid {
        Some(tid) => (libc::P_PID, tid.as_raw().cast_unsigned(), libc::__WALL),
        None => (libc::P_ALL, 0, libc::__WCLONE | libc::__WNOTHREAD),
    };
    let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT | of;
    // SAFETY: `info` is a place for what the kernel writes, and nothing of it is read.
    unsafe { libc::waitid(kind, id, info.as_mut_ptr(), flags) == 0 }
}

pub(crate) fn gettid() -> i32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::gettid() }
}

/// A task that was waited for.
pub(crate) struct Waited {
    pub(crate) tid: Pid,
    pub(crate) status: i32,
    pub(crate) cpu: Duration,
}

/// `wait4`. `None`: with `WNOHANG`, nothing to report.
pub(crate) fn wait4(tid: i32, flags: i32) -> io::Result<Option<Waited>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to memory of the type the kernel writes.
    let tid = unsafe { libc::wait4(tid, &raw mut status, flags, usage.as_mut_ptr()) };
    match tid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        tid => {
            // SAFETY: zeroed is valid, and the kernel wrote it.
            let usage = unsafe { usage.assume_init() };
            Ok(Some(Waited {
                tid: Pid::from_raw(tid),
                status,
                cpu: time(usage.ru_utime) + time(usage.ru_stime),
            }))
        }
    }
}

fn time(time: libc::timeval) -> Duration {
    Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
        + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}
