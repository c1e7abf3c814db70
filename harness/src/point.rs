//! Stable names for instants: before or after one effect.

use serde::{Deserialize, Serialize};

/// Which side of its effect an instant is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The effect has not happened.
    Before,
    /// The effect has happened, nothing after it has.
    After,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Side::Before => "before",
            Side::After => "after",
        })
    }
}

/// A stable name for an instant of a run: who, does what, to which path role, for the how-manyth
/// time, before or after. Never a pid, never a global ordinal alone.
///
/// Written as `before renew.sh > cp: rename /etc/ssl/site/privkey{N}.pem #2`; parsed back by
/// [`std::str::FromStr`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// Before or after the effect.
    pub side: Side,
    /// The process lineage, such as `renew.sh > certbot > deploy.sh > cp`.
    pub process: String,
    /// The operation, such as `rename`, `flock`, `exec`, `kill`, `newOrder`.
    pub op: String,
    /// The path role or other object; empty where the operation has none (`exit`).
    pub role: String,
    /// Counts the same (process, op, role) within one run, from 1.
    pub occurrence: u32,
}

/// The operation of the point at which a run starts: no effect, and there before all of them.
const START: &str = "start";

impl Point {
    /// The instant at which a run of the leader `process` starts.
    pub fn start(process: &str) -> Point {
        Point {
            side: Side::Before,
            process: process.to_owned(),
            op: START.to_owned(),
            role: String::new(),
            occurrence: 1,
        }
    }

    /// Whether it is where a run starts.
    pub fn is_start(&self) -> bool {
        self.op == START && self.role.is_empty()
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.side, self.process, self.op)?;
        if !self.role.is_empty() {
            write!(f, " {}", self.role)?;
        }
        if self.occurrence != 1 {
            write!(f, " #{}", self.occurrence)?;
        }
        Ok(())
    }
}

/// A point's text that does not have the form of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a point: expected `before|after PROCESS: OPERATION [PATH] [#N]`, as `roulette census` prints them"
)]
pub struct PointParseError(String);

impl std::str::FromStr for Point {
    type Err = PointParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PointParseError(text.to_owned());
        let (side, rest) = text.split_once(' ').ok_or_else(error)?;
        let side = match side {
            "before" => Side::Before,
            "after" => Side::After,
            _ => return Err(error()),
        };
        let (process, rest) = rest.split_once(": ").ok_or_else(error)?;
        let (rest, occurrence) = match rest.rsplit_once(" #") {
            Some((head, number)) if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() => {
                (head, number.parse().map_err(|_| error())?)
            }
            _ => (rest, 1),
        };
        let (op, role) = rest.split_once(' ').unwrap_or((rest, ""));
        if process.is_empty() || op.is_empty() || occurrence == 0 {
            return Err(error());
        }
        Ok(Point { side, process: process.to_owned(), op: op.to_owned(), role: role.to_owned(), occurrence })
    }
}

impl Serialize for Point {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_reads_back_as_it_was_written() {
        for text in [
            "before renew.sh > certbot: rename /etc/letsencrypt/live/example.com/privkey.pem",
            "after guard: write /var/lib/guard/a file with spaces #3",
            "before renew.sh: exit",
            "before guard: newOrder #2",
        ] {
            assert_eq!(text.parse::<Point>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_point_is_refused_with_the_form_of_one() {
        for text in ["", "before", "during x: y", "before : ", "before a: rename /x #0"] {
            assert!(text.parse::<Point>().unwrap_err().to_string().contains("is not a point"), "{text}");
        }
    }
}
