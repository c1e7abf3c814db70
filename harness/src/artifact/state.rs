//! A pair as it is on disk now.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use serde::{Deserialize, Serialize};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::{
    fingerprint,
    key::PrivateKey,
    looks::readable_by_others,
    pem::{self, Block},
};
use crate::scenario::Artifact;

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileState {
    /// There is nothing at the path (or a link that leads nowhere); the reason.
    Missing(String),
    /// It is there and does not parse whole; why.
    Broken(String),
    /// It is there and could not be looked at (no permission); why.
    Unreadable(String),
    /// It parses whole.
    Whole,
}

/// An artifact as it is on disk now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactState {
    /// Path of the certificate as the server reads it.
    pub certificate_path: String,
    /// Path of the key as the server reads it.
    pub key_path: String,
    /// The certificate file.
    pub certificate: FileState,
    /// The key file.
    pub key: FileState,
    /// Whether the key's public part is the leaf's; `None` when either is not whole, or when it
    /// cannot be told (see `unjudged`).
    pub matches: Option<bool>,
    /// Why `matches` is `None` although both files are whole: an encrypted key, an unusual curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unjudged: Option<String>,
    /// SHA-256 of the leaf's DER, lower-case hex; empty when the certificate is not whole.
    pub fingerprint: String,
    /// Certificates in the file: the leaf and its chain.
    pub chain: usize,
    /// DNS names in the leaf.
    pub names: Vec<String>,
    /// End of the leaf's validity, seconds since the epoch.
    pub not_after: i64,
    /// Permission bits of the key file after symlinks, such as 0o600; `None` when missing.
    pub key_mode: Option<u32>,
    /// Whether other users can read the key: its mode and the folders above it let them. `None`
    /// when it is missing or could not be looked at.
    pub key_exposed: Option<bool>,
}

impl ArtifactState {
    /// Both files are there and parse whole.
    pub fn is_whole(&self) -> bool {
        self.certificate == FileState::Whole && self.key == FileState::Whole
    }
    /// Whole days left at `now` (seconds since the epoch); negative when expired.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(24 * 60 * 60)
    }
}

/// Looks at a pair, through the filesystem of the calling thread.
pub fn read(artifact: &Artifact) -> ArtifactState {
    read_below(artifact, Path::new("/"))
}

/// Looks at a pair of a world whose `/` is `root`: folders from there upwards do not count when
/// it is asked who can read the key.
pub fn read_below(artifact: &Artifact, root: &Path) -> ArtifactState {
    let mut state = ArtifactState {
        certificate_path: artifact.certificate.clone(),
        key_path: artifact.key.clone(),
        certificate: FileState::Whole,
        key: FileState::Whole,
        matches: None,
        unjudged: None,
        fingerprint: String::new(),
        chain: 0,
        names: Vec::new(),
        not_after: 0,
        key_mode: fs::metadata(&artifact.key).ok().map(|meta| meta.permissions().mode() & 0o7777),
        key_exposed: readable_by_others(Path::new(&artifact.key), root).ok(),
    };
    let leaf = match load(&artifact.certificate).and_then(|blocks| leaf(&blocks)) {
        Ok((leaf, chain)) => {
            state.chain = chain;
            Some(leaf)
        }
        Err(why) => {
            state.certificate = why;
            None
        }
    };
    let key = match load(&artifact.key).and_then(|blocks| private_key(&blocks)) {
        Ok(key) => Some(key),
        Err(why) => {
            state.key = why;
            None
        }
    };
    let Some(der) = leaf else { return state };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return state };
    state.fingerprint = fingerprint(&der);
    state.names = dns_names(&certificate);
    state.not_after = certificate.validity().not_after.timestamp();
    match key.map(|key| key.belongs_to(certificate.public_key())) {
        Some(Ok(matches)) => state.matches = Some(matches),
        Some(Err(why)) => state.unjudged = Some(why),
        None => {}
    }
    state
}

/// DNS names among the subject's alternative names.
pub(crate) fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let of = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(of).collect()
}

/// The blocks of a file that is a whole PEM file.
fn load(path: &str) -> Result<Vec<Block>, FileState> {
    let bytes =
        fs::read(path).map_err(|error| match error.raw_os_error().map(nix::errno::Errno::from_raw) {
            Some(nix::errno::Errno::ENOENT) if fs::symlink_metadata(path).is_ok() => {
                FileState::Missing("its link leads nowhere".to_owned())
            }
            Some(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR | nix::errno::Errno::ELOOP) => {
                FileState::Missing(strip(&error))
            }
            Some(nix::errno::Errno::EISDIR) => FileState::Broken("a directory".to_owned()),
            _ => FileState::Unreadable(strip(&error)),
        })?;
    if bytes.is_empty() {
        return Err(FileState::Broken("empty".to_owned()));
    }
    let cut = |why: String| FileState::Broken(format!("{why} ({} bytes)", bytes.len()));
    let blocks = pem::scan(&bytes).map_err(cut)?;
    if blocks.is_empty() {
        return Err(cut("not PEM".to_owned()));
    }
    Ok(blocks)
}

/// An I/O error's text without `(os error N)`.
fn strip(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The first certificate's DER and how many there are; every one must parse.
fn leaf(blocks: &[Block]) -> Result<(Vec<u8>, usize), FileState> {
    let broken = |why: String| FileState::Broken(why);
    let ders: Vec<_> = blocks.iter().filter(|block| block.is_certificate()).map(|block| &block.der).collect();
    let Some(first) = ders.first() else { return Err(broken("no certificate in it".to_owned())) };
    let mut authorities = Vec::new();
    for (index, der) in ders.iter().enumerate() {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => authorities.push(certificate.is_ca()),
            Ok((rest, _)) => {
                return Err(broken(format!("{} bytes too many in certificate {}", rest.len(), index + 1)));
            }
            Err(_) => return Err(broken(format!("certificate {} is not X.509", index + 1))),
        }
    }
    // A lone certificate that calls itself an authority is what `openssl req -x509` makes.
    if authorities[0] && authorities.contains(&false) {
        return Err(broken("its first certificate is an authority's, not the leaf".to_owned()));
    }
    Ok(((*first).clone(), ders.len()))
}

/// The first private key.
fn private_key(blocks: &[Block]) -> Result<PrivateKey, FileState> {
    let Some(block) = blocks.iter().find(|block| block.is_private_key()) else {
        return Err(FileState::Broken("no private key in it".to_owned()));
    };
    PrivateKey::parse(block).map_err(FileState::Broken)
}
