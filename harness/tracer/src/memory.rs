//! Reading a tracee's memory.

use std::{ffi::OsString, io, io::IoSliceMut, os::unix::ffi::OsStringExt};

use nix::{
    errno::Errno,
    sys::uio::{RemoteIoVec, process_vm_readv},
    unistd::Pid,
};

use crate::{error::Error, sys};

/// `PATH_MAX`: no path that the kernel takes is longer.
const STRING_MAX: usize = 4096;

/// The smallest page there is: what lies within one can be read at once or not at all.
const PAGE: u64 = 4096;

fn read(tid: Pid, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let Ok(base) = usize::try_from(address) else { return Err(io::Error::from_raw_os_error(libc::EFAULT)) };
    let remote = [RemoteIoVec { base, len: into.len() }];
    match process_vm_readv(tid, &mut [IoSliceMut::new(into)], &remote) {
        // Docker's default seccomp profile lets nobody but `CAP_SYS_PTRACE` call it, while
        // ptrace(2) itself is allowed.
        Err(Errno::EPERM | Errno::ENOSYS) => peek(tid, address, into),
        read => Ok(read?),
    }
}

/// The same word by word, as the tracer may in any case.
fn peek(tid: Pid, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        let at = address.wrapping_add(done as u64);
        // An aligned word lies within one page.
        let skip = (at % 8) as usize;
        match sys::peek(tid, at - skip as u64) {
            Ok(word) => {
                let word = &word.to_ne_bytes()[skip..];
                let length = word.len().min(into.len() - done);
                into[done..done + length].copy_from_slice(&word[..length]);
                done += length;
            }
            Err(_) if done > 0 => break,
            // ptrace(2)'s word for memory that is not there.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Err(Errno::EFAULT.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

pub(crate) fn read_bytes(tid: Pid, address: u64, length: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; length];
    let failed = |source| Error::Memory { tid, address, length, source };
    match read(tid, address, &mut bytes).map_err(failed)? {
        read if read == length => Ok(bytes),
        _ => Err(failed(io::Error::from_raw_os_error(libc::EFAULT))),
    }
}

pub(crate) fn read_string(tid: Pid, address: u64) -> Result<OsString, Error> {
    let mut bytes = Vec::new();
    // Page by page, as the string may end just before one that is not there; and first a
    // little, as most are short.
    while bytes.len() < STRING_MAX {
        let at = address.wrapping_add(bytes.len() as u64);
        let rest = usize::try_from(PAGE - at % PAGE).expect("at most a page");
        let wanted = rest.min(if bytes.is_empty() { 256 } else { STRING_MAX - bytes.len() });
        let mut chunk = vec![0; wanted];
        let read = read(tid, at, &mut chunk).map_err(|source| Error::Memory {
            tid,
            address: at,
            length: wanted,
            source,
        })?;
        chunk.truncate(read);
        if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
            bytes.extend_from_slice(&chunk[..end]);
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(STRING_MAX);
    Ok(OsString::from_vec(bytes))
}

pub(crate) fn read_words(tid: Pid, address: u64, count: usize) -> Result<Vec<u64>, Error> {
    let bytes = read_bytes(tid, address, count * 8)?;
    Ok(bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect())
}

#[cfg(test)]
mod tests {
    use crate::{Command, Event, Options, Tracer};

    use super::*;

    #[test]
    fn what_is_read_word_by_word_is_what_is_read_at_once() {
        let mut tracer = Tracer::new(Options::default()).unwrap();
        let mut command = Command::new(["sh", "-c", ": > /dev/null"]);
        command.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        tracer.spawn(&command).unwrap();
        let mut compared = 0;
        loop {
            match tracer.wait(None).unwrap() {
                Event::Stopped(stopped) => {
                    if let Some(syscall) = stopped.syscall() {
                        let (tid, args) = (stopped.tid(), syscall.args);
                        assert_eq!(
                            peek(tid, 8, &mut [0; 8]).unwrap_err().raw_os_error(),
                            Some(libc::EFAULT),
                            "nothing is mapped there"
                        );
                        for (address, length) in args.iter().flat_map(|a| [(*a, 16), (a + 1, 7), (a + 3, 5)])
                        {
                            let mut at_once = vec![0; length];
                            let Ok(length) = read(tid, address, &mut at_once) else { continue };
                            let mut in_words = vec![0; length];
                            assert_eq!(peek(tid, address, &mut in_words).unwrap(), length);
                            assert_eq!(in_words, at_once[..length]);
                            compared += 1;
                        }
                    }
                    stopped.resume().unwrap();
                }
                Event::Empty => break,
                _ => {}
            }
        }
        assert!(compared > 0, "an argument of some effect is an address");
    }
}
