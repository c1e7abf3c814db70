//! The lab: hands the experiments of a scenario to workers and gathers what they found.

mod options;
mod pool;
mod spin;

use std::time::Instant;

use crate::{
    census::Census,
    event::{Event, ExperimentRecord, Skipped, Summary},
    fault::Family,
    finding::Tally,
    plan::{self, Plan, Planned},
    scenario::{CaTroubles, Collide, Disk, Faults, Kill, Neighbour, Pause, Senders},
    verdict::Verdict,
    worker::{Answer, Failure, FailureKind, Order},
    world,
};

use pool::Pool;

pub use options::{
    Capability, LabError, LabErrorKind, LabOptions, ReplayOptions, Shard, SpinOptions, WorldChoice,
};
pub use spin::spin;

impl LabError {
    fn new(kind: LabErrorKind, message: impl Into<String>) -> LabError {
        LabError { kind, message: message.into() }
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
    let faults = selected(&options.scenario.faults, options.faults.as_deref());
    let mut pool = Pool::open(options, options.jobs(), tell)?;
    let census = pool.census(tell)?;
    announce(&census, tell);
    let mut plan = plan::sweep(&census, &faults);
    let whole = plan.experiments.len();
    plan.skipped.extend(pool.denied());
    cut(&mut plan, options);
    tell(planned(&plan));
    let mut records = vec![census.clean.clone()];
    tell(Event::Experiment(Box::new(census.clean.clone())));
    let swept = Instant::now();
    let mut queue = plan.experiments.iter().cloned();
    let interrupted = pool.sweep(&census, &mut || queue.next(), options.fail_fast, &mut |record| {
        tell(Event::Experiment(Box::new(record.clone())));
        records.push(record);
    })?;
    let sweep_s = swept.elapsed().as_secs_f64();
    // In the plan's order, whichever worker was done first.
    let rank = |record: &ExperimentRecord| plan.experiments.iter().position(|p| p.id == record.id);
    records.sort_by_cached_key(rank);
    let mut summary = conclude(options, &census, &plan, &records, sweep_s);
    summary.wall_s = started.elapsed().as_secs_f64();
    if plan.experiments.len() < whole || interrupted.is_some() || options.faults.is_some() {
        // What was not tried may be what they match.
        summary.stale_expectations.clear();
    }
    summary.interrupted = interrupted;
    tell(Event::Ended(Box::new(summary.clone())));
    Ok(summary)
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
    let faults = selected(&options.scenario.faults, options.faults.as_deref());
    let mut pool = Pool::open(options, 1, tell)?;
    let census = pool.census(tell)?;
    announce(&census, tell);
    tell(planned(&plan::sweep(&census, &faults)));
    Ok(())
}

fn announce(census: &Census, tell: &mut dyn FnMut(Event)) {
    tell(Event::Census {
        effects: census.effects.iter().map(|e| e.record.clone()).collect(),
        partial: census.partial.clone(),
        wall_ms: census.wall_ms,
    });
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
    let mut pool = Pool::open(options, 1, tell)?;
    let census = pool.census(tell)?;
    let planned = match &replay.record {
        Some(record) => Planned { id: record.id.clone(), faults: record.faults.clone() },
        None if replay.experiment == census.clean.id => {
            Planned { id: census.clean.id.clone(), faults: Vec::new() }
        }
        None => {
            let plan = plan::sweep(&census, &options.scenario.faults);
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
    if let Some(difference) = census.difference_to(&replay.effects) {
        let gone = planned.faults.iter().find(|f| !census.effects.iter().any(|e| e.record.point == f.point));
        let Some(gone) = gone else {
            tell(Event::Note {
                text: format!("the subject has changed since this was recorded: {difference}"),
            });
            return narrated(&mut pool, &planned, tell);
        };
        let why = format!(
            "diverged: the subject has changed since this was recorded and does not come to {} any more; first difference: {difference}",
            gone.point
        );
        return Ok(ExperimentRecord {
            id: planned.id,
            faults: planned.faults,
            verdict: Verdict::Inconclusive,
            violations: Vec::new(),
            judgements: Vec::new(),
            inconclusive: Some(why),
            exits: Vec::new(),
            aftermath: Vec::new(),
            recovery_output: String::new(),
            wall_ms: 0,
            cpu_ms: 0,
        });
    }
    narrated(&mut pool, &planned, tell)
}

fn narrated(
    pool: &mut Pool,
    planned: &Planned,
    tell: &mut dyn FnMut(Event),
) -> Result<ExperimentRecord, LabError> {
    let worker = &mut pool.workers[0];
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
    let mut selected = Faults::none();
    for family in families {
        let own = faults.clone();
        match family {
            Family::Kill => selected.kill = own.kill.or_else(|| Some(Kill::default())),
            Family::Senders => selected.senders = own.senders.or_else(|| Some(Senders::default())),
            Family::Collide => selected.collide = own.collide.or_else(|| Some(Collide::default())),
            Family::Disk => selected.disk = own.disk.or_else(|| Some(Disk::default())),
            Family::Ca => selected.ca = own.ca.or_else(|| Some(CaTroubles::default())),
            Family::Neighbour => selected.neighbour = own.neighbour.or_else(|| Some(Neighbour::default())),
            Family::Pause => selected.pause = own.pause.or_else(|| Some(Pause::default())),
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
