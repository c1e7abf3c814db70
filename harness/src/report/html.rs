//! One self-contained HTML file: findings first, then counts, then the census as a timeline that
//! shows at which points something broke. No scripts, no external assets.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    event::{Event, Finding, Summary},
    limits,
    point::{Point, Side},
    verdict::Verdict,
};

use super::{
    Collected, ReportError, Reporter,
    message::{duration, plural, runs_of},
    style::tail,
};

/// Writes HTML.
pub struct Html {
    out: Box<dyn Write>,
    name: String,
    current: Option<Collected>,
    done: Vec<Markup>,
    title: Vec<String>,
}

impl Html {
    /// `name` is for errors.
    pub fn new(out: Box<dyn Write>, name: String) -> Html {
        Html { out, name, current: None, done: Vec::new(), title: Vec::new() }
    }

    fn close(&mut self) {
        if let Some(collected) = self.current.take() {
            self.title.push(format!("{}: {}", collected.scenario, collected.verdict()));
            self.done.push(scenario(&collected));
        }
    }
}

impl Reporter for Html {
    fn event(&mut self, event: &Event) -> Result<(), ReportError> {
        if matches!(event, Event::Started { .. }) {
            self.close();
        }
        self.current.get_or_insert_default().add(event);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ReportError> {
        self.close();
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title.join("; ")) " - Process Roulette" }
                    style { (PreEscaped(STYLE)) }
                }
                body { @for section in &self.done { (section) } }
            }
        };
        let tried = format!("failed to write the html report {}", self.name);
        self.out
            .write_all(page.into_string().as_bytes())
            .and_then(|()| self.out.flush())
            .map_err(ReportError::new(tried))
    }
}

const STYLE: &str = "
:root{color-scheme:light dark;--bad:#c62828;--good:#2e7d32;--doubt:#b26a00;--line:#8884}
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{overflow-x:auto;padding:.6rem;border:1px solid var(--line);border-radius:4px}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right}dt{font-weight:600;margin-top:.4rem}dd{margin:0 0 0 1rem}
.violated{color:var(--bad)}.held{color:var(--good)}.inconclusive{color:var(--doubt)}.quiet{opacity:.65}
.finding{border-left:4px solid var(--bad);padding-left:1rem;margin:1.2rem 0}.finding.known{border-color:var(--doubt)}
.scroll{overflow-x:auto}td code{white-space:nowrap}
";

fn scenario(collected: &Collected) -> Markup {
    let (new, known) = collected.findings();
    let verdict = collected.verdict();
    html! {
        main {
            h1 { (collected.scenario) ": " span class=(verdict) { (verdict) } }
            p { (collected.purpose) }
            @if let Some(reason) = collected.interrupted() { p.inconclusive { "Cut short: " (reason) } }
            @if !new.is_empty() {
                h2 { (plural(new.len() as u64, "finding")) }
                @for finding in new { (one_finding(collected, finding)) }
            }
            @if !known.is_empty() {
                h2 { (plural(known.len() as u64, "known finding")) }
                @for finding in known { (one_finding(collected, finding)) }
            }
            (facts(collected))
            @if let Some(summary) = &collected.summary { (invariants(summary)) }
            (remarks(collected))
            (census(collected))
        }
    }
}

fn one_finding(collected: &Collected, finding: &Finding) -> Markup {
    let experiment = collected.smallest(finding);
    html! {
        section class={ "finding" @if finding.expected.is_some() { " known" } } id=(finding.id) {
            h3 { (finding.invariant) ": " (finding.title) }
            dl {
                @if let Some(reason) = &finding.expected { dt { "Known" } dd { (reason) } }
                dt { "Seen" } dd { (finding.detail) }
                @if let Some(experiment) = experiment {
                    dt { "Fault" }
                    @for fault in &experiment.faults { dd { code { (fault) } } }
                    @if !experiment.aftermath.is_empty() {
                        dt { "Afterwards" } dd { pre { (experiment.aftermath.join("\n")) } }
                    }
                    dt { "Ended" }
                    @for (run, end) in runs_of(experiment).iter().zip(&experiment.exits) {
                        dd { (run) ": " (end) }
                    }
                    @let said = tail(&experiment.recovery_output, 4 * limits::REPORT_OUTPUT_LINES);
                    @if !said.is_empty() { dt { "The next run said" } dd { pre { (said.join("\n")) } } }
                }
                dt { "Replay" } dd { code { (finding.replay) } }
                dt { "Experiments" }
                dd {
                    details {
                        summary { (finding.experiments.len()) }
                        @for id in &finding.experiments { code { (id) } " " }
                    }
                }
            }
        }
    }
}

fn facts(collected: &Collected) -> Markup {
    html! {
        h2 { "Run" }
        table {
            @if let Some(world) = collected.world {
                tr { th { "World" } td { (world) ", " (collected.jobs) " at a time" } }
            }
            @if let Some(pebble) = &collected.pebble {
                tr { th { "Pebble" } td { (pebble.version) " (" (pebble.source) ")" } }
            }
            tr { th { "Seed" } td { (collected.seed) } }
            @if let Some(summary) = &collected.summary {
                tr { th { "Points" } td { (summary.coverage.covered) " of " (summary.coverage.points) " covered"
                    @if let Some(reason) = &collected.partial { ", only partial: " (reason) } } }
                tr { th { "Experiments" } td { (summary.experiments) " in " (duration(summary.wall_s))
                    @if collected.same > 0 { "; " (collected.same) " more are proven to be the same as one of these" } } }
            } @else {
                tr { th { "Experiments" } td { (collected.done) " of " (collected.planned) } }
            }
            tr { th { "Scenario" } td { code { (collected.file) } } }
            tr { th { "Version" } td { (collected.version) } }
        }
    }
}

fn invariants(summary: &Summary) -> Markup {
    html! {
        h2 { "Invariants" }
        table {
            tr { th { "Invariant" } th.n { "held" } th.n { "violated" } th.n { "inconclusive" } }
            @for count in &summary.invariants {
                @let class = if count.violated > 0 { "violated" } else if count.inconclusive > 0 { "inconclusive" }
                    else if count.held > 0 { "held" } else { "quiet" };
                tr { td class=(class) { (count.name) } td.n { (count.held) } td.n { (count.violated) } td.n { (count.inconclusive) } }
            }
        }
    }
}

fn remarks(collected: &Collected) -> Markup {
    let undecided = collected.undecided();
    let skipped = collected.not_tried();
    let stale: Vec<&String> =
        collected.summary.iter().flat_map(|summary| &summary.stale_expectations).collect();
    html! {
        @if !undecided.is_empty() {
            h2 { "Could not be judged" }
            ul { @for (reason, count) in undecided { li { (count) ": " (reason) } } }
        }
        @if !skipped.is_empty() {
            h2 { "Not tried" }
            ul { @for one in skipped { li { (one.count) " " (one.what) ", because " (one.why) } } }
        }
        @if !stale.is_empty() {
            h2 { "Stale expectations" }
            ul { @for entry in stale { li { (entry) } } }
        }
        @if !collected.notes.is_empty() {
            h2 { "Notes" }
            ul { @for note in &collected.notes { li { (note) } } }
        }
    }
}

/// Experiments at one point, by verdict.
#[derive(Default, Clone, Copy)]
struct Tally {
    held: u64,
    violated: u64,
    inconclusive: u64,
}

fn census(collected: &Collected) -> Markup {
    let mut at: HashMap<&Point, Tally> = HashMap::new();
    let mut elsewhere: BTreeMap<&Point, Tally> = BTreeMap::new();
    for experiment in &collected.experiments {
        for fault in &experiment.faults {
            let tally = at.entry(&fault.point).or_default();
            match experiment.verdict {
                Verdict::Held => tally.held += 1,
                Verdict::Violated => tally.violated += 1,
                Verdict::Inconclusive => tally.inconclusive += 1,
            }
        }
    }
    for (point, tally) in &at {
        if point.side == Side::After || !collected.effects.iter().any(|effect| effect.point == **point) {
            elsewhere.insert(point, *tally);
        }
    }
    let row = |number: String, process: &str, op: &str, path: &str, durable: bool, tally: Tally| {
        html! {
            tr class=[(!durable).then_some("quiet")] {
                td.n { (number) } td { (process) } td { (op) } td { code { (path) } }
                td.n.held { @if tally.held > 0 { (tally.held) } }
                td.n.violated { @if tally.violated > 0 { (tally.violated) } }
                td.n.inconclusive { @if tally.inconclusive > 0 { (tally.inconclusive) } }
            }
        }
    };
    html! {
        @if !collected.effects.is_empty() {
            h2 { "Timeline of the clean run" }
            p { (plural(collected.effects.len() as u64, "effect")) ", and how the experiments came out that interfered right before each." }
            div.scroll { table {
                tr { th.n { "" } th { "process" } th { "effect" } th { "path" } th.n { "held" } th.n { "violated" } th.n { "inconclusive" } }
                @for (index, effect) in collected.effects.iter().enumerate() {
                    (row((index + 1).to_string(), &effect.process, &effect.op, &effect.path, effect.durable,
                        at.get(&effect.point).copied().unwrap_or_default()))
                }
                @for (point, tally) in &elsewhere {
                    (row(String::new(), &point.process, &format!("{} {}", point.side, point.op), &point.role, true, *tally))
                }
            } }
        }
    }
}
