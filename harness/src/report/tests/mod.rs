mod sample;

use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
};

use super::{store::Store, *};
use crate::{event::Event, scenario::Scenario};

/// A writer whose text can be looked at afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn told(format: Format, several: bool, events: &[Event]) -> String {
    let out = Shared::default();
    let mut reporter = format.reporter(Box::new(out.clone()), "x".to_owned(), several, Style::plain());
    for event in events {
        reporter.event(event).unwrap();
    }
    reporter.finish().unwrap();
    let bytes = out.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_terminal_report_tells_findings_counts_and_what_was_not_tried() {
    insta::assert_snapshot!(told(Format::Terminal, false, &sample::whole(false)));
}

#[test]
fn the_terminal_report_of_known_findings_holds() {
    insta::assert_snapshot!(told(Format::Terminal, false, &sample::whole(true)));
}

#[test]
fn the_terminal_report_of_a_run_that_was_cut_short_tells_what_was_found() {
    insta::assert_snapshot!(told(Format::Terminal, false, &sample::unfinished()));
}

#[test]
fn no_line_of_the_terminal_report_has_escape_sequences_or_is_too_wide() {
    for line in told(Format::Terminal, false, &sample::whole(false)).lines() {
        assert!(!line.contains('\u{1b}'), "{line:?}");
        assert!(line.chars().count() <= 100, "{line:?}");
    }
}

#[test]
fn the_json_report_has_schema_1() {
    insta::assert_snapshot!(told(Format::Json, false, &sample::whole(false)));
}

#[test]
fn several_scenarios_make_one_json_array_and_one_suite_each() {
    let events: Vec<Event> = [sample::whole(false), sample::whole(true)].concat();
    let json: serde_json::Value = serde_json::from_str(&told(Format::Json, true, &events)).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    let one: serde_json::Value =
        serde_json::from_str(&told(Format::Json, true, &sample::whole(true))).unwrap();
    assert_eq!(one.as_array().unwrap().len(), 1);
    let none: serde_json::Value = serde_json::from_str(&told(Format::Json, false, &[])).unwrap();
    assert_eq!(none.as_array().unwrap().len(), 0);
    assert_eq!(told(Format::Junit, true, &events).matches("<testsuite ").count(), 2);
    assert_eq!(told(Format::Html, true, &events).matches("<main>").count(), 2);
    assert_eq!(told(Format::Terminal, true, &events).matches("points       6 of 6 covered").count(), 2);
}

#[test]
fn a_run_that_was_cut_short_is_inconclusive_in_every_format() {
    let mut events = sample::unfinished();
    let json: serde_json::Value = serde_json::from_str(&told(Format::Json, false, &events)).unwrap();
    assert_eq!(json["verdict"], "inconclusive");
    assert_eq!(json["interrupted"], "the run did not come to its end");
    events.push(Event::Failed { message: "the clean run failed: exit 1".to_owned() });
    let junit = told(Format::Junit, false, &events);
    assert!(junit.contains("errors=\"1\"") && junit.contains("the clean run failed: exit 1"), "{junit}");
    assert!(told(Format::Terminal, false, &events).contains("cut short: the clean run failed: exit 1"));
}

#[test]
fn the_junit_report_has_a_test_case_for_each_invariant() {
    insta::assert_snapshot!(told(Format::Junit, false, &sample::whole(false)));
}

#[test]
fn a_known_finding_passes_in_junit_and_its_reason_is_shown() {
    let junit = told(Format::Junit, false, &sample::whole(true));
    assert!(junit.contains("failures=\"0\""), "{junit}");
    assert!(junit.contains("known finding, because the hook is being rewritten"), "{junit}");
}

#[test]
fn the_html_report_is_self_contained_and_escapes_what_it_shows() {
    let mut events = sample::whole(false);
    events.insert(6, Event::Note { text: "<script>alert(1)</script>".to_owned() });
    let html = told(Format::Html, false, &events);
    assert!(html.contains("deploy-hook.3fa9c1") && html.contains("killed after the fingerprint"), "{html}");
    for outside in ["<script", "http://", "https://", "<link", "src="] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.find("1 finding").unwrap() < html.find("Timeline of the clean run").unwrap());
}

fn store() -> (tempfile::TempDir, Store, Scenario) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deploy-hook.toml");
    std::fs::write(
        &file,
        "schema = 1\nname = \"deploy-hook\"\npurpose = \"x\"\n[subject]\ncommand = [\"x\"]\n[[artifact]]\n\
         domains = [\"example.com\"]\ncertificate = \"{root}/etc/site/c.pem\"\nkey = \"{root}/etc/site/k.pem\"\n",
    )
    .unwrap();
    let scenario = Scenario::load(&file).unwrap();
    let store = Store::at(folder.path().join("state/runs"));
    (folder, store, scenario)
}

fn record(path: &Path, events: &[Event]) {
    let mut log = EventLog::create(path).unwrap();
    for event in events {
        log.event(event).unwrap();
    }
}

#[test]
fn a_stored_run_is_told_again_exactly_as_it_was() {
    let (_folder, store, scenario) = store();
    let run = store.create(&scenario).unwrap();
    let events = sample::whole(false);
    record(&run.events(), &events);
    for (name, format) in Format::ALL {
        let out = Shared::default();
        let reporter = format.reporter(Box::new(out.clone()), "x".to_owned(), false, Style::plain());
        render(&run.events(), &mut [reporter]).unwrap();
        assert_eq!(
            String::from_utf8(out.0.lock().unwrap().clone()).unwrap(),
            told(format, false, &events),
            "{name}"
        );
    }
}

#[test]
fn a_torn_last_line_is_noted_and_a_damaged_line_is_an_error_with_its_number() {
    let (_folder, store, scenario) = store();
    let run = store.create(&scenario).unwrap();
    record(&run.events(), &sample::unfinished());
    let whole = std::fs::read(run.events()).unwrap();
    std::fs::write(run.events(), &whole[..whole.len() - 20]).unwrap();
    let tell = || {
        let out = Shared::default();
        let reporter =
            Format::Terminal.reporter(Box::new(out.clone()), "x".to_owned(), false, Style::plain());
        render(&run.events(), &mut [reporter])?;
        Ok::<_, ReportError>(String::from_utf8(out.0.lock().unwrap().clone()).unwrap())
    };
    let text = tell().unwrap();
    assert!(text.contains("line 30, the last of the stored run, is torn"), "{text}");
    let damaged = [b"{\"event\":\"started\"\n".as_slice(), &whole].concat();
    std::fs::write(run.events(), damaged).unwrap();
    assert!(tell().unwrap_err().to_string().contains("line 1 is no event"));
    let newer = String::from_utf8(whole).unwrap().replacen("\"schema\":1", "\"schema\":2", 1);
    std::fs::write(run.events(), newer).unwrap();
    assert!(tell().unwrap_err().to_string().contains("it has schema 2, and this version reads schema 1"));
}

#[test]
fn findings_and_experiments_are_found_in_the_newest_run_that_has_them() {
    let (folder, store, scenario) = store();
    let old = store.create(&scenario).unwrap();
    record(&old.events(), &sample::whole(false));
    let found = store.find_experiment("deploy-hook.3fa9c1").unwrap().unwrap();
    assert_eq!((found.experiment.id.as_str(), found.run), ("04killt", old.clone()));
    assert_eq!(found.scenario, folder.path().canonicalize().unwrap().join("deploy-hook.toml"));
    assert_eq!(found.finding.unwrap().invariant, "no-lost-reload");
    assert_eq!(store.find_experiment("00killl").unwrap().unwrap().experiment.id, "00killl");
    assert!(store.find_experiment("nothing").unwrap().is_none());

    // The original scenario file is gone: the copy is used. A newer run without the finding, and
    // one with a damaged log, do not hide it.
    std::fs::remove_file(folder.path().join("deploy-hook.toml")).unwrap();
    assert_eq!(old.scenario(), old.folder.join("scenario.toml"));
    for (name, log) in
        [("deploy-hook-29990101T000000Z-0000", "{}\n"), ("deploy-hook-29990102T000000Z-0000", "")]
    {
        let run = folder.path().join("state/runs").join(name);
        std::fs::create_dir(&run).unwrap();
        std::fs::write(run.join("events.jsonl"), log).unwrap();
    }
    assert_eq!(store.find_experiment("deploy-hook.3fa9c1").unwrap().unwrap().run, old);
    assert_eq!(store.find("last").unwrap().name, "deploy-hook-29990102T000000Z-0000");
    assert_eq!(store.find(&old.name[..20]).unwrap(), old);
    assert_eq!(store.find(&old.folder.display().to_string()).unwrap(), old);
    assert!(store.find("zzz").unwrap_err().contains("none of the 3 stored runs"));
    assert!(Store::at("/nonexistent".into()).find("last").unwrap_err().contains("no stored run"));
}

#[test]
fn only_the_newest_idle_runs_are_kept() {
    let (folder, store, scenario) = store();
    let root = folder.path().join("state/runs");
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    for minute in 0..60 {
        let run = root.join(format!("other-20200101T00{minute:02}00Z-00ff"));
        std::fs::create_dir_all(&run).unwrap();
        let log = std::fs::File::create(run.join("events.jsonl")).unwrap();
        if minute != 0 {
            log.set_modified(long_ago).unwrap();
        }
    }
    std::fs::create_dir(root.join("notes")).unwrap();
    let new = store.create(&scenario).unwrap();
    let runs = store.runs();
    // 50, and the oldest, which may still be going on.
    assert_eq!(runs.len(), 51);
    assert_eq!(runs[0], new);
    assert!(runs[50].name.contains("T000000Z"), "{}", runs[50].name);
    assert!(root.join("notes").is_dir());
}

#[test]
fn report_options_are_refused_with_what_is_right() {
    assert_eq!("json=a=b.json".parse::<Output>().unwrap().path, Path::new("a=b.json"));
    for (text, error) in [
        ("json", "is not FORMAT=PATH"),
        ("json=", "names no file"),
        ("jsn=x", "did you mean `json`?"),
        ("pdf=x", "known are terminal, json, junit, html"),
    ] {
        let found = text.parse::<Output>().unwrap_err();
        assert!(found.contains(error), "{found}");
    }
    let place = Output { format: Format::Json, path: "/nonexistent/x.json".into() };
    let Err(error) = place.open(false) else { panic!("opened") };
    assert!(error.to_string().contains("failed to create the report /nonexistent/x.json"), "{error}");
}
