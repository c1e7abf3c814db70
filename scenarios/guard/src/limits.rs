//! Every fixed bound of the guard, each with its reason. What a user may want to change is in the configuration instead.

use std::time::Duration;

/// Longest pause between two questions to the CA about an order. The pause doubles from `acme.poll`; past this, a finished order
/// would be noticed needlessly late.
pub const POLL_DELAY_MAX: Duration = Duration::from_secs(5);

/// One TCP connection or TLS handshake with the server whose certificate is looked at. It is near, usually the same host.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// First pause between two looks at the served certificate; it doubles up to [`SERVED_PAUSE_MAX`]. A reload takes milliseconds on
/// a small server, and a look costs about one.
pub const SERVED_PAUSE_MIN: Duration = Duration::from_millis(5);

/// Longest pause between two looks at the served certificate: a slow reload is not to be disturbed by handshakes.
pub const SERVED_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Bytes of a file in the challenge folder that are read to see whether it is one of ours. A key authorization is two base64url
/// strings of 43 characters or a little more (RFC 8555 section 8.1).
pub const TOKEN_FILE_BYTES_MAX: usize = 512;

/// Bytes of an answer of the CA that are read. Certificates and problem documents are a few kilobytes.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Time for a visitor of the challenge listener to send its request head: a validator sends it at once, anything else must not
/// keep a connection.
pub const LISTENER_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause of the challenge listener when it cannot accept: out of descriptors or memory, which only time mends.
pub const LISTENER_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the lock file may be replaced under us before we give up: somebody deletes it in a loop.
pub const LOCK_REPLACED_MAX: u32 = 10;
