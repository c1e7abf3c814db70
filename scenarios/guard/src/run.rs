//! `guard run`: what the scheduler starts.

use crate::account::{self, StoredAccount};
use crate::challenge;
use crate::config::Config;
use crate::error::Error;
use crate::lock::Lock;
use crate::obtain::{self, Request};
use crate::reload;
use crate::store::Store;

/// One scheduled run. `reload` false leaves the reload owed.
pub fn run(config: &Config, reload: bool) -> Result<(), Error> {
    let store = Store::new(&config.directory);
    store.ensure()?;
    Lock::take(&config.lock_path())?.keep_until_exit();
    sweep(config, &store)?;

    let found = store.pair()?;
    let due = match &found {
        Ok(pair) => pair.due(&config.domains, config.renew_days),
        Err(problem) => Some(problem.to_string()),
    };
    let mut pair = found.ok();
    let mut obtained = Ok(());
    let mut installed = false;
    match due {
        None => tracing::debug!("the certificate is not due"),
        Some(why) => {
            tracing::info!(domains = config.domains.join(","), "renewing: {why}");
            match obtain::obtain(&Request::from_config(config)) {
                Ok(issued) => {
                    if let Err(error) = store.install(&issued.key_pem, &issued.chain_pem) {
                        // The usual reason is a full disk, and half a generation would only fill it more.
                        drop(store.sweep());
                        return Err(error);
                    }
                    pair = store.pair()?.ok();
                    installed = true;
                }
                // An owed reload of the certificate that is there does not have to wait for the CA.
                Err(error) => obtained = Err(error),
            }
        }
    }
    let reloaded = match &pair {
        Some(pair) if reload => reload::settle(config, &store, pair.leaf.fingerprint, installed),
        _ => Ok(()),
    };
    if installed {
        store.sweep()?;
    }
    match (obtained, reloaded) {
        (Err(error), Err(owed)) => {
            tracing::error!("{owed}");
            Err(error)
        }
        (obtained, reloaded) => obtained.and(reloaded),
    }
}

/// Remove everything that killed runs left.
fn sweep(config: &Config, store: &Store) -> Result<(), Error> {
    let mut swept = store.sweep()?;
    let account_file = store.account_path();
    swept += account::sweep(&account_file)?;
    if let Some(webroot) = &config.challenge.webroot
        && let Some(account) = StoredAccount::read(&account_file)?
    {
        swept += challenge::sweep(webroot, &account.thumbprint)?;
    }
    if swept > 0 {
        tracing::info!(swept, "removed what a killed run left");
    }
    Ok(())
}
