//! The clock stepped at a point: the subject is told a wrong time from there on until its run is
//! over, and the next run finds the clock right again, as NTP has stepped it back by then.

use super::{Act, Family, Fault};
use crate::{census::CensusEffect, event::FaultRecord};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] = &[&Step::Forward, &Step::Back];

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Forward,
    Back,
}

impl Fault for Step {
    fn name(&self) -> &'static str {
        match self {
            Step::Forward => "clock-forward",
            Step::Back => "clock-back",
        }
    }

    fn family(&self) -> Family {
        Family::Clock
    }

    fn models(&self) -> &'static str {
        match self {
            Step::Forward => "clock stepped forward",
            Step::Back => "clock stepped back",
        }
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        // Where nobody looks at the clock afterwards nothing would differ.
        effect.time_asked_later && effect.class.decides()
    }

    fn act(&self, record: &FaultRecord) -> Option<Act> {
        let seconds = seconds(record.scope.as_deref()?)?;
        Some(Act::StepClock { seconds: if *self == Step::Forward { seconds } else { -seconds } })
    }
}

/// The seconds of a step such as `90s`, `30m`, `1h` or `90d`: more than none, and less than the
/// time that has passed since the epoch, so that nobody is told a time before it.
pub fn seconds(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => DAY,
        _ => return None,
    };
    let number: i64 = number.bytes().all(|digit| digit.is_ascii_digit()).then(|| number.parse().ok())??;
    number.checked_mul(unit).filter(|seconds| (1..=STEP_MAX).contains(seconds))
}

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Fifty years: back to where a machine without a battery begins, which is years after 1970.
const STEP_MAX: i64 = 50 * 365 * DAY;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_number_with_a_unit() {
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("1h"), Some(3600));
        assert_eq!(seconds("90d"), Some(90 * DAY));
        for wrong in
            ["", "d", "1", "0d", "-1d", "+1d", "1.5h", "1w", "20000d", "9999999999999999999d", "1\u{e9}"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
