//! `JUnit` XML. One test suite a scenario and one test case an invariant, so that the names are the
//! same in every run and a CI system can show since when one fails. The failure's text holds the
//! findings with their replay lines. A known finding leaves its invariant passing, with the reason
//! in its output; a run that could not go on is an error of the test case `run`.

use std::{io::Write, time::Duration};

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::{
    event::{Event, Finding, InvariantCount, Summary},
    verdict::Verdict,
};

use super::{Collected, ReportError, Reporter, style::clean};

/// Writes `JUnit` XML.
pub struct Junit {
    out: Box<dyn Write>,
    name: String,
    report: Report,
    current: Option<Collected>,
}

impl Junit {
    /// `name` is for errors.
    pub fn new(out: Box<dyn Write>, name: String) -> Junit {
        Junit { out, name, report: Report::new("process-roulette"), current: None }
    }

    fn close(&mut self) {
        if let Some(collected) = self.current.take() {
            self.report.add_test_suite(suite(&collected));
        }
    }
}

impl Reporter for Junit {
    fn event(&mut self, event: &Event) -> Result<(), ReportError> {
        if matches!(event, Event::Started { .. }) {
            self.close();
        }
        self.current.get_or_insert_default().add(event);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ReportError> {
        self.close();
        let tried = || ReportError::new(format!("failed to write the junit report {}", self.name));
        let text = self.report.to_string().map_err(|error| tried()(std::io::Error::other(error)))?;
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(tried())
    }
}

fn suite(collected: &Collected) -> TestSuite {
    let mut suite = TestSuite::new(collected.scenario.as_str());
    for (name, value) in properties(collected) {
        suite.add_property(Property::new(name, value));
    }
    let Some(summary) = &collected.summary else {
        let message = collected.interrupted().unwrap_or_default();
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(clean(&message)).set_type("run").set_description(message);
        suite.add_test_case(case(collected, "run", status));
        return suite;
    };
    suite.set_time(Duration::try_from_secs_f64(summary.wall_s).unwrap_or_default());
    let mut run = TestCaseStatus::success();
    if let Some(reason) = &summary.interrupted {
        run = TestCaseStatus::non_success(NonSuccessKind::Error);
        run.set_message(format!("cut short: {}", clean(reason))).set_type("interrupted");
    } else if !collected.undecided().is_empty() && summary.verdict == Verdict::Inconclusive {
        run = TestCaseStatus::non_success(NonSuccessKind::Error);
        let reasons: Vec<String> = collected
            .undecided()
            .iter()
            .map(|(reason, count)| format!("{count} experiments: {reason}"))
            .collect();
        run.set_message("experiments could not be judged")
            .set_type("inconclusive")
            .set_description(reasons.join("\n"));
    }
    suite.add_test_case(case(collected, "run", run));
    for count in &summary.invariants {
        suite.add_test_case(invariant(collected, summary, count));
    }
    suite
}

fn properties(collected: &Collected) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("purpose", collected.purpose.clone()),
        ("seed", collected.seed.to_string()),
        ("experiments", collected.experiments.len().to_string()),
    ];
    properties.extend(collected.world.map(|world| ("world", world.to_string())));
    properties.extend(collected.pebble.iter().map(|p| ("pebble", format!("{} ({})", p.version, p.source))));
    properties.extend(
        collected
            .summary
            .iter()
            .map(|s| ("coverage", format!("{} of {}", s.coverage.covered, s.coverage.points))),
    );
    properties
}

fn case(collected: &Collected, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(collected.scenario.as_str());
    case
}

fn invariant(collected: &Collected, summary: &Summary, count: &InvariantCount) -> TestCase {
    let (new, known): (Vec<&Finding>, Vec<&Finding>) =
        summary.findings.iter().filter(|f| f.invariant == count.name).partition(|f| f.expected.is_none());
    let judged = count.held + count.violated;
    let mut status = if let Some(first) = new.first() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        let more = if new.len() > 1 { format!(" (and {} more)", new.len() - 1) } else { String::new() };
        status.set_message(format!("{}{more}", clean(&first.title))).set_type("violated");
        status.set_description(new.iter().map(|f| describe(collected, f)).collect::<Vec<_>>().join("\n\n"));
        status
    } else if count.inconclusive > 0 && summary.verdict == Verdict::Inconclusive {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status
            .set_message(format!("could not be judged in {} experiments", count.inconclusive))
            .set_type("inconclusive");
        status
    } else if judged == 0 {
        let mut status = TestCaseStatus::skipped();
        let reason = collected.not_tried().into_iter().find(|skipped| skipped.what == count.name);
        status.set_message(reason.map_or_else(|| "never judged".to_owned(), |skipped| clean(&skipped.why)));
        status
    } else {
        TestCaseStatus::success()
    };
    // An unexpected end hides nothing: the counts say how much was judged.
    if count.violated > 0 && new.is_empty() && known.is_empty() {
        status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(format!("violated in {} experiments", count.violated)).set_type("violated");
    }
    let mut case = case(collected, &count.name, status);
    let mut output =
        format!("held {}, violated {}, inconclusive {}", count.held, count.violated, count.inconclusive);
    for finding in known {
        output.push_str(&format!(
            "\n\nknown finding, because {}:\n{}",
            finding.expected.as_deref().unwrap_or_default(),
            describe(collected, finding)
        ));
    }
    case.set_system_out(output);
    case
}

fn describe(collected: &Collected, finding: &Finding) -> String {
    let mut text = format!("{}: {}\nseen: {}", finding.id, finding.title, finding.detail);
    if let Some(experiment) = collected.smallest(finding) {
        for fault in &experiment.faults {
            text.push_str(&format!("\nfault: {fault}"));
        }
        for line in &experiment.aftermath {
            text.push_str(&format!("\nafterwards: {line}"));
        }
    }
    text.push_str(&format!("\nexperiments: {}\nreplay: {}", finding.experiments.len(), finding.replay));
    text
}
