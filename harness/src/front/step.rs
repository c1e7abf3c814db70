//! Which protocol step a request is: by paths that the CA itself named.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a request is in the protocol (RFC 8555 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are RFC 8555's")]
pub enum Step {
    Directory,
    NewNonce,
    NewAccount,
    Account,
    NewOrder,
    Order,
    Authorization,
    Challenge,
    ChallengeStatus,
    Finalize,
    Certificate,
    KeyChange,
    RevokeCert,
    RenewalInfo,
    Other,
}

/// Pebble's own path of the directory. A production CA's is [`DIRECTORY_PATH`].
pub(super) const PEBBLE_DIRECTORY_PATH: &str = "/dir";

/// The directory's path in a production URL, which the front answers too.
pub(super) const DIRECTORY_PATH: &str = "/directory";

/// The paths known so far. The directory names the resources; answers name the rest. Pebble's
/// prefixes are known from the start: a client may begin with a URL that it kept.
#[derive(Debug)]
pub(super) struct Paths {
    resources: HashMap<String, Step>,
    prefixes: HashMap<String, Step>,
}

impl Paths {
    /// What the directory object names.
    pub fn from_directory(directory: &Value) -> Paths {
        let mut paths = Paths {
            resources: [PEBBLE_DIRECTORY_PATH, DIRECTORY_PATH]
                .into_iter()
                .map(|path| (path.to_owned(), Step::Directory))
                .collect(),
            // Pebble 2.4 to 2.10, wfe/wfe.go.
            prefixes: [
                ("/my-account/", Step::Account),
                ("/my-order/", Step::Order),
                ("/authZ/", Step::Authorization),
                ("/chalZ/", Step::Challenge),
                ("/finalize-order/", Step::Finalize),
                ("/certZ/", Step::Certificate),
            ]
            .into_iter()
            .map(|(prefix, step)| (prefix.to_owned(), step))
            .collect(),
        };
        for (field, step) in [
            ("newNonce", Step::NewNonce),
            ("newAccount", Step::NewAccount),
            ("newOrder", Step::NewOrder),
            ("keyChange", Step::KeyChange),
            ("revokeCert", Step::RevokeCert),
        ] {
            if let Some(path) = directory[field].as_str().and_then(path_of) {
                paths.resources.insert(path.to_owned(), step);
            }
        }
        // RFC 9773 section 4.1: the certificate's identifier is appended to this one.
        if let Some(path) = directory["renewalInfo"].as_str().and_then(path_of) {
            paths.prefixes.insert(format!("{}/", path.trim_end_matches('/')), Step::RenewalInfo);
        }
        paths
    }

    /// The step of a request for `path`.
    pub fn step(&self, path: &str) -> Step {
        if let Some(step) = self.resources.get(path) {
            return *step;
        }
        prefix_of(path).and_then(|prefix| self.prefixes.get(prefix)).copied().unwrap_or(Step::Other)
    }

    /// The path under which the CA answers a step that the directory names.
    pub fn resource(&self, step: Step) -> Option<&str> {
        self.resources.iter().find(|(_, s)| **s == step).map(|(path, _)| path.as_str())
    }

    /// Learns from the links of a good answer.
    pub fn learn(&mut self, step: Step, location: Option<&str>, body: &Value) {
        let challenges = body["challenges"].as_array().into_iter().flatten();
        let authorizations = body["authorizations"].as_array().into_iter().flatten();
        match step {
            Step::NewAccount => self.add(location, Step::Account),
            Step::NewOrder | Step::Order | Step::Finalize => {
                if step == Step::NewOrder {
                    self.add(location, Step::Order);
                }
                authorizations.for_each(|url| self.add(url.as_str(), Step::Authorization));
                self.add(body["finalize"].as_str(), Step::Finalize);
                self.add(body["certificate"].as_str(), Step::Certificate);
            }
            Step::Authorization => challenges.for_each(|c| self.add(c["url"].as_str(), Step::Challenge)),
            _ => {}
        }
    }

    fn add(&mut self, url: Option<&str>, step: Step) {
        let Some(prefix) = url.and_then(path_of).and_then(prefix_of) else { return };
        // One entry a kind of link, whatever the number of orders: what has a place keeps it.
        if prefix.len() > 1 && !self.prefixes.contains_key(prefix) {
            self.prefixes.insert(prefix.to_owned(), step);
        }
    }
}

/// Whether a request's JWS has an empty payload: POST-as-GET, which asks and makes nothing happen
/// (RFC 8555 section 6.3).
pub(super) fn only_asks(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|jws| jws["payload"] == "")
}

/// The nonce in a request's JWS (RFC 8555 section 6.5.2).
pub(super) fn nonce_of(body: &[u8]) -> Option<String> {
    let jws: Value = serde_json::from_slice(body).ok()?;
    let protected = URL_SAFE_NO_PAD.decode(jws["protected"].as_str()?).ok()?;
    let header: Value = serde_json::from_slice(&protected).ok()?;
    header["nonce"].as_str().map(str::to_owned)
}

/// The path in a URL, without query.
fn path_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let path = &rest[rest.find('/')?..];
    Some(path.split_once('?').map_or(path, |(path, _)| path))
}

/// The path up to its last slash.
fn prefix_of(path: &str) -> Option<&str> {
    path.rfind('/').map(|end| &path[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_with_an_empty_payload_only_asks() {
        assert!(only_asks(br#"{"protected":"e30","payload":"","signature":"AA"}"#));
        assert!(!only_asks(br#"{"protected":"e30","payload":"e30","signature":"AA"}"#));
        assert!(!only_asks(b"") && !only_asks(b"{}"));
    }

    #[test]
    fn the_nonce_is_in_the_protected_header() {
        let body = format!(r#"{{"protected":"{}"}}"#, URL_SAFE_NO_PAD.encode(r#"{"nonce":"abc"}"#));
        assert_eq!(nonce_of(body.as_bytes()).as_deref(), Some("abc"));
        assert_eq!(nonce_of(b"{}"), None);
    }

    #[test]
    fn the_directory_and_the_links_of_answers_name_the_steps() {
        let mut paths = Paths::from_directory(&serde_json::json!({
            "newNonce": "https://ca.example:1/n", "newOrder": "https://ca.example:1/orders/new",
            "renewalInfo": "https://ca.example/ari",
        }));
        assert_eq!(paths.step("/directory"), Step::Directory);
        assert_eq!(paths.step("/n"), Step::NewNonce);
        assert_eq!(paths.step("/orders/new"), Step::NewOrder);
        assert_eq!(paths.step("/ari/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"), Step::RenewalInfo);
        assert_eq!(paths.step("/o/1"), Step::Other);
        paths.learn(
            Step::NewOrder,
            Some("https://ca.example/o/1"),
            &serde_json::json!({ "authorizations": ["https://ca.example/a/1"], "finalize": "https://ca.example/f/1" }),
        );
        assert_eq!(paths.step("/o/2"), Step::Order);
        assert_eq!(paths.step("/a/2"), Step::Authorization);
        assert_eq!(paths.step("/f/2"), Step::Finalize);
        assert_eq!(paths.step("/certZ/00ff"), Step::Certificate);
        assert_eq!(paths.step(""), Step::Other);
    }
}
