//! The configuration is strict, and its errors lead to the place.

use std::fs;

use guard::Config;

use crate::world::{guard, run};

const EXAMPLE: &str = include_str!("../../guard.example.toml");

/// The error of a configuration: one line, without the file's folder.
fn error_of(text: &str) -> String {
    match Config::parse(text, "guard.toml".as_ref()) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_example_is_valid_and_shows_the_defaults() {
    let example = Config::parse(EXAMPLE, "example".as_ref()).unwrap();
    // Every line that is only commented out because it is a default, or the other choice.
    let shown: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key)
                if !key.starts_with(' ') && !key.starts_with("renew_days") && !key.starts_with("listen") =>
            {
                key
            }
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let mut shown = Config::parse(&shown, "example".as_ref()).unwrap();
    assert_eq!(shown.lock, Some(example.lock_path()));
    assert_eq!(shown.served.as_ref().unwrap().name.as_ref(), example.domains.first());
    shown.lock = None;
    shown.served.as_mut().unwrap().name = None;
    shown.acme.ca_bundle = None;
    assert_eq!(format!("{shown:?}"), format!("{example:?}"));
}

#[test]
fn an_unknown_key_is_refused_with_line_and_nearest_key() {
    let text = EXAMPLE.replace("domains =", "domain =");
    let error = error_of(&text);
    let line = text.lines().position(|l| l.starts_with("domain")).unwrap() + 1;
    assert!(error.starts_with(&format!("guard.toml:{line}: ")), "{error}");
    assert!(error.contains("`domain`") && error.ends_with("did you mean `domains`?"), "{error}");

    let text = EXAMPLE.replace("webroot =", "web_root =");
    let error = error_of(&text);
    let line = text.lines().position(|l| l.starts_with("web_root")).unwrap() + 1;
    assert!(error.starts_with(&format!("guard.toml:{line}: ")), "{error}");
    assert!(error.ends_with("did you mean `webroot`?"), "{error}");
}

#[test]
fn a_wrong_value_is_refused_with_its_line_and_what_would_be_right() {
    let text = EXAMPLE.replace("#within = \"10s\"", "within = \"ten\"");
    let line = text.lines().position(|l| l.starts_with("within")).unwrap() + 1;
    let error = error_of(&text);
    assert!(error.starts_with(&format!("guard.toml:{line}: ")) && error.contains("250ms"), "{error}");
    assert!(error_of(&EXAMPLE.replace("#within = \"10s\"", "within = 10")).contains("a duration in quotes"));
    assert!(
        error_of(&EXAMPLE.replace("#key_type = \"p256\"", "key_type = \"p265\""))
            .contains("did you mean `p256`?")
    );
}

#[test]
fn what_cannot_work_is_refused() {
    for (from, to, says) in [
        ("\"example.com\",", "\"*.example.com\",", "wildcard"),
        ("\"example.com\",", "\"exa mple.com\",", "no DNS name"),
        ("[\"example.com\", \"www.example.com\"]", "[]", "at least one name"),
        ("webroot = \"/var/www/html\"", "", "either `webroot`"),
        ("#listen", "listen", "not both"),
        ("\"/var/lib/guard/example.com\"", "\"state\"", "absolute"),
        ("#directory_url = \"https", "directory_url = \"http", "https://"),
        ("[\"systemctl\", \"reload\", \"nginx\"]", "[]", "`command` is empty"),
        ("#jitter = 0.2", "jitter = -1.0", "between 0 and 10"),
    ] {
        let error = error_of(&EXAMPLE.replacen(from, to, 1));
        assert!(error.contains(says), "{to}: {error}");
    }
}

#[test]
fn the_command_reports_a_bad_configuration_with_exit_code_2_and_makes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("guard.toml");
    let state = root.path().join("state");
    let text = EXAMPLE.replace("/var/lib/guard/example.com", state.to_str().unwrap()) + "[extra]\n";
    fs::write(&config, text).unwrap();
    let output = run(&config);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("guard.toml:"), "{output:?}");
    assert!(!state.exists());
    assert_eq!(run(&root.path().join("missing.toml")).status.code(), Some(2));
    assert_eq!(guard(["run"]).status.code(), Some(2));
    assert_eq!(guard(["--help"]).status.code(), Some(0));
}

#[test]
fn due_tells_missing_broken_and_expired_from_fresh() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("c.pem");
    let due = |days: &str| {
        guard(["due", "--certificate", path.to_str().unwrap(), "--days", days]).status.code().unwrap()
    };
    assert_eq!(due("30"), 0);
    fs::write(&path, "").unwrap();
    assert_eq!(due("30"), 0);
    crate::world::make_certificate(&path, &root.path().join("k.pem"), "example.com");
    assert_eq!(due("30"), 1);
    assert_eq!(due("4000000"), 0);
    let pem = fs::read(&path).unwrap();
    fs::write(&path, &pem[..pem.len() / 2]).unwrap();
    assert_eq!(due("30"), 0);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(due("30"), 2, "what cannot be read is neither due nor not due");
}
