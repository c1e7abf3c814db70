//! The lab: hands the experiments of a scenario to workers and gathers what they found.

mod firsts;
mod memory;
mod options;
mod pool;
mod spin;
mod wheel;

use std::{collections::HashSet, time::Instant};

use crate::{
    census::Census,
    event::{Event, ExperimentRecord, FaultRecord, InRun, Skipped, Summary, WorldKind},
    fault::{self, Family, Fault, collide, memory::takes_group},
    finding::Tally,
    plan::{self, Plan, Planned},
    point::Point,
    regression::{RegressionError, Regressions},
    scenario::{CaTroubles, Clock, Collide, Disk, Faults, Kill, Memory, Neighbour, Pause, Senders},
    verdict::Verdict,
    worker::{Answer, Failure, FailureKind, Order},
    world,
};

use firsts::Firsts;
use memory::Granted;
use pool::Pool;

pub use options::{
    Capability, LabError, LabErrorKind, LabOptions, ReplayOptions, Shard, SpinOptions, When, WorldChoice,
};
pub use spin::spin;

impl LabError {
    fn new(kind: LabErrorKind, message: impl Into<String>) -> LabError {
        LabError { kind, message: message.into() }
    }
}

impl From<RegressionError> for LabError {
    fn from(error: RegressionError) -> LabError {
        LabError::new(LabErrorKind::Usage, error.to_string())
    }
}

impl From<Failure> for LabError {
    fn from(failure: Failure) -> LabError {
        let kind = match failure.kind {
            FailureKind::Baseline => LabErrorKind::Baseline,
            FailureKind::Machine => LabErrorKind::Machine,
            FailureKind::Bug => LabErrorKind::Bug,
        };
        LabError { kind, message: failure.message }
    }
}

/// Sweeps a scenario.
pub fn run(options: &LabOptions, tell: &mut dyn FnMut(Event)) -> Result<Summary, LabError> {
    let started = Instant::now();
    // Before anything is built: it may have been edited by hand.
    let regressions = Regressions::of(&options.scenario)?;
    let mut faults = selected(&options.scenario.faults, options.faults.as_deref());
    let granted = Granted::to(&mut faults)?;
    let mut pool = Pool::open(options, options.jobs(), granted, tell)?;
    let mut census = pool.census(tell)?;
    announce(&census, tell);
    if faults.collide.as_ref().is_some_and(|collide| collide.at_once > 1) {
        pool.pace(&mut census, tell)?;
    }
    let mut plan = possible(&pool, &census, &faults);
    let known = remembered(&regressions, options, &faults, &census, &mut plan.skipped, tell);
    plan.experiments.retain(|planned| !known.iter().any(|known| known.id == planned.id));
    plan.experiments.splice(0..0, known);
    let whole = plan.experiments.len();
    plan.skipped.extend(pool.denied());
    cut(&mut plan, options);
    plan::follow(&mut plan, &faults);
    tell(planned(&plan));
    let mut records = vec![census.clean.clone()];
    tell(Event::Experiment(Box::new(census.clean.clone())));
    let swept = Instant::now();
    let mut spared = Vec::new();
    let mut interrupted = None;
    // What can follow an experiment of one fault is known when that has been made.
    let mut batch = plan.experiments.clone();
    while interrupted.is_none() && !batch.is_empty() {
        let mut firsts = Firsts::default();
        let mut queue = batch.into_iter();
        interrupted = pool.sweep(&census, &mut || queue.next(), options.fail_fast, &mut |mut record| {
            if record.spared.is_some() {
                spared.push(record);
                return;
            }
            firsts.take(&mut record);
            tell(Event::Experiment(Box::new(record.clone())));
            records.push(record);
        })?;
        batch = firsts.pairs(&mut plan, &faults, options.max_experiments);
        if interrupted.is_none() && !batch.is_empty() {
            plan.experiments.extend(batch.iter().cloned());
            tell(planned(&plan));
        }
    }
    let sweep_s = swept.elapsed().as_secs_f64();
    let cut_short = plan.experiments.len() < whole || interrupted.is_some() || options.faults.is_some();
    memory::set_aside(&mut plan, &spared);
    // In the plan's order, whichever worker was done first.
    let rank = |record: &ExperimentRecord| plan.experiments.iter().position(|p| p.id == record.id);
    records.sort_by_cached_key(rank);
    let mut summary = conclude(options, &census, &plan, &records, sweep_s);
    summary.wall_s = started.elapsed().as_secs_f64();
    if cut_short {
        // What was not tried may be what they match.
        summary.stale_expectations.clear();
    }
    summary.interrupted = interrupted;
    tell(Event::Ended(Box::new(summary.clone())));
    Ok(summary)
}

/// The scenario's regressions that can still strike, to be tried first.
fn remembered(
    regressions: &Regressions,
    options: &LabOptions,
    faults: &Faults,
    census: &Census,
    skipped: &mut Vec<Skipped>,
    tell: &mut dyn FnMut(Event),
) -> Vec<Planned> {
    // A limit of memory takes a control group, or stands in for one.
    let asked = |fault: &FaultRecord| match fault::family(fault) {
        Some(Family::Memory) => faults.memory.as_ref().is_some_and(|memory| {
            let grouped = takes_group(&fault.fault);
            memory.faults.iter().any(|name| takes_group(name) == grouped)
        }),
        family => options.faults.as_ref().is_none_or(|asked| family.is_some_and(|own| asked.contains(&own))),
    };
    // Only a fault's own run tells whether its point is still there; of the first run it is known.
    let reached = |fault: &FaultRecord| {
        fault.run != InRun::First
            || fault.after_ms.is_some()
            || census.effects.iter().any(|effect| effect.record.point == fault.point)
    };
    let (known, gone): (Vec<Planned>, Vec<Planned>) = regressions
        .experiments()
        .filter(|planned| planned.faults.iter().all(asked))
        .partition(|planned| planned.faults.first().is_none_or(reached));
    if !gone.is_empty() {
        skipped.push(Skipped {
            what: "regressions".into(),
            count: gone.len() as u64,
            why: format!(
                "the pipeline does not come to their points any more: take them out of {}",
                regressions.file().display()
            ),
        });
    }
    if !known.is_empty() {
        let count = known.len();
        let what = if count == 1 { "regression" } else { "regressions" };
        tell(Event::Step { what: format!("{count} {what} of {} first", regressions.file().display()) });
    }
    known
}

/// Sums a run up. `sweep_s`: how long its experiments took, in seconds.
fn conclude(
    options: &LabOptions,
    census: &Census,
    plan: &Plan,
    records: &[ExperimentRecord],
    sweep_s: f64,
) -> Summary {
    let allow_inconclusive = &options.allow_inconclusive;
    let mut summary =
        Tally { scenario: &options.scenario, census, plan, records, allow_inconclusive }.summary();
    let cpu_s: f64 = records.iter().map(|r| r.cpu_ms as f64 / 1000.0).sum();
    summary.cpu_efficiency = if sweep_s > 0.0 { cpu_s / (f64::from(cores()) * sweep_s) } else { 0.0 };
    summary
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// Makes the clean run alone and tells its [`Event::Census`] and what a sweep would be.
pub fn census(options: &LabOptions, tell: &mut dyn FnMut(Event)) -> Result<(), LabError> {
    let mut faults = selected(&options.scenario.faults, options.faults.as_deref());
    let granted = Granted::to(&mut faults)?;
    let mut pool = Pool::open(options, 1, granted, tell)?;
    let census = pool.census(tell)?;
    announce(&census, tell);
    tell(planned(&possible(&pool, &census, &faults)));
    Ok(())
}

/// The sweep, without what the world cannot have.
fn possible(pool: &Pool, census: &Census, faults: &Faults) -> Plan {
    let mut plan = plan::sweep(census, faults);
    if pool.kind == WorldKind::Private {
        return plan;
    }
    let impossible = |planned: &Planned| {
        planned.faults.iter().any(|f| fault::find(&f.fault).is_some_and(Fault::needs_private_world))
    };
    let all = plan.experiments.len();
    plan.experiments.retain(|planned| !impossible(planned));
    let left_out = (all - plan.experiments.len()) as u64;
    if left_out > 0 {
        let tried: HashSet<&Point> =
            plan.experiments.iter().flat_map(|planned| &planned.faults).map(|fault| &fault.point).collect();
        plan.points.retain(|point| tried.contains(point));
        plan.skipped.push(Skipped {
            what: "experiments with a full disk".to_owned(),
            count: left_out,
            why: "only a private world has a disk of its own".to_owned(),
        });
    }
    plan
}

fn announce(census: &Census, tell: &mut dyn FnMut(Event)) {
    tell(Event::Census {
        effects: census.effects.iter().map(|e| e.record.clone()).collect(),
        partial: census.partial.clone(),
        wall_ms: census.wall_ms,
    });
    if let Some(need) = memory::told(census) {
        tell(need);
    }
}

fn planned(plan: &Plan) -> Event {
    Event::Plan {
        experiments: plan.experiments.len() as u64,
        points: plan.points.len() as u64,
        same: plan.same,
        skipped: plan.skipped.clone(),
    }
}

/// Makes one experiment again, narrated in [`Event::Note`]s.
pub fn replay(replay: &ReplayOptions, tell: &mut dyn FnMut(Event)) -> Result<ExperimentRecord, LabError> {
    let options = &replay.lab;
    // What was recorded needs what it needed then; else all that the scenario asks for is planned.
    let mut faults = match &replay.record {
        Some(record) => {
            let limited = record.faults.iter().any(|fault| takes_group(&fault.fault));
            Faults { memory: limited.then(Memory::lowered), ..Faults::none() }
        }
        None => options.scenario.faults.clone(),
    };
    let granted = Granted::to(&mut faults)?;
    let mut pool = Pool::open(options, 1, granted, tell)?;
    let mut census = pool.census(tell)?;
    let planned = match &replay.record {
        Some(record) => Planned::again(record),
        None if replay.experiment == census.clean.id => Planned::clean(),
        None => {
            let plan = plan::sweep(&census, &faults);
            let known = plan.experiments.into_iter().find(|planned| planned.id == replay.experiment);
            known.ok_or_else(|| {
                LabError::new(
                    LabErrorKind::Usage,
                    format!(
                        "no experiment of {} is called `{}`: the subject or its faults may have changed since; `roulette run` finds today's",
                        options.scenario.name, replay.experiment
                    ),
                )
            })?
        }
    };
    if planned.faults.is_empty() {
        return Ok(census.clean);
    }
    if planned.faults.iter().any(|fault| fault.fault == collide::RUNS_AT_ONCE) {
        pool.pace(&mut census, tell)?;
    }
    if let Some(difference) = census.difference_to(&replay.effects) {
        let gone = planned.faults.iter().find(|f| !census.has(&f.point));
        let Some(gone) = gone else {
            tell(Event::Note {
                text: format!("the subject has changed since this was recorded: {difference}"),
            });
            return narrated(&mut pool, &census, &planned, tell);
        };
        let why = format!(
            "diverged: the subject has changed since this was recorded and does not come to {} any more; first difference: {difference}",
            gone.point
        );
        return Ok(ExperimentRecord {
            inconclusive: Some(why),
            ..ExperimentRecord::new(&planned.id, planned.faults, Verdict::Inconclusive)
        });
    }
    narrated(&mut pool, &census, &planned, tell)
}

fn narrated(
    pool: &mut Pool,
    census: &Census,
    planned: &Planned,
    tell: &mut dyn FnMut(Event),
) -> Result<ExperimentRecord, LabError> {
    let worker = &mut pool.workers[0];
    worker.adopt(census)?;
    worker.order(&Order::Replay(planned.clone()))?;
    loop {
        let Some((_, answer)) = pool.next()? else {
            return Err(interrupted("the replay was over"));
        };
        match answer {
            Some(Answer::Told(text)) => tell(Event::Note { text }),
            Some(Answer::Experiment(record)) => return Ok(*record),
            Some(Answer::Failed(failure)) => return Err(failure.into()),
            Some(_) => {}
            None => return Err(pool.lost(0)),
        }
    }
}

fn interrupted(before: &str) -> LabError {
    LabError::new(LabErrorKind::Interrupted, format!("interrupted before {before}"))
}

/// Only the families that were asked for; one that the scenario does not set up has its defaults.
fn selected(faults: &Faults, families: Option<&[Family]>) -> Faults {
    let Some(families) = families else { return faults.clone() };
    let mut selected = Faults { pairs: faults.pairs.clone(), ..Faults::none() };
    for family in families {
        let own = faults.clone();
        match family {
            Family::Kill => selected.kill = own.kill.or_else(|| Some(Kill::default())),
            Family::Senders => selected.senders = own.senders.or_else(|| Some(Senders::default())),
            Family::Collide => selected.collide = own.collide.or_else(|| Some(Collide::default())),
            Family::Memory => selected.memory = own.memory.or_else(|| Some(Memory::default())),
            Family::Disk => selected.disk = own.disk.or_else(|| Some(Disk::default())),
            Family::Ca => selected.ca = own.ca.or_else(|| Some(CaTroubles::default())),
            Family::Neighbour => selected.neighbour = own.neighbour.or_else(|| Some(Neighbour::default())),
            Family::Pause => selected.pause = own.pause.or_else(|| Some(Pause::default())),
            Family::Clock => selected.clock = own.clock.or_else(|| Some(Clock::default())),
        }
    }
    selected
}

fn cut(plan: &mut Plan, options: &LabOptions) {
    let all = plan.experiments.len() as u64;
    if let Some(shard) = options.shard {
        let mut index = 0;
        plan.experiments.retain(|_| {
            index += 1;
            (index - 1) % shard.of == shard.index - 1
        });
        let left_out = all - plan.experiments.len() as u64;
        plan.skipped.push(Skipped {
            what: "experiments".into(),
            count: left_out,
            why: format!("this is shard {shard}"),
        });
    }
    if let Some(most) = options.max_experiments {
        let planned = plan.experiments.len() as u64;
        if planned > most {
            plan.experiments.truncate(most as usize);
            plan.skipped.push(Skipped {
                what: "experiments".into(),
                count: planned - most,
                why: format!("--max-experiments is {most}"),
            });
        }
    }
}

/// What this machine can do.
pub fn check() -> Result<Vec<Capability>, LabError> {
    Ok(world::capabilities()
        .into_iter()
        .map(|found| Capability {
            name: found.name,
            available: found.state != world::State::No,
            detail: found.detail,
            remedy: found.remedy,
        })
        .collect())
}
