//! Other runs of the pipeline beside the first (the cron job beside the timer). One preemption at
//! every point: the first is held while a second runs to its end or blocks. And several at once,
//! with jitter, as schedulers on a busy machine start them.

use std::time::Duration;

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
        Some(Act::MoreRuns { delays: delays(record.scope.as_deref()?)? })
    }
}

/// The setting that says when further runs are started: milliseconds after the first one's point.
pub fn setting(delays: &[u64]) -> String {
    let mut sorted = delays.to_vec();
    sorted.sort_unstable();
    let times: Vec<String> = sorted.iter().map(u64::to_string).collect();
    format!("{} more after {} ms", sorted.len(), times.join(", "))
}

fn delays(setting: &str) -> Option<Vec<Duration>> {
    let (_, times) = setting.strip_suffix(" ms")?.split_once(" more after ")?;
    times.split(", ").map(|time| time.parse().ok().map(Duration::from_millis)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_of_runs_at_once_reads_back_as_it_was_written() {
        let text = setting(&[80, 0, 12]);
        assert_eq!(text, "3 more after 0, 12, 80 ms");
        assert_eq!(delays(&text).unwrap(), [0, 12, 80].map(Duration::from_millis));
        assert_eq!(delays("often"), None);
    }
}
