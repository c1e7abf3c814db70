//! A replay, told line by line.

use crate::{
    effect::Class,
    experiment::Narrated,
    limits,
    run::{Seen, Told},
    verdict::{Phase, Verdict},
};

/// Turns what happens into lines for a person.
#[derive(Debug, Default)]
pub struct Narrator {
    /// The file states told last, to tell only what changed.
    states: Vec<String>,
    effects: u32,
    /// A log that grows, told in one line when something else happens.
    log: Option<(String, u32)>,
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
            Narrated::Printed(output) => {
                let mut lines = self.logged();
                lines.extend(printed(output));
                lines
            }
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
                if seen.effect.class == Class::Log && seen.effect.op == "write" {
                    match &mut self.log {
                        Some((path, count)) if *path == seen.effect.path => {
                            *count += 1;
                            return Vec::new();
                        }
                        _ => {
                            let lines = self.logged();
                            self.log = Some((seen.effect.path.clone(), 1));
                            return lines;
                        }
                    }
                }
                let mut lines = self.logged();
                // How a process ends is told when it has.
                if seen.effect.op != "exit" {
                    lines.push(format!("{:>4}  {}", self.effects, act(seen)));
                }
                lines
            }
            Told::Done(seen) if seen.failed && seen.effect.class != Class::Log => {
                vec!["      (failed, nothing changed)".to_owned()]
            }
            Told::Done(_) => Vec::new(),
            Told::State(states) => self.state(states),
            Told::Fault(fault) => {
                let mut lines = self.logged();
                lines.push(format!(" >>>  {fault}"));
                lines
            }
            Told::Refused(process) => {
                vec![format!(" >>>  out of address space: the kernel refused {process} memory")]
            }
            Told::OutOfMemory(process) => vec![format!(" >>>  out of memory: the kernel killed {process}")],
            Told::Ended(process, end) => {
                let mut lines = self.logged();
                lines.push(format!("      {process}: {end}"));
                lines
            }
        }
    }

    fn logged(&mut self) -> Vec<String> {
        let times = |count| if count == 1 { String::new() } else { format!(", {count} times") };
        self.log
            .take()
            .map(|(path, count)| format!("   .  writes to {path}{}", times(count)))
            .into_iter()
            .collect()
    }

    fn state(&mut self, states: &[String]) -> Vec<String> {
        // Between effects without a state of their own nothing has changed.
        if states.is_empty() {
            return Vec::new();
        }
        let lines = states
            .iter()
            .filter(|line| !self.states.contains(line))
            .map(|line| format!("        = {line}"))
            .collect();
        self.states = states.to_vec();
        lines
    }
}

/// The last lines of what a run printed.
fn printed(output: &str) -> Vec<String> {
    let all: Vec<&str> = output.trim_end().lines().collect();
    if all.is_empty() {
        return vec!["      it printed nothing".to_owned()];
    }
    let from = all.len().saturating_sub(limits::LAST_WORDS);
    let mut lines = vec!["      it printed:".to_owned()];
    if from > 0 {
        lines.push(format!("      | … {from} earlier lines"));
    }
    lines.extend(all[from..].iter().map(|line| format!("      | {line}")));
    lines
}

fn act(seen: &Seen) -> String {
    let from = seen.effect.from.as_ref().map(|from| format!(" (from {from})")).unwrap_or_default();
    let object = if seen.effect.path.is_empty() { String::new() } else { format!(" {}", seen.effect.path) };
    format!("{}: {}{object}{from}", seen.point.process, seen.effect.op)
}
