//! Workers, and what they are at.

use std::{
    collections::{HashSet, VecDeque},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use crate::{
    census::Census,
    event::{Event, ExperimentRecord, Skipped, WorldKind},
    limits,
    pebble::{self, Programs},
    plan::Planned,
    verdict::Verdict,
    worker::{self, Answer, Build, Failure, FailureKind, Order},
    world,
};

use super::{LabError, LabErrorKind, LabOptions, interrupted, memory::Granted};

/// Workers, and what they say.
pub(super) struct Pool {
    pub(super) workers: Vec<Worker>,
    pub(super) answers: mpsc::Receiver<(usize, Option<Answer>)>,
    pub(super) interrupt: Arc<AtomicBool>,
    /// Why the worlds are no private ones, although nobody asked for others.
    pub(super) denied: Option<String>,
    /// Ended after the workers.
    granted: Granted,
    /// Which kind they are.
    pub(super) kind: WorldKind,
}

pub(super) struct Worker {
    pub(super) child: Child,
    pub(super) orders: Option<ChildStdin>,
    pub(super) built: bool,
    pub(super) adopted: bool,
    pub(super) at_work: Option<Planned>,
}

impl Pool {
    pub(super) fn open(
        options: &LabOptions,
        jobs: u32,
        granted: Granted,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Pool, LabError> {
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
        let mut pool = Pool {
            workers: Vec::new(),
            answers,
            interrupt: options.interrupt.clone(),
            denied,
            granted,
            kind,
        };
        for index in 0..jobs as usize {
            let worker = Worker::start(kind, index, sender.clone())?;
            pool.workers.push(worker);
        }
        let build = Order::Build(Box::new(Build {
            scenario: scenario.clone(),
            programs: Programs::clone(&programs),
            world: kind,
            cgroups: pool.granted.cgroups.as_ref().map(|cgroups| cgroups.place().clone()),
        }));
        for worker in &mut pool.workers {
            worker.order(&build)?;
        }
        Ok(pool)
    }

    /// What is weaker than it would be on another machine, as something that was not tried.
    pub(super) fn denied(&self) -> impl Iterator<Item = Skipped> {
        let count = self.workers.len() as u64;
        let worlds = self.denied.clone().map(|why| Skipped { what: "private worlds".into(), count, why });
        worlds.into_iter().chain(self.granted.denied.clone())
    }

    /// The next answer, unless the user wants to stop.
    pub(super) fn next(&mut self) -> Result<Option<(usize, Option<Answer>)>, LabError> {
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

    pub(super) fn lost(&mut self, index: usize) -> LabError {
        let status = self.workers.get_mut(index).and_then(|w| w.child.wait().ok());
        let how = status.map_or_else(|| "no status".to_owned(), |status| status.to_string());
        LabError::new(
            LabErrorKind::Bug,
            format!("worker {index} went away in the middle of its work ({how})"),
        )
    }

    /// The census, by whichever worker has its world first.
    pub(super) fn census(&mut self, tell: &mut dyn FnMut(Event)) -> Result<Census, LabError> {
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
                        let bisect = self.granted.bisect.clone();
                        if !bisect.is_empty() {
                            tell(Event::Step { what: "looking for the memory limits that matter".into() });
                        }
                        self.workers[index].order(&Order::Census { bisect })?;
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

    /// Measures how long a run takes that nobody looks at closely.
    pub(super) fn pace(&mut self, census: &mut Census, tell: &mut dyn FnMut(Event)) -> Result<(), LabError> {
        tell(Event::Step { what: "timing one undisturbed run".into() });
        let mut one = Some(Planned::clean());
        let mut seen = None;
        let interrupted = self.sweep(census, &mut || one.take(), false, &mut |record| seen = Some(record))?;
        if interrupted.is_some() {
            return Err(super::interrupted("anything was tried"));
        }
        census.plain_ms = seen.and_then(|record| record.runs_ms.first().copied());
        // So that every worker hears of it.
        for worker in &mut self.workers {
            worker.adopted = false;
        }
        Ok(())
    }

    /// Every experiment that `source` gives, by whichever worker is free. Returns why it was cut
    /// short, if it was.
    pub(super) fn sweep(
        &mut self,
        census: &Census,
        source: &mut dyn FnMut() -> Option<Planned>,
        fail_fast: bool,
        done: &mut dyn FnMut(ExperimentRecord),
    ) -> Result<Option<String>, LabError> {
        // What is tried once more, and by whom not.
        let mut again: VecDeque<(Planned, usize)> = VecDeque::new();
        let mut second_looks: HashSet<String> = HashSet::new();
        let mut lost = 0;
        loop {
            let alone = self.workers.iter().filter(|worker| worker.built).count() == 1;
            for index in 0..self.workers.len() {
                self.feed(index, census, &mut || {
                    let other = again.iter().position(|(_, not)| alone || *not != index);
                    other
                        .and_then(|place| again.remove(place))
                        .map(|(planned, _)| planned)
                        .or_else(&mut *source)
                })?;
            }
            if again.is_empty() && !self.workers.iter().any(|worker| worker.at_work.is_some()) {
                return Ok(None);
            }
            let Some((index, answer)) = self.next()? else {
                return Ok(Some("interrupted".into()));
            };
            match answer {
                Some(Answer::Built) => self.workers[index].built = true,
                Some(Answer::Experiment(record)) => {
                    let planned = self.workers[index].at_work.take();
                    // A name that came up unluckily in one world is another one in the next.
                    if record.inconclusive.is_some()
                        && let Some(planned) = planned
                        && second_looks.insert(planned.id.clone())
                    {
                        again.push_back((planned, index));
                        continue;
                    }
                    let violated = record.verdict == Verdict::Violated;
                    done(*record);
                    if violated && fail_fast {
                        return Ok(Some("--fail-fast".into()));
                    }
                }
                Some(Answer::Failed(failure)) => return Err(failure.into()),
                Some(_) => {}
                None => {
                    // What it was at is tried once more by another.
                    self.workers[index].built = false;
                    let planned = self.workers[index].at_work.take();
                    lost += 1;
                    let alone = !self.workers.iter().any(|worker| worker.built);
                    let Some(planned) = planned.filter(|_| lost <= limits::WORKERS_LOST && !alone) else {
                        return Err(self.lost(index));
                    };
                    again.push_back((planned, index));
                }
            }
        }
    }

    fn feed(
        &mut self,
        index: usize,
        census: &Census,
        source: &mut dyn FnMut() -> Option<Planned>,
    ) -> Result<(), LabError> {
        let worker = &mut self.workers[index];
        if !worker.built || worker.at_work.is_some() {
            return Ok(());
        }
        let Some(planned) = source() else { return Ok(()) };
        worker.adopt(census)?;
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

    /// Has it hold its experiments against this census.
    pub(super) fn adopt(&mut self, census: &Census) -> Result<(), LabError> {
        if !self.adopted {
            self.order(&Order::Adopt(Box::new(census.clone())))?;
            self.adopted = true;
        }
        Ok(())
    }

    pub(super) fn order(&mut self, order: &Order) -> Result<(), LabError> {
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
