use std::{path::Path, time::Duration};

use super::*;

const WHOLE: &str = r#"
schema = 1
name = "certbot-flock"
purpose = "certbot renew under flock, as a timer and a cron job would both start it"
[subject]
command  = ["/usr/local/bin/renew.sh"]
prepare  = [["certbot", "certonly", "-d", "example.com"]]
age = [["touch", "{root}/x"]]
state    = ["/etc/letsencrypt", "/var/lib/letsencrypt"]
needs    = ["certbot", "flock", "openssl"]
deadline = "90s"
cwd = "/"
[subject.files]
"/usr/local/bin/renew.sh" = "renew.sh"
[subject.templates]
"/etc/renew.conf" = "renew.conf"
[subject.env]
ACME = "{directory_url}"
[[artifact]]
domains = ["example.com"]
certificate = "/etc/letsencrypt/live/example.com/fullchain.pem"
key = "/etc/nginx/tls/privkey.pem"
[lock]
kind = "pid-file"
path = "/run/certbot-renew.lock"
[server]
kind = "builtin"
http = false
webroots = ["/srv/www"]
pid_file = "/run/nginx.pid"
[faults]
kill = { signals = ["SIGKILL", "sigterm"], scopes = ["process", "leader", "tree"] }
[limits]
orders = 3
certificates = 2
renewed_days = 20
[[expect]]
invariant = "no-lost-reload"
reason = "the hook runs only in the run that renewed"
matching = "deploy.sh"
"#;

const SMALL: &str = r#"schema = 1
name = "small"
purpose = "as little as there can be"
[subject]
command = ["renew"]
[[artifact]]
domains = ["example.com"]
certificate = "{root}/etc/tls/cert.pem"
key = "{root}/etc/tls/key.pem"
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("renew.sh"), "#!/bin/sh\n").unwrap();
    std::fs::write(folder.path().join("renew.conf"), "url={directory_url}\n").unwrap();
    folder
}

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    let folder = folder();
    Scenario::parse(text, &folder.path().join("x.toml"))
}

/// The error text of `text` with the temporary folder's name taken out.
fn error(text: &str) -> String {
    let folder = folder();
    let error = Scenario::parse(text, &folder.path().join("x.toml")).unwrap_err();
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn a_whole_scenario_is_read_as_it_was_written() {
    let scenario = parse(WHOLE).unwrap();
    assert_eq!(scenario.name, "certbot-flock");
    assert_eq!(scenario.subject.deadline, Duration::from_secs(90));
    assert_eq!(scenario.subject.env["ACME"], "{directory_url}");
    assert_eq!(scenario.lock.as_ref().unwrap().kind, LockKind::PidFile);
    assert!(!scenario.server.http);
    assert_eq!(scenario.faults.kill.as_ref().unwrap().signals, [KillSignal::Sigkill, KillSignal::Sigterm]);
    assert_eq!(scenario.limits, Limits { orders: 3, certificates: 2, renewed_days: 20 });
    assert_eq!(scenario.expect[0].matching.as_deref(), Some("deploy.sh"));
    assert_eq!(scenario.subject.state, ["/etc/letsencrypt", "/var/lib/letsencrypt", "/etc/nginx/tls"]);
}

#[test]
fn a_small_scenario_gets_the_defaults_and_runs_in_any_world() {
    let scenario = parse(SMALL).unwrap();
    assert_eq!(scenario.subject.deadline, Duration::from_secs(60));
    assert_eq!(scenario.server, Server::default());
    assert_eq!(scenario.faults, Faults::default());
    assert_eq!(scenario.limits, Limits { orders: 5, certificates: 2, renewed_days: 30 });
    assert_eq!(scenario.subject.state, ["{root}/etc/tls"]);
    assert_eq!(scenario.uses_absolute_paths(), [""; 0]);
}

#[test]
fn a_faults_table_without_kill_kills_nobody() {
    assert_eq!(parse(&format!("{SMALL}[faults]\n")).unwrap().faults.kill, None);
    let only =
        parse(&format!("{SMALL}[faults]\nkill = {{ scopes = [\"tree\"] }}\n")).unwrap().faults.kill.unwrap();
    assert_eq!((only.signals.len(), only.scopes), (2, vec![Scope::Tree]));
}

#[test]
fn resolving_replaces_placeholders_in_commands_paths_and_environment() {
    let world =
        Placeholders { root: "/w".into(), directory_url: "https://ca/dir".into(), ..Placeholders::default() };
    let scenario = parse(WHOLE).unwrap().resolve(&world);
    assert_eq!(scenario.subject.age, [["touch", "/w/x"]]);
    assert_eq!(scenario.subject.env["ACME"], "https://ca/dir");
    let small = parse(SMALL).unwrap().resolve(&world);
    assert_eq!(small.artifacts[0].key, "/w/etc/tls/key.pem");
    assert_eq!(small.server.pid_file, "/w/run/nginx.pid");
    assert_eq!(small.subject.state, ["/w/etc/tls"]);
}

#[test]
fn absolute_paths_are_named_with_the_key_they_stand_at() {
    let paths = parse(WHOLE).unwrap().uses_absolute_paths();
    assert!(paths.contains(&"/etc/letsencrypt (subject.state)".to_owned()), "{paths:?}");
    assert!(paths.contains(&"/run/certbot-renew.lock (lock.path)".to_owned()), "{paths:?}");
}

#[test]
fn a_scenario_survives_being_handed_to_another_process() {
    let scenario = parse(WHOLE).unwrap();
    let text = serde_json::to_string(&scenario).unwrap();
    assert_eq!(serde_json::from_str::<Scenario>(&text).unwrap(), scenario);
}

#[test]
fn every_problem_of_a_file_is_reported_with_its_place_and_the_nearest_word() {
    let text = r#"schema = 1
name = "x"
[subject]
comand = ["renew"]
deadline = 60
state = ["/etc/x", 7]
purpose = "in the wrong table"
[subject.files]
"/x" = ["a"]
[[artefact]]
domains = ["example.com"]
[lock]
kind = "flok"
path = "/run/x"
http = true
[faults]
kill = { signals = ["SIGKIL"], scopes = ["everyone"] }
[limits]
orders = -1
[expect]
invariant = "ends"
"#;
    insta::assert_snapshot!(error(text));
}

#[test]
fn what_the_shape_cannot_say_is_judged_too() {
    let text = r#"schema = 1
name = "Bad Name"
purpose = " "
[subject]
command = []
prepare = [[""], ["echo", "{rooot}", "awk '{print}'", "${root}"]]
state = ["/", "etc/x", "{root}/usr/", "{rot}/x", "/a/../b"]
[subject.files]
"/x" = "missing.sh"
"relative" = "renew.sh"
[subject.templates]
"/y" = "."
[subject.env]
URL = "{directory-url} {directory_ur}"
[[artifact]]
domains = []
certificate = "/etc/cert.pem"
key = "/srv/{nonsense}/key.pem"
[faults]
kill = { signals = [] }
[limits]
orders = 0
[[expect]]
invariant = "no-lost-relod"
reason = ""
"#;
    insta::assert_snapshot!(error(text));
}

#[test]
fn faults_that_are_unknown_or_do_not_go_together_are_refused_with_the_reason() {
    let text = r#"[faults]
kill = { signals = ["sigkill", "sigkill"] }
senders = { profiles = ["systemd-stp", "pkill-f"], kill_modes = ["control"] }
disk = { errors = ["short-write"], lasting = ["once"] }
ca = { troubles = ["enospc"] }
neighbour = { faults = [] }
"#;
    insta::assert_snapshot!(error(&format!("{SMALL}{text}")));
    let alone = r#"[faults]
senders = { profiles = ["reboot"], kill_modes = ["mixed"], patterns = ["certbot"] }
"#;
    insta::assert_snapshot!(error(&format!("{SMALL}{alone}")));
}

#[test]
fn another_version_of_the_format_is_refused_before_its_keys() {
    insta::assert_snapshot!(error("schema = 2\nnew_key = 1\n"), @r"
    x.toml:1:10: schema 2 is not known
      |
    1 | schema = 2
      |          ^ this version reads schema 1
    ");
}

#[test]
fn toml_errors_name_their_place() {
    let text = error("schema = 1\nname = \"x\n[subject]\ncommand = [\n");
    assert!(text.starts_with("x.toml:2:"), "{text}");
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let folder = folder();
    let none = Scenario::load(&folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(none.contains("none.toml: failed to read the scenario file: No such file"), "{none}");
    std::fs::write(folder.path().join("binary.toml"), [b'a', 0xff]).unwrap();
    let binary = Scenario::load(&folder.path().join("binary.toml")).unwrap_err().to_string();
    assert!(binary.contains("not UTF-8 text (byte 1)"), "{binary}");
    let directory = Scenario::load(Path::new("/")).unwrap_err().to_string();
    assert!(directory.contains("directory"), "{directory}");
}

#[test]
fn no_text_makes_the_loader_panic() {
    // Every prefix of a whole file, and every file with one line left out.
    let path = Path::new("/nonexistent/x.toml");
    for end in (0..WHOLE.len()).filter(|end| WHOLE.is_char_boundary(*end)).step_by(3) {
        let _ = Scenario::parse(&WHOLE[..end], path).map_err(|error| error.to_string());
    }
    let lines: Vec<&str> = WHOLE.lines().collect();
    for skip in 0..lines.len() {
        let text: Vec<&str> =
            lines.iter().enumerate().filter(|(i, _)| *i != skip).map(|(_, line)| *line).collect();
        let _ = Scenario::parse(&text.join("\n"), path).map_err(|error| error.to_string());
    }
}

#[test]
fn scenarios_know_every_invariant_there_is() {
    let names: Vec<&str> = crate::invariant::all().iter().map(|invariant| invariant.name()).collect();
    assert_eq!(names, INVARIANTS);
}
