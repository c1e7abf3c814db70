//! Nearly all text that a person reads in a terminal, in one place.

use std::{fmt::Write as _, time::Duration};

use crate::{
    event::{Event, ExperimentRecord, Finding, Summary},
    limits,
    verdict::Verdict,
};

use super::{
    Collected,
    style::{Paint, Style, clean, tail},
};

/// Columns of the labels on the left.
const LABEL: usize = 13;

/// Progress without a terminal: what an event is worth a line of its own for.
pub(super) fn step(event: &Event) -> Option<String> {
    match event {
        Event::Started { scenario, world, seed, .. } => {
            Some(format!("{scenario}: {world} world, seed {seed}"))
        }
        Event::Pebble(pebble) => Some(format!("Pebble {} ({})", pebble.version, pebble.source)),
        Event::Step { what } => Some(clean(what)),
        Event::Census { effects, wall_ms, .. } => {
            Some(format!("census: {} in {}", plural(effects.len() as u64, "effect"), milliseconds(*wall_ms)))
        }
        Event::Plan { experiments, points, .. } => {
            Some(format!("plan: {} at {}", plural(*experiments, "experiment"), plural(*points, "point")))
        }
        Event::Note { text } => Some(format!("note: {}", clean(text))),
        Event::Experiment(_) | Event::Failed { .. } | Event::Ended(_) => None,
    }
}

/// Progress without a terminal: how far the experiments are.
pub(super) fn progress(collected: &Collected, elapsed: Duration) -> String {
    let done = collected.done;
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    let mut text = format!("{done} of {} experiments, {rate:.1}/s", collected.planned);
    let left = collected.planned.saturating_sub(done);
    if rate > 0.0 && left > 0 {
        let _ = write!(text, ", about {} left", duration(left as f64 / rate));
    }
    text + &tally(collected)
}

/// What was broken so far, as an addition to a line; empty when nothing was.
pub(super) fn tally(collected: &Collected) -> String {
    let mut text = String::new();
    if collected.violated > 0 {
        let _ = write!(text, ", {} violated", collected.violated);
    }
    if collected.inconclusive > 0 {
        let _ = write!(text, ", {} inconclusive", collected.inconclusive);
    }
    text
}

/// What the runs of an experiment are called, in order.
pub(super) fn runs_of(experiment: &ExperimentRecord) -> &'static [&'static str] {
    match (experiment.faults.len(), experiment.exits.len()) {
        (0, _) => &["clean run", "idle run"],
        // Where one fault ends a run, the next one strikes in the run after it.
        (2.., 4) => &["faulted run", "second faulted run", "next run", "idle run"],
        (3.., 5) => &["faulted run", "second faulted run", "third faulted run", "next run", "idle run"],
        _ => &["faulted run", "next run", "idle run"],
    }
}

/// The report at the end.
pub(super) fn report(collected: &Collected, style: Style) -> String {
    let mut page = Page { out: String::new(), style };
    page.head(collected);
    if let Some(summary) = &collected.summary {
        page.counts(collected, summary);
        page.invariants(summary);
    } else {
        let done = plural(collected.done, "experiment");
        page.labelled(
            "experiments",
            &format!("{done} of {} before the end{}", collected.planned, tally(collected)),
        );
        page.unfinished(collected);
    }
    page.findings(collected);
    page.remarks(collected);
    page.verdict(collected);
    page.out
}

struct Page {
    out: String,
    style: Style,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn heading(&mut self, paint: Paint, text: &str) {
        self.line("");
        let text = self.style.paint(paint, text);
        self.line(&text);
    }

    /// `label  text`, the text wrapped after the label.
    fn labelled(&mut self, label: &str, text: &str) {
        self.labelled_at(0, label, text);
    }

    fn labelled_at(&mut self, indent: usize, label: &str, text: &str) {
        let lines = self.style.wrap(text, indent + LABEL);
        for (index, line) in lines.iter().enumerate() {
            if index == 0 {
                let label = self.style.paint(Paint::Dim, &format!("{label:LABEL$}"));
                let text = line.trim_start();
                self.line(&format!("{:indent$}{label}{text}", ""));
            } else {
                self.line(line);
            }
        }
    }

    fn head(&mut self, collected: &Collected) {
        let name = self.style.paint(Paint::Bold, &clean(&collected.scenario));
        self.line(&name);
        for line in self.style.wrap(&collected.purpose, 0) {
            self.line(&line);
        }
        self.line("");
        let mut world = Vec::new();
        if let Some(kind) = collected.world {
            world.push(format!("{kind}, {} at a time, seed {}", collected.jobs, collected.seed));
        }
        self.labelled("world", &world.join(", "));
        if let Some(pebble) = &collected.pebble {
            self.labelled("Pebble", &format!("{} ({})", pebble.version, pebble.source));
        }
    }

    fn counts(&mut self, collected: &Collected, summary: &Summary) {
        let coverage = summary.coverage;
        let mut points = format!("{} of {} covered", coverage.covered, coverage.points);
        if let Some(reason) = &collected.partial {
            let _ = write!(points, ", and coverage is only partial: {reason}");
        }
        self.labelled("points", &points);
        let mut experiments = format!("{} in {}", summary.experiments, duration(summary.wall_s));
        if summary.wall_s > 0.0 && summary.experiments > 0 {
            let _ = write!(experiments, ", {:.1}/s", summary.experiments as f64 / summary.wall_s);
        }
        if summary.cpu_efficiency > 0.0 {
            let _ = write!(
                experiments,
                "; the subject's own share of the CPU {:.0} %",
                summary.cpu_efficiency * 100.0
            );
        }
        self.labelled("experiments", &experiments);
        if collected.same > 0 {
            self.labelled("", &format!("{} more are proven to be the same as one of these", collected.same));
        }
    }

    fn invariants(&mut self, summary: &Summary) {
        let width = summary.invariants.iter().map(|count| count.name.len()).max().unwrap_or(0).max(9);
        self.heading(
            Paint::Dim,
            &format!("{:width$} {:>9} {:>9} {:>13}", "invariant", "held", "violated", "inconclusive"),
        );
        for count in &summary.invariants {
            let paint = match (count.violated, count.inconclusive, count.held) {
                (1.., _, _) => Paint::Bad,
                (_, 1.., _) => Paint::Doubt,
                (0, 0, 0) => Paint::Dim,
                _ => Paint::Good,
            };
            let name = self.style.paint(paint, &format!("{:width$}", count.name));
            let numbers = [count.held, count.violated, count.inconclusive]
                .map(|number| if number == 0 { "-".to_owned() } else { number.to_string() });
            self.line(&format!("{name} {:>9} {:>9} {:>13}", numbers[0], numbers[1], numbers[2]));
        }
    }

    /// A run that was cut short has no findings yet: what was violated is told one by one.
    fn unfinished(&mut self, collected: &Collected) {
        let violated: Vec<_> =
            collected.experiments.iter().filter(|e| e.verdict == Verdict::Violated).collect();
        if violated.is_empty() {
            return;
        }
        self.heading(Paint::Bad, "violated so far");
        for experiment in violated.iter().take(limits::REPORT_OUTPUT_LINES) {
            if let Some(violation) = experiment.violations.first() {
                let faults: Vec<String> = experiment.faults.iter().map(ToString::to_string).collect();
                let text = format!("{}: {} ({})", violation.invariant, violation.detail, faults.join("; "));
                for line in self.style.wrap(&text, 2) {
                    self.line(&line);
                }
            }
        }
        if violated.len() > limits::REPORT_OUTPUT_LINES {
            self.line(&format!("  and {} more", violated.len() - limits::REPORT_OUTPUT_LINES));
        }
    }

    fn findings(&mut self, collected: &Collected) {
        let (new, known) = collected.findings();
        if !new.is_empty() {
            self.heading(Paint::Bad, &plural(new.len() as u64, "finding"));
        }
        for finding in new {
            self.finding(collected, finding, Paint::Bad);
        }
        if !known.is_empty() {
            self.heading(Paint::Doubt, &plural(known.len() as u64, "known finding"));
        }
        for finding in known {
            self.finding(collected, finding, Paint::Doubt);
        }
    }

    fn finding(&mut self, collected: &Collected, finding: &Finding, paint: Paint) {
        self.line("");
        let lines = self.style.wrap(&format!("{}: {}", finding.invariant, finding.title), 2);
        for line in lines {
            let line = self.style.paint(paint, &line);
            self.line(&line);
        }
        if let Some(reason) = &finding.expected {
            self.labelled_at(4, "known", reason);
        }
        self.labelled_at(4, "seen", &finding.detail);
        if let Some(experiment) = collected.smallest(finding) {
            for (index, fault) in experiment.faults.iter().enumerate() {
                self.labelled_at(4, if index == 0 { "fault" } else { "" }, &fault.to_string());
            }
            for (index, line) in experiment.aftermath.iter().enumerate() {
                self.labelled_at(4, if index == 0 { "afterwards" } else { "" }, line);
            }
            let runs = runs_of(experiment);
            let ends: Vec<String> =
                runs.iter().zip(&experiment.exits).map(|(run, end)| format!("{run} {end}")).collect();
            self.labelled_at(4, "ended", &ends.join(", "));
            for (index, line) in
                tail(&experiment.recovery_output, limits::REPORT_OUTPUT_LINES).iter().enumerate()
            {
                let label = if index == 0 { "next run" } else { "" };
                let label = self.style.paint(Paint::Dim, &format!("{label:LABEL$}"));
                let bar = self.style.paint(Paint::Dim, "|");
                self.line(&format!("    {label}{bar} {line}"));
            }
        }
        self.labelled_at(4, "experiments", &finding.experiments.len().to_string());
        let replay = self.style.paint(Paint::Bold, &finding.replay);
        let label = self.style.paint(Paint::Dim, &format!("{:LABEL$}", "replay"));
        self.line(&format!("    {label}{replay}"));
    }

    fn remarks(&mut self, collected: &Collected) {
        let undecided = collected.undecided();
        if !undecided.is_empty() {
            self.heading(Paint::Doubt, "could not be judged");
            for (reason, count) in undecided {
                self.item(count, reason);
            }
        }
        let skipped = collected.not_tried();
        if !skipped.is_empty() {
            self.heading(Paint::Dim, "not tried");
            for skipped in skipped {
                self.item(skipped.count, &format!("{}, because {}", skipped.what, skipped.why));
            }
        }
        let stale = collected.summary.iter().flat_map(|summary| &summary.stale_expectations);
        let stale: Vec<&String> = stale.collect();
        if !stale.is_empty() {
            self.heading(Paint::Doubt, "stale: these [[expect]] entries matched nothing, remove them");
            for entry in stale {
                for line in self.style.wrap(entry, 2) {
                    self.line(&line);
                }
            }
        }
        if !collected.notes.is_empty() {
            self.heading(Paint::Dim, "notes");
            for note in &collected.notes {
                for line in self.style.wrap(note, 2) {
                    self.line(&line);
                }
            }
        }
    }

    fn item(&mut self, count: u64, text: &str) {
        let lines = self.style.wrap(text, 9);
        for (index, line) in lines.iter().enumerate() {
            if index == 0 {
                self.line(&format!("{count:>7}  {}", line.trim_start()));
            } else {
                self.line(line);
            }
        }
    }

    fn verdict(&mut self, collected: &Collected) {
        let (new, known) = collected.findings();
        self.line("");
        if let Some(reason) = collected.interrupted() {
            let lines = self.style.wrap(&format!("cut short: {reason}"), 0);
            for line in lines {
                let line = self.style.paint(Paint::Doubt, &line);
                self.line(&line);
            }
        }
        let verdict = collected.verdict();
        let paint = match verdict {
            Verdict::Held => Paint::Good,
            Verdict::Violated => Paint::Bad,
            Verdict::Inconclusive => Paint::Doubt,
        };
        let mut text = self.style.paint(paint, &verdict.to_string());
        match verdict {
            Verdict::Held if known.is_empty() => {
                text.push_str(": every promise was kept at every point tried");
            }
            Verdict::Held => {
                let _ = write!(text, ": nothing but {}", plural(known.len() as u64, "known finding"));
            }
            Verdict::Violated if new.is_empty() => {}
            Verdict::Violated => {
                let _ = write!(text, ": {}", plural(new.len() as u64, "finding"));
            }
            Verdict::Inconclusive => text.push_str(": not everything could be judged"),
        }
        self.line(&text);
    }
}

/// `1 point`, `2 points`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn milliseconds(milliseconds: u64) -> String {
    if milliseconds < 1000 { format!("{milliseconds} ms") } else { duration(milliseconds as f64 / 1000.0) }
}

/// `4.2 s`, `3 min 20 s`, `2 h 05 min`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        return format!("{} min {:02} s", whole / 60, whole % 60);
    }
    format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
}
