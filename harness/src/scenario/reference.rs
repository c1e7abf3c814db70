//! The format's schema and its reference page, both generated from the types.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::model::Scenario;

/// The JSON schema of scenario files, for editors and for the loader itself.
pub fn schema() -> Json {
    let mut schema = schemars::schema_for!(Scenario).to_value();
    if let Some(top) = schema.as_object_mut() {
        top.insert("title".to_owned(), "Process Roulette scenario, schema 1".into());
    }
    schema
}

/// The schema as `docs/scenario.schema.json` has it.
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

/// The reference page as `docs/scenario.md` has it.
pub fn page() -> String {
    let schema = schema();
    let mut out = String::from(PREAMBLE);
    table(&mut out, &schema, &schema, "");
    out.push_str(POSTSCRIPT);
    out
}

const PREAMBLE: &str = "\
<!-- Generated from harness/src/scenario/model.rs. `UPDATE_DOCS=1 cargo test -p process-roulette docs` writes it. -->
# Scenario files

A scenario is a TOML file: a subject (the renewal pipeline under test), its world, the faults to try
and the invariants to hold. Unknown keys are refused, with the nearest known one named. For completion
in an editor, put `#:schema PATH/docs/scenario.schema.json` in the first line, or print the schema with
`roulette schema`.

```toml
schema = 1
name = \"certbot-flock\"
purpose = \"certbot renew under flock, as a timer and a cron job would both start it\"

[subject]
command  = [\"/usr/local/bin/renew.sh\"]
prepare  = [[\"certbot\", \"certonly\", \"--webroot\", \"-w\", \"/var/www\", \"-d\", \"example.com\", \"-n\", \"--agree-tos\", \"-m\", \"ops@example.com\"]]
state    = [\"/etc/letsencrypt\", \"/var/lib/letsencrypt\", \"/var/log/letsencrypt\"]
needs    = [\"certbot\", \"flock\"]
deadline = \"60s\"

[subject.files]
\"/usr/local/bin/renew.sh\" = \"wrappers/renew.sh\"

[[artifact]]
domains     = [\"example.com\"]
certificate = \"/etc/letsencrypt/live/example.com/fullchain.pem\"
key         = \"/etc/letsencrypt/live/example.com/privkey.pem\"

[lock]
kind = \"flock\"
path = \"/run/certbot-renew.lock\"
```
";

const POSTSCRIPT: &str = "
## Placeholders

Commands, paths, environment values and the text of `subject.templates` may use these. A scenario whose
paths all start with `{root}` runs in both kinds of world; one with absolute paths needs a private one.

| placeholder | private world | bare world |
|---|---|---|
| `{root}` | empty | the folder that stands for `/` |
| `{directory_url}` | the production directory URL | the test CA's on loopback |
| `{http_port}` | 80 | an ephemeral port |
| `{tls_port}` | 443 | an ephemeral port |
| `{ca_bundle}` | the system's bundle | a file with the world's roots |
| `{dns_api}` | [where a hook sets TXT records](world.md#the-dns-providers-api) | the same on loopback |

In templates `${root}` (with a `$`) is the shell's own and stays as it is.
";

/// One section a table, depth first, so that the page has the order of a file.
fn table(out: &mut String, root: &Json, schema: &Json, path: &str) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let Some(properties) = schema["properties"].as_object() else { return };
    let mut inner: Vec<(String, &Json, bool)> = Vec::new();
    let mut headed = false;
    for (key, property) in properties {
        let (target, list) = target(root, property);
        let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if target["properties"].is_object() {
            inner.push((name, target, list));
            continue;
        }
        if !std::mem::replace(&mut headed, true) {
            out.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
        }
        let default = if required.contains(&key.as_str()) {
            "**required**".to_owned()
        } else {
            match &property["default"] {
                Json::Null => "none".to_owned(),
                Json::Array(items) if items.is_empty() => "`[]`".to_owned(),
                Json::Object(items) if items.is_empty() => "none".to_owned(),
                value => format!("`{value}`"),
            }
        };
        let mut meaning = property["description"]
            .as_str()
            .or(target["description"].as_str())
            .unwrap_or_default()
            .replace('\n', " ");
        for choice in target["oneOf"].as_array().into_iter().flatten() {
            let _ = write!(
                meaning,
                " `{}`: {}",
                choice["const"].as_str().unwrap_or_default(),
                choice["description"].as_str().unwrap_or_default().replace('\n', " ")
            );
        }
        if let Some(values) = target["enum"].as_array() {
            let values: Vec<String> =
                values.iter().map(|value| format!("`{}`", value.as_str().unwrap_or_default())).collect();
            let _ = write!(meaning, " One of {}.", values.join(", "));
        }
        let _ = writeln!(out, "| `{key}` | {} | {default} | {meaning} |", kind(root, property));
    }
    for (name, schema, list) in inner {
        let heading = if list { format!("[[{name}]]") } else { format!("[{name}]") };
        let described = schema["description"].as_str().unwrap_or_default();
        let _ = write!(out, "\n## `{heading}`\n\n{described}\n");
        table(out, root, schema, &name);
    }
}

/// What a property is in the end, through `$ref`, "or null" and arrays, and whether it is a list.
fn target<'a>(root: &'a Json, mut schema: &'a Json) -> (&'a Json, bool) {
    let mut list = false;
    loop {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
            schema = &root["$defs"][name];
        } else if let Some(choice) =
            schema["anyOf"].as_array().and_then(|all| all.iter().find(|c| c["type"] != "null"))
        {
            schema = choice;
        } else if schema["items"].is_object() {
            schema = &schema["items"];
            list = true;
        } else {
            return (schema, list);
        }
    }
}

fn kind(root: &Json, schema: &Json) -> String {
    if schema["items"].is_object() {
        let items = kind(root, &schema["items"]);
        return match items.strip_prefix("array of ") {
            Some(inner) => format!("array of arrays of {inner}"),
            None => format!("array of {items}s"),
        };
    }
    let (schema, _) = target(root, schema);
    let kind = match &schema["type"] {
        Json::Array(kinds) => kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null"),
        kind => kind.as_str(),
    };
    match kind {
        Some("object") => "table of strings".to_owned(),
        Some("integer") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        _ => "string".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `UPDATE_DOCS=1 cargo test -p process-roulette docs` rewrites them.
    #[test]
    fn docs_of_the_scenario_format_are_up_to_date() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        for (name, text) in [("scenario.schema.json", schema_text()), ("scenario.md", page())] {
            let path = docs.join(name);
            if std::env::var_os("UPDATE_DOCS").is_some() {
                std::fs::create_dir_all(&docs).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == text,
                "docs/{name} is out of date: run `UPDATE_DOCS=1 cargo test -p process-roulette docs`"
            );
        }
    }
}
