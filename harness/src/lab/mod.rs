//! The lab: hands the experiments of a scenario to workers and gathers what they found.

mod options;

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use crate::{
    census::Census,
    event::{Event, ExperimentRecord, Skipped, Summary, WorldKind},
    fault::Family,
    finding::Tally,
    limits,
    pebble::{self, Programs},
    plan::{self, Plan, Planned},
    scenario::{CaTroubles, Collide, Disk, Faults, Kill, Neighbour, Pause, Senders},
    verdict::Verdict,
    worker::{self, Answer, Build, Failure, FailureKind, Order},
    world,
};

pub use options::{
    Capability, LabError, LabErrorKind, LabOptions, ReplayOptions, Shard, SpinOptions, WorldChoice,
};

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
pub fn run(options: LabOptions, tell: &mut dyn FnMut(Event)) -> Result<Summary, LabError> {
    let options = &options;
    let started = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let jobs = options.jobs.unwrap_or(cores * limits::JOBS_PER_CORE).max(1);
    let faults = selected(&options.scenario.faults, options.faults.as_deref());
    let mut pool = Pool::open(options, jobs, tell)?;
    let census = pool.census(tell)?;
    announce(&census, tell);
    let mut plan = plan::sweep(&census, &faults);
    let whole = plan.experiments.len();
    if let Some(why) = &pool.denied {
        plan.skipped.push(Skipped {
            what: "private worlds".into(),
            count: u64::from(jobs),
            why: why.clone(),
        });
    }
    cut(&mut plan, options);
    tell(planned(&plan));
    let mut records = vec![census.clean.clone()];
    tell(Event::Experiment(Box::new(census.clean.clone())));
    let swept = Instant::now();
    let interrupted = pool.sweep(&census, &plan.experiments, options, &mut |record| {
        tell(Event::Experiment(Box::new(record.clone())));
        records.push(record);
    })?;
    let sweep_s = swept.elapsed().as_secs_f64();
    // In the plan's order, whichever worker was done first.
    let rank = |record: &ExperimentRecord| plan.experiments.iter().position(|p| p.id == record.id);
    records.sort_by_cached_key(rank);
    let tally = Tally {
        scenario: &options.scenario,
        census: &census,
        plan: &plan,
        records: &records,
        allow_inconclusive: &options.allow_inconclusive,
    };
    let mut summary = tally.summary();
    let cpu_s: f64 = records.iter().map(|r| r.cpu_ms as f64 / 1000.0).sum();
    summary.wall_s = started.elapsed().as_secs_f64();
    summary.cpu_efficiency = if sweep_s > 0.0 { cpu_s / (f64::from(cores) * sweep_s) } else { 0.0 };
    if plan.experiments.len() < whole || interrupted.is_some() || options.faults.is_some() {
        // What was not tried may be what they match.
        summary.stale_expectations.clear();
    }
    summary.interrupted = interrupted;
    tell(Event::Ended(Box::new(summary.clone())));
    Ok(summary)
}

/// Makes the clean run alone and tells its [`Event::Census`] and what a sweep would be.
pub fn census(options: LabOptions, tell: &mut dyn FnMut(Event)) -> Result<(), LabError> {
    let options = &options;
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
pub fn replay(replay: ReplayOptions, tell: &mut dyn FnMut(Event)) -> Result<ExperimentRecord, LabError> {
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

/// Workers, and what they say.
struct Pool {
    workers: Vec<Worker>,
    answers: mpsc::Receiver<(usize, Option<Answer>)>,
    interrupt: Arc<AtomicBool>,
    /// Why the worlds are no private ones, although nobody asked for others.
    denied: Option<String>,
}

struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    built: bool,
    adopted: bool,
    at_work: Option<Planned>,
}

impl Pool {
    fn open(options: &LabOptions, jobs: u32, tell: &mut dyn FnMut(Event)) -> Result<Pool, LabError> {
        let scenario = &options.scenario;
        let missing = scenario.missing_needs();
        if !missing.is_empty() {
            let list: Vec<String> = missing.iter().map(ToString::to_string).collect();
            return Err(LabError::new(
                LabErrorKind::Machine,
                format!("{} needs what is not installed: {}", scenario.name, list.join("; ")),
            ));
        }
        let world::Chosen { kind, denied } = world::choose(scenario, options.world.kind())
            .map_err(|e| LabError::new(LabErrorKind::Machine, e.to_string()))?;
        tell(Event::Started {
            schema: 1,
            scenario: scenario.name.clone(),
            purpose: scenario.purpose.clone(),
            file: scenario.file.display().to_string(),
            seed: options.seed,
            world: kind,
            jobs,
            version: concat!("process-roulette ", env!("CARGO_PKG_VERSION")).to_owned(),
        });
        let programs =
            pebble::find(options.pebble.as_deref(), &mut |what| tell(Event::Step { what: what.to_owned() }))
                .map_err(|error| LabError::new(LabErrorKind::Machine, error.to_string()))?;
        tell(Event::Pebble(programs.record.clone()));
        tell(Event::Step {
            what: format!(
                "building {jobs} world{} and obtaining the first certificate",
                if jobs == 1 { "" } else { "s" }
            ),
        });
        let (sender, answers) = mpsc::channel();
        let mut pool = Pool { workers: Vec::new(), answers, interrupt: options.interrupt.clone(), denied };
        for index in 0..jobs as usize {
            let worker = Worker::start(kind, index, sender.clone())?;
            pool.workers.push(worker);
        }
        let build = Order::Build(Box::new(Build {
            scenario: scenario.clone(),
            programs: Programs::clone(&programs),
            world: kind,
        }));
        for worker in &mut pool.workers {
            worker.order(&build)?;
        }
        Ok(pool)
    }

    /// The next answer, unless the user wants to stop.
    fn next(&mut self) -> Result<Option<(usize, Option<Answer>)>, LabError> {
        loop {
            if self.interrupt.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match self.answers.recv_timeout(Duration::from_millis(100)) {
                Ok(answer) => return Ok(Some(answer)),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(self.lost(0)),
            }
        }
    }

    fn lost(&mut self, index: usize) -> LabError {
        let status = self.workers.get_mut(index).and_then(|w| w.child.wait().ok());
        let how = status.map_or_else(|| "no status".to_owned(), |status| status.to_string());
        LabError::new(
            LabErrorKind::Bug,
            format!("worker {index} went away in the middle of its work ({how})"),
        )
    }

    /// The census, by whichever worker has its world first.
    fn census(&mut self, tell: &mut dyn FnMut(Event)) -> Result<Census, LabError> {
        let mut asked = false;
        loop {
            let Some((index, answer)) = self.next()? else {
                return Err(interrupted("the clean run was done: nothing was found"));
            };
            match answer {
                Some(Answer::Built) => {
                    self.workers[index].built = true;
                    if !asked {
                        asked = true;
                        tell(Event::Step { what: "watching one clean run".into() });
                        self.workers[index].order(&Order::Census)?;
                        self.workers[index].adopted = true;
                    }
                }
                Some(Answer::Census(census)) => return Ok(*census),
                Some(Answer::Failed(failure)) => return Err(failure.into()),
                Some(_) => {}
                None => return Err(self.lost(index)),
            }
        }
    }

    /// Every experiment, by whichever worker is free. Returns why it was cut short, if it was.
    fn sweep(
        &mut self,
        census: &Census,
        experiments: &[Planned],
        options: &LabOptions,
        done: &mut dyn FnMut(ExperimentRecord),
    ) -> Result<Option<String>, LabError> {
        let mut queue: VecDeque<Planned> = experiments.iter().cloned().collect();
        let mut left = queue.len();
        let mut again = 0;
        for index in 0..self.workers.len() {
            self.feed(index, census, &mut queue)?;
        }
        while left > 0 {
            let Some((index, answer)) = self.next()? else {
                return Ok(Some("interrupted".into()));
            };
            match answer {
                Some(Answer::Built) => {
                    self.workers[index].built = true;
                    self.feed(index, census, &mut queue)?;
                }
                Some(Answer::Experiment(record)) => {
                    self.workers[index].at_work = None;
                    left -= 1;
                    let violated = record.verdict == Verdict::Violated;
                    done(*record);
                    if violated && options.fail_fast {
                        return Ok(Some("--fail-fast".into()));
                    }
                    self.feed(index, census, &mut queue)?;
                }
                Some(Answer::Failed(failure)) => return Err(failure.into()),
                Some(_) => {}
                None => {
                    // What it was at is tried once more by another.
                    let Some(planned) = self.workers[index].at_work.take() else {
                        return Err(self.lost(index));
                    };
                    again += 1;
                    if again > limits::WORKERS_LOST {
                        return Err(self.lost(index));
                    }
                    self.workers[index].built = false;
                    queue.push_back(planned);
                    let idle: Vec<usize> = (0..self.workers.len())
                        .filter(|i| self.workers[*i].built && self.workers[*i].at_work.is_none())
                        .collect();
                    for index in idle {
                        self.feed(index, census, &mut queue)?;
                    }
                    if !self.workers.iter().any(|w| w.built) {
                        return Err(self.lost(index));
                    }
                }
            }
        }
        Ok(None)
    }

    fn feed(&mut self, index: usize, census: &Census, queue: &mut VecDeque<Planned>) -> Result<(), LabError> {
        let worker = &mut self.workers[index];
        if !worker.built || worker.at_work.is_some() {
            return Ok(());
        }
        let Some(planned) = queue.pop_front() else { return Ok(()) };
        if !worker.adopted {
            worker.order(&Order::Adopt(Box::new(census.clone())))?;
            worker.adopted = true;
        }
        worker.order(&Order::Experiment(planned.clone()))?;
        worker.at_work = Some(planned);
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // The end of its orders ends a worker, and with it its whole world.
            worker.orders = None;
        }
        for worker in &mut self.workers {
            let _ = worker.child.wait();
        }
    }
}

impl Worker {
    fn start(
        kind: WorldKind,
        index: usize,
        answers: mpsc::Sender<(usize, Option<Answer>)>,
    ) -> Result<Worker, LabError> {
        let failed = |what: &str, error: std::io::Error| {
            LabError::new(LabErrorKind::Machine, format!("failed to {what}: {error}"))
        };
        let mut child = worker::command(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed("start a worker process", error))?;
        let orders = child.stdin.take();
        let stdout = child.stdout.take();
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                for line in stdout.into_iter().flat_map(|out| BufReader::new(out).lines()) {
                    let Ok(line) = line else { break };
                    let answer = serde_json::from_str(&line).unwrap_or_else(|error| {
                        Answer::Failed(Failure {
                            kind: FailureKind::Bug,
                            message: format!("a worker said what is no answer ({error}): {line}"),
                        })
                    });
                    if answers.send((index, Some(answer))).is_err() {
                        return;
                    }
                }
                let _ = answers.send((index, None));
            })
            .map_err(|error| failed("start a thread", error))?;
        Ok(Worker { child, orders, built: false, adopted: false, at_work: None })
    }

    fn order(&mut self, order: &Order) -> Result<(), LabError> {
        let bug = |message: String| LabError::new(LabErrorKind::Bug, message);
        let mut line =
            serde_json::to_string(order).map_err(|e| bug(format!("failed to write an order: {e}")))?;
        line.push('\n');
        let Some(orders) = &mut self.orders else {
            return Err(bug("a worker that was ended got an order".into()));
        };
        // One that is gone says so on its other end.
        let _ = orders.write_all(line.as_bytes()).and_then(|()| orders.flush());
        Ok(())
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

/// Random experiments, seeded.
pub fn spin(options: SpinOptions, tell: &mut dyn FnMut(Event)) -> Result<Summary, LabError> {
    let _ = (options, tell);
    Err(LabError::new(
        LabErrorKind::Usage,
        "spins are not built yet: `roulette run` sweeps every point instead",
    ))
}
