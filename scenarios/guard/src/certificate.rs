//! Certificates and keys as the guard needs them: whole, matching, for the right names, and due or not.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// SHA-256 of a leaf certificate's DER, printed as lower-case hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of one certificate.
    pub fn of(der: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is wrong with a pair on disk, so that it has to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is none yet.
    #[error("there is no certificate yet")]
    Missing,
    /// One of the two files is missing, empty, cut short or not what it should be.
    #[error("{0}")]
    Broken(String),
    /// The key is another certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// The leaf of a certificate chain.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// SHA-256 of the leaf's DER.
    pub fingerprint: Fingerprint,
    /// Start of validity, seconds since the epoch.
    pub not_before: i64,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
    /// DNS names it is for, lower case.
    pub names: BTreeSet<String>,
    /// `SubjectPublicKeyInfo`, DER.
    public_key: Vec<u8>,
}

impl Leaf {
    /// Read the leaf, and check that the whole chain parses.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Problem> {
        let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|e| Problem::Broken(format!("the certificate file is not whole: {e}")))?;
        let Some((leaf, rest)) = chain.split_first() else {
            return Err(Problem::Broken("the certificate file holds no certificate".to_owned()));
        };
        for issuer in rest {
            parse(issuer)?;
        }
        let parsed = parse(leaf)?;
        let mut names = BTreeSet::new();
        if let Ok(Some(san)) = parsed.subject_alternative_name() {
            for name in &san.value.general_names {
                if let GeneralName::DNSName(dns) = name {
                    names.insert(dns.to_ascii_lowercase());
                }
            }
        }
        Ok(Self {
            fingerprint: Fingerprint::of(leaf),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            names,
            public_key: parsed.public_key().raw.to_vec(),
        })
    }

    /// Seconds until it expires; negative when it has.
    pub fn seconds_left(&self) -> i64 {
        self.not_after - now()
    }

    /// Why it should be renewed now; `None` if it need not. With no `days`, the last third of its life is the time.
    pub fn expiring(&self, days: Option<u32>) -> Option<String> {
        let threshold = match days {
            Some(days) => i64::from(days) * 86_400,
            None => (self.not_after - self.not_before) / 3,
        };
        let left = self.seconds_left();
        (left < threshold).then(|| {
            if left < 0 {
                format!("it expired {} ago", days_text(-left))
            } else {
                format!("it expires in {}, renewal starts at {}", days_text(left), days_text(threshold))
            }
        })
    }

    /// Why it is not for exactly these names; `None` if it is.
    pub fn wrong_names(&self, wanted: &[String]) -> Option<String> {
        let wanted: BTreeSet<String> = wanted.iter().map(|d| d.to_ascii_lowercase()).collect();
        (self.names != wanted).then(|| {
            let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
            format!("it is for {}, wanted is {}", list(&self.names), list(&wanted))
        })
    }
}

/// A certificate chain and the key that belongs to it.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub leaf: Leaf,
}

impl Pair {
    /// Check the two files' contents; `None` for a missing file.
    pub fn parse(certificate: Option<&[u8]>, key: Option<&[u8]>) -> Result<Self, Problem> {
        let (certificate, key) = match (certificate, key) {
            (None, None) => return Err(Problem::Missing),
            (Some(_), None) => return Err(Problem::Broken("the private key is missing".to_owned())),
            (None, Some(_)) => return Err(Problem::Broken("the certificate is missing".to_owned())),
            (Some(certificate), Some(key)) => (certificate, key),
        };
        let leaf = Leaf::from_pem(certificate)?;
        if public_key_of(key)? != leaf.public_key {
            return Err(Problem::Mismatch);
        }
        Ok(Self { leaf })
    }

    /// Why a new pair is needed, judged by names and time; `None` if it is not.
    pub fn due(&self, domains: &[String], days: Option<u32>) -> Option<String> {
        self.leaf.wrong_names(domains).or_else(|| self.leaf.expiring(days))
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Problem> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(Problem::Broken("a certificate has bytes after its end".to_owned())),
        Err(e) => Err(Problem::Broken(format!("a certificate does not parse: {e}"))),
    }
}

/// The `SubjectPublicKeyInfo` of a PEM private key, DER.
fn public_key_of(pem: &[u8]) -> Result<Vec<u8>, Problem> {
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|e| Problem::Broken(format!("the private key is not whole: {e}")))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)
        .map_err(|e| Problem::Broken(format!("the private key is not usable: {e}")))?;
    match key.public_key() {
        Some(spki) => Ok(spki.to_vec()),
        None => Err(Problem::Broken("the private key is of a kind whose public half is unknown".to_owned())),
    }
}

/// Seconds since the epoch; 0 on a clock before it.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn days_text(seconds: i64) -> String {
    match seconds {
        0..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
