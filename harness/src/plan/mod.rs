//! From the census to the experiments: points times faults, without those that are proven to be
//! the same instant and the same world.

mod pairs;

use std::collections::{HashMap, HashSet};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::{
    census::{Bounds, Census, CensusEffect},
    effect::Class,
    event::{ExperimentRecord, FaultRecord, Skipped},
    fault::{self, Family, Fault, collide, memory},
    limits,
    point::Point,
    scenario::{Faults, Kill, KillSignal, Memory, Scope},
};

pub use pairs::{follow, pairs};

/// One experiment to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Derived from the faults: the same for the same faults at the same points.
    pub id: String,
    /// What is done, in order.
    pub faults: Vec<FaultRecord>,
    /// Whether the points that its runs come to after the fault are kept, for further faults.
    #[serde(default)]
    pub follow: bool,
}

impl Planned {
    /// An experiment with these faults.
    pub fn new(faults: Vec<FaultRecord>) -> Planned {
        let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let hash = digest(&SHA256, text.join("\n").as_bytes());
        let id = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Planned { id, faults, follow: false }
    }

    /// The run without any fault.
    pub fn clean() -> Planned {
        Planned { id: "clean".to_owned(), faults: Vec::new(), follow: false }
    }

    /// An experiment that was made before, once more.
    pub fn again(record: &ExperimentRecord) -> Planned {
        Planned { id: record.id.clone(), faults: record.faults.clone(), follow: false }
    }
}

/// Every experiment of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are tried: spread over the whole run first, so that a finding
    /// comes early.
    pub experiments: Vec<Planned>,
    /// Every point of the census.
    pub points: Vec<Point>,
    /// Experiments that are the same as a planned one.
    pub same: u64,
    /// What is not tried, and why.
    pub skipped: Vec<Skipped>,
}

/// The sweep of `census` with these faults.
pub fn sweep(census: &Census, faults: &Faults) -> Plan {
    let mut plan = Plan::default();
    let mut experiments = Vec::new();
    let mut points: Vec<Point> = Vec::new();
    let places = places(census, &mut plan.skipped);
    let with_starts = with_starts(census, &places);
    let private_writes = private_writes(census);
    if let Some(kill) = &faults.kill {
        let places: Vec<_> = places.iter().copied().filter(|e| KillSignal::Sigkill.strikes_at(e)).collect();
        for (rank, effect) in spread(&places) {
            let (planned, same) = kills(effect, kill, private_writes.contains(&effect.record.point));
            plan.same += same;
            // An instant at which every fault is the same as at another one is no point of its own.
            if !planned.is_empty() {
                points.push(effect.record.point.clone());
            }
            experiments.extend(planned.into_iter().map(|(weight, p)| ((weight, rank), p)));
        }
    }
    for (weight, choice) in (10..).zip(choices(faults)) {
        let places = if choice.fault.strikes_at_starts() { &with_starts } else { &places };
        let places: Vec<_> =
            places.iter().copied().filter(|effect| choice.fault.strikes_at(effect)).collect();
        let places = if choice.fault.strikes_once() { &places[..places.len().min(1)] } else { &places };
        for (rank, effect) in spread(places) {
            points.push(effect.record.point.clone());
            for (index, scope) in choice.scopes.iter().enumerate() {
                // Who is signalled makes no difference where there is only one process.
                if choice.fault.family() == Family::Senders && effect.record.processes == 1 && index > 0 {
                    plan.same += 1;
                    continue;
                }
                let fault =
                    FaultRecord::new(choice.fault.name(), scope.as_deref(), effect.record.point.clone());
                experiments.push(((weight, rank), Planned::new(vec![fault])));
            }
        }
    }
    let limited = memory_limits(census, faults.memory.as_ref(), &mut plan.skipped);
    let start = limited.first().map(|(_, planned)| planned.faults[0].point.clone());
    experiments.extend(limited);
    plan.skipped.extend(unnoticed_steps(&places, faults));
    experiments.sort_by_key(|(order, _)| *order);
    plan.experiments = experiments.into_iter().map(|(_, planned)| planned).collect();
    // In the census's order, each once.
    let tried: HashSet<Point> = points.into_iter().collect();
    let places = with_starts.iter().map(|effect| effect.record.point.clone());
    plan.points = start.into_iter().chain(places.filter(|point| tried.contains(point))).collect();
    plan
}

/// What stands before each experiment in the order: weight, and rank within it.
type Order = (u8, u32);

/// A run under each of some memory limits: from the highest under which it goes short down to the
/// lowest at which the command can start.
fn memory_limits(
    census: &Census,
    memory: Option<&Memory>,
    skipped: &mut Vec<Skipped>,
) -> Vec<(Order, Planned)> {
    let (Some(memory), Some(start)) = (memory, census.start()) else { return Vec::new() };
    let mut planned = Vec::new();
    for need in census.memory.iter().flat_map(|need| &need.bisected) {
        let Some(bounds) = need.bounds else {
            let why = match need.exempt.as_slice() {
                [] => "the run goes short under none of the limits that were tried".to_owned(),
                exempt => format!(
                    "nothing of the run goes short: {} of Go, whose runtime reserves address space that it never uses",
                    exempt.join(", ")
                ),
            };
            skipped.push(Skipped { what: need.fault.clone(), count: u64::from(memory.limits), why });
            continue;
        };
        let mut tried: Vec<u64> = (0..memory.limits)
            .map(|number| {
                let share = f64::from(number) / f64::from(memory.limits.saturating_sub(1).max(1));
                memory::rounded(between(bounds, share, need.fault == memory::ADDRESS_SPACE))
            })
            .collect();
        tried.dedup();
        for (limit, rank) in tried.into_iter().zip(0..) {
            let kills = if memory::takes_group(&need.fault) { &memory.kills[..] } else { &[String::new()] };
            planned.extend(kills.iter().map(|kills| {
                let scope = memory::scope(Some(limit), kills);
                let fault = FaultRecord::new(&need.fault, scope.as_deref(), start.clone());
                ((9, rank), Planned::new(vec![fault]))
            }));
        }
    }
    planned
}

/// The limit at this share of the way from the highest to the lowest. `by_ratio`: each the same part of the
/// one before it, since programs reserve a few MiB or some hundred.
fn between(bounds: Bounds, share: f64, by_ratio: bool) -> u64 {
    let (high, low) = (bounds.kills as f64, (bounds.starts as f64).max(1.0));
    let limit = if by_ratio { high * (low / high).powf(share) } else { high - (high - low) * share };
    limit.round() as u64
}

/// A fault that is tried, with its settings.
struct Choice {
    fault: &'static dyn Fault,
    scopes: Vec<Option<String>>,
}

/// The faults beyond the single kill that a scenario asks for.
fn choices(faults: &Faults) -> Vec<Choice> {
    let mut choices = Vec::new();
    let mut choose = |name: &str, scopes: Vec<Option<String>>| {
        choices.extend(fault::find(name).map(|fault| Choice { fault, scopes }));
    };
    let some = |texts: &[String]| texts.iter().cloned().map(Some).collect::<Vec<_>>();
    if let Some(senders) = &faults.senders {
        for profile in &senders.profiles {
            match profile.as_str() {
                "systemd-stop" | "systemd-timeout" => choose(profile, some(&senders.kill_modes)),
                "pkill-f" => choose(profile, some(&senders.patterns)),
                _ => choose(profile, vec![None]),
            }
        }
    }
    if let Some(others) = &faults.collide {
        choose(collide::SECOND_RUN, vec![None]);
        if others.at_once > 1 {
            choose(collide::RUNS_AT_ONCE, at_once(others.at_once));
        }
    }
    if let Some(disk) = &faults.disk {
        for error in &disk.errors {
            let lasts = fault::find(error).is_some_and(|fault| !fault.settings().is_empty());
            choose(error, if lasts { some(&disk.lasting) } else { vec![None] });
        }
    }
    for name in faults.ca.iter().flat_map(|ca| &ca.troubles) {
        choose(name, vec![None]);
    }
    for name in faults.neighbour.iter().flat_map(|neighbour| &neighbour.faults) {
        choose(name, vec![None]);
    }
    for name in faults.memory.iter().flat_map(|memory| &memory.faults) {
        if name == memory::LOWERED {
            let kills = faults.memory.iter().flat_map(|memory| &memory.kills);
            choose(name, kills.map(|kills| memory::scope(None, kills)).collect());
        }
    }
    if faults.pause.is_some() {
        choose("pause", vec![None]);
    }
    if let Some(clock) = &faults.clock {
        for name in &clock.faults {
            choose(name, some(&clock.by));
        }
    }
    choices
}

/// When `runs - 1` further runs start, a few times over: all together, then with jitter within the
/// time a run takes. Drawn from a fixed seed: the same every time.
fn at_once(runs: u32) -> Vec<Option<String>> {
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(runs));
    let further = runs.saturating_sub(1) as usize;
    let mut draws = vec![vec![0; further]];
    draws
        .extend((1..limits::AT_ONCE_DRAWS).map(|_| (0..further).map(|_| rng.random_range(0..100)).collect()));
    draws.iter().map(|shares| Some(collide::setting(shares))).collect()
}

/// Steps of the clock that would make no difference.
fn unnoticed_steps(places: &[&CensusEffect], faults: &Faults) -> Option<Skipped> {
    let clock = faults.clock.as_ref()?;
    let last = |effect: &&&CensusEffect| !effect.time_asked_later && effect.class != Class::Control;
    let count = places.iter().filter(last).count() * clock.faults.len() * clock.by.len();
    (count > 0).then(|| Skipped {
        what: "steps of the clock".to_owned(),
        count: count as u64,
        why: "nobody asks for the time of day between that point and the end of the run".to_owned(),
    })
}

/// The effects before which something can be done, in order.
fn places<'c>(census: &'c Census, skipped: &mut Vec<Skipped>) -> Vec<&'c CensusEffect> {
    let acting: HashSet<i32> = census
        .effects
        .iter()
        .filter(|e| e.class.durable() && e.class != Class::Log && !e.failed)
        .map(|e| e.pid)
        .collect();
    let mut helpers: HashMap<(String, &str), u32> = HashMap::new();
    let mut left_out = 0;
    let places = census
        .effects
        .iter()
        .filter(|effect| match effect.class {
            Class::Change | Class::Lock | Class::Request | Class::Query | Class::Signal | Class::Sync => {
                !effect.failed
            }
            // A log's length decides nothing.
            Class::Log => false,
            // The leader's end is the one instant after its last effect. Its parent is the
            // scheduler: its start is the first effect's instant.
            Class::Control if effect.by_leader => effect.record.op == "exit",
            Class::Control => {
                if acting.contains(&effect.pid) {
                    // Killed before its exec is killed before its first effect.
                    return effect.record.op == "exit";
                }
                let key = (started(effect), effect.record.op.as_str());
                let count = helpers.entry(key).or_insert(0);
                *count += 1;
                let kept = *count <= limits::HELPER_OCCURRENCES;
                left_out += u64::from(!kept);
                kept
            }
        })
        .collect();
    if left_out > 0 {
        skipped.push(Skipped {
            what: "points of helper processes".to_owned(),
            count: left_out,
            why: format!(
                "programs that change nothing themselves are killed the first {} times each parent starts them",
                limits::HELPER_OCCURRENCES
            ),
        });
    }
    places
}

/// The same places, and the starts of children that have effects of their own later: the first
/// ones of each.
fn with_starts<'c>(census: &'c Census, places: &[&'c CensusEffect]) -> Vec<&'c CensusEffect> {
    let known: HashSet<&Point> = places.iter().map(|effect| &effect.record.point).collect();
    let mut starts: HashMap<String, u32> = HashMap::new();
    let mut first_starts = |effect: &CensusEffect| {
        let is_start = effect.class == Class::Control && effect.record.op == "exec" && !effect.by_leader;
        let count = starts.entry(started(effect)).or_insert(0);
        *count += u32::from(is_start);
        is_start && *count <= limits::HELPER_OCCURRENCES
    };
    let chosen = |effect: &&CensusEffect| first_starts(effect) || known.contains(&effect.record.point);
    census.effects.iter().filter(chosen).collect()
}

/// Which program it is by whom that starts or ends: the first times stand for the rest.
fn started(effect: &CensusEffect) -> String {
    let parents = effect.record.process.rsplit_once(" > ").map_or("", |(parents, _)| parents);
    format!("{parents} {}", effect.record.path)
}

/// Writes that go on with the last durable effect, a write to the same file, which this run made
/// under a random name. Whoever kills the whole tree here leaves what it would have left one write
/// earlier: a file that nobody knows the name of, of another length.
fn private_writes(census: &Census) -> HashSet<Point> {
    let mut made: HashSet<&str> = HashSet::new();
    let mut last: Option<&CensusEffect> = None;
    let mut writes = HashSet::new();
    for effect in census.effects.iter().filter(|effect| !effect.failed && effect.class.decides()) {
        let (record, path) = (&effect.record, effect.record.path.as_str());
        let name = record.point.role.rsplit('/').next().unwrap_or_default();
        if record.op == "create" && name.contains("{X}") {
            made.insert(path);
        }
        let goes_on = last.is_some_and(|last| last.record.op == "write" && last.record.path == path);
        if record.op == "write" && goes_on && made.contains(path) {
            writes.insert(record.point.clone());
        }
        last = Some(effect);
    }
    writes
}

/// The kills at one point, each with its weight in the order, and how many more are the same.
fn kills(effect: &CensusEffect, kill: &Kill, private_write: bool) -> (Vec<(u8, Planned)>, u64) {
    let mut planned = Vec::new();
    let mut same = 0;
    for signal in &kill.signals {
        let mut done: Vec<Scope> = Vec::new();
        // The widest first: it is the plainest to read where several are the same.
        for scope in [Scope::Tree, Scope::Group, Scope::Leader, Scope::Process] {
            if !kill.scopes.contains(&scope) {
                continue;
            }
            let helper = effect.class == Class::Control && !effect.by_leader;
            let duplicate = if helper {
                // Nothing has changed since the last point: only its parent can tell.
                scope != Scope::Process
            } else {
                let alone = effect.record.processes == 1;
                (private_write && scope == Scope::Tree)
                    || (alone && (private_write || !done.is_empty()))
                    || (scope == Scope::Process && effect.by_leader && done.contains(&Scope::Leader))
            };
            let as_by_kill = scope == Scope::Process
                && !effect.by_leader
                && *signal != KillSignal::Sigkill
                && effect.default_sigterm
                && *signal == KillSignal::Sigterm
                && kill.signals.contains(&KillSignal::Sigkill);
            if duplicate || as_by_kill {
                same += 1;
                continue;
            }
            done.push(scope);
            let fault = FaultRecord::new(signal.name(), Some(scope.name()), effect.record.point.clone());
            let weight = match (signal, scope) {
                (KillSignal::Sigkill, Scope::Tree) => 0,
                (KillSignal::Sigterm, Scope::Tree) => 1,
                (KillSignal::Sigkill, _) => 2,
                _ => 3,
            };
            planned.push((weight, Planned::new(vec![fault])));
        }
    }
    (planned, same)
}

/// Each item with its rank when the middle is taken first, then the quarters, and so on.
fn spread<'c, T>(items: &[&'c T]) -> Vec<(u32, &'c T)> {
    (0u32..).zip(items.iter().copied()).map(|(index, item)| (index.reverse_bits(), item)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        census::{Bisected, Bounds, Need},
        event::{EffectRecord, ExperimentRecord},
        point::Side,
        verdict::Verdict,
    };

    fn effect(process: &str, op: &str, path: &str, class: Class, pid: i32, processes: u32) -> CensusEffect {
        CensusEffect {
            record: EffectRecord {
                point: Point {
                    side: Side::Before,
                    process: process.into(),
                    op: op.into(),
                    role: path.into(),
                    occurrence: 1,
                },
                process: process.into(),
                op: op.into(),
                path: path.into(),
                durable: class.durable(),
                processes,
            },
            from: None,
            class,
            pid,
            by_leader: pid == 1,
            failed: false,
            locked: None,
            default_sigterm: true,
            time_asked_later: true,
        }
    }

    fn census(effects: Vec<CensusEffect>) -> Census {
        let clean = ExperimentRecord::new("clean", vec![], Verdict::Held);
        Census {
            effects,
            clean_roles: vec![],
            left_running: vec![],
            partial: None,
            memory: None,
            wall_ms: 0,
            plain_ms: None,
            clean,
        }
    }

    fn all_kills() -> Faults {
        Faults {
            kill: Some(Kill {
                signals: vec![KillSignal::Sigkill, KillSignal::Sigterm],
                scopes: vec![Scope::Process, Scope::Leader, Scope::Tree],
            }),
            ..Faults::none()
        }
    }

    #[test]
    fn scopes_that_are_the_same_processes_are_tried_once() {
        let census = census(vec![
            effect("guard", "rename", "/a", Class::Change, 1, 1),
            effect("guard", "exit", "", Class::Control, 1, 1),
        ]);
        let plan = sweep(&census, &all_kills());
        assert_eq!((plan.points.len(), plan.experiments.len(), plan.same), (2, 4, 8));
        assert!(plan.experiments.iter().all(|e| e.faults[0].scope.as_deref() == Some("tree")));
    }

    #[test]
    fn a_child_is_also_killed_alone_and_its_leader_alone() {
        let census = census(vec![effect("renew.sh > cp", "write", "/a", Class::Change, 2, 2)]);
        let plan = sweep(&census, &all_kills());
        let tried: Vec<String> = plan.experiments.iter().map(|e| e.faults[0].to_string()).collect();
        assert_eq!(tried.len(), 5, "{tried:?}");
        assert_eq!(plan.same, 1, "SIGTERM of a child without a handler is SIGKILL of it");
    }

    #[test]
    fn memory_limits_are_spread_between_those_that_kill_and_those_that_start() {
        let mut census = census(vec![effect("renew.sh", "rename", "/a", Class::Change, 1, 1)]);
        let memory = Memory { faults: vec![memory::LIMIT.into()], limits: 3, ..Memory::default() };
        let faults = Faults { memory: Some(memory), ..Faults::none() };
        assert!(sweep(&census, &faults).experiments.is_empty(), "nothing kills, nothing is tried");
        let bisected = |fault: &str, bounds| Bisected { fault: fault.into(), bounds, exempt: vec![] };
        let bounds = Some(Bounds { starts: 1 << 20, kills: 9 << 20 });
        census.memory = Some(Need { peak: None, bisected: vec![bisected(memory::LIMIT, bounds)] });
        let plan = sweep(&census, &faults);
        let tried: Vec<String> = plan.experiments.iter().map(|e| e.faults[0].to_string()).collect();
        let expected =
            ["9MiB", "5MiB", "1MiB"].map(|l| format!("memory-limit ({l}), before renew.sh: start"));
        assert_eq!(tried, expected);
        assert!(plan.points.iter().all(Point::is_start) && plan.points.len() == 1);
    }

    #[test]
    fn failed_effects_logs_and_syncs_have_no_points() {
        let mut failed = effect("a", "unlink", "/x", Class::Change, 1, 1);
        failed.failed = true;
        let census = census(vec![
            failed,
            effect("a", "write", "/var/log/a", Class::Log, 1, 1),
            effect("a", "fsync", "/x", Class::Sync, 1, 1),
        ]);
        assert!(sweep(&census, &all_kills()).points.is_empty());
    }

    #[test]
    fn a_step_of_the_clock_is_tried_where_somebody_looks_at_it_afterwards() {
        let mut last = effect("guard", "rename", "/b", Class::Change, 1, 1);
        last.time_asked_later = false;
        let census = census(vec![effect("guard", "rename", "/a", Class::Change, 1, 1), last]);
        let faults = Faults { clock: Some(crate::scenario::Clock::default()), ..Faults::none() };
        let plan = sweep(&census, &faults);
        assert_eq!((plan.points.len(), plan.experiments.len()), (1, 4));
        assert_eq!(plan.skipped.iter().map(|skipped| skipped.count).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn the_same_faults_always_have_the_same_id() {
        let census = census(vec![effect("guard", "rename", "/a", Class::Change, 1, 1)]);
        assert_eq!(sweep(&census, &all_kills()), sweep(&census, &all_kills()));
    }
}
