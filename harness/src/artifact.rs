//! Key and certificate pairs on disk: what they are, whether they match, how they are aged.

use serde::{Deserialize, Serialize};

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileState {
    /// There is nothing at the path (or a link that leads nowhere); the reason.
    Missing(String),
    /// It is there and does not parse whole; why.
    Broken(String),
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
    /// Whether the key's public part is the leaf's; `None` when either is not whole.
    pub matches: Option<bool>,
    /// SHA-256 of the leaf's DER, lower-case hex; empty when the certificate is not whole.
    pub fingerprint: String,
    /// DNS names in the leaf.
    pub names: Vec<String>,
    /// End of the leaf's validity, seconds since the epoch.
    pub not_after: i64,
    /// Permission bits of the key file after symlinks, such as 0o600; `None` when missing.
    pub key_mode: Option<u32>,
}
