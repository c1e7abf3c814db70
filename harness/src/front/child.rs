//! One program of the CA's host: its process and the end of what it printed.

use std::{
    collections::VecDeque,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{io::AsyncReadExt, net::unix::pipe, sync::Mutex as AsyncMutex, task::JoinHandle};

use crate::limits;

use super::lifeline;

/// A running program. Dropping it kills and reaps it.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    process: Mutex<std::process::Child>,
    output: Arc<Mutex<VecDeque<u8>>>,
    reading: AsyncMutex<Option<JoinHandle<()>>>,
}

impl Child {
    /// Starts `program` with only the environment given. Must be called on the CA's thread,
    /// inside its runtime.
    pub fn start(
        program: &Path,
        arguments: &[String],
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> std::io::Result<Child> {
        let (reader, writer) = std::io::pipe()?;
        let mut command: Command = lifeline::command(program);
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let process = command.spawn()?;
        // The last write ends of this process: with them gone the pipe ends with the child.
        drop(command);
        let output = Arc::new(Mutex::new(VecDeque::new()));
        let mut child = Child {
            name: program.display().to_string(),
            process: Mutex::new(process),
            output: output.clone(),
            reading: AsyncMutex::new(None),
        };
        let mut reader = pipe::Receiver::from_owned_fd(reader.into())?;
        let reading = tokio::spawn(async move {
            let mut chunk = vec![0; 4096];
            while let Ok(length) = reader.read(&mut chunk).await {
                if length == 0 {
                    break;
                }
                let mut kept = output.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&chunk[..length]);
                let excess = kept.len().saturating_sub(limits::OUTPUT_KEPT);
                kept.drain(..excess);
            }
        });
        *child.reading.get_mut() = Some(reading);
        Ok(child)
    }

    /// Waits until all that an ended program printed is read, but not for a child that it left
    /// behind with its output open.
    pub async fn drained(&self) {
        if let Some(reading) = self.reading.lock().await.take() {
            let _ = tokio::time::timeout(limits::CA_POLL_ANSWER, reading).await;
        }
    }

    /// Kills and reaps it. What is gone already stays gone.
    pub fn end(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        // Both fail only for a process that is gone already.
        let _ = process.kill();
        let _ = process.wait();
    }

    /// The program's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, if it has.
    pub fn exited(&self) -> Option<String> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        match process.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(describe(status)),
            // Somebody else's wait took its status: it is gone all the same.
            Err(error) => Some(format!("is gone ({error})")),
        }
    }

    /// The end of what it printed, at most [`limits::OUTPUT_KEPT`] bytes.
    pub fn output(&self) -> String {
        let mut kept = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).trim_end().to_owned()
    }

    /// The last lines of its output, indented, for an error message.
    pub fn last_words(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let from = lines.len().saturating_sub(limits::LAST_WORDS);
        if lines.is_empty() {
            return "it printed nothing".to_owned();
        }
        format!("it printed last:\n    {}", lines[from..].join("\n    "))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended with {status}"),
    }
}
