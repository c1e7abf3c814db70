//! The state of key, certificate, lock and server, told in a line each.

use crate::{
    artifact::{ArtifactState, FileState},
    invariant::LockState,
    target::Served,
};

/// One line for each file of the artifacts, one for what is served, one for the lock.
pub fn describe(
    artifacts: &[ArtifactState],
    served: &Result<Served, String>,
    lock: &LockState,
) -> Vec<String> {
    let mut lines = Vec::new();
    let short = |fingerprint: &str| fingerprint.chars().take(12).collect::<String>();
    for state in artifacts {
        let file = |file: &FileState, whole: String| match file {
            FileState::Whole => whole,
            FileState::Missing(why) => format!("missing ({why})"),
            FileState::Broken(why) => format!("broken ({why})"),
            FileState::Unreadable(why) => format!("not understood ({why})"),
        };
        let days = (state.not_after - now_s()) / 86_400;
        lines.push(format!(
            "{}: {}",
            state.certificate_path,
            file(&state.certificate, format!("certificate {}, {days} days left", short(&state.fingerprint)))
        ));
        let matching = match state.matches {
            Some(true) => "belongs to the certificate",
            Some(false) => "does NOT belong to the certificate",
            None => "whether it belongs to the certificate cannot be told",
        };
        let mode = state.key_mode.map(|mode| format!(", mode {:04o}", mode & 0o7777)).unwrap_or_default();
        lines.push(format!("{}: {}", state.key_path, file(&state.key, format!("key, {matching}{mode}"))));
    }
    lines.push(match served {
        Ok(served) => format!("served: certificate {}", short(&served.fingerprint)),
        Err(error) => format!("served: nothing ({error})"),
    });
    match lock {
        LockState::Undeclared => {}
        LockState::Free => lines.push("lock: free".to_owned()),
        LockState::Held(who) => lines.push(format!("lock: held by {who}")),
        LockState::Present => lines.push("lock: there".to_owned()),
        LockState::Unknown(why) => lines.push(format!("lock: unknown ({why})")),
    }
    lines
}

fn now_s() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}
