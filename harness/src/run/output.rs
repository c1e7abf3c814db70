//! What a run prints.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::RunError;

/// What a run prints, kept in memory.
pub(super) struct Output(OwnedFd);

impl Output {
    pub(super) fn new() -> Result<Output, RunError> {
        let fd = memfd_create(c"subject-output", MFdFlags::MFD_CLOEXEC).map_err(|e| RunError::Io {
            tried: "make a file in memory for the subject's output".into(),
            source: e.into(),
        })?;
        Ok(Output(fd))
    }

    pub(super) fn writer(&self) -> Result<OwnedFd, RunError> {
        self.0
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| RunError::Io { tried: "duplicate a descriptor".into(), source })
    }

    /// The last `limit` bytes.
    pub(super) fn text(&self, limit: usize) -> String {
        let Ok(fd) = self.0.as_fd().try_clone_to_owned() else { return String::new() };
        let mut file = File::from(fd);
        let length = file.metadata().map_or(0, |m| m.len());
        let mut bytes = Vec::new();
        let from = length.saturating_sub(limit as u64);
        if file.seek(SeekFrom::Start(from)).is_ok() {
            let _ = file.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
