//! How long to wait before the next attempt.

use std::time::Duration;

/// The pause before a retry: the configured one with its jitter, or what the CA asked for (Retry-After, RFC 9110 section 10.2.3)
/// if that is longer. `None` if the CA asked for more than `retry_after_max`: then it is the next scheduled run's turn, rather
/// than holding the lock that long.
pub fn pause(
    base: Duration,
    jitter: f64,
    random: f64,
    retry_after: Option<Duration>,
    retry_after_max: Duration,
) -> Option<Duration> {
    let pause = base.mul_f64(1.0 + jitter * random);
    match retry_after {
        Some(asked) if asked > retry_after_max => None,
        Some(asked) => Some(pause.max(asked)),
        None => Some(pause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(600);

    #[test]
    fn jitter_only_makes_a_pause_longer() {
        let base = Duration::from_secs(10);
        assert_eq!(pause(base, 0.2, 0.0, None, MAX), Some(base));
        assert_eq!(pause(base, 0.2, 1.0, None, MAX), Some(Duration::from_secs(12)));
    }

    #[test]
    fn the_ca_may_ask_for_longer_but_not_for_shorter_or_too_long() {
        let base = Duration::from_secs(10);
        assert_eq!(pause(base, 0.0, 0.0, Some(Duration::from_secs(1)), MAX), Some(base));
        assert_eq!(pause(base, 0.0, 0.0, Some(Duration::from_secs(60)), MAX), Some(Duration::from_secs(60)));
        assert_eq!(pause(base, 0.0, 0.0, Some(Duration::from_secs(601)), MAX), None);
    }
}
