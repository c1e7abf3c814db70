//! Text for people: progress on standard error while a run goes on, the report on standard output
//! at its end.

use std::{
    io::{IsTerminal as _, Write},
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{event::Event, limits};

use super::{Collected, ReportError, Reporter, Style, message};

/// How progress is shown.
#[derive(Debug)]
pub enum Progress {
    /// Not at all: a stored run is told again.
    Silent,
    /// A bar, redrawn in place.
    Bar(ProgressBar),
    /// A line at each step, each tenth of the experiments, and at least every
    /// [`limits::PROGRESS_INTERVAL`].
    Lines,
}

impl Progress {
    /// A bar when standard error is a terminal, lines otherwise.
    pub fn of_stderr() -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress::Lines;
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(limits::PROGRESS_TICK);
        Progress::Bar(bar)
    }
}

/// The reporter people look at.
pub struct Terminal {
    out: Box<dyn Write>,
    style: Style,
    progress: Progress,
    collected: Option<Collected>,
    began: Instant,
    spoke: Instant,
    tenth: u64,
}

impl Terminal {
    /// Writes the report to `out` and shows no progress.
    pub fn new(out: Box<dyn Write>, style: Style) -> Terminal {
        let now = Instant::now();
        Terminal { out, style, progress: Progress::Silent, collected: None, began: now, spoke: now, tenth: 0 }
    }

    /// Shows progress, too.
    #[must_use]
    pub fn with_progress(mut self, progress: Progress) -> Terminal {
        self.progress = progress;
        self
    }

    fn show(&mut self, event: &Event, collected: &Collected) {
        if let Event::Plan { .. } = event {
            self.began = Instant::now();
            self.spoke = self.began;
            self.tenth = 0;
        }
        match &self.progress {
            Progress::Silent => {}
            Progress::Bar(bar) => draw(bar, event, collected),
            Progress::Lines => {
                let line = if matches!(event, Event::Experiment(_)) {
                    let done = collected.done;
                    let tenth = (done * 10).checked_div(collected.planned).unwrap_or(0);
                    let due = tenth > self.tenth || self.spoke.elapsed() >= limits::PROGRESS_INTERVAL;
                    self.tenth = self.tenth.max(tenth);
                    due.then(|| message::progress(collected, self.began.elapsed()))
                } else {
                    message::step(event)
                };
                if let Some(line) = line {
                    self.spoke = Instant::now();
                    // Progress that nobody can read is no reason to end a run.
                    let _ = writeln!(std::io::stderr(), "{line}");
                }
            }
        }
    }

    /// Writes the report of the scenario that is over.
    fn close(&mut self) -> Result<(), ReportError> {
        if let Progress::Bar(bar) = &self.progress {
            bar.reset();
            bar.finish_and_clear();
        }
        let Some(collected) = self.collected.take() else { return Ok(()) };
        let stored = matches!(self.progress, Progress::Silent);
        if collected.summary.is_none() && collected.experiments.is_empty() && !stored {
            // The error that ended the run says it all.
            return Ok(());
        }
        let text = message::report(&collected, self.style);
        self.out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush())
            .map_err(ReportError::new("failed to write the report"))
    }
}

impl Reporter for Terminal {
    fn event(&mut self, event: &Event) -> Result<(), ReportError> {
        if matches!(event, Event::Started { .. }) {
            let another = self.collected.is_some();
            self.close()?;
            if another {
                writeln!(self.out).map_err(ReportError::new("failed to write the report"))?;
            }
        }
        let mut collected = self.collected.take().unwrap_or_default();
        collected.add(event);
        self.show(event, &collected);
        self.collected = Some(collected);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ReportError> {
        self.close()
    }
}

fn draw(bar: &ProgressBar, event: &Event, collected: &Collected) {
    let template =
        |text: &str| ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar());
    match event {
        Event::Plan { experiments, .. } => {
            bar.set_length(*experiments);
            bar.set_position(0);
            bar.reset_elapsed();
            bar.reset_eta();
            bar.set_message("");
            bar.set_style(template("{prefix} {wide_bar} {pos}/{len}, {per_sec}, {eta} left{msg}"));
        }
        Event::Experiment(_) => {
            bar.set_position(collected.done);
            bar.set_message(message::tally(collected));
        }
        Event::Note { text } => bar.println(format!("note: {}", super::style::clean(text))),
        _ => {
            if matches!(event, Event::Started { .. }) {
                bar.reset();
                bar.set_style(template("{spinner} {prefix}: {msg}"));
                bar.set_prefix(collected.scenario.clone());
            }
            if let Some(text) = message::step(event) {
                bar.set_message(text);
            }
        }
    }
}
