//! What memory faults need of a lab: control groups, and a place for those that came to nothing.

use crate::{
    census::Census,
    event::{Event, ExperimentRecord, Skipped, mib},
    fault::memory::{ADDRESS_SPACE, LIMIT, LOWERED, takes_group},
    plan::Plan,
    scenario::Faults,
    world::cgroup::{Cgroups, REMEDY},
};

use super::{LabError, LabErrorKind};

/// What a run gets for its memory faults.
#[derive(Default)]
pub(super) struct Granted {
    /// Where groups are made.
    pub cgroups: Option<Cgroups>,
    /// Faults whose limits are looked for: those under which a run goes short.
    pub bisect: Vec<String>,
    /// That there are no groups, as something that was not tried.
    pub denied: Option<Skipped>,
}

impl Granted {
    /// Makes what `faults` asks for. Where no group can be had the faults that take one are taken out of
    /// them, and the address space is limited instead of the memory.
    ///
    /// # Errors
    /// Nothing is left of what was asked for.
    pub fn to(faults: &mut Faults) -> Result<Granted, LabError> {
        let Some(memory) = &mut faults.memory else { return Ok(Granted::default()) };
        let mut granted = Granted::default();
        if memory.faults.iter().any(|name| takes_group(name)) {
            match Cgroups::make() {
                Ok(cgroups) => granted.cgroups = Some(cgroups),
                Err(why) => {
                    let (denied, mut left): (Vec<_>, Vec<_>) =
                        memory.faults.drain(..).partition(|name| takes_group(name));
                    let known = left.iter().any(|name| name == ADDRESS_SPACE);
                    if !known && denied.iter().any(|name| name == LIMIT) {
                        left.push(ADDRESS_SPACE.to_owned());
                    }
                    let instead = if left.is_empty() { "" } else { ", the address space is limited instead" };
                    let why = format!("no memory cgroup can be made here{instead}: {why}; {REMEDY}");
                    let count = denied.len() as u64;
                    granted.denied = Some(Skipped { what: denied.join(", "), count, why });
                    memory.faults = left;
                }
            }
        }
        granted.bisect = memory.faults.iter().filter(|name| *name != LOWERED).cloned().collect();
        if memory.faults.is_empty() {
            faults.memory = None;
        }
        match &granted.denied {
            Some(denied) if *faults == Faults::none() => {
                Err(LabError::new(LabErrorKind::Machine, denied.why.clone()))
            }
            _ => Ok(granted),
        }
    }
}

/// What the clean run needs of memory, for a person.
pub(super) fn told(census: &Census) -> Option<Event> {
    let need = census.memory.as_ref()?;
    let peak =
        need.peak.map(|peak| format!("the clean run used up to {}, the page cache included", mib(peak)));
    let bounds = need.bisected.iter().filter_map(|found| {
        let bounds = found.bounds?;
        let what = match found.fault.as_str() {
            ADDRESS_SPACE => "memory is refused to processes that may have an address space of",
            _ => "the kernel kills under",
        };
        let (short, starts) = (mib(bounds.kills), mib(bounds.starts));
        Some(format!("{what} {short} and less, and the command starts under {starts}"))
    });
    let bounds: Vec<String> = bounds.collect();
    (!bounds.is_empty()).then(|| Event::Note {
        text: format!("memory: {}", peak.into_iter().chain(bounds).collect::<Vec<_>>().join("; ")),
    })
}

/// Takes experiments that nothing came of out of the plan, with the points that only they were to
/// cover, and says so in it.
pub(super) fn set_aside(plan: &mut Plan, spared: &[ExperimentRecord]) {
    let Some(why) = spared.iter().find_map(|record| record.spared.clone()) else { return };
    let is_spared = |id: &str| spared.iter().any(|record| record.id == id);
    plan.experiments.retain(|planned| !is_spared(&planned.id));
    let left: Vec<_> = plan.experiments.iter().flat_map(|planned| &planned.faults).collect();
    let gone: Vec<_> = spared.iter().flat_map(|record| &record.faults).map(|fault| &fault.point).collect();
    plan.points.retain(|point| !gone.contains(&point) || left.iter().any(|fault| fault.point == *point));
    let what = match spared {
        [only] if only.faults.len() == 1 => only.faults[0].to_string(),
        several if several.iter().all(|record| record.faults.len() == 1) => {
            several[0].faults[0].fault.clone()
        }
        _ => "experiments with less memory".to_owned(),
    };
    plan.skipped.push(Skipped { what, count: spared.len() as u64, why });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{FaultRecord, MemoryRecord},
        plan::Planned,
        verdict::Verdict,
    };

    fn fault(name: &str, point: &str) -> FaultRecord {
        FaultRecord::new(name, None, point.parse().unwrap())
    }

    fn spared(planned: &Planned) -> ExperimentRecord {
        ExperimentRecord {
            spared: Some("nobody was killed".into()),
            memory: Some(MemoryRecord { limit: Some(1 << 20), ..MemoryRecord::default() }),
            ..ExperimentRecord::new(&planned.id, planned.faults.clone(), Verdict::Inconclusive)
        }
    }

    #[test]
    fn what_came_to_nothing_is_told_and_covers_no_point() {
        let (alone, shared) = ("before renew.sh: rename /a", "before renew.sh: rename /b");
        let plans = [("memory-lowered", alone), ("memory-lowered", shared), ("sigkill", shared)]
            .map(|(name, point)| Planned::new(vec![fault(name, point)]));
        let records = [spared(&plans[0]), spared(&plans[1])];
        let points = [alone, shared].map(|point| point.parse().unwrap());
        let mut plan =
            Plan { experiments: plans.to_vec(), points: points.to_vec(), same: 0, skipped: Vec::new() };
        set_aside(&mut plan, &records);
        assert_eq!(plan.points, points[1..]);
        assert_eq!(plan.experiments, plans[2..]);
        assert_eq!((plan.skipped[0].what.as_str(), plan.skipped[0].count), ("memory-lowered", 2));
    }
}
