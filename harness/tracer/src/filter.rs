//! The seccomp program: classic BPF, assembled by hand from the table of calls.

use libc::sock_filter;

use crate::call::{Call, TABLE, When};

/// `RET_TRACE` carries 16 bits that come back with the stop: the index in the table, or this.
const FOREIGN: u16 = 0xffff;

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_TRACE: u32 = 0x7ff0_0000;

// <linux/audit.h>
#[cfg(target_arch = "x86_64")]
pub(crate) const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(crate) const ARCH: u32 = 0xc000_00b7;

/// x32 calls say x86-64 as their architecture and have this bit in their number.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

// struct seccomp_data: nr, arch, instruction_pointer, args[6].
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(index: u8) -> u32 {
    16 + 8 * index as u32
}

// <linux/bpf_common.h>
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
#[cfg(target_arch = "x86_64")]
const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

const fn give(value: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: value }
}

/// Which calls are stopped at beyond the usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Also {
    /// Those that reach out to an address.
    pub(crate) connect: bool,
    /// Those that ask for the time of day.
    pub(crate) clock: bool,
    /// Those that ask for memory.
    pub(crate) memory: bool,
}

/// Assembles the program.
pub(crate) fn program(also: Also) -> Vec<sock_filter> {
    let foreign = RET_TRACE | u32::from(FOREIGN);
    let mut program = vec![
        load(ARCHITECTURE),
        jump(JUMP_IF_EQUAL, ARCH, 1, 0),
        give(foreign),
        load(NUMBER),
        #[cfg(target_arch = "x86_64")]
        jump(JUMP_IF_AT_LEAST, X32, 0, 1),
        #[cfg(target_arch = "x86_64")]
        give(foreign),
    ];
    for (index, entry) in TABLE.iter().enumerate() {
        let Some(number) = entry.number() else { continue };
        let trace = RET_TRACE | u32::try_from(index).expect("a table of less than 65,535 calls");
        let body = match entry.when {
            When::Connect | When::ConnectNonNull(_) if !also.connect => continue,
            When::Clock | When::ClockOneOf(..) if !also.clock => continue,
            When::Memory if !also.memory => continue,
            When::Always | When::Connect | When::Clock | When::Memory => vec![give(trace)],
            When::AnyBit(index, mask) => {
                vec![load(argument(index)), jump(JUMP_IF_ANY_BIT, mask, 0, 1), give(trace), give(RET_ALLOW)]
            }
            When::OneOf(index, values) | When::ClockOneOf(index, values) => {
                let mut body = vec![load(argument(index))];
                for value in values {
                    body.extend([jump(JUMP_IF_EQUAL, *value, 0, 1), give(trace)]);
                }
                body.push(give(RET_ALLOW));
                body
            }
            // Both halves: a pointer's lower one may be zero.
            When::ConnectNonNull(index) => vec![
                load(argument(index)),
                jump(JUMP_IF_EQUAL, 0, 0, 2),
                load(argument(index) + 4),
                jump(JUMP_IF_EQUAL, 0, 1, 0),
                give(trace),
                give(RET_ALLOW),
            ],
        };
        let over = u8::try_from(body.len()).expect("a body of less than 256 instructions");
        program.push(jump(JUMP_IF_EQUAL, number, 0, over));
        program.extend(body);
    }
    program.push(give(RET_ALLOW));
    program
}

/// What the 16 bits that come back with a stop mean. `None`: they are not from this filter.
pub(crate) fn decode(data: u32) -> Option<Call> {
    if data == u32::from(FOREIGN) {
        return Some(Call::Foreign);
    }
    TABLE.get(usize::try_from(data).ok()?).map(|entry| entry.call)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(program: &[sock_filter], arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let mut data = vec![number, arch, 0, 0];
        for arg in args {
            #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
            data.extend([arg as u32, (arg >> 32) as u32]);
        }
        let (mut at, mut word) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { instruction.jt } else { instruction.jf });
            match instruction.code {
                LOAD => word = data[instruction.k as usize / 4],
                JUMP_IF_EQUAL => at += jump(word == instruction.k),
                0x35 => at += jump(word >= instruction.k),
                JUMP_IF_ANY_BIT => at += jump(word & instruction.k != 0),
                RETURN => return instruction.k,
                other => panic!("no such instruction: {other:#x}"),
            }
        }
    }

    fn number(call: Call) -> u32 {
        TABLE.iter().find(|entry| entry.call == call).and_then(super::super::call::Entry::number).unwrap()
    }

    fn traced(connect: bool, call: Call, args: [u64; 6]) -> bool {
        match run(&program(Also { connect, ..Also::default() }), ARCH, number(call), args) {
            RET_ALLOW => false,
            answer => {
                assert_eq!(decode(answer & 0xffff), Some(call));
                true
            }
        }
    }

    #[test]
    fn an_open_for_reading_is_let_through_and_every_other_is_not() {
        let open =
            |flags: i32| traced(false, Call::Openat, [0, 0, u64::from(flags.cast_unsigned()), 0, 0, 0]);
        assert!(!open(
            libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_PATH
        ));
        for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC, libc::O_TMPFILE] {
            assert!(open(flags), "{flags:#o}");
        }
    }

    #[test]
    fn only_the_locking_commands_of_fcntl_are_caught() {
        let fcntl =
            |command: i32| traced(false, Call::Fcntl, [3, u64::from(command.cast_unsigned()), 0, 0, 0, 0]);
        for command in [libc::F_SETLK, libc::F_SETLKW, libc::F_OFD_SETLK, libc::F_OFD_SETLKW] {
            assert!(fcntl(command));
        }
        for command in [libc::F_GETFD, libc::F_SETFD, libc::F_GETLK, libc::F_DUPFD_CLOEXEC] {
            assert!(!fcntl(command));
        }
    }

    #[test]
    fn addresses_are_caught_only_where_asked_for() {
        assert!(!traced(false, Call::Connect, [0; 6]));
        assert!(traced(true, Call::Connect, [0; 6]));
        assert!(!traced(true, Call::Sendto, [0; 6]));
        assert!(traced(true, Call::Sendto, [0, 0, 0, 0, 1, 0]));
        assert!(traced(true, Call::Sendto, [0, 0, 0, 0, 1 << 32, 0]));
        assert!(!traced(false, Call::Sendto, [0, 0, 0, 0, 1, 0]));
    }

    #[test]
    fn calls_of_another_abi_are_caught_and_named_foreign() {
        let answer = run(&program(Also::default()), 0x4000_0003, 5, [0; 6]);
        assert_eq!((answer & !0xffff, decode(answer & 0xffff)), (RET_TRACE, Some(Call::Foreign)));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(run(&program(Also::default()), ARCH, X32 | 1, [0; 6]), RET_TRACE | u32::from(FOREIGN));
    }

    #[test]
    fn what_is_not_in_the_table_is_let_through() {
        assert_eq!(
            run(
                &program(Also { connect: true, ..Also::default() }),
                ARCH,
                u32::try_from(libc::SYS_read).unwrap(),
                [1; 6]
            ),
            RET_ALLOW
        );
    }
}
