//! Key and certificate pairs on disk: what they are, whether they match, how they are aged.

mod age;
mod key;
mod looks;
mod pem;
mod state;
#[cfg(test)]
mod tests;

pub use age::{AgeError, AgeReport, Aged, AgeingCa, age};
pub use looks::{looks_like, readable_by_others};
pub(crate) use state::dns_names;
pub use state::{ArtifactState, FileState, read, read_below};

/// Lower-case hex of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of a certificate's DER, lower-case hex: what fingerprints are everywhere here.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, der).as_ref())
}
