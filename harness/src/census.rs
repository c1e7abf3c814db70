//! The census: what one clean run does, effect by effect.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    effect::Class,
    event::{EffectRecord, ExperimentRecord},
    point::Point,
    run::{Known, Seen},
};

/// One effect of the clean run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CensusEffect {
    /// As reports show it.
    pub record: EffectRecord,
    /// The other path of a rename or link.
    pub from: Option<String>,
    /// Its kind.
    pub class: Class,
    /// The acting process; tells processes apart, means nothing else.
    pub pid: i32,
    /// Whether it was the leader's own.
    pub by_leader: bool,
    /// Whether it failed and so changed nothing.
    pub failed: bool,
    /// Whether the lock was held; `None` where none is declared.
    pub locked: Option<bool>,
    /// Whether SIGTERM would have ended the acting process at once.
    pub default_sigterm: bool,
    /// Whether anybody of the run asks for the time of day after it.
    pub time_asked_later: bool,
}

impl CensusEffect {
    /// The effect in a few words, for titles: `rename …/privkey.pem`.
    pub fn title(&self) -> String {
        let role = &self.record.point.role;
        match (&self.from, role.is_empty()) {
            (_, true) => format!("`{}`", self.record.op),
            (Some(from), _) if self.record.op == "rename" || self.record.op == "exchange" => {
                format!("`{} {} -> {role}`", self.record.op, crate::role::of(from))
            }
            _ => format!("`{} {role}`", self.record.op),
        }
    }
}

impl From<Seen> for CensusEffect {
    fn from(seen: Seen) -> Self {
        CensusEffect {
            record: EffectRecord {
                process: seen.point.process.clone(),
                op: seen.effect.op.to_owned(),
                path: seen.effect.path,
                durable: seen.effect.class.durable(),
                processes: seen.processes,
                point: seen.point,
            },
            from: seen.effect.from,
            class: seen.effect.class,
            pid: seen.pid,
            by_leader: seen.by_leader,
            failed: seen.failed,
            locked: seen.locked,
            default_sigterm: seen.default_sigterm,
            time_asked_later: seen.time_asked_later,
        }
    }
}

/// What the census found; every later experiment is held against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Census {
    /// Every effect of the clean run, in order.
    pub effects: Vec<CensusEffect>,
    /// Roles of every path that a clean run makes, changes or finds.
    pub clean_roles: Vec<String>,
    /// Lineages that the clean run left running.
    pub left_running: Vec<String>,
    /// Why coverage is only partial, if it is.
    pub partial: Option<String>,
    /// What it needs of memory, where that was asked for.
    pub memory: Option<Need>,
    /// Milliseconds on the wall.
    pub wall_ms: u64,
    /// The same of a run that nobody looks at as closely, where that was measured: faults at a
    /// time, rather than at a point, are chosen within it.
    #[serde(default)]
    pub plain_ms: Option<u64>,
    /// The clean run, judged like an experiment without a fault.
    pub clean: ExperimentRecord,
}

/// What a run needs of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The most that the clean run used, in bytes, the page cache included; `None` where the kernel
    /// does not say.
    pub peak: Option<u64>,
    /// Where it starts to go short, for each fault that sets a limit.
    pub bisected: Vec<Bisected>,
}

/// What came of looking for the limits under which a run goes short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bisected {
    /// The fault that sets them.
    pub fault: String,
    /// The limits; `None`: it goes short under none.
    pub bounds: Option<Bounds>,
    /// Programs that were not limited.
    pub exempt: Vec<String>,
}

/// Memory limits, in bytes, as bisecting found them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The lowest under which the run comes to its first effect.
    pub starts: u64,
    /// The highest under which the kernel kills, or refuses memory.
    pub kills: u64,
}

impl Census {
    /// Where a run of this subject starts; `None` where the leader itself does nothing.
    pub fn start(&self) -> Option<Point> {
        let leader = self.effects.iter().find(|effect| effect.by_leader)?;
        Some(Point::start(&leader.record.process))
    }

    /// Whether a run comes to this point.
    pub fn has(&self, point: &Point) -> bool {
        point.is_start() || self.effects.iter().any(|effect| effect.record.point == *point)
    }

    /// What later runs are held against.
    pub fn known(&self) -> Known {
        let locked = |effect: &&CensusEffect| effect.locked == Some(true);
        // Where no lock is declared the whole run counts as the state-changing part. A file that
        // is a lock or a process id is no part of it: taking a look at it is what a second run
        // is there for. Nor is what is done with the lock and also without.
        let declared = self.effects.iter().any(|effect| effect.locked.is_some());
        let mut exclusive: HashMap<String, u64> = HashMap::new();
        let mut outside: HashSet<String> = HashSet::new();
        let mut stretch = 0_u32;
        let mut inside = false;
        for effect in &self.effects {
            let taken = !declared || effect.locked == Some(true);
            stretch += u32::from(inside && !taken);
            inside = taken;
            let role = &effect.record.point.role;
            if !effect.class.visible_change()
                || effect.failed
                || role.contains("lock")
                || role.ends_with(".pid")
            {
                continue;
            }
            let name = format!("{} {role}", effect.record.op);
            if taken {
                *exclusive.entry(name).or_insert(0) |= 1 << stretch.min(u64::BITS - 1);
            } else {
                outside.insert(name);
            }
        }
        exclusive.retain(|name, _| !outside.contains(name));
        Known {
            locked_points: self.effects.iter().filter(locked).map(|e| e.record.point.clone()).collect(),
            exclusive,
            left_running: self.left_running.clone(),
            takes: Duration::from_millis(self.plain_ms.unwrap_or(self.wall_ms)),
        }
    }

    /// Where the clean run that was `recorded` once went another way than this one: the first
    /// change of either that the other does not have. Logs are left out, as how much they grow
    /// differs from run to run. `None` also where nothing was recorded.
    pub fn difference_to(&self, recorded: &[EffectRecord]) -> Option<String> {
        if recorded.is_empty() {
            return None;
        }
        let counts = |effect: &&EffectRecord| effect.durable && !crate::effect::is_log(&effect.path);
        let now: HashSet<&Point> = self.effects.iter().map(|e| &e.record.point).collect();
        let then: HashSet<&Point> = recorded.iter().map(|e| &e.point).collect();
        let gone = recorded.iter().filter(counts).find(|e| !now.contains(&e.point));
        let new = self.effects.iter().map(|e| &e.record).filter(counts).find(|e| !then.contains(&e.point));
        match (gone, new) {
            (None, None) => None,
            (Some(gone), Some(new)) => Some(format!("then {}, now {}", gone.point, new.point)),
            (Some(gone), None) => Some(format!("then {}, now nothing of the kind", gone.point)),
            (None, Some(new)) => Some(format!("now {}, which was not there", new.point)),
        }
    }

    /// Where a run went another way: the first durable effect of the census, in each process's
    /// own order, that `seen` does not have.
    pub fn first_difference(&self, seen: &[Seen]) -> Option<String> {
        let mut theirs: HashMap<&Point, u32> = HashMap::new();
        for effect in seen {
            *theirs.entry(&effect.point).or_insert(0) += 1;
        }
        // Requests are only noticed in a run that a fault waits for at one of them.
        let missing = self.effects.iter().find(|e| {
            !matches!(e.class, Class::Request | Class::Query) && !theirs.contains_key(&e.record.point)
        })?;
        let known: HashSet<&Point> = self.effects.iter().map(|e| &e.record.point).collect();
        let instead = seen.iter().find(|s| !known.contains(&s.point));
        Some(match instead {
            Some(seen) => format!("expected {}, came to {}", missing.record.point, seen.point),
            None => format!("expected {}, which never came", missing.record.point),
        })
    }
}
