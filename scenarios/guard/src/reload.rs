//! The reload: owed until the served certificate is the one on disk, so it is never lost, and not done twice.

use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bound;
use crate::certificate::Fingerprint;
use crate::config::{Config, ReloadConfig, ServedConfig};
use crate::error::Error;
use crate::served::Served;
use crate::store::Store;

/// The server that `[served]` names.
pub fn served(config: &Config, served: &ServedConfig) -> Result<Served, Error> {
    let name = served.name.as_deref().or(config.domains.first().map(String::as_str)).unwrap_or_default();
    Served::new(&served.address, name).map_err(|what| Error::Config(format!("[served] {what}")))
}

/// Bring the server to serve the certificate on disk, if it does not yet. `installed_now`: this run put it there.
pub fn settle(
    config: &Config,
    store: &Store,
    on_disk: Fingerprint,
    installed_now: bool,
) -> Result<(), Error> {
    match &config.served {
        Some(settings) => {
            let server = served(config, settings)?;
            settle_by_asking(config.reload.as_ref(), settings, &server, on_disk, installed_now)
        }
        None => settle_by_record(config.reload.as_ref(), store),
    }
}

fn settle_by_asking(
    reload: Option<&ReloadConfig>,
    settings: &ServedConfig,
    server: &Served,
    on_disk: Fingerprint,
    installed_now: bool,
) -> Result<(), Error> {
    match server.fingerprint() {
        Ok(found) if found == on_disk => {
            tracing::debug!("the certificate on disk is served");
            return Ok(());
        }
        Ok(found) => tracing::info!(served = %found, %on_disk, "another certificate is served"),
        Err(error) => tracing::warn!("{error}"),
    }
    // The certificate is an earlier run's, which did not see it served. It may have been killed right after its reload, and the
    // server may be at it at this moment: a second reload would be one too many.
    if !installed_now && server.wait_for(on_disk, settings.settle.0).is_ok() {
        tracing::info!("an earlier run's reload has arrived");
        return Ok(());
    }
    if let Some(reload) = reload {
        run(reload)?;
    }
    server.wait_for(on_disk, settings.within.0).map_err(Error::ReloadOwed)?;
    tracing::info!("the certificate on disk is served");
    Ok(())
}

/// Without a server to ask: reload unless it is on record. A run killed between reload and record reloads once more.
fn settle_by_record(reload: Option<&ReloadConfig>, store: &Store) -> Result<(), Error> {
    let Some(reload) = reload else { return Ok(()) };
    if store.reloaded() {
        return Ok(());
    }
    run(reload)?;
    store.set_reloaded()
}

/// Run the reload command to its end.
fn run(reload: &ReloadConfig) -> Result<(), Error> {
    let what = reload.command.join(" ");
    let owed = |why: String| Error::ReloadOwed(format!("`{what}` {why}"));
    tracing::info!(command = %what, "reloading");
    let mut child = bound::command(&reload.command)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| owed(format!("did not start: {e}")))?;
    let pid =
        i32::try_from(child.id()).map(Pid::from_raw).map_err(|e| owed(format!("has no usable pid: {e}")))?;
    let (sender, receiver) = mpsc::channel();
    let waiter = std::thread::spawn(move || drop(sender.send(child.wait())));
    let timeout = reload.timeout.0;
    let result = match receiver.recv_timeout(timeout) {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(owed(describe(status))),
        Ok(Err(error)) => Err(owed(format!("could not be waited for: {error}"))),
        Err(_) => {
            // Still ours to kill: it is a zombie at worst until the waiter has it.
            let _ = kill(pid, Signal::SIGKILL);
            Err(owed(format!("did not end within {timeout:?} and was killed")))
        }
    };
    drop(waiter.join());
    result
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}
