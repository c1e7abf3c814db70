//! How a shim inside a world asks the harness to start the world's server again, or whether its
//! configuration is sound: one line each way over an abstract Unix socket, which lives in the network namespace and not in the
//! filesystem.
//!
//! Request: `VERB` or `VERB ARGUMENT`, one line. Answer: `ok`, or `failed REASON`, one line.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::linux::net::SocketAddrExt,
    os::unix::net::{SocketAddr, UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::limits;

/// Names the socket in the subject's environment, without the `@` or NUL of its address.
pub const VARIABLE: &str = "ROULETTE_CONTROL";

/// The socket's name in a private world, whose network namespace is its own.
pub const PRIVATE_NAME: &str = "roulette-control";

/// What a shim asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Start the world's server again, as a daemon that is no child of the asker. The unit as it
    /// was named, for the record.
    Start(String),
    /// Say whether the world's server would take its configuration, as `nginx -t` does.
    Test,
}

/// The harness's answer.
pub type Response = Result<(), String>;

/// Answers requests until it is dropped.
#[derive(Debug)]
pub struct Control {
    name: String,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Listens as `name` and answers each request with `handler`, on one thread of its own, one
    /// request at a time. Start it before the stage is set: the thread keeps the filesystem view
    /// of the thread that starts it.
    ///
    /// # Errors
    /// The name is taken.
    pub fn listen(name: &str, handler: impl Fn(Request) -> Response + Send + 'static) -> io::Result<Self> {
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = thread::Builder::new().name("control".to_string()).spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(stream) = stream
                    && let Err(error) = answer(&stream, &handler)
                {
                    tracing::debug!("a control request was not answered: {error}");
                }
            }
        })?;
        Ok(Self { name: name.to_string(), over, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the thread; where it fails, the thread has ended already.
        let woken =
            SocketAddr::from_abstract_name(&self.name).and_then(|address| UnixStream::connect_addr(&address));
        if woken.is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: &UnixStream, handler: &dyn Fn(Request) -> Response) -> io::Result<()> {
    stream.set_read_timeout(Some(limits::CONTROL))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let (verb, argument) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let response = match verb {
        "start" => handler(Request::Start(argument.to_string())),
        "test" => handler(Request::Test),
        "" => return Ok(()),
        other => Err(format!("unknown request `{other}`")),
    };
    match response {
        Ok(()) => stream.write_all(b"ok\n"),
        Err(reason) => writeln!(stream, "failed {}", reason.replace('\n', "; ")),
    }
}

/// Asks the harness that listens as `name`.
///
/// # Errors
/// Nobody listens, or the harness's own reason why it did not do it.
pub fn ask(name: &str, request: &Request) -> io::Result<()> {
    let address = SocketAddr::from_abstract_name(name)?;
    let mut stream = UnixStream::connect_addr(&address)?;
    stream.set_read_timeout(Some(limits::CONTROL))?;
    match request {
        Request::Start(unit) => writeln!(stream, "start {}", unit.replace('\n', " "))?,
        Request::Test => writeln!(stream, "test")?,
    }
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match line.trim().split_once(' ') {
        None if line.trim() == "ok" => Ok(()),
        Some(("failed", reason)) => Err(io::Error::other(reason.to_string())),
        _ => Err(io::Error::other("the harness gave no answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_and_a_refusal_says_why() {
        let name = format!("roulette-test-{}", std::process::id());
        let control = Control::listen(&name, |request| match request {
            Request::Start(unit) if unit == "nginx" => Ok(()),
            Request::Start(other) => Err(format!("no unit {other}")),
            Request::Test => Err("unknown directive".to_owned()),
        })
        .expect("listen");
        ask(&name, &Request::Start("nginx".to_string())).expect("start");
        let refused = ask(&name, &Request::Start("x".to_string())).expect_err("no such unit");
        assert_eq!(refused.to_string(), "no unit x");
        let refused = ask(&name, &Request::Test).expect_err("a broken configuration");
        assert_eq!(refused.to_string(), "unknown directive");
        drop(control);
        ask(&name, &Request::Start("nginx".to_string())).expect_err("nobody listens any more");
    }
}
