//! Three-valued judgements: held, violated, inconclusive.

use serde::{Deserialize, Serialize};

/// What a judgement came to. A checker that could not look says [`Verdict::Inconclusive`], and
/// that is never counted as held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The promise was looked at and was kept.
    Held,
    /// The promise could not be looked at.
    Inconclusive,
    /// The promise was broken.
    Violated,
}

impl Verdict {
    /// The worse of two: violated over inconclusive over held.
    pub fn and(self, other: Verdict) -> Verdict {
        self.max(other)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Verdict::Held => "held",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Violated => "violated",
        })
    }
}

/// When in an experiment a judgement was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// At every effect, as a reader on the same host would see it.
    Always,
    /// After the faulted run, when its tree is dead or at rest.
    Aftermath,
    /// After the next scheduled run.
    Recovery,
    /// After one more run, which had nothing to do.
    Idle,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Phase::Always => "always",
            Phase::Aftermath => "aftermath",
            Phase::Recovery => "recovery",
            Phase::Idle => "idle",
        })
    }
}

/// One invariant's judgement in one phase of one experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The invariant's name, such as `pair-intact`.
    pub invariant: String,
    /// When it was judged.
    pub phase: Phase,
    /// What it came to.
    pub verdict: Verdict,
    /// What was seen, for violated and inconclusive; empty when held. One line, lower case, no
    /// trailing full stop, with the paths and fingerprints a person needs to believe it.
    pub detail: String,
    /// The invariant whose violation, earlier in the same experiment, already explains this one
    /// (a lock nobody releases explains why the next run did not renew). Explained violations
    /// are shown with the finding that explains them and start no finding of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_by: Option<String>,
}
