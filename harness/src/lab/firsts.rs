//! Experiments after which a second fault can strike.

use std::collections::HashMap;

use crate::{
    event::{ExperimentRecord, FaultRecord, Followed, Skipped},
    plan::{self, Plan, Planned},
    scenario::Faults,
    verdict::Verdict,
};

/// Experiments of one fault that a second fault can follow.
#[derive(Default)]
pub(super) struct Firsts {
    followed: HashMap<String, (FaultRecord, Followed)>,
    /// Those that break a promise by themselves.
    violated: u64,
}

impl Firsts {
    /// Takes out of a record where its runs came to after the fault.
    pub fn take(&mut self, record: &mut ExperimentRecord) {
        let Some(followed) = record.followed.take() else { return };
        match (record.verdict, record.faults.as_slice()) {
            (Verdict::Held, [fault]) => {
                self.followed.insert(record.id.clone(), (fault.clone(), *followed));
            }
            (Verdict::Violated, _) => self.violated += 1,
            _ => {}
        }
    }

    /// What follows, in the order of the plan; `most` experiments in all.
    pub fn pairs(mut self, plan: &mut Plan, faults: &Faults, most: Option<u64>) -> Vec<Planned> {
        let order = plan.experiments.iter();
        let firsts: Vec<_> = order.filter_map(|planned| self.followed.remove(&planned.id)).collect();
        let mut pairs = plan::pairs(&firsts, faults, &mut plan.skipped);
        if self.violated > 0 {
            plan.skipped.push(Skipped {
                what: "second faults after a first one".into(),
                count: self.violated,
                why: "the first alone breaks a promise already".into(),
            });
        }
        let room = most.map_or(usize::MAX, |most| (most as usize).saturating_sub(plan.experiments.len()));
        if pairs.len() > room {
            plan.skipped.push(Skipped {
                what: "experiments of two faults".into(),
                count: (pairs.len() - room) as u64,
                why: "--max-experiments leaves no room for them".into(),
            });
            pairs.truncate(room);
        }
        pairs
    }
}
