//! Requests for memory, watched to see which of them the kernel refuses.

use crate::Call;

/// Whether a call asks for memory.
pub(crate) fn asks(call: Call) -> bool {
    matches!(call, Call::Brk | Call::Mmap | Call::Mremap)
}

/// Whether the kernel had no memory to give for this call.
pub(crate) fn is_refused(call: Call, args: [u64; 6], result: i64) -> bool {
    match call {
        // It answers with the break as it is (brk(2), "C library/kernel differences"). A null asks for no more than that.
        Call::Brk => args[0] != 0 && result.cast_unsigned() < args[0],
        _ => result == -i64::from(libc::ENOMEM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_that_stays_where_it_was_is_a_refusal_and_a_question_for_it_is_none() {
        let args = |address| [address, 0, 0, 0, 0, 0];
        assert!(is_refused(Call::Brk, args(0x9000), 0x8000));
        assert!(!is_refused(Call::Brk, args(0x9000), 0x9000));
        assert!(!is_refused(Call::Brk, args(0), 0x8000));
        assert!(!is_refused(Call::Brk, args(0x7000), 0x7000));
        assert!(is_refused(Call::Mmap, args(0), -12));
        assert!(!is_refused(Call::Mmap, args(0), -22));
    }
}
