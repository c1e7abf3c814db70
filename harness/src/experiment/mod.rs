//! One experiment: prepare, run with its faults, judge, let the next scheduled run happen, judge
//! again, and once more when nothing is left to do.

mod baseline;
mod bounds;
mod litter;
mod phases;
mod setting;

use std::{collections::BTreeSet, rc::Rc, sync::Arc, time::Instant};

use crate::{
    artifact,
    census::{Census, Need},
    event::{ExperimentRecord, FaultRecord, Followed, InRun, MemoryRecord},
    fault::{self, Act, Between, memory},
    limits,
    plan::Planned,
    procfs::Proc,
    role::Roles,
    run::{Assignment, Calls, Detail, Known, Outcome, RunError, Told},
    scenario::Scenario,
    verdict::{Judgement, Phase, Verdict},
    world::{
        Snapshot, World, WorldError,
        cgroup::{Group, Groups},
    },
};

use baseline::{artifacts, baseline, not_whole, setup_step};
use litter::{ageing_roots, litter, roles};
use phases::Phases;
use setting::Setting;

/// Why a scenario cannot be tried at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The subject is not able to do its work even undisturbed.
    #[error("{0}")]
    Baseline(String),
    /// The world or the tracer failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<WorldError> for SetupError {
    fn from(error: WorldError) -> Self {
        SetupError::Run(error.into())
    }
}

/// A prepared world: the subject has its certificate, and it is old.
pub struct Workbench<'w> {
    world: &'w mut dyn World,
    setting: Setting,
    snapshot: Snapshot,
    /// Roles of the paths that the preparation left.
    prepared_roles: BTreeSet<String>,
    /// Where control groups are made, if they are.
    groups: Option<Groups>,
}

impl<'w> Workbench<'w> {
    /// Lets the subject obtain its first certificate and makes it old.
    pub fn prepare(
        world: &'w mut dyn World,
        scenario: &Scenario,
        control: Calls,
        proc: Proc,
        ageing: &artifact::AgeingCa,
        groups: Option<Groups>,
    ) -> Result<Workbench<'w>, SetupError> {
        let mut setting = Setting::new(world, scenario, control, proc);
        let scenario = &setting.scenario;
        let mut stage = world.stage(None)?;
        let mut runner = setting.runner(stage.as_mut())?;
        let mut made = Roles::default();
        for command in &scenario.subject.prepare {
            made = setup_step(&mut runner, command, "prepare")?;
        }
        let missing: Vec<String> = artifacts(scenario).iter().filter_map(not_whole).collect();
        if !missing.is_empty() {
            return Err(SetupError::Baseline(format!(
                "the preparation ended without a usable key and certificate: {}; `subject.prepare` must obtain the first certificate at the paths that `[[artifact]]` names",
                missing.join("; ")
            )));
        }
        let touched = runner.stage().touched()?;
        let roots = ageing_roots(scenario, &touched);
        artifact::age(&roots, &scenario.artifacts, ageing, limits::AGED_DAYS_LEFT)
            .map_err(|error| SetupError::Baseline(format!("failed to age the certificate: {error}")))?;
        for command in &scenario.subject.age {
            setup_step(&mut runner, command, "age")?;
        }
        runner.end_subject()?;
        runner.end_server();
        drop(runner);
        let prepared_roles = roles(&stage.touched()?, &setting.root, &made);
        stage.clear()?;
        let snapshot = stage.snapshot()?;
        drop(stage);
        setting.prepared(made);
        Ok(Workbench { world, setting, snapshot, prepared_roles, groups })
    }

    /// One clean run and one idle run, watched closely and judged like an experiment. `bisect`: the
    /// faults that limit memory for which it is found out then where that starts to matter.
    pub fn census(&mut self, bisect: &[String]) -> Result<Census, SetupError> {
        let mut census = None;
        for _ in 0..limits::REUSED_RETRIES {
            census = self.clean()?;
            if census.is_some() {
                break;
            }
        }
        let Some(mut census) = census else {
            return Err(SetupError::Baseline(format!("{REUSED}, {} times on end", limits::REUSED_RETRIES)));
        };
        let peak = census.memory.as_ref().and_then(|need| need.peak);
        let bisected =
            bisect.iter().map(|fault| self.bisected(fault, peak)).collect::<Result<Vec<_>, _>>()?;
        if !bisected.is_empty() {
            census.memory = Some(Need { peak, bisected });
        }
        Ok(census)
    }

    /// `None`: it was not a run like the others.
    fn clean(&mut self) -> Result<Option<Census>, SetupError> {
        let started = Instant::now();
        let (scenario, root) = (&self.setting.scenario, &self.setting.root);
        let group = self.group()?;
        let mut stage = self.world.stage(Some(&self.snapshot))?;
        let mut phases = Phases::begin(scenario);
        let mut runner = self.setting.runner(stage.as_mut())?;
        let served_at_first = runner.served();
        if let Err(error) = served_at_first {
            return Err(SetupError::Baseline(format!(
                "the world's server does not serve the prepared certificate: {error}"
            )));
        }
        let clean = Assignment {
            group,
            ..Assignment::new(&scenario.subject.command, Detail::Census, &Arc::default())
        };
        let outcome = runner.run(&clean, None)?;
        drop(clean);
        if outcome.reused_authorization {
            return Ok(None);
        }
        baseline(scenario, &outcome)?;
        let wall_ms = outcome.run.wall_ms;
        let left_running: Vec<String> = outcome.run.survivors.iter().map(|s| s.process.clone()).collect();
        let partial = outcome.unseen.map(str::to_owned);
        let made = outcome.roles;
        let memory = outcome.memory.map(|memory| Need { peak: memory.peak, bisected: Vec::new() });
        let effects: Vec<_> = outcome.seen.into_iter().map(Into::into).collect();
        phases.judge(scenario, Phase::Aftermath, outcome.run, &mut runner, &[]);
        let known = Arc::new(Known { left_running: left_running.clone(), ..Known::default() });
        let idle = runner.run(&Assignment::new(&scenario.subject.command, Detail::Plain, &known), None)?;
        phases.judge(scenario, Phase::Idle, idle.run, &mut runner, &[]);
        runner.end_subject()?;
        drop(runner);
        let mut clean_roles = self.prepared_roles.clone();
        clean_roles.extend(roles(&stage.touched()?, root, &made));
        let clean = phases.record(Planned::clean(), None, String::new(), started);
        Ok(Some(Census {
            effects,
            clean_roles: clean_roles.into_iter().collect(),
            left_running,
            partial,
            memory,
            wall_ms,
            plain_ms: None,
            clean,
        }))
    }

    /// A control group for one experiment, where they are to be had.
    fn group(&self) -> Result<Option<Rc<Group>>, RunError> {
        let made = self.groups.as_ref().map(Groups::group).transpose();
        Ok(made.map_err(|source| RunError::Io { tried: "make a control group".into(), source })?.map(Rc::new))
    }

    /// Makes one experiment; one whose point was not reached is tried again a few times.
    pub fn experiment(&mut self, census: &Census, planned: &Planned) -> Result<ExperimentRecord, SetupError> {
        let mut record = self.attempt(census, planned, None)?;
        for _ in 0..limits::DIVERGED_RETRIES {
            if record.inconclusive.is_none() {
                break;
            }
            record = self.attempt(census, planned, None)?;
        }
        Ok(record)
    }

    /// Makes one experiment once, telling what happens.
    pub fn attempt(
        &mut self,
        census: &Census,
        planned: &Planned,
        mut told: Option<&mut dyn FnMut(Narrated<'_>)>,
    ) -> Result<ExperimentRecord, SetupError> {
        let started = Instant::now();
        let (scenario, root) = (&self.setting.scenario, &self.setting.root);
        let limited = planned.faults.iter().any(|fault| memory::takes_group(&fault.fault));
        let group = if limited { self.group()? } else { None };
        let mut stage = self.world.stage(Some(&self.snapshot))?;
        let mut phases = Phases::begin(scenario);
        let mut runner = self.setting.runner(stage.as_mut())?;
        let known = Arc::new(census.known());
        let detail = match (&told, planned.follow) {
            (Some(_), _) => Detail::Census,
            (None, true) => Detail::Followed,
            (None, false) => Detail::Plain,
        };

        let mut recovery_output = String::new();
        let (mut inconclusive, mut no_occasion) = (None, false);
        let mut spared = None;
        let mut memory = None;
        let mut phase = Phase::Aftermath;
        // What one run leaves over because a fault ended it strikes the next one.
        let (mut next, mut faults): (Vec<_>, Vec<_>) =
            planned.faults.iter().cloned().partition(|fault| fault.run == InRun::Next);
        let mut followed = Followed::default();
        loop {
            if let Some(told) = told.as_mut() {
                told(Narrated::Begins(phase));
                told(Narrated::State(&runner.state()));
            }
            let mut forward = told.as_mut().map(|told| {
                move |what: Told<'_>| match what {
                    Told::State(lines) => told(Narrated::State(lines)),
                    what => told(Narrated::Run(what)),
                }
            });
            let assignment = Assignment {
                command: &scenario.subject.command,
                faults: &faults,
                detail,
                known: known.clone(),
                // The limit is for the disturbed runs; those that follow are free.
                group: group.clone().filter(|_| phase == Phase::Aftermath),
                until_killed: false,
            };
            let mut outcome = runner
                .run(&assignment, forward.as_mut().map(|forward| forward as &mut dyn FnMut(Told<'_>)))?;
            let struck = !outcome.run.faults.is_empty();
            match outcome.run.faults.iter().map(between).max() {
                None | Some(Between::Nothing) => {}
                Some(Between::NewPod) => runner.new_pod()?,
                Some(Between::Boot) => runner.reboot()?,
            }
            let by_chance = faults.iter().all(|fault| fault.run == InRun::First);
            if phase == Phase::Aftermath && !phases.runs.is_empty() && !struck && by_chance {
                // Nothing was left for the next fault to strike at: this was the recovery.
                phase = Phase::Recovery;
                outcome.not_delivered.clear();
                outcome.no_occasion.clear();
            }
            if outcome.reused_authorization {
                outcome.not_delivered.push(REUSED.to_owned());
            }
            if !outcome.not_delivered.is_empty() || !outcome.no_occasion.is_empty() {
                no_occasion = outcome.not_delivered.is_empty();
                let difference = census.first_difference(&outcome.seen);
                let reasons = [&outcome.not_delivered[..], &outcome.no_occasion].concat();
                let mut why = format!("diverged: {}", reasons.join("; "));
                if let Some(difference) = difference {
                    why.push_str(&format!("; first difference: {difference}"));
                }
                inconclusive = Some(why);
            }
            if let Some(told) = told.as_mut() {
                told(Narrated::Printed(&outcome.run.output));
            }
            if phase == Phase::Recovery {
                recovery_output.clone_from(&outcome.run.output);
            }
            if planned.follow {
                match phase {
                    Phase::Aftermath if outcome.struck_at.is_some() => {
                        followed.same = outcome.points();
                        followed.second = outcome.others.iter().flat_map(Outcome::points).collect();
                    }
                    Phase::Recovery => followed.next = outcome.points(),
                    _ => {}
                }
            }
            let litter = if phase == Phase::Aftermath {
                Vec::new()
            } else {
                litter(&runner.stage().touched()?, &census.clean_roles, root)
            };
            spared = outcome.spared.take().or(spared);
            memory = outcome.memory.take().or(memory);
            phases.saw(std::mem::take(&mut outcome.between));
            phases.judge(scenario, phase, outcome.run, &mut runner, &litter);
            phases.state.extend(outcome.notes.iter().cloned());
            phases.aftermath.append(&mut outcome.notes);
            if let Some(told) = told.as_mut() {
                told(Narrated::State(&phases.state));
                told(Narrated::Judged(phase, &phases.judgements));
            }
            if inconclusive.is_some() {
                break;
            }
            faults = std::mem::take(&mut outcome.left_over);
            faults.append(&mut next);
            phase = match phase {
                Phase::Aftermath if faults.is_empty() => Phase::Recovery,
                Phase::Aftermath => Phase::Aftermath,
                Phase::Recovery => Phase::Idle,
                Phase::Idle | Phase::Always => break,
            };
        }
        runner.end_subject()?;
        let mut record = phases.record(planned.clone(), inconclusive, recovery_output, started);
        record.no_occasion = no_occasion;
        record.followed = planned.follow.then(|| Box::new(followed));
        Ok(limited_by(record, memory, spared))
    }
}

/// Why a run is made again.
const REUSED: &str = "Pebble re-used an authorization at random, so that there was no challenge to meet";

/// The record of an experiment with what came of its memory limit. Where nothing came of it, the
/// experiment shows nothing: it is set aside, or looked at again if something broke all the same.
fn limited_by(
    mut record: ExperimentRecord,
    memory: Option<MemoryRecord>,
    spared: Option<String>,
) -> ExperimentRecord {
    record.memory = memory.filter(|memory| memory.limit.or(memory.address_space).is_some());
    let Some(why) = spared.filter(|_| record.inconclusive.is_none()) else { return record };
    match record.verdict {
        Verdict::Held => record.spared = Some(why),
        _ => {
            let broken: Vec<String> = record.violations.drain(..).map(|v| v.detail).collect();
            record.inconclusive = Some(format!("not proven: {why}; and yet: {}", broken.join("; ")));
            record.judgements.clear();
        }
    }
    record.verdict = Verdict::Inconclusive;
    record
}

fn between(record: &FaultRecord) -> Between {
    match fault::act(record) {
        Some(Act::Signals { between, .. }) => between,
        _ => Between::Nothing,
    }
}

/// What a narrated replay is told.
#[derive(Debug)]
pub enum Narrated<'a> {
    /// A run begins; the phase that will be judged after it.
    Begins(Phase),
    /// Something happened in it.
    Run(Told<'a>),
    /// What the run printed, when it has ended.
    Printed(&'a str),
    /// The state of key, certificate, lock and served certificate now.
    State(&'a [String]),
    /// It was judged; all judgements so far.
    Judged(Phase, &'a [Judgement]),
}
