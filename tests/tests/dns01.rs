//! DNS-01 as a real client does it: its hook sets the TXT record by the DNS provider's API, the DNS
//! has it, the CA validates it, and the hook takes it away again.

use std::process::Command;

use process_roulette_tests::{program::roulette, sweep::folder};

#[test]
fn dehydrated_renews_by_dns_01_with_a_hook() {
    let (code, printed) = census();
    if code == Some(4) {
        eprintln!("SKIPPED the census of dehydrated with DNS-01: {printed}");
        return;
    }
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("dehydrated > hook.sh > curl"), "{printed}");
    assert!(!printed.contains("acme-challenges/"), "nothing is shown over HTTP: {printed}");
}

fn census() -> (Option<i32>, String) {
    let state = tempfile::tempdir().unwrap();
    let output = Command::new(roulette())
        .arg("census")
        .arg(folder(".").join("dehydrated-dns01.toml"))
        .env("XDG_STATE_HOME", state.path())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout) + &text(output.stderr))
}
