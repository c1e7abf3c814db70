//! Every timeout, bound and retry of the harness, each with its reason.

use std::time::Duration;

/// How long a Pebble may take from its start until `/dir` answers. Measured: 0.3-0.7 s on an idle
/// machine; eight at once on two cores need several times that.
pub const PEBBLE_START: Duration = Duration::from_secs(30);

/// How long one TLS handshake with the world's server may take before it counts as not serving.
/// It is on the same machine; only a loaded machine needs more than milliseconds.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long the server may take to act on a SIGHUP it has been sent, before the served
/// certificate is judged.
pub const RELOAD_SETTLE: Duration = Duration::from_secs(3);

/// The subject's deadline when the scenario names none.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(60);

/// How long processes that outlive the leader may go on before they count as left behind.
pub const SURVIVORS: Duration = Duration::from_secs(2);

/// Days left on the certificate that the subject finds when an experiment starts. Under every
/// client's renewal threshold (30 days, or a third of the lifetime), over every "already
/// expired" special case.
pub const AGED_DAYS_LEFT: i64 = 10;

/// Bytes of a run's output that are kept: enough for the end of a Python traceback.
pub const OUTPUT_KEPT: usize = 64 * 1024;

/// Lifetime of the aged certificate in days: what public authorities issue today, so that clients
/// which renew at a fraction of the lifetime are due as well.
pub const AGED_LIFETIME_DAYS: i64 = 90;

/// Files larger than this are not searched for the old certificate when it is aged. A chain has
/// 4-8 kB; a log that quotes one stays well under it.
pub const AGED_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How long the built-in server may take from its start until it is ready. It needs milliseconds;
/// a machine with eight worlds on two cores needs more.
pub const SERVER_START: Duration = Duration::from_secs(10);

/// How long the built-in server gives one client for its whole exchange, so that silent clients
/// do not pile up.
pub const SERVER_CLIENT: Duration = Duration::from_secs(10);
