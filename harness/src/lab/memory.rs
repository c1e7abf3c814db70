//! What memory faults need of a lab: control groups, and a place for those that came to nothing.

use crate::{
    census::Census,
    event::{Event, ExperimentRecord, Skipped, mib},
    fault::memory::LIMIT,
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
    /// Whether the limits are looked for under which the kernel kills.
    pub bisect: bool,
    /// That there are no groups, as something that was not tried.
    pub denied: Option<Skipped>,
}

impl Granted {
    /// Makes what `faults` asks for. Where it cannot be had the family is taken out of them.
    ///
    /// # Errors
    /// Nothing else was asked for.
    pub fn to(faults: &mut Faults) -> Result<Granted, LabError> {
        let Some(memory) = &faults.memory else { return Ok(Granted::default()) };
        let bisect = memory.faults.iter().any(|name| name == LIMIT);
        match Cgroups::make() {
            Ok(cgroups) => Ok(Granted { cgroups: Some(cgroups), bisect, denied: None }),
            Err(why) => {
                let count = memory.faults.len() as u64;
                faults.memory = None;
                let why = format!("no memory cgroup can be made here: {why}; {REMEDY}");
                if *faults == Faults::none() {
                    return Err(LabError::new(LabErrorKind::Machine, why));
                }
                let denied = Some(Skipped { what: "memory faults".into(), count, why });
                Ok(Granted { denied, ..Granted::default() })
            }
        }
    }
}

/// What the clean run needs of memory, for a person.
pub(super) fn told(census: &Census) -> Option<Event> {
    let need = census.memory?;
    let peak = need.peak.map_or_else(String::new, |peak| {
        format!("the clean run used up to {}, the page cache included; ", mib(peak))
    });
    let bounds = match need.bounds {
        Some(bounds) => format!(
            "the kernel kills under {} and less, and the command starts under {}",
            mib(bounds.kills),
            mib(bounds.starts)
        ),
        None => return None,
    };
    Some(Event::Note { text: format!("memory: {peak}{bounds}") })
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
            memory: Some(MemoryRecord { limit: Some(1 << 20), peak: None, kills: vec![] }),
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
