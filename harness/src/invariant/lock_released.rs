//! lock-released

use super::{End, Evidence, Invariant, LockState, Opinion, Run};
use crate::{
    scenario::{LockKind, Scenario},
    verdict::Phase,
};

/// A lock that outlives its run blocks every later one. Kernel locks are tried by taking them.
/// Of a lock that is a file or a folder, being there says nothing yet, as the next run may know a
/// stale one: it is judged by whether the next run got past it.
pub(super) struct LockReleased;

impl Invariant for LockReleased {
    fn name(&self) -> &'static str {
        "lock-released"
    }
    fn promise(&self) -> &'static str {
        "once the tree is dead, the next run can take the lock"
    }
    fn not_asked(&self, scenario: &Scenario) -> Option<String> {
        scenario.lock.is_none().then(|| "the scenario declares no lock".to_owned())
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        let lock = evidence.scenario.lock.as_ref()?;
        if evidence.phase == Phase::Always {
            return None;
        }
        match evidence.lock {
            LockState::Undeclared => None,
            LockState::Free => Some(Opinion::held()),
            LockState::Held(who) => {
                let left = evidence.run().map_or(&[][..], |run| &run.survivors);
                let left: Vec<&str> =
                    left.iter().filter(|s| s.locked == Some(true)).map(|s| s.process.as_str()).collect();
                let who = if left.is_empty() { who.clone() } else { left.join(", ") };
                Some(Opinion::violated(format!("{} is still held by {who}", lock.path)))
            }
            LockState::Unknown(why) => {
                Some(Opinion::inconclusive(format!("{} could not be tried: {why}", lock.path)))
            }
            LockState::Present => {
                let run = evidence.run()?;
                let violated = || {
                    let end = run.end.unwrap_or(End::Deadline);
                    let did = if did_nothing(run) { "did nothing" } else { "left it there" };
                    Some(Opinion::violated(format!(
                        "{} is still there, and the next run ({end}) {did}",
                        lock.path
                    )))
                };
                match (lock.kind, evidence.phase) {
                    // The file of a kernel lock stays behind and means nothing.
                    (LockKind::Flock | LockKind::Fcntl, _) => Some(Opinion::held()),
                    (_, Phase::Always | Phase::Aftermath) => None,
                    // Being there is the lock: a run that had it would have taken it away again.
                    (LockKind::File | LockKind::Directory, _)
                        if run.end != Some(End::Deadline) || did_nothing(run) =>
                    {
                        violated()
                    }
                    (LockKind::File | LockKind::Directory, _) => None,
                    // A process id may stay behind on purpose; it must not keep work from being done.
                    (LockKind::PidFile, _)
                        if did_nothing(run)
                            && (work_is_owed(evidence) || run.end != Some(End::Exited(0))) =>
                    {
                        violated()
                    }
                    (LockKind::PidFile, _) => Some(Opinion::held()),
                }
            }
        }
    }
}

/// The run did nothing of what renewals do.
fn did_nothing(run: &Run) -> bool {
    run.orders == 0 && run.certificates == 0 && run.reloads == 0
}

fn work_is_owed(evidence: &Evidence<'_>) -> bool {
    !evidence.disk().wrong.is_empty() || evidence.stale().is_some()
}
