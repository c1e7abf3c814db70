//! Ctrl-C: the first asks the run to end and to tell what was found, the second ends at once.

use std::sync::{Arc, atomic::AtomicBool};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use super::{error::CliError, exit_code::ExitCode};

/// Installs the handlers and gives the flag that the first SIGINT or SIGTERM sets.
pub(super) fn install() -> Result<Arc<AtomicBool>, CliError> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the shutdown looks at the flag before this very signal sets it.
        let code = i32::from(ExitCode::Interrupted.number());
        flag::register_conditional_shutdown(signal, code, Arc::clone(&interrupt))
            .and_then(|_| flag::register(signal, Arc::clone(&interrupt)))
            .map_err(|error| CliError::machine(format!("failed to handle signal {signal}: {error}")))?;
    }
    Ok(interrupt)
}
