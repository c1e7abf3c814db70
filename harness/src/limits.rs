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

/// New orders per incident when the scenario names no other bound: the killed run's and its
/// recovery's.
pub const ORDERS_DEFAULT: u32 = 2;

/// Certificates per incident when the scenario names no other bound: one that the killed run
/// obtained and lost, and its replacement.
pub const CERTIFICATES_DEFAULT: u32 = 2;

/// Days that a renewed certificate has left when the scenario names no other bound: certbot's and
/// lego's renewal threshold, under which it would be due again at once.
pub const RENEWED_DAYS_DEFAULT: u32 = 30;

/// Stored runs that are kept; older ones are deleted when a new one begins. Enough to find last
/// week's findings again, and some hundred megabytes at worst.
pub const RUNS_KEPT: usize = 50;

/// A stored run whose log was written to within this time may still be going on, and is never
/// deleted.
pub const RUN_IDLE: Duration = Duration::from_secs(3600);

/// Without a terminal, a line of progress is printed at least this often.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Lines of a recovery run's output that a report shows of each finding; the stored run has all
/// that was kept.
pub const REPORT_OUTPUT_LINES: usize = 8;

/// Violated experiments of which a report keeps the files and output. Findings need one each, and
/// the harness stays within its memory however many experiments are violated.
pub const REPORT_DETAILED: usize = 1000;

/// How often the progress bar moves while nothing happens: slow enough to cost nothing, fast
/// enough to show that the program lives.
pub const PROGRESS_TICK: Duration = Duration::from_millis(200);
