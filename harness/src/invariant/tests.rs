//! Each invariant against the evidence that flawed and correct pipelines leave. A story is one
//! experiment: what was seen after the faulted run, after the recovery, after the idle run.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{evidence::now, *};
use crate::{
    artifact::{ArtifactState, FileState},
    event::FaultRecord,
    point::{Point, Side},
    scenario::{Artifact, Faults, Limits, Lock, LockKind, Server, ServerKind, Subject},
    target::Served,
};

const DAY: i64 = 24 * 60 * 60;
const LOCK: &str = "/run/renew.lock";
const OLD: &str = "0000000000000000";
const NEW: &str = "1111111111111111";

fn scenario() -> Scenario {
    Scenario {
        schema: 1,
        name: "story".to_owned(),
        purpose: "a story".to_owned(),
        subject: Subject {
            command: vec!["/renew.sh".to_owned()],
            prepare: vec![],
            age: vec![],
            state: vec![],
            needs: vec![],
            deadline: Duration::from_secs(60),
            files: Default::default(),
            templates: Default::default(),
            env: Default::default(),
            cwd: None,
        },
        artifacts: vec![Artifact {
            domains: vec!["example.com".to_owned()],
            certificate: "/site/cert.pem".to_owned(),
            key: "/site/key.pem".to_owned(),
        }],
        lock: Some(Lock { kind: LockKind::Flock, path: LOCK.to_owned() }),
        server: Server {
            kind: ServerKind::Builtin,
            http: true,
            webroots: vec![],
            pid_file: "/run/server.pid".to_owned(),
        },
        faults: Faults::none(),
        limits: Limits { orders: 2, certificates: 2, renewed_days: 30 },
        expect: vec![],
        folder: PathBuf::new(),
        file: PathBuf::new(),
    }
}

fn pair(fingerprint: &str) -> ArtifactState {
    let days = if fingerprint == OLD { 10 } else { 89 };
    ArtifactState {
        certificate_path: "/site/cert.pem".to_owned(),
        key_path: "/site/key.pem".to_owned(),
        certificate: FileState::Whole,
        key: FileState::Whole,
        matches: Some(true),
        unjudged: None,
        fingerprint: fingerprint.to_owned(),
        chain: 2,
        names: vec!["example.com".to_owned()],
        not_after: now() + days * DAY + 60,
        key_mode: Some(0o600),
        key_exposed: Some(false),
    }
}

fn serves(fingerprint: &str) -> Result<Served, String> {
    let ArtifactState { fingerprint, names, not_after, .. } = pair(fingerprint);
    Ok(Served { fingerprint, names, not_after })
}

fn torn(fingerprint: &str) -> ArtifactState {
    ArtifactState { matches: Some(false), ..pair(fingerprint) }
}

fn without_certificate(file: FileState) -> ArtifactState {
    ArtifactState {
        certificate: file,
        matches: None,
        fingerprint: String::new(),
        not_after: 0,
        chain: 0,
        ..pair(OLD)
    }
}

/// What is seen at the end of one phase.
#[derive(Clone)]
struct Scene {
    artifact: ArtifactState,
    served: Result<Served, String>,
    lock: LockState,
    run: Run,
    installed: Vec<&'static str>,
    litter: Vec<Litter>,
}

struct Story {
    scenario: Scenario,
    scenes: [Scene; 3],
}

fn exited(status: i32) -> Run {
    Run { end: Some(End::Exited(status)), ..Run::default() }
}

fn renewing() -> Run {
    Run { orders: 1, certificates: 1, reloads: 1, ..exited(0) }
}

impl Story {
    /// A correct pipeline, killed after the certificate was issued and before it was put in place.
    fn correct() -> Story {
        let aftermath = Scene {
            artifact: pair(OLD),
            served: serves(OLD),
            lock: LockState::Free,
            run: Run { end: Some(End::Killed(9)), orders: 1, certificates: 1, ..Run::default() },
            installed: vec![OLD],
            litter: vec![],
        };
        let recovery = Scene {
            artifact: pair(NEW),
            served: serves(NEW),
            lock: LockState::Free,
            run: renewing(),
            installed: vec![OLD, NEW],
            litter: vec![],
        };
        let idle = Scene { run: exited(0), ..recovery.clone() };
        Story { scenario: scenario(), scenes: [aftermath, recovery, idle] }
    }
    /// The same, killed between putting the certificate in place and the reload.
    fn killed_before_the_reload() -> Story {
        let mut story = Story::correct();
        story.scenes[0].artifact = pair(NEW);
        story.scenes[0].installed = vec![OLD, NEW];
        story.scenes[1].run = Run { reloads: 1, ..exited(0) };
        story
    }
    fn with(mut self, change: impl FnOnce(&mut [Scene; 3], &mut Scenario)) -> Story {
        change(&mut self.scenes, &mut self.scenario);
        self
    }
    fn judge(&self) -> Vec<Judgement> {
        let mut all = Vec::new();
        let before = [pair(OLD)];
        let runs: Vec<Run> = self.scenes.iter().map(|scene| scene.run.clone()).collect();
        for (index, phase) in [Phase::Aftermath, Phase::Recovery, Phase::Idle].into_iter().enumerate() {
            let scene = &self.scenes[index];
            let installed: Vec<String> = scene.installed.iter().map(ToString::to_string).collect();
            let artifacts = [scene.artifact.clone()];
            let evidence = Evidence {
                scenario: &self.scenario,
                phase,
                artifacts_before: &before,
                artifacts: &artifacts,
                served: &scene.served,
                lock: &scene.lock,
                runs: &runs[..=index],
                installed: &installed,
                litter: &scene.litter,
            };
            all.extend(judge_phase(&evidence, &all));
        }
        explain(&mut all);
        all
    }
    /// The invariants that start a finding.
    fn complaints(&self) -> BTreeSet<String> {
        self.unexplained(Verdict::Violated)
    }
    fn unexplained(&self, verdict: Verdict) -> BTreeSet<String> {
        let mine = |judgement: &Judgement| judgement.verdict == verdict && judgement.explained_by.is_none();
        self.judge().into_iter().filter(mine).map(|judgement| judgement.invariant).collect()
    }
    #[track_caller]
    fn complains_of(&self, invariant: &str) {
        assert_eq!(self.complaints(), BTreeSet::from([invariant.to_owned()]), "{:#?}", self.told());
    }
    #[track_caller]
    fn is_left_alone(&self) {
        let held = self.judge().iter().all(|judgement| judgement.verdict == Verdict::Held);
        assert!(held, "{:#?}", self.told());
    }
    fn told(&self) -> Vec<String> {
        let told = self.judge().into_iter().filter(|judgement| judgement.verdict != Verdict::Held);
        told.map(|j| {
            format!("{} {} {}: {} <- {:?}", j.phase, j.invariant, j.verdict, j.detail, j.explained_by)
        })
        .collect()
    }
}

#[test]
fn correct_pipelines_are_left_alone_whenever_they_are_killed() {
    Story::correct().is_left_alone();
    Story::killed_before_the_reload().is_left_alone();
    // After the reload: nothing is left to do.
    Story::killed_before_the_reload()
        .with(|[aftermath, recovery, _], _| {
            aftermath.served = serves(NEW);
            aftermath.run.reloads = 1;
            recovery.run = exited(0);
        })
        .is_left_alone();
    // Told to stop, it finished its work under the lock and said so.
    Story::correct()
        .with(|[aftermath, recovery, _], _| {
            let unlocked = vec![format!("unlink {LOCK}"), "unlink /site/tmp".to_owned()];
            *aftermath = Scene { run: Run { unlocked, ..renewing() }, ..recovery.clone() };
            recovery.run = exited(0);
        })
        .is_left_alone();
    // Killed before it did anything; temporary files until the next run.
    Story::correct()
        .with(|[aftermath, ..], _| {
            aftermath.run = Run { end: Some(End::Killed(15)), ..Run::default() };
            aftermath.litter = litter("/site/cert.pem.tmp", "temporary file");
        })
        .is_left_alone();
    // The file of a kernel lock stays; a stale lock of another kind is known as such.
    for kind in [LockKind::Flock, LockKind::Fcntl] {
        Story::correct()
            .with(|scenes, scenario| {
                scenario.lock.as_mut().unwrap().kind = kind;
                scenes.iter_mut().for_each(|scene| scene.lock = LockState::Present);
            })
            .is_left_alone();
    }
    for kind in [LockKind::File, LockKind::Directory, LockKind::PidFile] {
        Story::correct()
            .with(|[aftermath, ..], scenario| {
                scenario.lock.as_mut().unwrap().kind = kind;
                aftermath.lock = LockState::Present;
            })
            .is_left_alone();
    }
    // A process id that stays on purpose.
    Story::correct()
        .with(|scenes, scenario| {
            scenario.lock.as_mut().unwrap().kind = LockKind::PidFile;
            scenes.iter_mut().for_each(|scene| scene.lock = LockState::Present);
        })
        .is_left_alone();
    // The key of a group that the server is in.
    Story::correct()
        .with(|scenes, _| scenes.iter_mut().for_each(|scene| scene.artifact.key_mode = Some(0o640)))
        .is_left_alone();
    // No lock at all, and none asked for.
    let story = Story::correct().with(|scenes, scenario| {
        scenario.lock = None;
        scenes.iter_mut().for_each(|scene| scene.lock = LockState::Undeclared);
    });
    story.is_left_alone();
    assert!(story.judge().iter().all(|judgement| judgement.invariant != "lock-released"));
}

/// The lock stays and the next runs do nothing, with this exit status.
fn stale_lock(kind: LockKind, lock: &LockState, status: i32) -> Story {
    Story::correct().with(|[aftermath, recovery, idle], scenario| {
        scenario.lock.as_mut().unwrap().kind = kind;
        aftermath.lock = lock.clone();
        *recovery = Scene { run: exited(status), ..aftermath.clone() };
        *idle = recovery.clone();
    })
}

#[test]
fn a_stale_lock_is_lock_released() {
    for kind in [LockKind::PidFile, LockKind::Directory, LockKind::File] {
        for status in [0, 1] {
            stale_lock(kind, &LockState::Present, status).complains_of("lock-released");
            // The same after the installation: a reload is owed.
            stale_lock(kind, &LockState::Present, status)
                .with(|scenes, _| {
                    for scene in scenes {
                        scene.artifact = pair(NEW);
                        scene.installed = vec![OLD, NEW];
                    }
                })
                .complains_of("lock-released");
        }
    }
    // It waits for the lock.
    stale_lock(LockKind::Directory, &LockState::Present, 0)
        .with(|[_, recovery, idle], _| {
            recovery.run.end = Some(End::Deadline);
            idle.run.end = Some(End::Deadline);
        })
        .complains_of("lock-released");
}

#[test]
fn a_daemon_that_inherits_the_lock_is_lock_released() {
    stale_lock(LockKind::Flock, &LockState::Held("renew.sh > watch.sh".to_owned()), 1)
        .with(|[aftermath, ..], _| {
            let process = "renew.sh > watch.sh".to_owned();
            aftermath.run.survivors = vec![Survivor { process, locked: Some(true) }];
        })
        .complains_of("lock-released");
}

#[test]
fn what_is_cut_or_missing_at_rest_is_no_partial_files() {
    // In place: cut, and mended or not.
    for file in [FileState::Broken("empty".to_owned()), FileState::Missing("no such file".to_owned())] {
        let story = Story::correct()
            .with(|[aftermath, ..], _| aftermath.artifact = without_certificate(file.clone()));
        story.complains_of("no-partial-files");
        assert!(story.unexplained(Verdict::Inconclusive).is_empty(), "{:?}", story.told());
        Story::correct()
            .with(|[aftermath, recovery, idle], _| {
                aftermath.artifact = without_certificate(file);
                *recovery = Scene { run: exited(1), ..aftermath.clone() };
                *idle = recovery.clone();
            })
            .complains_of("no-partial-files");
    }
    // Cut between two certificates.
    Story::correct()
        .with(|[_, recovery, idle], _| (recovery.artifact.chain, idle.artifact.chain) = (1, 1))
        .complains_of("no-partial-files");
}

fn litter(path: &str, what: &str) -> Vec<Litter> {
    vec![Litter { path: path.into(), what: what.to_owned() }]
}

#[test]
fn temporary_files_left_are_no_partial_files_but_a_lock_is_not() {
    Story::correct()
        .with(|scenes, _| scenes.iter_mut().for_each(|s| s.litter = litter("/site/key.Xy1", "private key")))
        .complains_of("no-partial-files");
    Story::correct()
        .with(|scenes, _| {
            scenes.iter_mut().for_each(|s| s.litter = litter("/run/renew.lock/pid", "process id"));
        })
        .is_left_alone();
}

#[test]
fn litter_of_a_next_run_that_does_nothing_is_told_once() {
    Story::correct()
        .with(|scenes, _| {
            for scene in scenes.iter_mut() {
                scene.artifact = pair(OLD);
                scene.installed = vec![OLD];
                scene.served = serves(OLD);
                scene.run = exited(0);
                scene.litter = litter("/site/key.Xy1", "private key");
            }
            scenes[0].run.end = Some(End::Killed(9));
        })
        .complains_of("recovers");
}

#[test]
fn litter_explains_nothing_else() {
    let story = Story::killed_before_the_reload().with(|[_, recovery, idle], _| {
        recovery.run = exited(0);
        for scene in [recovery, idle] {
            scene.served = serves(OLD);
            scene.litter = litter("/site/key.Xy1", "private key");
        }
    });
    let both = ["no-lost-reload", "no-partial-files"].map(str::to_owned);
    assert_eq!(story.complaints(), BTreeSet::from(both), "{:#?}", story.told());
}

#[test]
fn key_and_certificate_moved_one_by_one_are_pair_intact() {
    // The key first: the next run renews and mends it.
    Story::correct().with(|[aftermath, ..], _| aftermath.artifact = torn(OLD)).complains_of("pair-intact");
    // The certificate first: not due any more, never mended, every reload refused.
    Story::killed_before_the_reload()
        .with(|[aftermath, recovery, idle], _| {
            for scene in [aftermath, recovery, idle] {
                scene.artifact = torn(NEW);
                scene.served = serves(OLD);
            }
            recovery.run.reloads = 1;
            idle.run.reloads = 1;
        })
        .complains_of("pair-intact");
}

#[test]
fn a_pair_torn_for_a_moment_counts_where_moments_are_watched() {
    Story::correct()
        .with(|[_, recovery, _], _| recovery.run.torn_moments = vec!["after mv: rename".to_owned()])
        .complains_of("pair-intact");
}

#[test]
fn reload_on_every_run_is_at_most_one_reload() {
    Story::correct().with(|[_, _, idle], _| idle.run.reloads = 1).complains_of("at-most-one-reload");
    Story::correct().with(|[_, recovery, _], _| recovery.run.reloads = 2).complains_of("at-most-one-reload");
}

#[test]
fn every_way_to_lose_the_reload_is_no_lost_reload() {
    // Only in the run that renewed; the fingerprint noted, the marker removed before the reload.
    let lost = || {
        Story::killed_before_the_reload().with(|[_, recovery, idle], _| {
            (recovery.served, idle.served) = (serves(OLD), serves(OLD));
            recovery.run = exited(0);
        })
    };
    lost().complains_of("no-lost-reload");
    // The child that reloads was killed, and the script went on.
    lost().with(|[aftermath, ..], _| aftermath.run.end = Some(End::Exited(0))).complains_of("no-lost-reload");
    // Reloaded before the installation, twice for one certificate.
    lost()
        .with(|[aftermath, recovery, _], _| {
            *aftermath = Story::correct().scenes[0].clone();
            aftermath.run.reloads = 1;
            recovery.run = renewing();
        })
        .complains_of("no-lost-reload");
}

#[test]
fn success_reported_for_a_job_not_done_is_honest_exit() {
    Story::correct()
        .with(|[aftermath, ..], _| aftermath.run.end = Some(End::Exited(0)))
        .complains_of("honest-exit");
    Story::killed_before_the_reload()
        .with(|[aftermath, ..], _| aftermath.run.end = Some(End::Exited(0)))
        .complains_of("honest-exit");
}

#[test]
fn a_run_whose_clock_was_behind_honestly_finds_nothing_due() {
    let stepped = |fault: &str| {
        let point = Point {
            side: Side::Before,
            process: "renew.sh".to_owned(),
            op: "lock".to_owned(),
            role: LOCK.to_owned(),
            occurrence: 1,
        };
        let record = FaultRecord::new(fault, Some("90d"), point);
        Story::correct().with(|[aftermath, ..], _| {
            aftermath.run = Run { faults: vec![record], ..exited(0) };
        })
    };
    stepped("clock-back").is_left_alone();
    stepped("clock-forward").complains_of("honest-exit");
}

#[test]
fn a_key_that_others_can_read_is_key_private() {
    Story::correct()
        .with(|[aftermath, ..], _| {
            aftermath.run.exposed_keys = vec!["/site/key.pem (0644) after cp: write".to_owned()];
        })
        .complains_of("key-private");
    Story::correct()
        .with(|[_, recovery, idle], _| {
            for scene in [recovery, idle] {
                (scene.artifact.key_mode, scene.artifact.key_exposed) = (Some(0o644), Some(true));
            }
        })
        .complains_of("key-private");
    let unseen = Story::correct().with(|[_, recovery, _], _| recovery.artifact.key_exposed = None);
    assert_eq!(unseen.unexplained(Verdict::Inconclusive), BTreeSet::from(["key-private".to_owned()]));
}

#[test]
fn what_runs_on_without_the_lock_is_no_orphans() {
    for locked in [Some(false), None] {
        let survivors = vec![Survivor { process: "renew.sh > sleep".to_owned(), locked }];
        Story::correct()
            .with(|[aftermath, ..], _| aftermath.run.survivors = survivors)
            .complains_of("no-orphans");
    }
    // A trap that lets go of the lock and does not exit: it renews to the end, unlocked.
    Story::correct()
        .with(|[aftermath, recovery, _], _| {
            let unlocked = vec![format!("rmdir {LOCK}"), "rename /site/cert.pem".to_owned()];
            *aftermath = Scene { run: Run { unlocked, ..renewing() }, ..recovery.clone() };
            recovery.run = exited(0);
        })
        .complains_of("no-orphans");
    // And it meets the next run.
    Story::correct()
        .with(|[aftermath, recovery, _], _| {
            aftermath.run.survivors = vec![Survivor { process: "renew.sh".to_owned(), locked: Some(false) }];
            recovery.run.overlaps = vec!["rename /site/cert.pem".to_owned()];
        })
        .complains_of("no-orphans");
}

#[test]
fn two_runs_at_once_are_one_at_a_time() {
    Story::correct()
        .with(|[aftermath, ..], _| aftermath.run.overlaps = vec!["rename /site/cert.pem".to_owned()])
        .complains_of("one-at-a-time");
}

#[test]
fn a_renewal_forced_on_every_run_is_bounded_issuance() {
    Story::correct()
        .with(|[_, _, idle], _| {
            idle.run = renewing();
            idle.installed = vec![OLD, NEW, "2222222222222222"];
        })
        .complains_of("bounded-issuance");
    Story::correct().with(|[_, recovery, _], _| recovery.run.orders = 5).complains_of("bounded-issuance");
}

#[test]
fn a_server_stopped_around_the_renewal_is_always_serving() {
    // Killed while it was stopped; the next run starts it again.
    Story::correct()
        .with(|[aftermath, ..], _| aftermath.served = Err("connection refused".to_owned()))
        .complains_of("always-serving");
    // Nobody starts it again.
    let down = Story::killed_before_the_reload().with(|scenes, _| {
        scenes.iter_mut().for_each(|scene| scene.served = Err("connection refused".to_owned()));
        scenes[1].run = exited(0);
    });
    down.complains_of("always-serving");
    assert!(down.unexplained(Verdict::Inconclusive).is_empty(), "{:?}", down.told());
    Story::correct()
        .with(|[aftermath, ..], _| aftermath.run.dark_moments = vec!["before renew.sh: newOrder".to_owned()])
        .complains_of("always-serving");
}

#[test]
fn a_certificate_for_another_name_or_past_its_end_is_always_serving() {
    Story::correct()
        .with(|[aftermath, ..], _| {
            aftermath.served.as_mut().unwrap().names = vec!["*.example.com".to_owned()];
        })
        .complains_of("always-serving");
    Story::correct()
        .with(|[aftermath, ..], _| aftermath.served.as_mut().unwrap().not_after = now() - 1)
        .complains_of("always-serving");
    Story::correct()
        .with(|scenes, scenario| {
            scenario.artifacts[0].domains = vec!["www.Example.com".to_owned()];
            scenes
                .iter_mut()
                .for_each(|s| s.served.as_mut().unwrap().names = vec!["*.example.com".to_owned()]);
        })
        .is_left_alone();
}

#[test]
fn a_next_run_that_fails_or_does_not_renew_is_recovers() {
    Story::correct()
        .with(|[_, recovery, _], _| recovery.run.end = Some(End::Exited(1)))
        .complains_of("recovers");
    let later = Story::correct().with(|[aftermath, recovery, idle], _| {
        *idle = Scene { run: renewing(), ..recovery.clone() };
        *recovery = Scene { run: exited(0), ..aftermath.clone() };
    });
    later.complains_of("recovers");
}

#[test]
fn a_run_that_hangs_is_ends() {
    Story::correct()
        .with(|[aftermath, recovery, idle], _| {
            *recovery =
                Scene { run: Run { end: Some(End::Deadline), ..Run::default() }, ..aftermath.clone() };
            *idle = Scene { run: renewing(), ..idle.clone() };
        })
        .complains_of("ends");
}

#[test]
fn what_could_not_be_looked_at_is_inconclusive_and_never_held() {
    let of = |change: fn(&mut Scene)| {
        Story::correct()
            .with(|scenes, _| scenes.iter_mut().for_each(change))
            .unexplained(Verdict::Inconclusive)
    };
    let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(
        of(|scene| scene.lock = LockState::Unknown("no permission".to_owned())),
        names(&["lock-released"])
    );
    let encrypted = of(|scene| {
        (scene.artifact.matches, scene.artifact.unjudged) = (None, Some("the key is encrypted".to_owned()));
    });
    assert_eq!(encrypted, names(&["pair-intact", "recovers"]));
    let unreadable = of(|scene| {
        scene.artifact = without_certificate(FileState::Unreadable("permission denied".to_owned()));
    });
    assert_eq!(unreadable, names(&["pair-intact", "no-partial-files", "no-lost-reload", "recovers"]));
}

#[test]
fn every_invariant_judges_a_whole_experiment_at_least_once() {
    let judged: BTreeSet<String> = Story::correct().judge().into_iter().map(|j| j.invariant).collect();
    let names: BTreeSet<String> = all().iter().map(|invariant| invariant.name().to_owned()).collect();
    assert_eq!(judged, names);
    assert_eq!(names.len(), 13);
}

#[test]
fn the_table_of_causes_names_invariants_and_has_no_circles() {
    explain::check_table(&all().iter().map(|invariant| invariant.name()).collect::<Vec<_>>());
}

#[test]
fn the_documentation_names_every_invariant_and_its_promise() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/invariants.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut rest = page.as_str();
    for invariant in all() {
        let heading = format!("\n## {}\n\n**{}.**\n", invariant.name(), invariant.promise());
        let at = rest
            .find(&heading)
            .unwrap_or_else(|| panic!("docs/invariants.md lacks, in its place: {heading}"));
        rest = &rest[at + heading.len()..];
    }
    assert!(!rest.contains("\n## "), "docs/invariants.md describes more than there is");
}
