//! The built-in TLS server: `roulette __serve`.
//!
//! It behaves as nginx does where pipelines can tell: it reads its pair when it starts and at
//! SIGHUP, never in between; a pair that does not parse or does not match is refused and the old
//! one kept; with no usable pair it does not start. SIGTERM, SIGQUIT and SIGINT end it.
//!
//! One thread takes signals, control lines and new connections, in this order; each connection
//! has a thread of its own. So whoever has been told `settled` sees the new certificate from
//! then on.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    process::ExitCode,
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use rustls::{ServerConnection, StreamOwned};

use super::{control::Settled, http, pair::Pair};
use crate::limits;

/// What the command line says.
#[derive(Debug, Default)]
struct Options {
    tls: Option<SocketAddr>,
    http: Option<SocketAddr>,
    webroots: Vec<String>,
    certificate: String,
    key: String,
    pid_file: String,
    unit_file: Option<String>,
    allow_missing: bool,
}

/// Runs the server with the arguments after `__serve`; see [`super::ServerSpec`] for what they mean.
/// Returns when it has been told to end.
pub fn serve_main(arguments: &[String]) -> ExitCode {
    // Before any thread starts, so that none takes a signal away from the descriptor.
    let mask: SigSet = [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGINT, Signal::SIGUSR2]
        .into_iter()
        .collect();
    let start = || -> Result<(Service, SignalFd), String> {
        mask.thread_block().map_err(|errno| format!("failed to block signals: {}", errno.desc()))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(|errno| format!("failed to make a signal descriptor: {}", errno.desc()))?;
        let mut service = Service { options: Options::parse(arguments)?, ..Service::default() };
        service.start()?;
        if let Some(path) = &service.options.unit_file {
            write_pid(path)?;
        }
        Ok((service, signals))
    };
    match start() {
        Ok((mut service, signals)) => {
            say(&format!("ready {}", service.state));
            let end = service.run(&signals);
            service.stop();
            if let Some(path) = &service.options.unit_file {
                let _ = fs::remove_file(path);
            }
            match end {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("roulette {}: {error}", super::SERVE);
                    ExitCode::FAILURE
                }
            }
        }
        Err(why) => {
            eprintln!("roulette {}: {why}", super::SERVE);
            say(&format!("failed {}", why.replace('\n', " ")));
            ExitCode::FAILURE
        }
    }
}

/// A line to the harness. Nobody may be listening any more: then the end of input says so.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            if word == "--allow-missing" {
                options.allow_missing = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let address = || value.parse().map_err(|_| format!("{word}: `{value}` is not ADDRESS:PORT"));
            match word.as_str() {
                "--tls" => options.tls = Some(address()?),
                "--http" => options.http = Some(address()?),
                "--webroot" => options.webroots.push(value.clone()),
                "--certificate" => options.certificate.clone_from(value),
                "--key" => options.key.clone_from(value),
                "--pid-file" => options.pid_file.clone_from(value),
                "--unit-file" => options.unit_file = Some(value.clone()),
                _ => return Err(format!("unknown option {word}")),
            }
        }
        Ok(options)
    }
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    End,
}

#[derive(Default)]
struct Service {
    options: Options,
    tls: Option<TcpListener>,
    http: Option<TcpListener>,
    pair: Option<Pair>,
    state: Settled,
    /// Whether every reload is refused, as one is whose configuration somebody has broken.
    refuses: bool,
    /// Control input that is not a whole line yet.
    input: Vec<u8>,
}

impl Service {
    /// Starts listening, with the pair that is on disk now.
    fn start(&mut self) -> Result<(), String> {
        let pair = match Pair::load(&self.options.certificate, &self.options.key) {
            Ok(pair) => Some(pair),
            Err(why) if self.options.allow_missing => {
                self.state.refusal = Some(why);
                None
            }
            Err(why) => return Err(why),
        };
        self.tls = self.options.tls.map(listen).transpose()?;
        self.http = self.options.http.map(listen).transpose()?;
        write_pid(&self.options.pid_file)?;
        self.state.fingerprint = pair.as_ref().map(|pair| pair.fingerprint.clone());
        self.state.running = true;
        self.pair = pair;
        Ok(())
    }

    fn stop(&mut self) {
        if self.state.running {
            (self.tls, self.http, self.pair) = (None, None, None);
            (self.state.running, self.state.fingerprint) = (false, None);
            let _ = fs::remove_file(&self.options.pid_file);
        }
    }

    fn run(&mut self, signals: &SignalFd) -> Result<(), String> {
        let stdin = io::stdin();
        loop {
            let mut watched: Vec<BorrowedFd<'_>> = vec![signals.as_fd(), stdin.as_fd()];
            watched.extend([&self.tls, &self.http].into_iter().flatten().map(AsFd::as_fd));
            let mut fds: Vec<_> = watched.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(format!("failed to wait: {}", errno.desc())),
            }
            let spoken = fds[1].revents().is_some_and(|events| !events.is_empty());
            if self.take_signals(signals) == Next::End || (spoken && self.take_control(signals) == Next::End)
            {
                return Ok(());
            }
            self.accept();
        }
    }

    fn take_signals(&mut self, signals: &SignalFd) -> Next {
        while let Ok(Some(info)) = signals.read_signal() {
            match i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
                Some(Signal::SIGHUP) if self.state.running => self.reload(),
                Some(Signal::SIGUSR2) if !self.state.running => {
                    if let Err(why) = self.start() {
                        self.stop();
                        eprintln!("roulette {}: did not start: {why}", super::SERVE);
                        self.state.refusal = Some(why);
                    }
                }
                Some(Signal::SIGTERM | Signal::SIGQUIT | Signal::SIGINT) => {
                    if self.options.unit_file.is_none() {
                        return Next::End;
                    }
                    self.stop();
                }
                _ => {}
            }
        }
        Next::Go
    }

    fn reload(&mut self) {
        self.state.reloads += 1;
        let pair = if self.refuses {
            Err("its configuration is broken".to_owned())
        } else {
            Pair::load(&self.options.certificate, &self.options.key)
        };
        match pair {
            Ok(pair) => {
                self.state.refusal = None;
                self.state.fingerprint = Some(pair.fingerprint.clone());
                self.pair = Some(pair);
            }
            Err(why) => {
                eprintln!("roulette {}: reload refused, the old pair is kept: {why}", super::SERVE);
                self.state.refused += 1;
                self.state.refusal = Some(why);
            }
        }
    }

    fn take_control(&mut self, signals: &SignalFd) -> Next {
        let mut buffer = [0; 256];
        match io::stdin().lock().read(&mut buffer) {
            Ok(0) => return Next::End,
            Ok(read) => self.input.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Next::End,
        }
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let line = line.trim_ascii();
            if !matches!(line, b"settle" | b"refuse" | b"accept") {
                continue;
            }
            // Signals that were pending when this was asked are on the descriptor by now.
            if self.take_signals(signals) == Next::End {
                return Next::End;
            }
            match line {
                b"refuse" => self.refuses = true,
                b"accept" => self.refuses = false,
                _ => {}
            }
            say(&format!("settled {}", self.state));
        }
        Next::Go
    }

    fn accept(&mut self) {
        while let Some((stream, _)) = self.tls.as_ref().and_then(|listener| listener.accept().ok()) {
            // Without a pair there is nothing to say: the connection is closed.
            if let Some(pair) = &self.pair {
                let (config, webroots) = (Arc::clone(&pair.config), self.options.webroots.clone());
                serve_apart(stream, move |stream| {
                    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
                    let mut stream = StreamOwned::new(tls, stream);
                    while stream.conn.is_handshaking() {
                        stream.conn.complete_io(&mut stream.sock)?;
                    }
                    http::answer(&mut stream, &webroots)?;
                    stream.conn.send_close_notify();
                    stream.flush()
                });
            }
        }
        while let Some((stream, _)) = self.http.as_ref().and_then(|listener| listener.accept().ok()) {
            let webroots = self.options.webroots.clone();
            serve_apart(stream, move |stream| http::answer(stream, &webroots));
        }
    }
}

/// Serves one connection on a thread of its own. What goes wrong there is the client's business.
fn serve_apart(stream: TcpStream, serve: impl FnOnce(TcpStream) -> io::Result<()> + Send + 'static) {
    let limited = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(limits::SERVER_CLIENT)))
        .and_then(|()| stream.set_write_timeout(Some(limits::SERVER_CLIENT)))
        .and_then(|()| stream.set_nodelay(true));
    if limited.is_ok() {
        let _ = thread::Builder::new().spawn(move || serve(stream));
    }
}

/// Listens. The standard library sets `SO_REUSEADDR`: a stopped server can start again at once.
fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| format!("failed to listen on {address}: {error}"))
}

/// Writes the process id, as this process sees it.
fn write_pid(path: &str) -> Result<(), String> {
    let failed = |error: io::Error| format!("failed to write the process id to {path}: {error}");
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, format!("{}\n", std::process::id())).map_err(failed)
}
