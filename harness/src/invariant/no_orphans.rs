//! no-orphans

use std::path::Path;

use super::{Evidence, Invariant, Opinion};
use crate::verdict::Phase;

/// How it begins that a run went on without the lock.
pub(crate) const WITHOUT_LOCK: &str = "it went on after the fault without the lock:";

/// A process that goes on without the lock meets the next run, which cannot know of it. It may be
/// a child that was left behind, or the run itself that let go of the lock when it was told to
/// stop and did not stop. Survivors that still hold the lock are judged by lock-released.
pub(super) struct NoOrphans;

impl Invariant for NoOrphans {
    fn name(&self) -> &'static str {
        "no-orphans"
    }
    fn promise(&self) -> &'static str {
        "when the fault is over no process of the subject is left running unlocked"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        if evidence.phase == Phase::Always {
            return None;
        }
        let run = evidence.run()?;
        let left = run.survivors.iter().filter(|survivor| survivor.locked != Some(true));
        let mut wrong: Vec<_> =
            left.map(|survivor| format!("{} is left running", survivor.process)).collect();
        let lock = evidence.scenario.lock.as_ref().map(|lock| Path::new(&lock.path));
        let went_on: Vec<_> = run.unlocked.iter().filter(|change| changes_state(change, lock)).collect();
        if let Some(first) = went_on.first() {
            wrong.push(format!(
                "{WITHOUT_LOCK} {first}{}",
                if went_on.len() > 1 { format!(" and {} more", went_on.len() - 1) } else { String::new() }
            ));
        }
        Some(if wrong.is_empty() { Opinion::held() } else { Opinion::violated(wrong.join("; ")) })
    }
}

/// Clearing up and letting go of the lock are what a run is to do on its way out.
fn changes_state(change: &str, lock: Option<&Path>) -> bool {
    let (op, path) = change.split_once(' ').unwrap_or((change, ""));
    !matches!(op, "unlink" | "rmdir" | "flock" | "unlock" | "fcntl" | "exec" | "exit")
        && lock.is_none_or(|lock| !Path::new(path).starts_with(lock))
}
