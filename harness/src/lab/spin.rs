//! The wheel turned: seeded random experiments from all families. A violation is shrunk to the
//! smallest that still shows it, and kept as a regression.

use std::{collections::HashMap, time::Instant};

use crate::{
    census::Census,
    event::{Event, ExperimentRecord, Skipped, Summary},
    fault::Family,
    limits,
    plan::{Plan, Planned},
    regression::{Regression, Regressions},
    scenario::Memory,
    verdict::Verdict,
};

use super::{
    LabError, LabErrorKind, SpinOptions, announce, conclude,
    memory::{self, Granted},
    pool::Pool,
    possible, remembered, selected,
    wheel::Wheel,
};

/// Spins the wheel for a time or a count. The same seed gives the same experiments in the same
/// order, whatever the number of workers.
pub fn spin(spin: &SpinOptions, tell: &mut dyn FnMut(Event)) -> Result<Summary, LabError> {
    let options = &spin.lab;
    let started = Instant::now();
    let mut kept = Regressions::of(&options.scenario)?;
    let families: Vec<Family> = match &options.faults {
        Some(families) => families.clone(),
        None => Family::ALL.iter().map(|(_, _, family)| *family).collect(),
    };
    let mut faults = selected(&options.scenario.faults, Some(&families));
    if options.faults.is_none() && options.scenario.faults.memory.is_none() {
        // Looking for the limits takes as long as a dozen experiments: only where it is asked for.
        faults.memory = Some(Memory::lowered());
    }
    let granted = Granted::to(&mut faults)?;
    let mut pool = Pool::open(options, options.jobs(), granted, tell)?;
    let mut census = pool.census(tell)?;
    announce(&census, tell);
    pool.pace(&mut census, tell)?;
    let all = possible(&pool, &census, &faults);
    let wheel = Wheel::new(&census, &all, faults.kill.as_ref(), spin);
    if wheel.is_empty() {
        return Err(LabError::new(
            LabErrorKind::Usage,
            "there is nothing to draw: none of the fault families has a point in this pipeline",
        ));
    }
    let mut plan = Plan { points: all.points, skipped: all.skipped, ..Plan::default() };
    plan.skipped.extend(pool.denied());
    let known = remembered(&kept, options, &faults, &census, &mut plan.skipped, tell);
    tell(Event::Plan {
        experiments: known.len() as u64 + spin.count.unwrap_or(0),
        points: plan.points.len() as u64,
        same: 0,
        skipped: plan.skipped.clone(),
    });
    let mut records = vec![census.clean.clone()];
    tell(Event::Experiment(Box::new(census.clean.clone())));
    let spun = Instant::now();
    let mut drawn: HashMap<String, u64> = HashMap::new();
    let (mut number, mut tried) = (0, 0);
    let mut known = known.into_iter();
    let over = || spin.time.is_some_and(|time| spun.elapsed() >= time);
    let mut source = || {
        if let Some(planned) = known.next() {
            return Some(planned);
        }
        if spin.count.is_some_and(|count| number >= count) || over() {
            return None;
        }
        // One that came up before teaches nothing new; a small pipeline has only so many.
        for _ in 0..limits::DRAWN_AGAIN {
            let planned = wheel.planned(&wheel.draw(tried)?.current());
            tried += 1;
            if !drawn.contains_key(&planned.id) {
                drawn.insert(planned.id.clone(), tried - 1);
                number += 1;
                return Some(planned);
            }
        }
        None
    };
    let mut spared = Vec::new();
    let (mut too_late, mut in_vain) = (0, 0);
    let interrupted = pool.sweep(&census, &mut source, options.fail_fast, &mut |record| {
        if record.spared.is_some() {
            spared.push(record);
            return;
        }
        // A time that this run did not have is no instant at which anything could be learned; and a first
        // fault can take the run another way, where there is nothing for the next one.
        if record.no_occasion {
            let timed = record.faults.iter().any(|fault| fault.after_ms.is_some());
            if timed {
                too_late += 1;
                return;
            }
            if record.faults.len() > 1 {
                in_vain += 1;
                return;
            }
        }
        tell(Event::Experiment(Box::new(record.clone())));
        records.push(record);
    })?;
    for (count, what, why) in [
        (too_late, "kills at random times", "the run was over before"),
        (in_vain, "draws of several faults", "after the first, a further one came to nothing"),
    ] {
        if count > 0 {
            plan.skipped.push(Skipped { what: what.to_owned(), count, why: why.to_owned() });
        }
    }
    if interrupted.is_none() {
        let mut shrinker = Shrinker { pool: &mut pool, census: &census, wheel: &wheel, drawn: &drawn };
        for smaller in shrinker.shrink_all(&records)? {
            tell(Event::Experiment(Box::new(smaller.clone())));
            records.push(smaller);
        }
    }
    plan.experiments = records.iter().map(Planned::again).collect();
    memory::set_aside(&mut plan, &spared);
    let mut summary = conclude(options, &census, &plan, &records, spun.elapsed().as_secs_f64());
    if spin.save {
        save(&mut kept, spin.lab.seed, &summary, &records, tell);
    }
    summary.wall_s = started.elapsed().as_secs_f64();
    // Chance may have missed what they match.
    summary.stale_expectations.clear();
    summary.interrupted = interrupted;
    tell(Event::Ended(Box::new(summary.clone())));
    Ok(summary)
}

/// Keeps the smallest experiment of each finding that is not expected, for git and for next time.
fn save(
    kept: &mut Regressions,
    seed: u64,
    summary: &Summary,
    records: &[ExperimentRecord],
    tell: &mut dyn FnMut(Event),
) {
    let new = summary.findings.iter().filter(|finding| finding.expected.is_none()).filter_map(|finding| {
        let id = finding.experiments.first()?;
        let smallest = records.iter().find(|record| record.id == *id)?;
        (!smallest.faults.is_empty()).then(|| Regression {
            invariant: finding.invariant.clone(),
            title: finding.title.clone(),
            seed,
            faults: smallest.faults.clone(),
        })
    });
    let added = new.filter(|regression| kept.add(regression.clone())).count();
    if added > 0 {
        let text = match kept.save() {
            Ok(()) => format!(
                "{added} saved in {}: keep it in git, and the next run or spin tries it first",
                kept.file().display()
            ),
            Err(error) => format!("{error}; what was found is in the report alone"),
        };
        tell(Event::Note { text });
    }
}

/// Makes violated experiments smaller.
struct Shrinker<'s> {
    pool: &'s mut Pool,
    census: &'s Census,
    wheel: &'s Wheel,
    /// Which draw an experiment was.
    drawn: &'s HashMap<String, u64>,
}

impl Shrinker<'_> {
    /// For each promise that was broken: the smallest experiment that still breaks it, where that
    /// is none of `records`.
    fn shrink_all(&mut self, records: &[ExperimentRecord]) -> Result<Vec<ExperimentRecord>, LabError> {
        let mut violated: Vec<&ExperimentRecord> =
            records.iter().filter(|record| record.verdict == Verdict::Violated).collect();
        violated.sort_by_key(|record| record.faults.len());
        let mut told: Vec<String> = Vec::new();
        let mut smaller: Vec<ExperimentRecord> = Vec::new();
        for record in violated {
            let Some(promise) = broken(record).find(|promise| !told.contains(promise)) else { continue };
            told.push(promise.clone());
            let Some(number) = self.drawn.get(&record.id) else { continue };
            let Some(smallest) = self.shrink(*number, &record.id, &promise)? else { continue };
            if !records.iter().chain(&smaller).any(|known| known.id == smallest.id) {
                smaller.push(smallest);
            }
        }
        Ok(smaller)
    }

    /// The smallest experiment found, if it is smaller than the draw itself.
    fn shrink(
        &mut self,
        number: u64,
        drawn: &str,
        promise: &str,
    ) -> Result<Option<ExperimentRecord>, LabError> {
        let Some(mut tree) = self.wheel.draw(number) else { return Ok(None) };
        let mut tried: HashMap<String, bool> = HashMap::from([(drawn.to_owned(), true)]);
        let mut smallest = None;
        let mut more = tree.simplify();
        while more && tried.len() <= limits::SHRINK_TRIES {
            let candidate = self.wheel.planned(&tree.current());
            let fails = match tried.get(&candidate.id) {
                Some(fails) => *fails,
                None => {
                    let record = self.try_one(candidate.clone())?;
                    let Some(record) = record else { return Ok(smallest) };
                    let fails = broken(&record).any(|broken| broken == promise);
                    tried.insert(candidate.id, fails);
                    if fails {
                        smallest = Some(record);
                    }
                    fails
                }
            };
            more = if fails { tree.simplify() } else { tree.complicate() };
        }
        // Numbers know nothing of one fault being plainer than another at the same point.
        let now = smallest.as_ref().map_or_else(|| self.wheel.planned(&tree.current()), Planned::again);
        for candidate in self.wheel.plainer(&now) {
            let Some(record) = self.try_one(candidate)? else { return Ok(smallest) };
            if broken(&record).any(|broken| broken == promise) {
                smallest = Some(record);
                break;
            }
        }
        Ok(smallest)
    }

    /// `None`: the user wants to stop.
    fn try_one(&mut self, planned: Planned) -> Result<Option<ExperimentRecord>, LabError> {
        let mut one = Some(planned);
        let mut seen = None;
        self.pool.sweep(self.census, &mut || one.take(), false, &mut |record| seen = Some(record))?;
        Ok(seen)
    }
}

/// The promises a record breaks, those that others explain left out.
fn broken(record: &ExperimentRecord) -> impl Iterator<Item = String> + '_ {
    record.violations.iter().filter(|v| v.explained_by.is_none()).map(|v| v.invariant.clone())
}
