//! Which broken promise explains which other one.
//!
//! One mistake breaks several promises in a row: a lock that nobody releases also keeps the next
//! run from renewing. The person who reads the report wants the first of them told once. So each
//! judgement that is not held is looked up in a small table; what an earlier (or simultaneous)
//! violation explains starts no finding of its own.

use super::LEFT_OVER;
use crate::verdict::{Judgement, Phase, Verdict};

/// One invariant whose violation explains others.
struct Cause {
    invariant: &'static str,
    explains: &'static [&'static str],
    /// The first phase in which it can have consequences.
    from: Phase,
}

/// Ordered: a cause is only explained by one above it, so there are no circles.
const CAUSES: &[Cause] = &[
    // The next run cannot enter: nothing is renewed, mended, reloaded, started or cleared.
    Cause {
        invariant: "lock-released",
        explains: &[
            "ends",
            "no-partial-files",
            "pair-intact",
            "always-serving",
            "recovers",
            "no-lost-reload",
            "at-most-one-reload",
            "bounded-issuance",
        ],
        from: Phase::Recovery,
    },
    // What was left running works beside the next run.
    Cause {
        invariant: "no-orphans",
        explains: &["one-at-a-time", "at-most-one-reload"],
        from: Phase::Aftermath,
    },
    // Two that write the same files at once undo one another's work, and each does all of it.
    Cause {
        invariant: "one-at-a-time",
        explains: &[
            "no-partial-files",
            "pair-intact",
            "always-serving",
            "recovers",
            "no-lost-reload",
            "at-most-one-reload",
            "honest-exit",
            "bounded-issuance",
        ],
        from: Phase::Aftermath,
    },
    // The harness killed the run at its deadline: what is left is our doing.
    Cause {
        invariant: "ends",
        explains: &[
            "no-partial-files",
            "pair-intact",
            "recovers",
            "no-lost-reload",
            "at-most-one-reload",
            "bounded-issuance",
        ],
        from: Phase::Aftermath,
    },
    // What does not parse has no pair, is refused by the server, and is asked for again.
    Cause {
        invariant: "no-partial-files",
        explains: &[
            "pair-intact",
            "always-serving",
            "recovers",
            "no-lost-reload",
            "at-most-one-reload",
            "honest-exit",
            "bounded-issuance",
        ],
        from: Phase::Aftermath,
    },
    // The server refuses a torn pair, at every reload again.
    Cause {
        invariant: "pair-intact",
        explains: &[
            "always-serving",
            "recovers",
            "no-lost-reload",
            "at-most-one-reload",
            "honest-exit",
            "bounded-issuance",
        ],
        from: Phase::Aftermath,
    },
    // Nobody answers who could be asked, or told.
    Cause {
        invariant: "always-serving",
        explains: &["recovers", "no-lost-reload", "at-most-one-reload", "honest-exit"],
        from: Phase::Aftermath,
    },
    // What the next run did not do, the one after it does.
    Cause { invariant: "recovers", explains: &["at-most-one-reload", "bounded-issuance"], from: Phase::Idle },
    // A reload at the wrong time counts as one too many; and the run that lost it thinks it is done.
    Cause {
        invariant: "no-lost-reload",
        explains: &["at-most-one-reload", "honest-exit"],
        from: Phase::Aftermath,
    },
];

/// Fills `explained_by` of every judgement that is not held, from the violated ones among
/// `judgements`: all of one experiment, or its phases so far.
pub fn explain(judgements: &mut [Judgement]) {
    // What the table explains is decided anew: a later phase can change it.
    for judgement in judgements.iter_mut() {
        judgement.explained_by = None;
    }
    for cause in CAUSES {
        let Some((phase, root)) = root(judgements, cause.invariant) else { continue };
        let since = phase.max(cause.from);
        for symptom in judgements.iter_mut().filter(|judgement| judgement.explained_by.is_none()) {
            if symptom.verdict == Verdict::Held || !cause.explains.contains(&symptom.invariant.as_str()) {
                continue;
            }
            // Overlaps are seen at effects, whatever the phase; and a run's own success report
            // comes before the recovery that shows the reload to be lost for good.
            let timeless = (cause.invariant, symptom.invariant.as_str());
            let in_time = match timeless {
                ("no-orphans", "one-at-a-time") | ("no-lost-reload", "honest-exit") => true,
                _ => symptom.phase != Phase::Always && symptom.phase >= since,
            };
            if in_time {
                symptom.explained_by = Some(root.clone());
            }
        }
    }
    clears_nothing(judgements);
}

/// Litter has no consequences, but is one of a next run that did not do its work: it did not come
/// to clear up either. What else that goes back to, the table says of both.
fn clears_nothing(judgements: &mut [Judgement]) {
    if let Some((since, root)) = root(judgements, "recovers") {
        for judgement in judgements {
            let litter = judgement.explained_by.is_none() && judgement.detail.starts_with(LEFT_OVER);
            if litter && judgement.phase >= since {
                judgement.explained_by = Some(root.clone());
            }
        }
    }
}

/// When an invariant was first violated at rest, and what that goes back to: an unexplained
/// violation goes back to itself.
fn root(judgements: &[Judgement], invariant: &str) -> Option<(Phase, String)> {
    judgements
        .iter()
        .filter(|judgement| judgement.invariant == invariant && judgement.verdict == Verdict::Violated)
        .filter(|judgement| judgement.phase != Phase::Always)
        // What lies about has no consequences.
        .filter(|judgement| !judgement.detail.starts_with(LEFT_OVER))
        .min_by_key(|judgement| (judgement.explained_by.is_some(), judgement.phase))
        .map(|judgement| {
            let root = judgement.explained_by.as_deref().unwrap_or(invariant);
            (judgement.phase, root.to_owned())
        })
}

/// Asserts that the table only knows `names`, and each cause only explains what is not above it.
#[cfg(test)]
pub(super) fn check_table(names: &[&str]) {
    for (index, cause) in CAUSES.iter().enumerate() {
        assert!(names.contains(&cause.invariant), "{}", cause.invariant);
        for symptom in cause.explains {
            assert!(names.contains(symptom), "{symptom}");
            assert_ne!(*symptom, cause.invariant);
            assert!(
                CAUSES[..index].iter().all(|above| above.invariant != *symptom),
                "{} cannot explain {symptom}, which stands above it",
                cause.invariant
            );
        }
    }
}
