//! Second faults after first ones, planned from where the runs of the first experiment came to.

use std::collections::HashMap;

use crate::{
    event::{FaultRecord, Followed, InRun, Skipped},
    fault::{Fault, collide},
    limits,
    point::Point,
    scenario::{Faults, KillSignal, Scope},
};

use super::{Plan, Planned, spread};

/// Which of a sweep's experiments are followed: those after which a run is killed, too.
pub fn follow(plan: &mut Plan, faults: &Faults) {
    let kill_second = faults.collide.as_ref().is_some_and(|collide| collide.kill_second);
    for planned in &mut plan.experiments {
        let second = planned.faults.iter().any(|fault| fault.fault == collide::SECOND_RUN);
        planned.follow = faults.pairs.is_some() || (kill_second && second);
    }
}

/// The experiments of two faults that continue those of one: `firsts`, in the sweep's order, each
/// with the points that its runs came to after its fault.
pub fn pairs(
    firsts: &[(FaultRecord, Followed)],
    faults: &Faults,
    skipped: &mut Vec<Skipped>,
) -> Vec<Planned> {
    let kill = |first: &FaultRecord, signal: KillSignal, run: InRun, point: &Point| {
        let second =
            FaultRecord { run, ..FaultRecord::new(signal.name(), Some(Scope::Tree.name()), point.clone()) };
        Planned::new(vec![first.clone(), second])
    };
    let mut second_runs: HashMap<&[Point], usize> = HashMap::new();
    let mut experiments = Vec::new();
    let mut alike = 0;
    let kill_second = faults.collide.as_ref().is_some_and(|collide| collide.kill_second);
    for (first, followed) in firsts.iter().filter(|_| kill_second || faults.pairs.is_some()) {
        let killed = [KillSignal::Sigkill, KillSignal::Sigterm].into_iter().flat_map(|signal| {
            followed.second.iter().map(move |point| kill(first, signal, InRun::Second, point))
        });
        // A second run that goes the same way at several points of the first comes to the same.
        let seen = second_runs.entry(&followed.second).or_insert(0);
        *seen += 1;
        if faults.pairs.is_none() && *seen > limits::SECOND_KILLED_AT {
            alike += killed.count() as u64;
        } else {
            experiments.extend(killed);
        }
    }
    if alike > 0 {
        skipped.push(Skipped {
            what: "kills of a second run at its own points".to_owned(),
            count: alike,
            why: format!("it goes the same way there as at {} others", limits::SECOND_KILLED_AT),
        });
    }
    let Some(pairs) = &faults.pairs else { return experiments };
    let mut all = Vec::new();
    for (first, followed) in firsts {
        for (run, path) in [(InRun::First, &followed.same), (InRun::Next, &followed.next)] {
            all.extend(path.iter().map(|point| kill(first, KillSignal::Sigkill, run, point)));
        }
    }
    let references: Vec<&Planned> = all.iter().collect();
    let mut ranked = spread(&references);
    ranked.sort_by_key(|(rank, _)| *rank);
    let most = pairs.most.map_or(usize::MAX, |most| most as usize);
    let left_out = ranked.len().saturating_sub(most);
    if left_out > 0 {
        skipped.push(Skipped {
            what: "pairs of faults".to_owned(),
            count: left_out as u64,
            why: format!("at most {most} are asked for (faults.pairs.most, or --pairs)"),
        });
    }
    experiments.extend(ranked.into_iter().take(most).map(|(_, planned)| planned.clone()));
    experiments
}
