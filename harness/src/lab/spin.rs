//! The wheel: seeded random experiments from all families, one to three faults each. A violation
//! is shrunk to the smallest that still shows it.

use std::time::Instant;

use rand::{RngExt as _, SeedableRng, rngs::ChaCha8Rng, seq::IndexedRandom as _};

use crate::{
    census::Census,
    event::{Event, ExperimentRecord, FaultRecord, Summary},
    fault::{self, Family},
    limits,
    plan::{self, Plan, Planned},
    verdict::Verdict,
};

use super::{LabError, LabErrorKind, SpinOptions, announce, conclude, planned, pool::Pool, selected};

/// Spins the wheel for a time or a count. The same seed gives the same experiments in the same
/// order, whatever the number of workers.
pub fn spin(spin: &SpinOptions, tell: &mut dyn FnMut(Event)) -> Result<Summary, LabError> {
    let options = &spin.lab;
    let started = Instant::now();
    let families: Vec<Family> = match &options.faults {
        Some(families) => families.clone(),
        None => Family::ALL.iter().map(|(_, _, family)| *family).collect(),
    };
    let mut pool = Pool::open(options, options.jobs(), tell)?;
    let census = pool.census(tell)?;
    announce(&census, tell);
    let all = plan::sweep(&census, &selected(&options.scenario.faults, Some(&families)));
    let wheel = Wheel::new(&census, &all, options.seed);
    if wheel.slots.is_empty() {
        return Err(LabError::new(
            LabErrorKind::Usage,
            "there is nothing to draw: none of the fault families has a point in this pipeline",
        ));
    }
    let mut plan = Plan { points: all.points, skipped: all.skipped, ..Plan::default() };
    plan.skipped.extend(pool.denied());
    plan.experiments = Vec::new();
    tell(planned(&Plan {
        experiments: (0..spin.count.unwrap_or(0)).map(|number| wheel.draw(number)).collect(),
        ..plan.clone()
    }));
    let mut records = vec![census.clean.clone()];
    tell(Event::Experiment(Box::new(census.clean.clone())));
    let spun = Instant::now();
    let mut number = 0;
    let over = || spin.time.is_some_and(|time| spun.elapsed() >= time);
    let mut source = || {
        if spin.count.is_some_and(|count| number >= count) || over() {
            return None;
        }
        number += 1;
        Some(wheel.draw(number - 1))
    };
    let interrupted = pool.sweep(&census, &mut source, options.fail_fast, &mut |record| {
        tell(Event::Experiment(Box::new(record.clone())));
        records.push(record);
    })?;
    if interrupted.is_none() {
        shrink_all(&mut pool, &census, &mut records, tell)?;
    }
    plan.experiments =
        records.iter().map(|r| Planned { id: r.id.clone(), faults: r.faults.clone() }).collect();
    let mut summary = conclude(options, &census, &plan, &records, spun.elapsed().as_secs_f64());
    summary.wall_s = started.elapsed().as_secs_f64();
    // Chance may have missed what they match.
    summary.stale_expectations.clear();
    summary.interrupted = interrupted;
    tell(Event::Ended(Box::new(summary.clone())));
    Ok(summary)
}

/// Everything that can be drawn, family by family.
struct Wheel {
    slots: Vec<Vec<FaultRecord>>,
    order: Vec<crate::point::Point>,
    seed: u64,
}

impl Wheel {
    fn new(census: &Census, all: &Plan, seed: u64) -> Wheel {
        let family = |record: &FaultRecord| fault::find(&record.fault).map(fault::Fault::family);
        let faults: Vec<&FaultRecord> = all.experiments.iter().flat_map(|planned| &planned.faults).collect();
        let slots = Family::ALL
            .iter()
            .map(|(_, _, wanted)| {
                faults.iter().filter(|f| family(f) == Some(*wanted)).map(|f| (*f).clone()).collect()
            })
            .filter(|slot: &Vec<FaultRecord>| !slot.is_empty())
            .collect();
        let order = census.effects.iter().map(|effect| effect.record.point.clone()).collect();
        Wheel { slots, order, seed }
    }

    /// The experiment of this number: depends on the seed and the number alone.
    fn draw(&self, number: u64) -> Planned {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // One fault most of the time, two often, three now and then.
        let count = match rng.random_range(0..10) {
            0..6 => 1,
            6..9 => 2,
            _ => 3,
        };
        let mut faults: Vec<FaultRecord> = Vec::new();
        for _ in 0..count {
            let Some(drawn) = self.slots.choose(&mut rng).and_then(|slot| slot.choose(&mut rng)) else {
                continue;
            };
            if !faults.iter().any(|fault| fault.point == drawn.point) {
                faults.push(drawn.clone());
            }
        }
        // In the order in which a run comes to them. What a kill leaves over waits for the next run.
        let place = |fault: &FaultRecord| self.order.iter().position(|point| *point == fault.point);
        faults.sort_by_cached_key(place);
        Planned::new(faults)
    }
}

/// Adds, for each violated experiment of several faults, the smallest one that still breaks the
/// same promise.
fn shrink_all(
    pool: &mut Pool,
    census: &Census,
    records: &mut Vec<ExperimentRecord>,
    tell: &mut dyn FnMut(Event),
) -> Result<(), LabError> {
    let mut told: Vec<String> = records.iter().filter(|r| r.faults.len() <= 1).flat_map(broken).collect();
    let large: Vec<ExperimentRecord> =
        records.iter().filter(|r| r.faults.len() > 1 && r.verdict == Verdict::Violated).cloned().collect();
    for record in large.into_iter().take(limits::SHRUNK) {
        // A single fault already shows it.
        let Some(promise) = broken(&record).find(|promise| !told.contains(promise)) else { continue };
        let smallest = shrink(pool, census, record, &promise)?;
        told.push(promise);
        if !records.iter().any(|known| known.id == smallest.id) {
            tell(Event::Experiment(Box::new(smallest.clone())));
            records.push(smallest);
        }
    }
    Ok(())
}

/// The promises a record breaks, those that others explain left out.
fn broken(record: &ExperimentRecord) -> impl Iterator<Item = String> + '_ {
    record.violations.iter().filter(|v| v.explained_by.is_none()).map(|v| v.invariant.clone())
}

fn shrink(
    pool: &mut Pool,
    census: &Census,
    record: ExperimentRecord,
    promise: &str,
) -> Result<ExperimentRecord, LabError> {
    let mut smallest = record;
    'smaller: loop {
        let smaller = (0..smallest.faults.len()).map(|left_out| {
            let mut faults = smallest.faults.clone();
            faults.remove(left_out);
            Planned::new(faults)
        });
        for candidate in smaller.filter(|candidate| !candidate.faults.is_empty()).collect::<Vec<_>>() {
            let mut one = Some(candidate);
            let mut seen = None;
            pool.sweep(census, &mut || one.take(), false, &mut |record| seen = Some(record))?;
            if let Some(seen) = seen
                && broken(&seen).any(|broken| broken == promise)
            {
                smallest = seen;
                continue 'smaller;
            }
        }
        return Ok(smallest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::{Point, Side};

    fn wheel(seed: u64) -> Wheel {
        let fault = |op: &str| FaultRecord {
            fault: "sigkill".into(),
            scope: Some("tree".into()),
            point: Point {
                side: Side::Before,
                process: "guard".into(),
                op: op.into(),
                role: "/a".into(),
                occurrence: 1,
            },
        };
        let slots = vec![vec![fault("create"), fault("rename")], vec![fault("write"), fault("unlink")]];
        let order = slots.iter().flatten().map(|f| f.point.clone()).collect();
        Wheel { slots, order, seed }
    }

    #[test]
    fn the_same_seed_draws_the_same_experiments_in_any_order() {
        let forward: Vec<Planned> = (0..50).map(|n| wheel(7).draw(n)).collect();
        let mut backward: Vec<Planned> = (0..50).rev().map(|n| wheel(7).draw(n)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        assert_ne!(forward, (0..50).map(|n| wheel(8).draw(n)).collect::<Vec<_>>());
    }

    #[test]
    fn a_draw_has_one_to_three_faults_at_different_points() {
        for number in 0..200 {
            let faults = wheel(1).draw(number).faults;
            assert!((1..=3).contains(&faults.len()));
            for (index, fault) in faults.iter().enumerate() {
                assert!(!faults[..index].iter().any(|other| other.point == fault.point));
            }
        }
    }
}
