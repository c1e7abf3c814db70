//! no-partial-files

use std::{collections::BTreeSet, path::Path};

use super::{Evidence, Findings, Invariant, Opinion};
use crate::verdict::Phase;

/// How the detail of a judgement begins that found nothing but litter.
pub(crate) const LEFT_OVER: &str = "left over: ";

/// Files as a crash leaves them: empty, cut, gone, or left over. A path at which there is nothing
/// at rest belongs here too: for whoever reads it that is the emptiest of files.
pub(super) struct NoPartialFiles;

impl Invariant for NoPartialFiles {
    fn name(&self) -> &'static str {
        "no-partial-files"
    }
    fn promise(&self) -> &'static str {
        "every key and certificate is there, parses whole and is not empty; nothing half-written and no litter \
         is left after recovery"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        if evidence.phase == Phase::Always {
            return None;
        }
        let mut findings = Findings::default();
        for (index, state) in evidence.artifacts.iter().enumerate() {
            findings.files(state);
            // A chain that was cut between two blocks parses; only its length tells.
            let before = evidence.artifacts_before.get(index).map_or(0, |before| before.chain);
            if state.chain == 1 && before > 1 {
                findings.wrong.push(format!(
                    "{} has lost its chain: 1 certificate where there were {before}",
                    state.certificate_path
                ));
            }
        }
        // Right after a fault temporary files may lie about: the next run is to clear them.
        if matches!(evidence.phase, Phase::Recovery | Phase::Idle) {
            let lock = evidence.scenario.lock.as_ref().map(|lock| Path::new(&lock.path));
            let below = |path: &Path, above: &Path| path != above && path.starts_with(above);
            for litter in evidence.litter {
                // A lock that stays is judged by lock-released.
                if lock.is_some_and(|lock| litter.path.starts_with(lock))
                    || evidence.litter.iter().any(|other| below(&litter.path, &other.path))
                {
                    continue;
                }
                // What is in a folder is told with the folder.
                let inside = evidence.litter.iter().filter(|other| below(&other.path, &litter.path));
                let inside: BTreeSet<&str> = inside.map(|other| other.what.as_str()).collect();
                let mut what = litter.what.clone();
                if !inside.is_empty() {
                    let inside: Vec<&str> = inside.into_iter().collect();
                    what = format!("{what} with {}", inside.join(", "));
                }
                let what = if what.is_empty() { what } else { format!(" ({what})") };
                findings.wrong.push(format!("{LEFT_OVER}{}{what}", litter.path.display()));
            }
        }
        Some(findings.opinion())
    }
}
