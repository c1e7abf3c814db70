//! A replay, told line by line.

use crate::{
    experiment::Narrated,
    run::{Seen, Told},
    verdict::{Phase, Verdict},
};

/// Turns what happens into lines for a person.
#[derive(Debug, Default)]
pub struct Narrator {
    /// The file states told last, to tell only what changed.
    states: Vec<String>,
    effects: u32,
}

impl Narrator {
    /// The lines for one happening.
    pub fn tell(&mut self, what: &Narrated<'_>) -> Vec<String> {
        match what {
            Narrated::Begins(phase) => {
                self.effects = 0;
                let title = match phase {
                    Phase::Recovery => "the next scheduled run",
                    Phase::Idle => "one more run, with nothing left to do",
                    Phase::Aftermath | Phase::Always => "the run with its fault",
                };
                vec![String::new(), format!("== {title} ==")]
            }
            Narrated::Run(told) => self.run(told),
            Narrated::State(states) => self.state(states),
            Narrated::Judged(phase, judgements) => {
                let mut lines = Vec::new();
                for judgement in judgements.iter().filter(|j| j.phase == *phase && j.verdict != Verdict::Held)
                {
                    let because = judgement
                        .explained_by
                        .as_ref()
                        .map(|e| format!(" (follows from {e})"))
                        .unwrap_or_default();
                    lines.push(format!(
                        "   {}: {}: {}{because}",
                        judgement.verdict, judgement.invariant, judgement.detail
                    ));
                }
                if lines.is_empty() {
                    lines.push("   held: every invariant that is judged here".to_owned());
                }
                lines
            }
        }
    }

    fn run(&mut self, told: &Told<'_>) -> Vec<String> {
        match told {
            Told::Effect(seen) => {
                self.effects += 1;
                vec![format!("{:>4}  {}", self.effects, act(seen))]
            }
            Told::Done(seen) if seen.failed => vec!["      (failed, nothing changed)".to_owned()],
            Told::Done(_) => Vec::new(),
            Told::State(states) => self.state(states),
            Told::Fault(fault) => vec![format!(" >>>  {fault}")],
            Told::Ended(process, end) => vec![format!("      {process}: {end}")],
        }
    }

    fn state(&mut self, states: &[String]) -> Vec<String> {
        let lines = states
            .iter()
            .filter(|line| !self.states.contains(line))
            .map(|line| format!("        = {line}"))
            .collect();
        self.states = states.to_vec();
        lines
    }
}

fn act(seen: &Seen) -> String {
    let from = seen.effect.from.as_ref().map(|from| format!(" (from {from})")).unwrap_or_default();
    format!("{}: {} {}{from}", seen.point.process, seen.effect.op, seen.effect.path)
}
