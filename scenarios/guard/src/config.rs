//! The configuration: strict TOML. An unknown key is refused with its file, line and the nearest known key.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::error::Error;

/// A guard's configuration: one certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// DNS names of the certificate.
    pub domains: Vec<String>,
    /// State directory; `current/fullchain.pem` and `current/privkey.pem` in it are what the server reads.
    pub directory: PathBuf,
    /// Lock file; `None` is `lock` in the state directory.
    pub lock: Option<PathBuf>,
    /// Renew when fewer days than this are left; `None` is a third of the lifetime.
    pub renew_days: Option<u32>,
    /// How to answer the CA's challenge.
    pub challenge: ChallengeConfig,
    /// The CA and how patiently to ask it.
    #[serde(default)]
    pub acme: AcmeConfig,
    /// Where to see which certificate is served; `None` falls back to a record of reloads done.
    pub served: Option<ServedConfig>,
    /// How to make the server take up a new certificate; `None` if it notices by itself.
    pub reload: Option<ReloadConfig>,
}

/// `[challenge]`: exactly one of the two.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeConfig {
    /// Document root of a web server that answers on port 80 of every domain.
    pub webroot: Option<PathBuf>,
    /// Address of the guard's own listener, which is there only while a challenge is pending.
    pub listen: Option<SocketAddr>,
}

/// `[acme]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcmeConfig {
    /// The CA's directory (RFC 8555 section 7.1.1).
    pub directory_url: String,
    /// PEM file of the roots that the CA's server is checked against; `None` is the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Contact URLs of a new account, as in `mailto:ops@example.com`.
    pub contact: Vec<String>,
    /// Kind of the certificate's key.
    pub key_type: KeyType,
    /// Pauses between attempts: as many retries as there are entries.
    pub retries: Vec<Seconds>,
    /// Each pause is made longer by a random part of itself, up to this share.
    pub jitter: f64,
    /// Longest Retry-After that is waited for within a run.
    pub retry_after_max: Seconds,
    /// Bound for one request and its answer.
    pub request_timeout: Seconds,
    /// First pause between two questions about an order; it doubles.
    pub poll: Seconds,
    /// Bound for the CA to validate, and again to issue.
    pub poll_timeout: Seconds,
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            directory_url: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            ca_bundle: None,
            contact: Vec::new(),
            key_type: KeyType::P256,
            retries: [10, 30, 90].map(|s| Seconds(Duration::from_secs(s))).to_vec(),
            jitter: 0.2,
            retry_after_max: Seconds(Duration::from_secs(600)),
            request_timeout: Seconds(Duration::from_secs(30)),
            poll: Seconds(Duration::from_millis(50)),
            poll_timeout: Seconds(Duration::from_secs(90)),
        }
    }
}

/// `[served]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServedConfig {
    /// HOST:PORT of the TLS server.
    pub address: String,
    /// Name to ask for (SNI); `None` is the first domain.
    pub name: Option<String>,
    /// How long a reload may take to show.
    #[serde(default = "ten_seconds")]
    pub within: Seconds,
    /// How long a run that did not install the certificate itself waits for a killed run's reload to show, before it reloads again.
    #[serde(default = "two_seconds")]
    pub settle: Seconds,
}

/// `[reload]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadConfig {
    /// The command and its arguments; no shell is involved.
    pub command: Vec<String>,
    /// The command is killed after this long.
    #[serde(default = "sixty_seconds")]
    pub timeout: Seconds,
}

/// Kind of the certificate's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// ECDSA on P-256.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
}

/// A duration written as `"250ms"`, `"10s"`, `"5m"` or `"2h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl std::str::FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no duration; write it like \"250ms\", \"10s\", \"5m\" or \"2h\"");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let millis = match &text[digits.len()..] {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        // A year is more than anybody means, and far from overflowing anything.
        match millis {
            Some(millis) if millis <= 365 * 86_400_000 => Ok(Self(Duration::from_millis(millis))),
            _ => Err(wrong()),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Seconds;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes, like \"250ms\", \"10s\", \"5m\" or \"2h\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

fn two_seconds() -> Seconds {
    Seconds(Duration::from_secs(2))
}

fn ten_seconds() -> Seconds {
    Seconds(Duration::from_secs(10))
}

fn sixty_seconds() -> Seconds {
    Seconds(Duration::from_secs(60))
}

impl Config {
    /// Read and check a configuration file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::Config(format!("failed to read the configuration {}: {e}", path.display()))
        })?;
        Self::parse(&text, path)
    }

    /// Check a configuration's text; `path` is for the messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let config: Self = toml::from_str(text).map_err(|e| Error::Config(explain(&e, text, path)))?;
        config.check().map_err(|what| Error::Config(format!("{}: {what}", path.display())))?;
        Ok(config)
    }

    /// The lock file.
    pub fn lock_path(&self) -> PathBuf {
        self.lock.clone().unwrap_or_else(|| self.directory.join("lock"))
    }

    fn check(&self) -> Result<(), String> {
        check_domains(&self.domains).map_err(|what| format!("`domains`: {what}"))?;
        if !self.directory.is_absolute() {
            return Err(
                "`directory` must be an absolute path: a scheduler starts the guard anywhere".to_owned()
            );
        }
        if self.lock.as_ref().is_some_and(|lock| !lock.is_absolute()) {
            return Err(
                "`lock` must be an absolute path: two runs started in different places must meet".to_owned()
            );
        }
        self.challenge.check().map_err(|what| format!("[challenge] {what}"))?;
        self.acme.check().map_err(|what| format!("[acme] {what}"))?;
        if self.reload.as_ref().is_some_and(|reload| reload.command.is_empty()) {
            return Err(
                "[reload] `command` is empty; leave [reload] out if the server notices by itself".to_owned()
            );
        }
        Ok(())
    }
}

impl ChallengeConfig {
    /// Exactly one way must be given.
    pub fn check(&self) -> Result<(), String> {
        match (&self.webroot, &self.listen) {
            (Some(_), Some(_)) => Err("wants `webroot` or `listen`, not both".to_owned()),
            (None, None) => {
                Err("wants either `webroot` (a folder a web server shows on port 80) or `listen` \
                                 (an address, as in \"0.0.0.0:80\")"
                    .to_owned())
            }
            (Some(webroot), None) if !webroot.is_absolute() => {
                Err("`webroot` must be an absolute path".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl AcmeConfig {
    fn check(&self) -> Result<(), String> {
        if !self.directory_url.starts_with("https://") {
            return Err(format!("`directory_url` {:?} must begin with https://", self.directory_url));
        }
        if !(0.0..=10.0).contains(&self.jitter) {
            return Err(format!("`jitter` {} must be between 0 and 10", self.jitter));
        }
        Ok(())
    }
}

/// Names that HTTP-01 can be done for.
pub fn check_domains(domains: &[String]) -> Result<(), String> {
    if domains.is_empty() {
        return Err("at least one name is needed".to_owned());
    }
    for domain in domains {
        if domain.starts_with("*.") {
            return Err(format!("{domain:?} is a wildcard: those need DNS-01, and the guard does HTTP-01"));
        }
        let label_ok = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if domain.len() > 253 || !domain.split('.').all(label_ok) {
            return Err(format!("{domain:?} is no DNS name (write international names in their xn-- form)"));
        }
    }
    Ok(())
}

/// One line: file, line, key, what is wrong, and the nearest known key.
fn explain(error: &toml::de::Error, text: &str, path: &Path) -> String {
    let mut out = path.display().to_string();
    if let Some(span) = error.span() {
        let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
        out += &format!(":{line}");
    }
    out += &format!(": {}", error.message().trim_end().replace('\n', "; "));
    // serde's message is "unknown field `x`, expected one of `a`, `b`": the names are between backticks.
    let mut names = error.message().split('`').skip(1).step_by(2);
    if error.message().starts_with("unknown")
        && let Some(unknown) = names.next()
        && let Some(nearest) =
            names.max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)))
    {
        out += &format!("; did you mean `{nearest}`?");
    }
    out
}
