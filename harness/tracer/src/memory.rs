//! Reading a tracee's memory.

use std::{ffi::OsString, io, io::IoSliceMut, os::unix::ffi::OsStringExt};

use nix::{
    sys::uio::{RemoteIoVec, process_vm_readv},
    unistd::Pid,
};

use crate::error::Error;

/// `PATH_MAX`: no path that the kernel takes is longer.
const STRING_MAX: usize = 4096;

/// The smallest page there is: what lies within one can be read at once or not at all.
const PAGE: u64 = 4096;

fn read(tid: Pid, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let Ok(base) = usize::try_from(address) else { return Err(io::Error::from_raw_os_error(libc::EFAULT)) };
    let remote = [RemoteIoVec { base, len: into.len() }];
    Ok(process_vm_readv(tid, &mut [IoSliceMut::new(into)], &remote)?)
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
