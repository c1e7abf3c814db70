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

/// How long a run whose known processes are all gone is waited for one that no event has told of yet: the tracer
/// tells of it within 50 ms in which nothing else happens.
pub const UNANNOUNCED: Duration = Duration::from_millis(500);

/// How often it is looked for.
pub const UNANNOUNCED_POLL: Duration = Duration::from_millis(5);

/// How long processes that outlive the leader may go on before they count as left behind.
pub const SURVIVORS: Duration = Duration::from_secs(2);

/// Days left on the certificate that the subject finds when an experiment starts. Under every
/// client's renewal threshold (30 days, or a third of the lifetime), over every "already
/// expired" special case.
pub const AGED_DAYS_LEFT: i64 = 10;

/// Bytes of a run's output that are kept: enough for the end of a Python traceback.
pub const OUTPUT_KEPT: usize = 64 * 1024;

/// The same, for processes that a clean run leaves running too: nothing is learned by waiting.
pub const KNOWN_SURVIVORS: Duration = Duration::from_millis(100);

/// How long a signal may be under way before the kernel's books are asked whether it is queued.
/// A running process takes it in microseconds; one in vfork(2) or with it blocked not before it
/// may.
pub const SIGNAL_PROOF: Duration = Duration::from_millis(50);

/// How often an experiment whose point was not reached is tried again before it counts as
/// diverged: a name that came up unluckily random is another one the next time.
pub const DIVERGED_RETRIES: u32 = 2;

/// How often the clean run is made before it counts as one that never meets a challenge: Pebble re-uses
/// an authorization in one of a hundred.
pub const REUSED_RETRIES: u32 = 4;

/// Points of helper processes (programs with no durable effect of their own) that are tried for
/// each lineage: the first occurrences stand for the rest.
pub const HELPER_OCCURRENCES: u32 = 2;
/// Days that a renewed certificate has left when the scenario names no other bound: certbot's and
/// lego's renewal threshold, under which it would be due again at once.
pub const RENEWED_DAYS_DEFAULT: u32 = 30;

/// How long a shim waits for the harness to start the server again, and the harness for a shim's
/// request. A start is a fork and a bind; only a loaded machine needs more than milliseconds.
pub const CONTROL: Duration = Duration::from_secs(10);

/// How long a `stop` by a shim waits for the server to be gone before it says that it failed.
/// systemd's own default is 90 s; the world's server needs milliseconds.
pub const SERVER_STOP: Duration = Duration::from_secs(10);

/// How long a killed stage's processes may take to be gone. The kernel kills all of a PID
/// namespace with its init; a process that writes out a core or sits in a slow syscall takes
/// longer.
pub const STAGE_CLEAR: Duration = Duration::from_secs(10);

/// Size of a world's scratch file system in MiB: it holds the trees of a handful of snapshots and
/// stages, a few MiB. The bound stops a subject that fills it, in every world at once, before the
/// machine's memory is gone.
pub const SCRATCH_MIB: u64 = 1024;

/// The same as a share of the machine's memory, for small machines: this many worlds fill it.
pub const SCRATCH_SHARE: u64 = 8;

/// Size of a stage's `/run` and `/dev/shm` in MiB, which are in memory: locks, process ids, sockets.
pub const MEMORY_MIB: u64 = 64;

/// Pause between two questions whether a starting Pebble or DNS server answers. Short against
/// their start, long against the question.
pub const CA_POLL: Duration = Duration::from_millis(20);

/// How long one such question waits for its answer before it is asked again.
pub const CA_POLL_ANSWER: Duration = Duration::from_millis(500);

/// How often other ports are tried when one that was free is taken before it is used. Each try
/// fails only by a race with another program on the same address.
pub const PORT_TRIES: u32 = 8;

/// How long Pebble may take to answer one request of the front. It answers from memory;
/// validation and issuance are not waited for.
pub const CA_ANSWER: Duration = Duration::from_secs(30);

/// Bytes of one request or answer that pass the front. A certificate chain is 4 KiB, an order of
/// a hundred names 20 KiB.
pub const ACME_MESSAGE: usize = 1024 * 1024;

/// Pause before the front accepts again after it failed to: descriptors must be given back first.
pub const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Lines of a program's output that an error message shows.
pub const LAST_WORDS: usize = 12;

/// How long a program may take to say its version. It prints a line; only a loaded machine needs
/// more than milliseconds.
pub const PROGRAM_VERSION: Duration = Duration::from_secs(10);

/// Pause between two looks whether it has ended.
pub const PROGRAM_POLL: Duration = Duration::from_millis(2);

/// How long one step of fetching the distribution's package may take: an index of 10 MB over a
/// slow line.
pub const PACKAGE: Duration = Duration::from_secs(180);

/// How long apt waits for a server that does not answer. Short: there are other sources to try.
pub const PACKAGE_CONNECT: Duration = Duration::from_secs(15);

/// Pause between two looks whether apt has ended.
pub const PACKAGE_POLL: Duration = Duration::from_millis(20);

/// How long a container engine may take to say that it is there.
pub const ENGINE_ANSWER: Duration = Duration::from_secs(5);

/// How long a container of Pebble may take from its creation until it works, its image's download
/// included.
pub const CONTAINER_START: Duration = Duration::from_secs(120);

/// How long a probe waits for `true` to end under the tracer. It needs milliseconds.
pub const PROBE: Duration = Duration::from_secs(10);
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
/// New orders per incident when the scenario names no other bound: one a run and three retries,
/// which is what the strictest limit of a public CA leaves (five failed validations an hour).
pub const ORDERS_DEFAULT: u32 = 5;

/// Certificates per incident when the scenario names no other bound: one that the killed run
/// obtained and lost, and its replacement.
pub const CERTIFICATES_DEFAULT: u32 = 2;

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

/// Worlds at work at once for each core: clients sleep while they poll the CA, so more than one
/// is needed to keep a core busy.
pub const JOBS_PER_CORE: u32 = 3;

/// Workers that may go away in the middle of an experiment before the run is given up: one can be
/// the victim of a machine short of memory, several are our bug.
pub const WORKERS_LOST: u32 = 3;

/// The same as [`SURVIVORS`], for processes that hold the subject's lock: a client that goes on
/// under an inherited lock is quiet while it polls the CA.
pub const SURVIVORS_LOCKED: Duration = Duration::from_secs(8);

/// `TimeoutStopSec=` and docker's grace as experiments have it. Real ones are 10 s to 90 s; what
/// matters is only that a subject that cleans up in order has the time to.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// How late a slow CA answers: longer than an impatient client waits, which in turn waits longer than a
/// machine under load takes for an answer.
pub const SLOW_ANSWER: Duration = Duration::from_secs(4);

/// Added to the deadline of a run whose order stays in `processing`: clients give up by themselves.
/// certbot asks for 90 s, lego for 30 s.
pub const PROCESSING_PATIENCE: Duration = Duration::from_secs(120);

/// How long a slow hook or helper is held at its start: longer than a pipeline that only sleeps a
/// moment for it waits.
pub const HOOK_SLOW: Duration = Duration::from_secs(2);

/// How often a held process is looked at for a signal that somebody has sent it: soon against the
/// timeouts that pipelines give their hooks.
pub const HELD_LOOK: Duration = Duration::from_millis(20);

/// `TimeoutStartSec=` as experiments have it: how long a hook or helper hangs before the run is
/// stopped for it. In production it is 90 s or more, or there is none.
pub const START_TIMEOUT: Duration = Duration::from_secs(2);

/// A second run that has shown no effect for this long while the first is held is waiting for it.
pub const SECOND_RUN_BLOCKED: Duration = Duration::from_secs(2);
/// How long processes that were killed at their deadline may take to be gone: only one in an
/// uninterruptible wait takes longer than a moment.
pub const KILLED: Duration = Duration::from_secs(2);

/// Pause between two looks whether a control group can be removed: its dead are waited for in
/// microseconds.
pub const CGROUP_POLL: Duration = Duration::from_millis(1);

/// Memory limits that are tried when the scenario names no other number: what dies first under
/// each differs by where in the run memory is needed, which is a handful of places.
pub const MEMORY_LIMITS: u32 = 5;

/// The first memory limit that is tried where the kernel does not say what the clean run used, in
/// bytes; it is doubled until the run holds.
pub const MEMORY_FIRST: u64 = 16 << 20;

/// No higher limit is tried: a run that is killed under it is not killed for want of memory of its
/// own.
pub const MEMORY_MOST: u64 = 8 << 30;

/// Bisecting ends when two limits are closer than this part of the higher one: a run's need differs
/// by as much from one time to the next.
pub const MEMORY_GRAIN: u64 = 16;

/// The same for small ones, in bytes: the kernel charges memory in batches of this size for each
/// core.
pub const MEMORY_STEP: u64 = 256 << 10;

/// Violated experiments of a spin that are shrunk: each takes a handful of further experiments.
pub const SHRUNK: usize = 10;
/// Smaller experiments that are tried for each promise that a spin found broken.
pub const SHRINK_TRIES: usize = 24;

/// Runs that are started at once where a scenario does not say how many: a timer, a cron job and two
/// people.
pub const AT_ONCE: u32 = 4;

/// Most runs that may be asked for at once: each is a whole process tree under the tracer.
pub const AT_ONCE_MOST: u32 = 32;

/// How often runs are started at once: once together, then with jitter.
pub const AT_ONCE_DRAWS: u32 = 5;

/// Points of the first run at which the second one is killed at its own points, for each way the
/// second one goes: what it comes to is the same there.
pub const SECOND_KILLED_AT: usize = 3;

/// Draws in a row that may be repeats before a spin is over: everything has come up.
pub const DRAWN_AGAIN: u32 = 1000;
