//! Who was inside the state-changing part, and when: whether two runs ever were together.

/// One effect of a run that belongs to the state-changing part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Which run.
    pub run: usize,
    /// Stretches of the clean run, from taking the lock to letting it go, that have this effect: a
    /// bit each. Between two stretches another run may be inside.
    pub stretches: u64,
    /// The effect, for people.
    pub text: String,
}

/// The effects of all runs of one incident that belong to the state-changing part, in order.
#[derive(Debug, Default)]
pub(super) struct Inside(Vec<Step>);

impl Inside {
    /// A run is about to take this step.
    pub fn enter(&mut self, step: Step) {
        self.0.push(step);
    }

    /// The same, if there is one.
    pub fn extend(&mut self, step: Option<Step>) {
        self.0.extend(step);
    }

    /// The step that `run` was about to take, if that was the last one of all: it does not happen,
    /// or not yet.
    pub fn hold(&mut self, run: usize, text: &str) -> Option<Step> {
        self.0.pop_if(|step| step.run == run && step.text == text)
    }

    /// What others did while a run was in the middle of one stretch.
    pub fn overlaps(&self) -> Vec<String> {
        let mut intruded = vec![false; self.0.len()];
        for (from, step) in self.0.iter().enumerate() {
            let next = self.0[from + 1..].iter().position(|other| other.run == step.run);
            let Some(between) = next else { continue };
            if self.0[from + 1 + between].stretches & step.stretches != 0 {
                intruded[from + 1..=from + between].fill(true);
            }
        }
        self.0
            .iter()
            .zip(intruded)
            .filter(|(_, intruded)| *intruded)
            .map(|(step, _)| step.text.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(steps: &[(usize, u64)]) -> Vec<String> {
        let mut inside = Inside::default();
        for (run, stretches) in steps {
            inside.enter(Step { run: *run, stretches: *stretches, text: format!("{run}") });
        }
        inside.overlaps()
    }

    #[test]
    fn one_run_after_the_other_is_no_overlap() {
        assert_eq!(inside(&[(0, 1), (0, 1), (1, 1), (1, 1)]), [""; 0]);
    }

    #[test]
    fn whoever_works_between_two_steps_of_another_run_is_told() {
        assert_eq!(inside(&[(0, 1), (1, 1), (0, 1)]), ["1"]);
        assert_eq!(inside(&[(0, 1), (1, 1), (2, 1), (0, 1), (1, 1)]), ["1", "2", "0"]);
    }

    #[test]
    fn between_two_stretches_another_run_may_work() {
        assert_eq!(inside(&[(0, 1), (1, 1), (1, 2), (0, 2)]), [""; 0]);
    }

    #[test]
    fn a_step_that_is_held_counts_when_it_is_taken() {
        let mut all = Inside::default();
        let step = |run| Step { run, stretches: 1, text: "rename".into() };
        all.enter(step(0));
        let held = all.hold(0, "rename").unwrap();
        all.enter(step(1));
        all.enter(held);
        assert_eq!(all.overlaps(), [""; 0]);
    }
}
