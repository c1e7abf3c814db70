//! What is on disk, and the one rename that changes it.
//!
//! ```text
//! DIRECTORY/
//!   current -> generations/000002     the only name a server reads through
//!   generations/000001/               the previous pair
//!   generations/000002/fullchain.pem
//!                      privkey.pem    0600 from its first moment, in a directory of 0700
//!                      reloaded       only when no served certificate can be asked for
//!   account.json                      0600
//!   lock
//! ```
//!
//! A generation is complete and durable before `current` names it, and never written again after. So whatever instant a run is
//! killed at, `current` names a whole pair. Everything that is neither current nor previous is a killed run's and is swept away by
//! the next one, under the lock.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use crate::certificate::{Pair, Problem};
use crate::error::Error;
use crate::files;

const CURRENT: &str = "current";
const CURRENT_TMP: &str = ".current.tmp";
const GENERATIONS: &str = "generations";
const RELOADED: &str = "reloaded";
const CERTIFICATE: &str = "fullchain.pem";
const KEY: &str = "privkey.pem";

/// The state directory of one certificate.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Nothing is read or made yet.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Where the server finds the certificate chain.
    pub fn certificate_path(&self) -> PathBuf {
        self.directory.join(CURRENT).join(CERTIFICATE)
    }

    /// Where the server finds the private key.
    pub fn key_path(&self) -> PathBuf {
        self.directory.join(CURRENT).join(KEY)
    }

    /// The ACME account.
    pub fn account_path(&self) -> PathBuf {
        self.directory.join("account.json")
    }

    /// Make the state directory if it is missing.
    pub fn ensure(&self) -> Result<(), Error> {
        files::ensure_dir(&self.directory, 0o700)
    }

    /// The pair in place, or what is wrong with it. `Err` if the disk does not answer: that is no reason to renew.
    pub fn pair(&self) -> Result<Result<Pair, Problem>, Error> {
        let Some(current) = self.current()? else { return Ok(Err(Problem::Missing)) };
        // Through the generation and not through `current`: `guard status` looks without the lock, and must not see a pair that
        // was swapped between its two looks.
        let generation = self.directory.join(GENERATIONS).join(format!("{current:06}"));
        let certificate = files::read_if_there(&generation.join(CERTIFICATE))?;
        let key = files::read_if_there(&generation.join(KEY))?;
        Ok(Pair::parse(certificate.as_deref(), key.as_deref()))
    }

    /// Put a new pair in place with one rename.
    pub fn install(&self, key_pem: &str, chain_pem: &str) -> Result<(), Error> {
        let generations = self.directory.join(GENERATIONS);
        files::ensure_dir(&generations, 0o700)?;
        let newest = self.generations()?.last().copied().max(self.current()?).unwrap_or(0);
        let name = format!("{:06}", newest + 1);
        let generation = generations.join(&name);
        DirBuilder::new()
            .mode(0o700)
            .create(&generation)
            .map_err(Error::file("make the generation", &generation))?;
        files::write_new(&generation.join(KEY), 0o600, key_pem.as_bytes())?;
        files::write_new(&generation.join(CERTIFICATE), 0o644, chain_pem.as_bytes())?;
        files::sync_dir(&generation)?;
        files::sync_dir(&generations)?;
        let temporary = self.directory.join(CURRENT_TMP);
        symlink(Path::new(GENERATIONS).join(&name), &temporary)
            .map_err(Error::file("make the symlink", &temporary))?;
        files::rename(&temporary, &self.directory.join(CURRENT))?;
        tracing::info!(generation = %name, "new certificate in place");
        Ok(())
    }

    /// Remove what killed runs left, and generations older than the previous one. Only under the lock. Returns how many things.
    pub fn sweep(&self) -> Result<usize, Error> {
        let current = self.current()?;
        let generations = self.generations()?;
        let previous = generations.iter().copied().filter(|g| Some(*g) < current).max();
        let mut swept = usize::from(files::remove_if_there(&self.directory.join(CURRENT_TMP))?);
        for number in generations {
            if Some(number) != current && Some(number) != previous {
                self.remove_generation(number)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Whether the reload of the current generation was recorded: the fallback when no served certificate can be asked for.
    pub fn reloaded(&self) -> bool {
        self.directory.join(CURRENT).join(RELOADED).exists()
    }

    /// Record the reload of the current generation. The file's being there is the record, so there is no half of it.
    pub fn set_reloaded(&self) -> Result<(), Error> {
        let current = self.directory.join(CURRENT);
        files::write_new(&current.join(RELOADED), 0o600, b"")?;
        files::sync_dir(&current)
    }

    /// The number of the generation that `current` names; `None` if there is no `current`.
    fn current(&self) -> Result<Option<u64>, Error> {
        let path = self.directory.join(CURRENT);
        let target = match std::fs::read_link(&path) {
            Ok(target) => target,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                return Err(Error::Foreign { what: "is not the guard's symlink; move it away", path });
            }
            Err(e) => return Err(Error::file("read the symlink", &path)(e)),
        };
        let number =
            target.strip_prefix(GENERATIONS).ok().and_then(|name| name.to_str()).and_then(generation_number);
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(Error::Foreign { what: "names no generation of the guard's; move it away", path }),
        }
    }

    /// Numbers of all generations on disk, in order. Names that are not numbers are not ours.
    fn generations(&self) -> Result<Vec<u64>, Error> {
        let path = self.directory.join(GENERATIONS);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::file("list", &path)(e)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::file("list", &path))?.file_name();
            numbers.extend(name.to_str().and_then(generation_number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn remove_generation(&self, number: u64) -> Result<(), Error> {
        let path = self.directory.join(GENERATIONS).join(format!("{number:06}"));
        let entries = std::fs::read_dir(&path).map_err(Error::file("list", &path))?;
        for entry in entries {
            let file = entry.map_err(Error::file("list", &path))?.path();
            std::fs::remove_file(&file).map_err(Error::file("remove", &file))?;
        }
        std::fs::remove_dir(&path).map_err(Error::file("remove", &path))
    }
}

/// Only what we would write ourselves: `000001`, not `1`.
fn generation_number(name: &str) -> Option<u64> {
    let number: u64 = name.parse().ok()?;
    (format!("{number:06}") == name).then_some(number)
}
