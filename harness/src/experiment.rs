//! One experiment: prepare, run with its faults, judge, let the next scheduled run happen, judge
//! again, and once more when nothing is left to do.

use std::{
    collections::{BTreeSet, HashSet},
    net::Ipv4Addr,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use crate::{
    artifact::{self, ArtifactState, FileState},
    census::Census,
    event::{ExperimentRecord, FaultRecord, Violation},
    fault::{self, Act},
    front::Ca,
    invariant::{self, End, Evidence, Litter, Run},
    limits, lock,
    plan::Planned,
    procfs::Proc,
    role::{self, Roles},
    run::{Assignment, Calls, Detail, Known, Outcome, RunError, Runner, Told},
    scenario::{Placeholders, Scenario},
    state,
    target::{ServerSpec, this_program},
    verdict::{Judgement, Phase, Verdict},
    world::{Snapshot, World, WorldError},
};

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
    ca: Arc<Ca>,
    /// Placeholders resolved.
    scenario: Scenario,
    snapshot: Snapshot,
    /// Which of the names that the preparation left are random.
    made: Roles,
    /// Roles of the paths that the preparation left.
    prepared_roles: BTreeSet<String>,
    control: Calls,
    server_spec: ServerSpec,
    proc: Proc,
    root: String,
}

/// What one phase found, gathered for the judges.
struct Phases {
    artifacts_before: Vec<ArtifactState>,
    runs: Vec<Run>,
    installed: Vec<String>,
    judgements: Vec<Judgement>,
    aftermath: Vec<String>,
    /// As it was judged last.
    state: Vec<String>,
}

impl<'w> Workbench<'w> {
    /// Lets the subject obtain its first certificate and makes it old.
    pub fn prepare(
        world: &'w mut dyn World,
        scenario: &Scenario,
        control: Calls,
        proc: Proc,
        ageing: &artifact::AgeingCa,
    ) -> Result<Workbench<'w>, SetupError> {
        let placeholders = world.placeholders().clone();
        let scenario = scenario.resolve(&placeholders);
        let ca = world.ca();
        let root = placeholders.root.clone();
        let server_spec = server_spec(&scenario, &placeholders);
        let mut stage = world.stage(None)?;
        let mut runner = Runner::new(
            &scenario,
            ca.clone(),
            stage.as_mut(),
            ServerSpec { allow_missing: true, ..server_spec.clone() },
            &control,
            proc.clone(),
            root.clone(),
        )?;
        runner.start_server()?;
        let mut made = Roles::default();
        for command in &scenario.subject.prepare {
            made = setup_step(&mut runner, command, "prepare")?;
        }
        let missing: Vec<String> = artifacts(&scenario).iter().filter_map(not_whole).collect();
        if !missing.is_empty() {
            return Err(SetupError::Baseline(format!(
                "the preparation ended without a usable key and certificate: {}; `subject.prepare` must obtain the first certificate at the paths that `[[artifact]]` names",
                missing.join("; ")
            )));
        }
        let touched = runner.stage().touched()?;
        let roots = ageing_roots(&scenario, &touched);
        artifact::age(&roots, &scenario.artifacts, ageing, limits::AGED_DAYS_LEFT)
            .map_err(|error| SetupError::Baseline(format!("failed to age the certificate: {error}")))?;
        for command in &scenario.subject.age {
            setup_step(&mut runner, command, "age")?;
        }
        runner.end_subject()?;
        runner.end_server();
        drop(runner);
        let prepared_roles = roles(&stage.touched()?, &root, &made);
        stage.clear()?;
        let snapshot = stage.snapshot()?;
        drop(stage);
        Ok(Workbench {
            world,
            ca,
            scenario,
            snapshot,
            made,
            prepared_roles,
            control,
            server_spec,
            proc,
            root,
        })
    }

    /// One clean run and one idle run, watched closely and judged like an experiment.
    pub fn census(&mut self, told: Option<&mut dyn FnMut(Told<'_>)>) -> Result<Census, SetupError> {
        let started = Instant::now();
        let (scenario, root) = (self.scenario.clone(), self.root.clone());
        let mut stage = self.world.stage(Some(&self.snapshot))?;
        let mut phases = Phases::begin(&scenario);
        let mut runner = Runner::new(
            &scenario,
            self.ca.clone(),
            stage.as_mut(),
            self.server_spec.clone(),
            &self.control,
            self.proc.clone(),
            root.clone(),
        )?;
        runner.knows(self.made.clone());
        runner.start_server()?;
        let served_at_first = runner.served();
        if let Err(error) = served_at_first {
            return Err(SetupError::Baseline(format!(
                "the world's server does not serve the prepared certificate: {error}"
            )));
        }
        let outcome =
            runner.run(&assignment(&scenario.subject.command, Detail::Census, &Arc::default()), told)?;
        baseline(&scenario, &outcome)?;
        let wall_ms = outcome.run.wall_ms;
        let left_running: Vec<String> = outcome.run.survivors.iter().map(|s| s.process.clone()).collect();
        let partial = outcome.unseen.map(str::to_owned);
        let made = outcome.roles;
        let effects: Vec<_> = outcome.seen.into_iter().map(Into::into).collect();
        phases.judge(&scenario, Phase::Aftermath, outcome.run, &mut runner, &[]);
        let known = Arc::new(Known { left_running: left_running.clone(), ..Known::default() });
        let idle = runner.run(&assignment(&scenario.subject.command, Detail::Plain, &known), None)?;
        phases.judge(&scenario, Phase::Idle, idle.run, &mut runner, &[]);
        runner.end_subject()?;
        drop(runner);
        let mut clean_roles = self.prepared_roles.clone();
        clean_roles.extend(roles(&stage.touched()?, &root, &made));
        let clean =
            phases.record(Planned { id: "clean".into(), faults: vec![] }, None, String::new(), started);
        Ok(Census {
            effects,
            clean_roles: clean_roles.into_iter().collect(),
            left_running,
            partial,
            wall_ms,
            clean,
        })
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
        let (scenario, root) = (self.scenario.clone(), self.root.clone());
        let mut stage = self.world.stage(Some(&self.snapshot))?;
        let mut phases = Phases::begin(&scenario);
        let mut runner = Runner::new(
            &scenario,
            self.ca.clone(),
            stage.as_mut(),
            self.server_spec.clone(),
            &self.control,
            self.proc.clone(),
            root.clone(),
        )?;
        runner.knows(self.made.clone());
        runner.start_server()?;
        let known = Arc::new(census.known());
        let detail = if told.is_some() { Detail::Census } else { Detail::Plain };

        let mut recovery_output = String::new();
        let mut inconclusive = None;
        let mut phase = Phase::Aftermath;
        // What one run leaves over because a fault ended it strikes the next one.
        let mut faults = planned.faults.clone();
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
            };
            let mut outcome = runner
                .run(&assignment, forward.as_mut().map(|forward| forward as &mut dyn FnMut(Told<'_>)))?;
            let struck = !outcome.run.faults.is_empty();
            if outcome.run.faults.iter().any(reboots) {
                runner.reboot()?;
            }
            if phase == Phase::Aftermath && !phases.runs.is_empty() && !struck {
                // Nothing was left for the next fault to strike at: this was the recovery.
                phase = Phase::Recovery;
                outcome.not_delivered.clear();
            }
            if !outcome.not_delivered.is_empty() {
                let difference = census.first_difference(&outcome.seen);
                let mut why = format!("diverged: {}", outcome.not_delivered.join("; "));
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
            let litter = if phase == Phase::Aftermath {
                Vec::new()
            } else {
                litter(&runner.stage().touched()?, &census.clean_roles, &root)
            };
            phases.saw(std::mem::take(&mut outcome.between));
            phases.judge(&scenario, phase, outcome.run, &mut runner, &litter);
            if let Some(told) = told.as_mut() {
                told(Narrated::State(&phases.state));
                told(Narrated::Judged(phase, &phases.judgements));
            }
            if inconclusive.is_some() {
                break;
            }
            faults = std::mem::take(&mut outcome.left_over);
            phase = match phase {
                Phase::Aftermath if faults.is_empty() => Phase::Recovery,
                Phase::Aftermath => Phase::Aftermath,
                Phase::Recovery => Phase::Idle,
                Phase::Idle | Phase::Always => break,
            };
        }
        runner.end_subject()?;
        Ok(phases.record(planned.clone(), inconclusive, recovery_output, started))
    }
}

fn assignment<'b>(command: &'b [String], detail: Detail, known: &Arc<Known>) -> Assignment<'b> {
    Assignment { command, faults: &[], detail, known: known.clone() }
}

fn reboots(record: &FaultRecord) -> bool {
    let act = fault::find(&record.fault).and_then(|fault| fault.act(record));
    matches!(act, Some(Act::Signals { reboot: true, .. }))
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

fn setup_step(runner: &mut Runner<'_>, command: &[String], what: &str) -> Result<Roles, SetupError> {
    let outcome = runner.run(&assignment(command, Detail::Plain, &Arc::default()), None)?;
    match outcome.run.end {
        Some(End::Exited(0)) => Ok(outcome.roles),
        end => Err(SetupError::Baseline(format!(
            "`subject.{what}` command `{}` ended with {}; {}{}",
            command.join(" "),
            end.map_or_else(|| "nothing".to_owned(), |end| end.to_string()),
            outcome.stuck.map(|doing| format!("it was doing {doing}; ")).unwrap_or_default(),
            printed(&outcome.run.output)
        ))),
    }
}

fn printed(output: &str) -> String {
    if output.trim().is_empty() {
        "it printed nothing".to_owned()
    } else {
        format!("it printed:\n{}", output.trim_end())
    }
}

/// The clean run must do what it is for; else nothing can be learned from disturbing it.
fn baseline(scenario: &Scenario, outcome: &Outcome) -> Result<(), SetupError> {
    let command = scenario.subject.command.join(" ");
    let fail = |what: String| Err(SetupError::Baseline(format!("{what}; {}", printed(&outcome.run.output))));
    match outcome.run.end {
        Some(End::Exited(0)) => {}
        Some(End::Deadline) => {
            return fail(format!(
                "the clean run of `{command}` did not end within its deadline of {:?}; it was doing {}",
                scenario.subject.deadline,
                outcome.stuck.as_deref().unwrap_or("nothing that can be told")
            ));
        }
        end => {
            return fail(format!(
                "the clean run of `{command}` ended with {}",
                end.map_or_else(String::new, |e| e.to_string())
            ));
        }
    }
    if outcome.run.orders == 0 {
        let refused = if outcome.refused.is_empty() {
            String::new()
        } else {
            format!(" (it tried {}, which this world refuses)", outcome.refused.join(", "))
        };
        return fail(format!(
            "the clean run of `{command}` never asked the CA for a certificate{refused}; with {} days left on the certificate a renewal is due: is the command the one the scheduler starts, and does it use the directory URL of the world?",
            limits::AGED_DAYS_LEFT
        ));
    }
    let broken: Vec<String> = artifacts(scenario).iter().filter_map(not_whole).collect();
    if !broken.is_empty() {
        return fail(format!(
            "the clean run of `{command}` left no usable key and certificate: {}",
            broken.join("; ")
        ));
    }
    Ok(())
}

fn artifacts(scenario: &Scenario) -> Vec<ArtifactState> {
    scenario.artifacts.iter().map(artifact::read).collect()
}

fn not_whole(state: &ArtifactState) -> Option<String> {
    for (path, file) in [(&state.certificate_path, &state.certificate), (&state.key_path, &state.key)] {
        match file {
            FileState::Whole => {}
            FileState::Missing(why) | FileState::Broken(why) | FileState::Unreadable(why) => {
                return Some(format!("{path}: {why}"));
            }
        }
    }
    (state.matches == Some(false))
        .then(|| format!("{} does not belong to {}", state.key_path, state.certificate_path))
}

/// Where copies and traces of the certificate can be: the state, and whatever else was touched.
fn ageing_roots(scenario: &Scenario, touched: &[PathBuf]) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = scenario.subject.state.iter().map(PathBuf::from).collect();
    let files =
        touched.iter().filter(|path| path.is_file() && !roots.iter().any(|root| path.starts_with(root)));
    let bundles = ["ca-certificates.crt", "ca-bundle.crt", "cert.pem"];
    let files: Vec<PathBuf> = files
        .filter(|path| !(path.starts_with("/etc/ssl/certs") && bundles.iter().any(|b| path.ends_with(b))))
        .cloned()
        .collect();
    roots.extend(files);
    roots
}

/// Roles of paths that runs made who knew which of their names are random: one that happens to
/// look like a word to everybody else must not make litter of the others.
fn roles(paths: &[PathBuf], root: &str, made: &Roles) -> BTreeSet<String> {
    let names: Vec<String> = paths.iter().map(|path| named(path, root)).collect();
    names.iter().map(|name| made.of(name)).chain(names.iter().map(|name| role::of(name))).collect()
}

fn named(path: &std::path::Path, root: &str) -> String {
    let text = path.to_string_lossy();
    text.strip_prefix(root).unwrap_or(&text).to_owned()
}

/// Paths that are there now and that no clean run leaves.
fn litter(touched: &[PathBuf], clean_roles: &[String], root: &str) -> Vec<Litter> {
    let known: HashSet<&str> = clean_roles.iter().map(String::as_str).collect();
    let patterns: Vec<&String> = clean_roles.iter().filter(|role| role.contains("{X}")).collect();
    let mut found = Vec::new();
    for path in touched {
        let Ok(data) = path.symlink_metadata() else { continue };
        let name = named(path, root);
        if known.contains(role::of(&name).as_str())
            || patterns.iter().any(|pattern| role::matches(pattern, &name))
            || name.starts_with("/var/log/")
            || name.ends_with(".log")
        {
            continue;
        }
        let what = if data.is_dir() {
            "directory".to_owned()
        } else if data.is_symlink() {
            "symbolic link".to_owned()
        } else {
            let content = std::fs::read(path).unwrap_or_default();
            artifact::looks_like(path, &content)
                .map_or_else(|| format!("file of {} bytes", data.len()), str::to_owned)
        };
        found.push(Litter { path: name.into(), what });
    }
    found
}

impl Phases {
    fn begin(scenario: &Scenario) -> Phases {
        let artifacts_before = artifacts(scenario);
        let installed = artifacts_before.first().map(|a| a.fingerprint.clone()).into_iter().collect();
        Phases {
            artifacts_before,
            runs: Vec::new(),
            installed,
            judgements: Vec::new(),
            aftermath: Vec::new(),
            state: Vec::new(),
        }
    }

    /// A certificate was at the first artifact's path; empty: none was.
    fn saw(&mut self, fingerprint: String) {
        if !fingerprint.is_empty() && self.installed.last() != Some(&fingerprint) {
            self.installed.push(fingerprint);
        }
    }

    fn judge(
        &mut self,
        scenario: &Scenario,
        phase: Phase,
        run: Run,
        runner: &mut Runner<'_>,
        litter: &[Litter],
    ) {
        let served = runner.served();
        let lock = lock::state(scenario.lock.as_ref(), runner.proc());
        let now = artifacts(scenario);
        if let Some(first) = now.first()
            && !first.fingerprint.is_empty()
            && self.installed.last() != Some(&first.fingerprint)
        {
            self.installed.push(first.fingerprint.clone());
        }
        self.runs.push(run);
        let evidence = Evidence {
            scenario,
            phase,
            artifacts_before: &self.artifacts_before,
            artifacts: &now,
            served: &served,
            lock: &lock,
            runs: &self.runs,
            installed: &self.installed,
            litter,
        };
        let judgements = invariant::judge_phase(&evidence, &self.judgements);
        self.judgements.extend(judgements);
        invariant::explain(&mut self.judgements);
        self.state = state::describe(&now, &served, &lock);
        if phase == Phase::Aftermath {
            self.aftermath.clone_from(&self.state);
        }
    }

    fn record(
        mut self,
        planned: Planned,
        inconclusive: Option<String>,
        recovery_output: String,
        started: Instant,
    ) -> ExperimentRecord {
        invariant::explain(&mut self.judgements);
        let violations: Vec<Violation> = self
            .judgements
            .iter()
            .filter(|j| j.verdict == Verdict::Violated)
            .map(|j| Violation {
                invariant: j.invariant.clone(),
                phase: j.phase,
                detail: j.detail.clone(),
                explained_by: j.explained_by.clone(),
            })
            .collect();
        let unexplained = |j: &&Judgement| j.explained_by.is_none();
        let verdict = match &inconclusive {
            Some(_) => Verdict::Inconclusive,
            None => self
                .judgements
                .iter()
                .filter(unexplained)
                .map(|j| j.verdict)
                .fold(Verdict::Held, Verdict::and),
        };
        let cpu_ms = self.runs.iter().map(|run| run.cpu_ms).sum();
        ExperimentRecord {
            id: planned.id,
            faults: planned.faults,
            verdict,
            // What was seen on another path than the planned one proves nothing about it.
            violations: if inconclusive.is_some() { Vec::new() } else { violations },
            judgements: if inconclusive.is_some() { Vec::new() } else { self.judgements },
            inconclusive,
            exits: self
                .runs
                .iter()
                .map(|run| run.end.map_or_else(|| "?".to_owned(), |end| end.to_string()))
                .collect(),
            aftermath: self.aftermath,
            recovery_output,
            wall_ms: started.elapsed().as_millis() as u64,
            cpu_ms,
        }
    }
}

fn server_spec(scenario: &Scenario, placeholders: &Placeholders) -> ServerSpec {
    // In a private world the server is reached from the CA's host too.
    let address = if placeholders.root.is_empty() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let first = scenario.artifacts.first();
    ServerSpec {
        tls: (address, placeholders.tls_port).into(),
        http: scenario.server.http.then(|| (address, placeholders.http_port).into()),
        webroots: scenario.server.webroots.clone(),
        certificate: first.map(|a| a.certificate.clone()).unwrap_or_default(),
        key: first.map(|a| a.key.clone()).unwrap_or_default(),
        pid_file: scenario.server.pid_file.clone(),
        unit_file: None,
        program: this_program(),
        allow_missing: false,
    }
}
