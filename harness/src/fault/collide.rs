//! Other runs of the pipeline beside the first (the cron job beside the timer). One preemption at
//! every point: the first is held while a second runs to its end or blocks. And several at once,
//! with jitter, as schedulers on a busy machine start them.

use super::{Act, Family, Fault};
use crate::{census::CensusEffect, event::FaultRecord};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] = &[&SecondRun, &RunsAtOnce];

/// The name of a second run beside the first.
pub const SECOND_RUN: &str = "second-run";

/// The name of several runs at once.
pub const RUNS_AT_ONCE: &str = "runs-at-once";

struct SecondRun;

impl Fault for SecondRun {
    fn name(&self) -> &'static str {
        SECOND_RUN
    }

    fn family(&self) -> Family {
        Family::Collide
    }

    fn models(&self) -> &'static str {
        "a second run started"
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        effect.class.decides()
    }

    fn act(&self, _record: &FaultRecord) -> Option<Act> {
        Some(Act::SecondRun { stopped: false })
    }
}

struct RunsAtOnce;

impl Fault for RunsAtOnce {
    fn name(&self) -> &'static str {
        RUNS_AT_ONCE
    }

    fn family(&self) -> Family {
        Family::Collide
    }

    fn models(&self) -> &'static str {
        "several runs started at once"
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        SecondRun.strikes_at(effect)
    }

    fn strikes_once(&self) -> bool {
        true
    }

    fn act(&self, record: &FaultRecord) -> Option<Act> {
        Some(Act::MoreRuns { shares: shares(record.scope.as_deref()?)? })
    }
}

/// The setting that says when further runs are started after the first one's point: percent of the time that an
/// undisturbed run takes, so that it is the same on a fast machine and on a slow one.
pub fn setting(shares: &[u32]) -> String {
    let mut sorted = shares.to_vec();
    sorted.sort_unstable();
    let times: Vec<String> = sorted.iter().map(u32::to_string).collect();
    format!("{} more after {} % of a run", sorted.len(), times.join(", "))
}

fn shares(setting: &str) -> Option<Vec<u32>> {
    let (_, times) = setting.strip_suffix(" % of a run")?.split_once(" more after ")?;
    times.split(", ").map(|time| time.parse().ok().filter(|share| *share <= 100)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_of_runs_at_once_reads_back_as_it_was_written() {
        let text = setting(&[80, 0, 12]);
        assert_eq!(text, "3 more after 0, 12, 80 % of a run");
        assert_eq!(shares(&text), Some(vec![0, 12, 80]));
        assert_eq!((shares("often"), shares("1 more after 101 % of a run")), (None, None));
    }
}
