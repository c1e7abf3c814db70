//! Whether a TOML document has the shape that the types' own schema describes. Reports every
//! unknown key, missing key, wrong type and unknown value of a file at once, each with its place,
//! which a plain `Deserialize` (first error only, no nearest key) cannot.

use std::ops::Range;

use serde_json::Value as Json;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problem::{Place, Problem, suggest};

/// Checks `document` against `schema` (with its `$defs`).
pub(super) fn check(source: &str, document: &Spanned<DeTable<'_>>, schema: &Json) -> Vec<Problem> {
    let mut checker = Checker { source, root: schema, problems: Vec::new() };
    // A key that the whole file lacks has no place of its own.
    checker.table(document.get_ref(), None, schema, "");
    checker.problems
}

struct Checker<'a> {
    source: &'a str,
    root: &'a Json,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, span: Option<Range<usize>>, message: String, help: Option<String>) {
        let at = span.map(|span| Place::of(self.source, span));
        self.problems.push(Problem { at, message, help });
    }

    /// Follows `$ref` and takes the other side of "or null": TOML has no null.
    fn follow(&self, mut schema: &'a Json) -> &'a Json {
        loop {
            if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
                schema = &self.root["$defs"][name];
            } else if let Some(choices) = schema["anyOf"].as_array()
                && let Some(choice) = choices.iter().find(|choice| choice["type"] != "null")
            {
                schema = choice;
            } else {
                return schema;
            }
        }
    }

    fn table(&mut self, table: &DeTable<'_>, span: Option<&Range<usize>>, schema: &'a Json, path: &str) {
        let name = if path.is_empty() { "the top level".to_owned() } else { format!("[{path}]") };
        let properties = schema["properties"].as_object();
        for (key, value) in table {
            let key_text: &str = key.get_ref();
            let inner = properties
                .and_then(|known| known.get(key_text))
                .or_else(|| Some(&schema["additionalProperties"]).filter(|any| any.is_object()));
            match inner {
                Some(inner) => self.value(value, inner, &join(path, key_text)),
                None => {
                    let known =
                        properties.map(|known| known.keys().map(String::as_str)).into_iter().flatten();
                    let help = self.elsewhere(key_text, path).unwrap_or_else(|| suggest(key_text, known));
                    self.report(Some(key.span()), format!("unknown key `{key_text}` in {name}"), Some(help));
                }
            }
        }
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if !table.keys().any(|key| key.get_ref() == required) {
                let help = properties
                    .and_then(|known| known[required]["description"].as_str())
                    .map(|text| format!("it is: {}", text.lines().next().unwrap_or_default()));
                let what = if self.follow(&schema["properties"][required])["type"] == "object" {
                    format!("the table [{}] is missing", join(path, required))
                } else {
                    format!("`{required}` is missing in {name}")
                };
                self.report(span.cloned(), what, help);
            }
        }
    }

    /// Where a key belongs that stands in the wrong table (in TOML, everything after a `[table]`
    /// line is in it, which is easily forgotten).
    fn elsewhere(&self, key: &str, path: &str) -> Option<String> {
        let top = self.root["properties"].as_object()?;
        if !path.is_empty() && top.contains_key(key) {
            return Some(format!("`{key}` belongs to the top level, before the first [table]"));
        }
        top.iter()
            .map(|(table, schema)| (table, self.follow(schema)))
            .filter(|(table, schema)| *table != path && schema["properties"].get(key).is_some())
            .map(|(table, _)| format!("`{key}` belongs into [{table}]"))
            .next()
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &'a Json, path: &str) {
        let schema = self.follow(schema);
        let span = value.span();
        if let Some(names) = names(schema) {
            match value.get_ref().as_str() {
                Some(text) if names.contains(&text) => {}
                Some(text) => {
                    let help = suggest(text, names.iter().copied());
                    self.report(Some(span), format!("unknown value `{text}` for `{path}`"), Some(help));
                }
                None => self.wrong_type(value, "a string", path),
            }
            return;
        }
        // An optional field's type is written ["string", "null"].
        let kind = match &schema["type"] {
            Json::Array(kinds) => kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null"),
            kind => kind.as_str(),
        };
        match (kind, value.get_ref()) {
            (Some("object"), DeValue::Table(table)) => self.table(table, Some(&span), schema, path),
            (Some("array"), DeValue::Array(items)) => {
                for item in items {
                    self.value(item, &schema["items"], path);
                }
            }
            (Some("integer"), DeValue::Integer(number)) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
                let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
                let most = if schema["format"] == "uint32" { i64::from(u32::MAX) } else { i64::MAX };
                if !parsed.is_some_and(|number| (least..=most).contains(&number)) {
                    self.report(
                        Some(span),
                        format!("`{path}` is out of range"),
                        Some(format!("a whole number from {least} to {most} is expected")),
                    );
                }
            }
            (Some("string"), DeValue::String(_)) | (Some("boolean"), DeValue::Boolean(_)) | (None, _) => {}
            (Some("object"), _) => self.wrong_type(value, &format!("a table ([{path}])"), path),
            (Some("array"), _) if self.follow(&schema["items"])["type"] == "object" => {
                self.wrong_type(value, &format!("an array of tables ([[{path}]])"), path);
            }
            (Some("array"), _) => self.wrong_type(value, "an array ([…])", path),
            (Some("integer"), _) => self.wrong_type(value, "a whole number", path),
            (Some("boolean"), _) => self.wrong_type(value, "true or false", path),
            (Some(_), _) => self.wrong_type(value, "a string", path),
        }
    }

    fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, expected: &str, path: &str) {
        let found = match value.get_ref() {
            DeValue::String(text) => format!("the string \"{text}\""),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(truth) => format!("{truth}"),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.report(
            Some(value.span()),
            format!("`{path}` has the wrong type"),
            Some(format!("expected {expected}, found {found}")),
        );
    }
}

/// The values an enumeration knows: `enum`, or the constants of `oneOf` where each has a
/// description of its own.
fn names(schema: &Json) -> Option<Vec<&str>> {
    if let Some(values) = schema["enum"].as_array() {
        return Some(values.iter().filter_map(Json::as_str).collect());
    }
    let choices = schema["oneOf"].as_array()?;
    let mut names = Vec::new();
    for choice in choices {
        match (&choice["enum"], &choice["const"]) {
            (Json::Array(values), _) => names.extend(values.iter().filter_map(Json::as_str)),
            (_, Json::String(name)) => names.push(name.as_str()),
            _ => return None,
        }
    }
    Some(names)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
