//! The ACME account on disk: whole or not there.

use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files;

/// What `account.json` holds.
#[derive(Serialize, Deserialize)]
pub struct StoredAccount {
    /// The CA it is an account of. An account of another CA is no account here.
    pub directory_url: String,
    /// RFC 7638 thumbprint of its key: tells our challenge tokens from others'.
    pub thumbprint: String,
    /// Key and account URL.
    pub credentials: AccountCredentials,
}

impl StoredAccount {
    /// Read it; `None` if there is none, or none that can be read as one: then a new one mends it, nobody needs to be called.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let Some(bytes) = files::read_if_there(path)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(account) => Ok(Some(account)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the stored account is not readable; a new one will be made");
                Ok(None)
            }
        }
    }

    /// Put it in place with one rename.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::file("write", path)(e.into()))?;
        let temporary = temporary(path);
        files::remove_if_there(&temporary)?;
        files::write_new(&temporary, 0o600, &bytes)?;
        files::rename(&temporary, path)
    }
}

/// Remove what a run killed in [`StoredAccount::write`] left. Only under the lock.
pub fn sweep(path: &Path) -> Result<usize, Error> {
    files::remove_if_there(&temporary(path)).map(usize::from)
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}
