//! `guard status`: what is on disk, what is served, what is owed. Changes nothing, and takes no lock.

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::Config;
use crate::error::{Error, exit};
use crate::lock;
use crate::reload;
use crate::store::Store;

/// What `guard status --format json` prints; fields may be added.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Version of this format.
    schema: u32,
    /// Names of the certificate, from the configuration.
    domains: Vec<String>,
    /// Where the server finds the chain.
    certificate: String,
    /// Where the server finds the key.
    key: String,
    /// Whether both are there, whole and belong together.
    intact: bool,
    /// SHA-256 of the leaf on disk; `null` if not intact.
    fingerprint: Option<String>,
    /// End of its validity, seconds since the epoch.
    not_after: Option<i64>,
    /// Whole days until then; negative when expired.
    days_left: Option<i64>,
    /// Why a renewal is due; `null` if none is.
    due: Option<String>,
    /// SHA-256 of the leaf that is served; `null` if nobody was asked or there was no answer.
    served: Option<String>,
    /// Why there was no answer.
    served_error: Option<String>,
    /// Whether the server does not use the certificate on disk, as far as is known.
    reload_owed: bool,
    /// The lock file.
    lock: String,
    /// Process that holds it; `null` if it is free.
    lock_held_by: Option<u32>,
}

impl Status {
    /// Look.
    pub fn read(config: &Config) -> Result<Self, Error> {
        let store = Store::new(&config.directory);
        let found = store.pair()?;
        let due = match &found {
            Ok(pair) => pair.due(&config.domains, config.renew_days),
            Err(problem) => Some(problem.to_string()),
        };
        let leaf = found.ok().map(|pair| pair.leaf);
        let served = match &config.served {
            Some(settings) => Some(reload::served(config, settings)?.fingerprint()),
            None => None,
        };
        let reload_owed = match (&leaf, &served) {
            (Some(leaf), Some(served)) => served.as_ref().ok() != Some(&leaf.fingerprint),
            (Some(_), None) => config.reload.is_some() && !store.reloaded(),
            (None, _) => false,
        };
        let lock = config.lock_path();
        Ok(Self {
            schema: 1,
            domains: config.domains.clone(),
            certificate: store.certificate_path().display().to_string(),
            key: store.key_path().display().to_string(),
            intact: leaf.is_some(),
            fingerprint: leaf.as_ref().map(|leaf| leaf.fingerprint.to_string()),
            not_after: leaf.as_ref().map(|leaf| leaf.not_after),
            days_left: leaf.as_ref().map(|leaf| leaf.seconds_left().div_euclid(86_400)),
            due,
            served: served.as_ref().and_then(|s| s.as_ref().ok()).map(ToString::to_string),
            served_error: served.and_then(Result::err),
            reload_owed,
            lock_held_by: lock::holder(&lock),
            lock: lock.display().to_string(),
        })
    }

    /// 0 all is well, 1 renewal due, 3 reload owed.
    pub fn exit_code(&self) -> u8 {
        match (&self.due, self.reload_owed) {
            (Some(_), _) => exit::FAILED,
            (None, true) => exit::RELOAD_OWED,
            (None, false) => exit::OK,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing to a String does not fail.
            let _ = writeln!(out, "{name:<12} {value}");
        };
        line("domains", &self.domains.join(", "));
        line("certificate", &self.certificate);
        line("key", &self.key);
        match (&self.fingerprint, self.days_left) {
            (Some(fingerprint), Some(days)) => line("on disk", &format!("{fingerprint}, {days} days left")),
            _ => line("on disk", "no usable pair"),
        }
        match (&self.served, &self.served_error) {
            (Some(served), _) => line("served", served),
            (None, Some(error)) => line("served", &format!("unknown: {error}")),
            (None, None) => line("served", "nobody to ask: no [served] in the configuration"),
        }
        line("renewal", &self.due.as_ref().map_or_else(|| "not due".to_owned(), |why| format!("due: {why}")));
        line("reload", if self.reload_owed { "owed" } else { "not owed" });
        let held =
            self.lock_held_by.map_or_else(|| "free".to_owned(), |pid| format!("held by process {pid}"));
        line("lock", &format!("{} ({held})", self.lock));
        out
    }
}
