//! What the built-in server and the harness say to each other: lines, over the server's standard
//! input and output.
//!
//! The server says `ready STATE` once it listens (or `failed WHY` and exits). Asked `settle`, it
//! first acts on every SIGHUP that is pending, and then says `settled STATE`. Told `refuse`, it
//! refuses every reload from then on, until it is told `accept`; it answers both in the same way. When
//! its input ends, it exits.

use std::{fmt, str::FromStr};

/// The name under which this program is the built-in server: `roulette __serve`.
pub const SERVE: &str = "__serve";

/// What the server has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// SIGHUPs acted on. Signals that arrive while one is pending are one (signal(7)), so this
    /// can be less than the number sent.
    pub reloads: u64,
    /// How many of them were refused, because the pair on disk could not be used.
    pub refused: u64,
    /// Whether it listens; `false` after it was told to stop and before it is started again.
    pub running: bool,
    /// Fingerprint of what it serves; `None` while there was no usable pair.
    pub fingerprint: Option<String>,
    /// Why the last refusal; `None` when the last reload was taken.
    pub refusal: Option<String>,
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settled { reloads, refused, running, fingerprint, refusal } = self;
        let fingerprint = fingerprint.as_deref().unwrap_or("-");
        let refusal = refusal.as_deref().unwrap_or_default().replace('\n', " ");
        write!(
            f,
            "reloads={reloads} refused={refused} running={running} fingerprint={fingerprint} refusal={refusal}"
        )
    }
}

impl FromStr for Settled {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("the server said `{text}`");
        let mut rest = text;
        let mut field = |name: &str| -> Option<&str> {
            let (value, more) = match name {
                "refusal=" => (rest, ""),
                _ => rest.split_once(' ')?,
            };
            rest = more;
            value.strip_prefix(name)
        };
        let settled = Settled {
            reloads: field("reloads=").and_then(|value| value.parse().ok()).ok_or_else(error)?,
            refused: field("refused=").and_then(|value| value.parse().ok()).ok_or_else(error)?,
            running: field("running=").and_then(|value| value.parse().ok()).ok_or_else(error)?,
            fingerprint: Some(field("fingerprint=").ok_or_else(error)?.to_owned())
                .filter(|value| value != "-"),
            refusal: Some(field("refusal=").ok_or_else(error)?.to_owned()).filter(|value| !value.is_empty()),
        };
        Ok(settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_as_it_was_written() {
        let full = Settled {
            reloads: 3,
            refused: 1,
            running: true,
            fingerprint: Some("ab".to_owned()),
            refusal: Some("/a and /b do not match".to_owned()),
        };
        for state in [Settled::default(), full] {
            assert_eq!(state.to_string().parse::<Settled>().unwrap(), state);
        }
        assert!("ready".parse::<Settled>().is_err());
    }
}
