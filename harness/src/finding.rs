//! Findings: violated experiments that share an invariant and a cause, told once.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};

use crate::{
    census::Census,
    event::{Coverage, ExperimentRecord, FaultRecord, Finding, InRun, InvariantCount, Skipped, Summary},
    fault::{self, memory},
    invariant::{self, LEFT_OVER, WITHOUT_LOCK},
    plan::Plan,
    point::Point,
    role,
    scenario::Scenario,
    verdict::{Phase, Verdict},
};

/// An experiment that broke a promise, and what was seen.
type Breach<'a> = (&'a ExperimentRecord, String);

/// What is known of a run when it ends.
#[derive(Debug)]
pub struct Tally<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The clean run.
    pub census: &'a Census,
    /// What was planned.
    pub plan: &'a Plan,
    /// What was done, the clean run first.
    pub records: &'a [ExperimentRecord],
    /// Invariants whose inconclusive judgements do not fail the run.
    pub allow_inconclusive: &'a [String],
}

impl Tally<'_> {
    /// Sums everything up. Times are filled in by the caller.
    pub fn summary(&self) -> Summary {
        let mut findings = self.findings();
        let mut stale_expectations = Vec::new();
        for expect in &self.scenario.expect {
            let mut used = false;
            for finding in &mut findings {
                if finding.invariant == expect.invariant && self.matches(finding, expect.matching.as_deref())
                {
                    finding.expected = Some(expect.reason.clone());
                    used = true;
                }
            }
            if !used {
                let matching =
                    expect.matching.as_ref().map(|m| format!(" matching `{m}`")).unwrap_or_default();
                stale_expectations.push(format!("{}{matching}: {}", expect.invariant, expect.reason));
            }
        }
        let invariants = self.counts();
        let mut skipped = self.plan.skipped.clone();
        if let Some(partial) = &self.census.partial {
            skipped.push(Skipped { what: "effects".to_owned(), count: 0, why: partial.clone() });
        }
        for invariant in invariant::all() {
            if let Some(why) = invariant.not_asked(self.scenario) {
                skipped.push(Skipped {
                    what: invariant.name().to_owned(),
                    count: self.records.len() as u64,
                    why,
                });
            }
        }
        let undecided = self.records.iter().any(|record| {
            (record.inconclusive.is_some() && !self.allow_inconclusive.iter().any(|a| a == "diverged"))
                || record.judgements.iter().any(|j| {
                    j.verdict == Verdict::Inconclusive
                        && j.explained_by.is_none()
                        && !self.allow_inconclusive.contains(&j.invariant)
                })
        });
        let verdict = if findings.iter().any(|f| f.expected.is_none()) {
            Verdict::Violated
        } else if undecided {
            Verdict::Inconclusive
        } else {
            Verdict::Held
        };
        Summary {
            verdict,
            wall_s: 0.0,
            coverage: self.coverage(),
            experiments: self.records.iter().filter(|r| !r.faults.is_empty()).count() as u64,
            invariants,
            findings,
            stale_expectations,
            skipped,
            cpu_efficiency: 0.0,
            interrupted: None,
        }
    }

    fn matches(&self, finding: &Finding, text: Option<&str>) -> bool {
        let Some(text) = text else { return true };
        finding.title.contains(text)
            || finding.detail.contains(text)
            || self.records.iter().any(|record| {
                finding.experiments.contains(&record.id)
                    && record.faults.iter().any(|f| f.to_string().contains(text))
            })
    }

    fn coverage(&self) -> Coverage {
        let reached = |point: &&Point| {
            self.records
                .iter()
                .any(|r| r.inconclusive.is_none() && r.faults.iter().any(|f| f.point == **point))
        };
        Coverage {
            points: self.plan.points.len() as u64,
            covered: self.plan.points.iter().filter(reached).count() as u64,
        }
    }

    fn counts(&self) -> Vec<InvariantCount> {
        invariant::all()
            .iter()
            .filter(|invariant| invariant.not_asked(self.scenario).is_none())
            .map(|invariant| {
                let mut count = InvariantCount {
                    name: invariant.name().to_owned(),
                    held: 0,
                    violated: 0,
                    inconclusive: 0,
                };
                for record in self.records {
                    let worst = record
                        .judgements
                        .iter()
                        .filter(|j| j.invariant == count.name && j.explained_by.is_none())
                        .map(|j| j.verdict)
                        .max();
                    match worst {
                        Some(Verdict::Held) => count.held += 1,
                        Some(Verdict::Violated) => count.violated += 1,
                        Some(Verdict::Inconclusive) => count.inconclusive += 1,
                        None if record.inconclusive.is_some() => count.inconclusive += 1,
                        None => {}
                    }
                }
                count
            })
            .collect()
    }

    fn findings(&self) -> Vec<Finding> {
        let place: BTreeMap<String, usize> =
            self.census.effects.iter().enumerate().map(|(i, e)| (e.record.point.to_string(), i)).collect();
        let at = |record: &ExperimentRecord| {
            record.faults.first().and_then(|f| place.get(&f.point.to_string()).copied())
        };
        // What was seen, without the parts that differ from run to run, is the cause's name.
        let mut groups: BTreeMap<(String, Phase, String), Vec<Breach<'_>>> = BTreeMap::new();
        let patterns: Vec<&str> = self
            .census
            .effects
            .iter()
            .map(|e| e.record.point.role.as_str())
            .filter(|r| r.contains("{X}"))
            .collect();
        // What a run does undisturbed is not the doing of a fault, in whichever phase it shows.
        let mut undisturbed: BTreeMap<(&str, String), Phase> = BTreeMap::new();
        for record in self.records.iter().filter(|r| r.faults.is_empty()) {
            for violation in record.violations.iter().filter(|v| v.explained_by.is_none()) {
                let cause = cause(&violation.detail, &patterns);
                undisturbed.entry((&violation.invariant, cause)).or_insert(violation.phase);
            }
        }
        for record in self.records {
            let mut told: Vec<&str> = Vec::new();
            for violation in record.violations.iter().filter(|v| v.explained_by.is_none()) {
                // The same promise broken in a later phase of the same experiment is the same
                // breach, still there.
                if told.contains(&violation.invariant.as_str()) {
                    continue;
                }
                told.push(&violation.invariant);
                let cause = cause(&violation.detail, &patterns);
                let known = undisturbed.get(&(violation.invariant.as_str(), cause.clone()));
                groups
                    .entry((violation.invariant.clone(), known.copied().unwrap_or(violation.phase), cause))
                    .or_default()
                    .push((record, violation.detail.clone()));
            }
        }
        let mut findings: Vec<(usize, Finding)> = groups
            .into_iter()
            .map(|((invariant, phase, cause), mut group)| {
                // The smallest reproduction: fewest faults, plainest signal, earliest point.
                group.sort_by_key(|(r, _)| {
                    (r.faults.len(), plainness(r), at(r).unwrap_or(usize::MAX), r.id.clone())
                });
                let (smallest, detail) = &group[0];
                let hash = digest(&SHA256, format!("{invariant}\n{phase}\n{cause}").as_bytes());
                let short: String = hash.as_ref().iter().take(3).map(|b| format!("{b:02x}")).collect();
                let id = format!("{}.{short}", self.scenario.name);
                let finding = Finding {
                    title: self.title(smallest, &invariant, at(smallest)),
                    replay: format!("roulette replay {id}"),
                    detail: with_memory(detail, smallest),
                    experiments: group.iter().map(|(r, _)| r.id.clone()).collect(),
                    expected: None,
                    invariant,
                    id,
                };
                (at(smallest).unwrap_or(0), finding)
            })
            .collect();
        findings.sort_by(|(a, x), (b, y)| (a, &x.id).cmp(&(b, &y.id)));
        findings.into_iter().map(|(_, finding)| finding).collect()
    }

    fn title(&self, record: &ExperimentRecord, invariant: &str, place: Option<usize>) -> String {
        let promise = broken(invariant);
        let Some((fault, further)) = record.faults.split_first() else {
            return format!("undisturbed: {promise}");
        };
        let promise = match further {
            [] => promise.to_owned(),
            further => {
                let more: Vec<String> = further.iter().map(further_fault).collect();
                format!("{promise} (then {})", more.join(", then "))
            }
        };
        if let Some(ms) = fault.after_ms {
            return format!(
                "{} {ms} ms after the start: {promise}",
                sender(&fault.fault, fault.scope.as_deref())
            );
        }
        let sender = sender(&fault.fault, fault.scope.as_deref());
        if fault.point.is_start() {
            return format!("{sender}: {promise}");
        }
        let Some(place) = place else { return format!("{sender} {}: {promise}", fault.point) };
        let effects = &self.census.effects;
        let here = &effects[place];
        let before = effects[..place]
            .iter()
            .rev()
            .find(|e| e.class.durable() && !e.failed && e.class != crate::effect::Class::Log);
        match before {
            Some(before) if here.record.op == "exit" => {
                format!("{sender} after {}, before `{}` ends: {promise}", before.title(), here.record.process)
            }
            Some(before) => format!("{sender} between {} and {}: {promise}", before.title(), here.title()),
            None => format!("{sender} before {}: {promise}", here.title()),
        }
    }
}

/// What was seen, and whom the kernel killed before, if it killed.
fn with_memory(detail: &str, record: &ExperimentRecord) -> String {
    match &record.memory {
        Some(memory) => format!("{detail}; {memory}"),
        None => detail.to_owned(),
    }
}

/// Where a record stands among those of one cause: the plainest fault first.
fn plainness(record: &ExperimentRecord) -> u8 {
    record.faults.first().map_or(0, |fault| {
        let signal = match fault.fault.as_str() {
            "sigkill" => 0,
            "sigterm" => 1,
            _ => 2,
        };
        let scope = match fault.scope.as_deref() {
            Some("tree") => 0,
            Some("leader") => 1,
            _ => 2,
        };
        signal * 3 + scope
    })
}

fn sender(fault: &str, scope: Option<&str>) -> String {
    let act = fault::find(fault).map_or_else(|| fault.to_owned(), |known| known.models().to_owned());
    match scope {
        Some("process") if act.ends_with("ed") => format!("one process {act}"),
        Some("leader") => format!("the leader alone {act}"),
        Some(limit) if fault == memory::LIMIT => format!("{act} at {limit}"),
        Some(kills) if fault == memory::LOWERED => format!("{act} ({kills} killed)"),
        Some(limit) if fault == memory::ADDRESS_SPACE => format!("{act} to {limit} a process"),
        _ => act,
    }
}

/// A fault after the first, for titles.
fn further_fault(fault: &FaultRecord) -> String {
    let act = sender(&fault.fault, fault.scope.as_deref());
    let who = match fault.run {
        InRun::First => "",
        InRun::Second => "the second run ",
        InRun::Next => "the next run ",
    };
    match fault.after_ms {
        Some(ms) => format!("{who}{act} {ms} ms after the start"),
        None => format!("{who}{act} {}", fault.point),
    }
}

/// What a broken promise means, for titles.
fn broken(invariant: &str) -> &'static str {
    match invariant {
        "pair-intact" => "key and certificate do not match",
        "no-partial-files" => "partial or left-over files",
        "lock-released" => "the lock stays taken",
        "one-at-a-time" => "two runs at work together",
        "at-most-one-reload" => "reloaded more than once",
        "no-lost-reload" => "the new certificate is never served",
        "always-serving" => "nothing valid is served",
        "recovers" => "the next run does not recover",
        "key-private" => "the private key can be read by others",
        "no-orphans" => "a process is left running without the lock",
        "honest-exit" => "reports success although the work is not done",
        "bounded-issuance" => "too many orders or certificates",
        "ends" => "a run does not end",
        _ => "a promise is broken",
    }
}

/// The detail without what differs from run to run or from point to point: numbers, fingerprints,
/// random names (`patterns`: as the census knows them), and what stands in brackets. Of things
/// that are left over, or done without the lock, the first stands for all.
fn cause(detail: &str, patterns: &[&str]) -> String {
    let detail = match detail {
        litter if litter.starts_with(LEFT_OVER) => litter.split_once("; ").map_or(litter, |(first, _)| first),
        other => other.split_once(WITHOUT_LOCK).map_or(other, |(before, _)| before),
    };
    let mut cause = String::with_capacity(detail.len());
    let mut depth = 0_usize;
    for word in detail.split_whitespace() {
        let inside = depth > 0 || word.starts_with('(');
        depth = (depth + word.matches('(').count()).saturating_sub(word.matches(')').count());
        if inside {
            continue;
        }
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_hash = bare.len() >= 8 && bare.bytes().all(|b| b.is_ascii_hexdigit());
        if !cause.is_empty() {
            cause.push(' ');
        }
        let path = word.trim_end_matches([';', ',', ':']);
        if is_hash {
            cause.push('#');
        } else if let Some(pattern) = patterns.iter().find(|pattern| role::matches(pattern, path)) {
            cause.push_str(pattern);
        } else {
            cause.push_str(&role::of(word));
        }
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_nothing_in_it_that_differs_from_point_to_point() {
        let patterns = ["/state/tmp.{X}"];
        let first =
            cause("left over: /state/tmp.Nuzrpz (directory with private key); left over: /x", &patterns);
        assert_eq!(first, "left over: /state/tmp.{X}");
        assert_eq!(first, cause("left over: /state/tmp.a8Xk2q (directory)", &patterns));
        let second = cause("it went on after the fault without the lock: mv: rename /a and 3 more", &[]);
        assert_eq!(second, cause("it went on after the fault without the lock: ln: symlink /b", &[]));
        assert_ne!(cause("/a is missing (gone)", &[]), cause("/b is missing (gone)", &[]));
    }
}
