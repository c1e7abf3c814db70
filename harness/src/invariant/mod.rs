//! Promises that are judged. Each invariant is one small file with one implementation of
//! [`Invariant`] and one line in [`all`]; `docs/adding-an-invariant.md` shows how one is added.

mod always_serving;
mod at_most_one_reload;
mod bounded_issuance;
mod ends;
mod evidence;
mod explain;
mod honest_exit;
mod key_private;
mod lock_released;
mod no_lost_reload;
mod no_orphans;
mod no_partial_files;
mod one_at_a_time;
mod pair_intact;
mod recovers;
#[cfg(test)]
mod tests;

pub use evidence::{End, Evidence, Findings, Litter, LockState, Run, Survivor};
pub use explain::explain;
pub(crate) use no_orphans::WITHOUT_LOCK;
pub(crate) use no_partial_files::LEFT_OVER;

use crate::{
    scenario::Scenario,
    verdict::{Judgement, Phase, Verdict},
};

/// Every invariant, in the order of `docs/invariants.md`.
pub fn all() -> &'static [&'static dyn Invariant] {
    &[
        &pair_intact::PairIntact,
        &no_partial_files::NoPartialFiles,
        &lock_released::LockReleased,
        &one_at_a_time::OneAtATime,
        &at_most_one_reload::AtMostOneReload,
        &no_lost_reload::NoLostReload,
        &always_serving::AlwaysServing,
        &recovers::Recovers,
        &key_private::KeyPrivate,
        &no_orphans::NoOrphans,
        &honest_exit::HonestExit,
        &bounded_issuance::BoundedIssuance,
        &ends::Ends,
    ]
}

/// Judges one phase of an experiment: first, with [`Phase::Always`], what was seen at the effects
/// of the phase's run, then the world as it is at the phase's end. Invariants that are not asked
/// of the scenario, or have nothing to say, give no judgement. `explained_by` is filled from
/// `earlier` (every judgement of the same experiment so far) and from this phase's own; when
/// the experiment is over, [`explain`] over all of them does it once more, because some
/// explanations only show later.
pub fn judge_phase(evidence: &Evidence<'_>, earlier: &[Judgement]) -> Vec<Judgement> {
    let mut judgements = earlier.to_vec();
    let at_effects = Evidence { phase: Phase::Always, ..*evidence };
    let at_rest = (evidence.phase != Phase::Always).then_some(*evidence);
    for evidence in [Some(at_effects), at_rest].into_iter().flatten() {
        let asked = all().iter().filter(|invariant| invariant.not_asked(evidence.scenario).is_none());
        judgements.extend(asked.filter_map(|invariant| {
            let Opinion { verdict, detail } = invariant.judge(&evidence)?;
            let (invariant, phase) = (invariant.name().to_owned(), evidence.phase);
            Some(Judgement { invariant, phase, verdict, detail, explained_by: None })
        }));
    }
    explain(&mut judgements);
    judgements.split_off(earlier.len())
}

/// A promise.
pub trait Invariant: Sync {
    /// Its name in scenarios and reports: `pair-intact`.
    fn name(&self) -> &'static str;
    /// What it promises, in one sentence.
    fn promise(&self) -> &'static str;
    /// Why it is not asked of this scenario at all, if it is not (no lock is declared).
    fn not_asked(&self, scenario: &Scenario) -> Option<String> {
        let _ = scenario;
        None
    }
    /// Judges one phase of one experiment. `None`: nothing to say in this phase.
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion>;
}

/// What an invariant thinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// The judgement.
    pub verdict: Verdict,
    /// What was seen; see [`crate::verdict::Judgement::detail`].
    pub detail: String,
}

impl Opinion {
    /// The promise was kept.
    pub fn held() -> Self {
        Opinion { verdict: Verdict::Held, detail: String::new() }
    }
    /// The promise was broken.
    pub fn violated(detail: impl Into<String>) -> Self {
        Opinion { verdict: Verdict::Violated, detail: detail.into() }
    }
    /// It could not be seen.
    pub fn inconclusive(detail: impl Into<String>) -> Self {
        Opinion { verdict: Verdict::Inconclusive, detail: detail.into() }
    }
}
