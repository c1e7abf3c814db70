//! A run as a real one looks: a wrapper that renews, installs and reloads, and loses its reload
//! when it is killed at the wrong moment.

use crate::{
    event::{
        Coverage, EffectRecord, Event, ExperimentRecord, FaultRecord, Finding, InvariantCount, PebbleRecord,
        Skipped, Summary, Violation, WorldKind,
    },
    scenario::INVARIANTS,
    verdict::{Judgement, Phase, Verdict},
};

const EFFECTS: [(&str, &str, &str); 6] = [
    ("renew.sh", "flock", "/run/renew.lock"),
    ("renew.sh > guard", "newOrder", ""),
    ("renew.sh > guard", "rename", "/etc/site/live"),
    ("renew.sh > deploy.sh > cp", "write", "/var/lib/deploy/fingerprint"),
    ("renew.sh > deploy.sh", "kill", "nginx"),
    ("renew.sh", "exit", ""),
];

fn effects() -> Vec<EffectRecord> {
    EFFECTS
        .iter()
        .map(|(process, op, path)| EffectRecord {
            point: format!("before {process}: {op}{}{path}", if path.is_empty() { "" } else { " " })
                .parse()
                .unwrap(),
            process: (*process).to_owned(),
            op: (*op).to_owned(),
            path: (*path).to_owned(),
            durable: *op != "exit",
            processes: 2,
        })
        .collect()
}

fn experiment(index: usize, fault: &str, scope: &str) -> ExperimentRecord {
    let lost = index == 4 && fault == "sigkill";
    let diverged = index == 1 && fault == "sigterm" && scope == "leader";
    let verdict = match (lost, diverged) {
        (true, _) => Verdict::Violated,
        (_, true) => Verdict::Inconclusive,
        _ => Verdict::Held,
    };
    let detail = "the server still serves 9f2c41aa (10 days left), newest on disk is 77d0e3b1";
    let violations: Vec<Violation> = [Phase::Recovery, Phase::Idle]
        .into_iter()
        .filter(|_| lost)
        .map(|phase| Violation {
            invariant: "no-lost-reload".to_owned(),
            phase,
            detail: detail.to_owned(),
            explained_by: None,
        })
        .collect();
    let id = format!("{index:02}{}{}", &fault[3..], &scope[..1]);
    let faults = vec![FaultRecord::new(fault, Some(scope), effects()[index].point.clone())];
    ExperimentRecord {
        judgements: violations
            .iter()
            .map(|violation| Judgement {
                invariant: violation.invariant.clone(),
                phase: violation.phase,
                verdict: Verdict::Violated,
                detail: violation.detail.clone(),
                explained_by: None,
            })
            .collect(),
        violations,
        inconclusive: diverged.then(|| "diverged: the point was not reached".to_owned()),
        exits: vec![fault.to_uppercase(), "exit 0".to_owned(), "exit 0".to_owned()],
        aftermath: vec![
            "/etc/site/live/fullchain.pem: whole, 77d0e3b1, 90 days left".to_owned(),
            "/etc/site/live/privkey.pem: whole, matches, mode 0600".to_owned(),
            "lock /run/renew.lock: free".to_owned(),
        ],
        recovery_output: "renew.sh: certificate is not due (90 days left)\nrenew.sh: fingerprint unchanged, \u{1b}[1mno reload\u{1b}[0m\n".to_owned(),
        wall_ms: 93,
        cpu_ms: 71,
        ..ExperimentRecord::new(&id, faults, verdict)
    }
}

/// Everything up to the last experiment.
pub fn unfinished() -> Vec<Event> {
    let mut events = vec![
        Event::Started {
            schema: 1,
            scenario: "deploy-hook".to_owned(),
            purpose: "a wrapper under flock whose deploy hook records the fingerprint before it reloads"
                .to_owned(),
            file: "scenarios/deploy-hook.toml".to_owned(),
            seed: 42,
            world: WorldKind::Private,
            jobs: 6,
            version: "process-roulette 0.1.0".to_owned(),
        },
        Event::Pebble(PebbleRecord { version: "2.10.0".to_owned(), source: "package".to_owned() }),
        Event::Step { what: "building 6 worlds".to_owned() },
        Event::Census { effects: effects(), partial: None, wall_ms: 412 },
        Event::Plan {
            experiments: 24,
            points: 6,
            same: 5,
            skipped: vec![Skipped {
                what: "sigterm to the group".to_owned(),
                count: 6,
                why: "the leader shares the process group of its scheduler".to_owned(),
            }],
        },
        Event::Note { text: "the subject took 1.2 s to end after a SIGTERM".to_owned() },
    ];
    for index in 0..EFFECTS.len() {
        for (fault, scope) in
            [("sigkill", "tree"), ("sigkill", "leader"), ("sigterm", "tree"), ("sigterm", "leader")]
        {
            events.push(Event::Experiment(Box::new(experiment(index, fault, scope))));
        }
    }
    events
}

/// The whole run. `known`: the finding is expected.
pub fn whole(known: bool) -> Vec<Event> {
    let mut events = unfinished();
    let invariants = INVARIANTS.iter().map(|name| InvariantCount {
        name: (*name).to_owned(),
        held: match *name {
            "no-lost-reload" => 21,
            "one-at-a-time" => 0,
            _ => 23,
        },
        violated: if *name == "no-lost-reload" { 2 } else { 0 },
        inconclusive: u64::from(*name != "one-at-a-time"),
    });
    events.push(Event::Ended(Box::new(Summary {
        verdict: if known { Verdict::Held } else { Verdict::Violated },
        wall_s: 2.25,
        coverage: Coverage { points: 6, covered: 6 },
        experiments: 24,
        invariants: invariants.collect(),
        findings: vec![Finding {
            id: "deploy-hook.3fa9c1".to_owned(),
            invariant: "no-lost-reload".to_owned(),
            title:
                "killed after the fingerprint was recorded and before the reload: the reload never happens"
                    .to_owned(),
            detail: "the server still serves 9f2c41aa (10 days left), newest on disk is 77d0e3b1".to_owned(),
            experiments: vec!["04killt".to_owned(), "04killl".to_owned()],
            replay: "roulette replay deploy-hook.3fa9c1".to_owned(),
            expected: known.then(|| "the hook is being rewritten".to_owned()),
        }],
        stale_expectations: if known {
            vec![]
        } else {
            vec!["key-private: the umask was set too late".to_owned()]
        },
        skipped: vec![Skipped {
            what: "one-at-a-time".to_owned(),
            count: 24,
            why: "no fault of this sweep starts a second run".to_owned(),
        }],
        cpu_efficiency: 0.83,
        interrupted: None,
    })));
    events
}
