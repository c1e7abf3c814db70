//! `roulette check`: what this machine can do.

use std::fmt::Write as _;

use serde_json::json;

use crate::lab;

use super::{
    arguments::{CheckOptions, TextOrJson},
    error::CliError,
    exit_code::ExitCode,
    output::{print, print_json},
    session::require,
};

pub(super) fn check(options: &CheckOptions) -> Result<ExitCode, CliError> {
    let capabilities = lab::check()?;
    match options.format {
        TextOrJson::Json => print_json(&json!({ "schema": 1, "capabilities": capabilities }))?,
        TextOrJson::Text => {
            let width = capabilities.iter().map(|capability| capability.name.len()).max().unwrap_or(0);
            let mut out = String::new();
            for capability in &capabilities {
                let state = if capability.available { "yes" } else { "no" };
                let _ = writeln!(out, "{:width$}  {state:3}  {}", capability.name, capability.detail);
                if let Some(remedy) = capability.remedy.as_ref().filter(|_| !capability.available) {
                    let _ = writeln!(out, "{:width$}       to enable: {remedy}", "");
                }
            }
            print(&out)?
        }
    };
    require(&options.require)?;
    Ok(ExitCode::Held)
}
