//! Durations as scenario files write them: `"60s"`, `"2m"`, `"500ms"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// Reads `"500ms"`, `"60s"`, `"2m"` or `"1h"`. The error is a fragment that says what is wrong.
pub fn parse(text: &str) -> Result<Duration, String> {
    let form =
        || format!("`{text}` is not a duration: write a number and `ms`, `s`, `m` or `h`, such as `60s`");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(form()),
    };
    let number: u64 = number.parse().map_err(|_| form())?;
    match number.checked_mul(milliseconds) {
        Some(0) => Err("a duration of zero leaves no time for anything".to_owned()),
        Some(total) => Ok(Duration::from_millis(total)),
        None => Err(format!("`{text}` is too long")),
    }
}

/// Writes a duration so that [`parse`] reads it back: `60s`, `1500ms`.
pub fn write(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

/// For `serde(with)`.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&write(*duration))
}

/// For `serde(with)`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_they_were_written() {
        for (text, milliseconds) in [("500ms", 500), ("60s", 60_000), ("2m", 120_000), ("1h", 3_600_000)] {
            let duration = parse(text).unwrap();
            assert_eq!(duration, Duration::from_millis(milliseconds));
            assert_eq!(parse(&write(duration)).unwrap(), duration);
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_the_form_of_one() {
        for text in ["", "60", "s", "1d", "-5s", "1.5s", "99999999999999999999s"] {
            assert!(parse(text).unwrap_err().contains("is not a duration"), "{text}");
        }
        assert!(parse("0s").unwrap_err().contains("zero"));
        assert!(parse("18446744073709551615h").unwrap_err().contains("too long"));
    }
}
