//! What the wheel draws from, and how a draw is made smaller: schedules of one to three faults, as
//! proptest strategies. Numbers stand for faults and instants, the plainest fault and the earliest
//! instant first, so that proptest's own way of making numbers smaller and lists shorter leads to
//! fewer faults, simpler signals and earlier points.

use std::ops::Range;

use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use rand::{Rng as _, SeedableRng as _, rngs::ChaCha8Rng};

use crate::{
    census::Census,
    event::{FaultRecord, START},
    fault::{self, Family},
    plan::{Plan, Planned},
    point::{Point, Side},
    scenario::{Kill, Scope},
};

use super::{SpinOptions, When};

/// Numbers that are drawn: far more than there are faults or instants, so that each has its share.
const NUMBERS: Range<u64> = 0..1 << 32;

/// One fault of a schedule: the family, the fault in it, the instant.
type Number = (u64, u64, u64);

/// Everything that can be drawn.
pub(super) struct Wheel {
    /// Families, and in each of them the faults with their settings, plainest first.
    families: Vec<Vec<Slot>>,
    order: Vec<Point>,
    most: usize,
    seed: u64,
}

/// One fault with its setting, and the instants at which it can strike, in order.
enum Slot {
    At(Vec<FaultRecord>),
    /// At any millisecond within this many of the start.
    Within(FaultRecord, u64),
}

/// A draw that can be made smaller.
pub(super) type Tree = Box<dyn ValueTree<Value = Vec<Number>>>;

impl Wheel {
    /// What `all`, a sweep, has one by one; and kills at times, where they are asked for and it was
    /// measured how long a run takes.
    pub fn new(census: &Census, all: &Plan, kill: Option<&Kill>, spin: &SpinOptions) -> Wheel {
        let when = spin.when;
        let order: Vec<Point> = census.effects.iter().map(|effect| effect.record.point.clone()).collect();
        let place = |fault: &FaultRecord| order.iter().position(|point| *point == fault.point);
        let mut families: Vec<Vec<Slot>> = Vec::new();
        for (_, _, family) in Family::ALL {
            let mut slots: Vec<Vec<FaultRecord>> = Vec::new();
            let ours = all.experiments.iter().flat_map(|planned| &planned.faults);
            let ours = ours.filter(|fault| when != When::Times && fault::family(fault) == Some(family));
            for fault in ours {
                let alike = |slot: &&mut Vec<FaultRecord>| {
                    slot[0].fault == fault.fault && slot[0].scope == fault.scope
                };
                match slots.iter_mut().find(alike) {
                    Some(slot) => slot.push(fault.clone()),
                    None => slots.push(vec![fault.clone()]),
                }
            }
            for slot in &mut slots {
                slot.sort_by_cached_key(place);
            }
            slots.sort_by_cached_key(|slot| rank(&slot[0]));
            let mut slots: Vec<Slot> = slots.into_iter().map(Slot::At).collect();
            if family == Family::Kill
                && when != When::Points
                && let (Some(kill), Some(ms)) = (kill, census.plain_ms)
            {
                slots.extend(in_time(kill, census).into_iter().map(|fault| Slot::Within(fault, ms.max(1))));
            }
            if !slots.is_empty() {
                families.push(slots);
            }
        }
        Wheel { families, order, most: usize::from(spin.most_faults).max(1), seed: spin.lab.seed }
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// The draw of this number: depends on the seed and the number alone.
    pub fn draw(&self, number: u64) -> Option<Tree> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let schedule = vec((NUMBERS, NUMBERS, NUMBERS), 1..=self.most);
        Some(Box::new(schedule.new_tree(&mut runner).ok()?))
    }

    /// The experiment that a schedule stands for.
    pub fn planned(&self, schedule: &[Number]) -> Planned {
        let mut faults: Vec<FaultRecord> = Vec::new();
        for (family, which, instant) in schedule {
            let Some(slot) = pick(&self.families, *family).and_then(|slots| pick(slots, *which)) else {
                continue;
            };
            let drawn = match slot {
                Slot::At(faults) => pick(faults, *instant).cloned(),
                Slot::Within(fault, ms) => {
                    Some(FaultRecord { after_ms: Some(share(*instant, *ms)), ..fault.clone() })
                }
            };
            faults.extend(drawn.filter(|drawn| {
                !faults.iter().any(|other| other.point == drawn.point && other.after_ms == drawn.after_ms)
            }));
        }
        // In the order in which a run comes to them. What a kill leaves over waits for the next run.
        let place =
            |fault: &FaultRecord| (self.order.iter().position(|point| *point == fault.point), fault.after_ms);
        faults.sort_by_cached_key(place);
        Planned::new(faults)
    }

    /// The same experiment with one fault replaced by the plainest there is at its point, one fault
    /// after the other.
    pub fn plainer(&self, planned: &Planned) -> Vec<Planned> {
        let plainest = self.families.first().and_then(|slots| slots.first());
        let Some(Slot::At(plainest)) = plainest else { return Vec::new() };
        let replaced = planned.faults.iter().enumerate().filter_map(|(place, fault)| {
            let plain = plainest.iter().find(|plain| plain.point == fault.point && *plain != fault)?;
            let mut faults = planned.faults.clone();
            faults[place] = plain.clone();
            Some(Planned::new(faults))
        });
        replaced.collect()
    }
}

/// A number's share of `length`.
fn share(number: u64, length: u64) -> u64 {
    let wide = u128::from(number) * u128::from(length) / u128::from(NUMBERS.end);
    u64::try_from(wide).unwrap_or(u64::MAX)
}

fn pick<T>(items: &[T], number: u64) -> Option<&T> {
    items.get(usize::try_from(share(number, items.len() as u64)).ok()?)
}

/// Where a fault stands among those of its family: the plainest first.
fn rank(fault: &FaultRecord) -> (usize, usize) {
    let names = ["sigkill", "sigterm", "sigint", "sighup"];
    let scopes = [Scope::Tree, Scope::Leader, Scope::Group, Scope::Process].map(Scope::name);
    let scope = fault.scope.as_deref().unwrap_or_default();
    (
        names.iter().position(|name| *name == fault.fault).unwrap_or(names.len()),
        scopes.iter().position(|name| *name == scope).unwrap_or(scopes.len()),
    )
}

/// The kills of a scenario, at a time instead of a point.
fn in_time(kill: &Kill, census: &Census) -> Vec<FaultRecord> {
    let leader = census.effects.iter().find(|effect| effect.by_leader);
    let process = leader.map_or("the subject", |effect| effect.record.process.as_str());
    let start = Point {
        side: Side::Before,
        process: process.to_owned(),
        op: START.to_owned(),
        role: String::new(),
        occurrence: 1,
    };
    let mut faults: Vec<FaultRecord> = kill
        .signals
        .iter()
        .flat_map(|signal| kill.scopes.iter().map(move |scope| (fault::Fault::name(signal), scope.name())))
        .map(|(signal, scope)| FaultRecord::new(signal, Some(scope), start.clone()))
        .collect();
    faults.sort_by_cached_key(rank);
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(op: &str) -> FaultRecord {
        let point = Point {
            side: Side::Before,
            process: "guard".into(),
            op: op.into(),
            role: "/a".into(),
            occurrence: 1,
        };
        FaultRecord::new("sigkill", Some("tree"), point)
    }

    fn wheel(seed: u64) -> Wheel {
        let families = vec![
            vec![Slot::At(vec![at("create"), at("rename")]), Slot::Within(at("start"), 500)],
            vec![Slot::At(vec![at("write"), at("unlink")])],
        ];
        let order = ["create", "rename", "write", "unlink"].map(|op| at(op).point).to_vec();
        Wheel { families, order, most: 3, seed }
    }

    fn draws(seed: u64, numbers: impl Iterator<Item = u64>) -> Vec<Planned> {
        let wheel = wheel(seed);
        numbers.map(|number| wheel.planned(&wheel.draw(number).unwrap().current())).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_experiments_in_any_order() {
        let forward = draws(7, 0..50);
        let mut backward = draws(7, (0..50).rev());
        backward.reverse();
        assert_eq!(forward, backward);
        assert_ne!(forward, draws(8, 0..50));
    }

    #[test]
    fn a_draw_has_one_to_three_faults_at_different_instants() {
        for planned in draws(1, 0..200) {
            assert!((1..=3).contains(&planned.faults.len()));
            for (index, fault) in planned.faults.iter().enumerate() {
                let same =
                    |other: &FaultRecord| other.point == fault.point && other.after_ms == fault.after_ms;
                assert!(!planned.faults[..index].iter().any(same));
                assert!(fault.after_ms.is_none_or(|ms| ms < 500));
            }
        }
    }

    #[test]
    fn every_fault_and_instant_is_drawn_now_and_then() {
        let all: std::collections::HashSet<String> =
            draws(3, 0..500).iter().flat_map(|planned| &planned.faults).map(|f| f.point.op.clone()).collect();
        assert_eq!(all.len(), 5, "{all:?}");
    }

    #[test]
    fn what_always_fails_shrinks_to_the_plainest_fault_at_the_earliest_point() {
        let wheel = wheel(11);
        for number in 0..20 {
            let mut tree = wheel.draw(number).unwrap();
            while tree.simplify() {}
            assert_eq!(wheel.planned(&tree.current()).faults, [at("create")]);
        }
    }

    #[test]
    fn a_fault_of_another_kind_is_made_the_plainest_one_where_that_can_strike() {
        let other = FaultRecord::new("eio", Some("once"), at("rename").point);
        let nowhere = FaultRecord::new("eio", Some("once"), at("unlink").point);
        let plainer = wheel(1).plainer(&Planned::new(vec![other, nowhere.clone()]));
        assert_eq!(plainer, [Planned::new(vec![at("rename"), nowhere])]);
    }
}
