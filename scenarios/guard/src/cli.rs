//! The command line.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use crate::account;
use crate::account::StoredAccount;
use crate::bound;
use crate::certificate::{Leaf, Pair};
use crate::challenge;
use crate::config::{self, AcmeConfig, ChallengeConfig, Config, KeyType, Seconds};
use crate::error::{Error, exit};
use crate::files;
use crate::obtain::{self, Request};
use crate::served::Served;
use crate::status::Status;

const EXIT_CODES: &str = "\
Exit codes:
  0   done, or nothing to do
  1   failed; nothing is harmed, the next run tries again
  2   the command line or the configuration is wrong
  3   the certificate is in place, but not served yet; the next run tries again
  75  another run holds the lock; this one changed nothing
A run that is killed ends by the signal; the next run mends whatever it left.";

/// Renews a TLS certificate so that a kill at any instant does no harm.
#[derive(Debug, Parser)]
#[command(name = "guard", version, after_help = EXIT_CODES)]
struct Cli {
    /// How much to log, on stderr
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Info)]
    log_level: LogLevel,
    /// How to log
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OutputFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The scheduled run: renew if due, put in place, reload until it is served
    #[command(after_help = format!("Examples:
  guard run --config /etc/guard/example.com.toml
  guard run --config /etc/guard/example.com.toml --no-reload   # before the server runs for the first time

{EXIT_CODES}"))]
    Run(RunArgs),
    /// What is on disk, what is served, what is due
    #[command(after_help = "Examples:
  guard status --config /etc/guard/example.com.toml
  guard status --config /etc/guard/example.com.toml --format json | jq .days_left

Exit codes: 0 all is well, 1 renewal is due, 2 usage, 3 reload is owed")]
    Status(StatusArgs),
    /// Only obtain a certificate and write it to files: for pipelines of your own
    ///
    /// No lock, no expiry check, no reload, and the two files are written in place one after the other: locking and putting in
    /// place are the caller's. The files are not fsynced.
    #[command(after_help = "Examples:
  guard obtain --domain example.com --webroot /var/www/html --account /etc/ssl/account.json \\
      --certificate /etc/ssl/new/fullchain.pem --key /etc/ssl/new/privkey.pem
  guard obtain --domain example.com --listen 0.0.0.0:80 --reuse-key old.pem --account a.json --certificate c.pem --key k.pem")]
    Obtain(Box<ObtainArgs>),
    /// Whether a certificate should be renewed: exit code 0 due, 1 not due, 2 could not tell
    ///
    /// A missing or broken certificate is due, and so is one that --key or --domain do not belong to.
    #[command(after_help = "Examples:
  guard due --certificate fullchain.pem --days 30 && renew
  guard due --certificate fullchain.pem --key privkey.pem    # renew in the last third of its life")]
    Due(DueArgs),
    /// The SHA-256 fingerprint of the certificate that a TLS server serves
    #[command(after_help = "Examples:
  guard served --address 127.0.0.1:443 --name example.com
  guard served --address 127.0.0.1:443 --name example.com --wait-for fullchain.pem --within 10s

Exit codes: 0 asked (or served, with --wait-for), 1 no answer, 2 usage, 3 another certificate is served")]
    Served(ServedArgs),
    /// The SHA-256 fingerprint of the first certificate in a file
    #[command(after_help = "Example:
  [ \"$(guard fingerprint fullchain.pem)\" = \"$(guard served --address 127.0.0.1:443 --name example.com)\" ] || reload")]
    Fingerprint {
        /// PEM file
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Configuration file (see docs/guard.md)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Do not reload; it stays owed to the next run
    #[arg(long)]
    no_reload: bool,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
}

#[derive(Debug, Args)]
struct ObtainArgs {
    /// Take what no flag says from this configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// DNS name; may be repeated
    #[arg(long = "domain", value_name = "NAME")]
    domains: Vec<String>,
    /// The CA's directory [default: Let's Encrypt]
    #[arg(long, value_name = "URL")]
    directory_url: Option<String>,
    /// PEM file of the roots that the CA's server is checked against [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Answer the challenge through this document root
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "listen")]
    webroot: Option<PathBuf>,
    /// Answer the challenge on this address
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Contact URL of a new account, as in mailto:ops@example.com; may be repeated
    #[arg(long, value_name = "URL")]
    contact: Vec<String>,
    /// The account; made if missing
    #[arg(long, value_name = "FILE")]
    account: Option<PathBuf>,
    /// Write the certificate chain here
    #[arg(long, value_name = "OUT")]
    certificate: PathBuf,
    /// Write the private key here, mode 0600
    #[arg(long, value_name = "OUT")]
    key: PathBuf,
    /// Use this private key (PKCS #8) instead of making one
    #[arg(long, value_name = "FILE")]
    reuse_key: Option<PathBuf>,
    /// Kind of a new key
    #[arg(long, value_enum)]
    key_type: Option<KeyType>,
    /// Pauses between attempts, as in 10s,30s,90s; "none" for a single attempt
    #[arg(long, value_name = "PAUSES")]
    retries: Option<String>,
    /// First pause between two questions about the order
    #[arg(long, value_name = "DURATION")]
    poll: Option<Seconds>,
    /// Give up when the CA has not finished after this long
    #[arg(long, value_name = "DURATION")]
    poll_timeout: Option<Seconds>,
    /// The caller holds a lock for this account: first remove the tokens that a killed run left
    #[arg(long)]
    locked: bool,
    /// Log only warnings and errors
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct DueArgs {
    /// PEM file
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Private key that must belong to it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Names it must be for; may be repeated
    #[arg(long = "domain", value_name = "NAME")]
    domains: Vec<String>,
    /// Due when fewer days than this are left [default: a third of its life]
    #[arg(long)]
    days: Option<u32>,
}

#[derive(Debug, Args)]
struct ServedArgs {
    /// The server
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Name to ask for (SNI)
    #[arg(long)]
    name: String,
    /// Wait until the certificate in this file is served
    #[arg(long, value_name = "FILE")]
    wait_for: Option<PathBuf>,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    within: Seconds,
}

/// Everything the `guard` command does. `args` begins with the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = bound::become_command(&args) {
        return code;
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    let quiet = matches!(&cli.command, Command::Obtain(args) if args.quiet);
    start_log(if quiet { LogLevel::Warn } else { cli.log_level }, cli.log_format);
    let result = match cli.command {
        Command::Run(args) => Config::read(&args.config)
            .and_then(|config| crate::run::run(&config, !args.no_reload))
            .map(|()| exit::OK),
        Command::Status(args) => status(&args),
        Command::Obtain(args) => obtain_to_files(*args),
        Command::Due(args) => due(&args).or_else(|error| {
            // Not 1: a disk that does not answer must not look like "not due".
            tracing::error!("{error}");
            Ok(exit::USAGE)
        }),
        Command::Served(args) => served(&args),
        Command::Fingerprint { file } => {
            read_leaf(&file).and_then(|leaf| print(&format!("{}\n", leaf.fingerprint))).map(|()| exit::OK)
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            match error {
                // No alarm: the other run is doing the work.
                Error::Held { .. } => tracing::info!("{error}"),
                _ => tracing::error!("{error}"),
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn start_log(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // What the libraries have to say is of use only to those who ask for everything.
    let others = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    let filter = Targets::new().with_default(others).with_target("guard", level);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Only the first call in a process counts, which matters to nobody but a program that calls `main` twice.
    drop(match format {
        LogFormat::Text => registry().with(layer.with_target(false).with_filter(filter)).try_init(),
        LogFormat::Json => registry().with(layer.json().with_filter(filter)).try_init(),
    });
}

fn print(text: &str) -> Result<(), Error> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Error::file("write to", "stdout".as_ref()))
}

fn status(args: &StatusArgs) -> Result<u8, Error> {
    let status = Status::read(&Config::read(&args.config)?)?;
    match args.format {
        OutputFormat::Text => print(&status.text())?,
        OutputFormat::Json => {
            let json = serde_json::to_string(&status)
                .map_err(|e| Error::file("print", "status".as_ref())(e.into()))?;
            print(&(json + "\n"))?;
        }
    }
    Ok(status.exit_code())
}

fn obtain_to_files(args: ObtainArgs) -> Result<u8, Error> {
    let config = args.config.as_deref().map(Config::read).transpose()?;
    let from_config = config.as_ref().map(Request::from_config);
    let mut request = from_config.unwrap_or_else(|| Request {
        domains: Vec::new(),
        acme: AcmeConfig::default(),
        challenge: ChallengeConfig::default(),
        account_file: PathBuf::new(),
        key_pem: None,
    });
    if !args.domains.is_empty() {
        request.domains = args.domains;
    }
    if args.webroot.is_some() || args.listen.is_some() {
        request.challenge = ChallengeConfig { webroot: args.webroot, listen: args.listen };
    }
    if let Some(url) = args.directory_url {
        request.acme.directory_url = url;
    }
    if args.ca_bundle.is_some() {
        request.acme.ca_bundle = args.ca_bundle;
    }
    if !args.contact.is_empty() {
        request.acme.contact = args.contact;
    }
    if let Some(account) = args.account {
        request.account_file = account;
    }
    if let Some(kind) = args.key_type {
        request.acme.key_type = kind;
    }
    if let Some(poll) = args.poll {
        request.acme.poll = poll;
    }
    if let Some(timeout) = args.poll_timeout {
        request.acme.poll_timeout = timeout;
    }
    match args.retries.as_deref() {
        None => {}
        Some("none") => request.acme.retries.clear(),
        Some(pauses) => {
            request.acme.retries = pauses
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|what| Error::Config(format!("--retries: {what}")))?;
        }
    }
    config::check_domains(&request.domains).map_err(|what| Error::Config(format!("--domain: {what}")))?;
    if request.challenge.webroot.is_none() && request.challenge.listen.is_none() {
        return Err(Error::Config("--webroot or --listen is needed to answer the challenge".to_owned()));
    }
    if request.account_file.as_os_str().is_empty() {
        return Err(Error::Config(
            "--account is needed: without it every run would make a new account".to_owned(),
        ));
    }
    if let Some(path) = &args.reuse_key {
        request.key_pem = Some(std::fs::read_to_string(path).map_err(Error::file("read", path))?);
    }
    if args.locked {
        account::sweep(&request.account_file)?;
        if let Some(webroot) = &request.challenge.webroot
            && let Some(account) = StoredAccount::read(&request.account_file)?
        {
            challenge::sweep(webroot, &account.thumbprint)?;
        }
    }
    let issued = obtain::obtain(&request)?;
    files::write_plain(&args.key, 0o600, issued.key_pem.as_bytes())?;
    files::write_plain(&args.certificate, 0o644, issued.chain_pem.as_bytes())?;
    Ok(exit::OK)
}

fn due(args: &DueArgs) -> Result<u8, Error> {
    let certificate = files::read_if_there(&args.certificate)?;
    let leaf = match (&args.key, &certificate) {
        (Some(key), _) => {
            Pair::parse(certificate.as_deref(), files::read_if_there(key)?.as_deref()).map(|pair| pair.leaf)
        }
        (None, Some(certificate)) => Leaf::from_pem(certificate),
        (None, None) => Err(crate::certificate::Problem::Missing),
    };
    let why = match leaf {
        Ok(leaf) => {
            let names = if args.domains.is_empty() { None } else { leaf.wrong_names(&args.domains) };
            names.or_else(|| leaf.expiring(args.days))
        }
        Err(problem) => Some(problem.to_string()),
    };
    match why {
        Some(why) => {
            tracing::info!("due: {why}");
            Ok(exit::OK)
        }
        None => Ok(exit::FAILED),
    }
}

fn served(args: &ServedArgs) -> Result<u8, Error> {
    let server = Served::new(&args.address, &args.name).map_err(Error::Config)?;
    if let Some(file) = &args.wait_for {
        let wanted = read_leaf(file)?.fingerprint;
        server.wait_for(wanted, args.within.0).map_err(Error::ReloadOwed)?;
        print(&format!("{wanted}\n"))?;
        return Ok(exit::OK);
    }
    match server.fingerprint() {
        Ok(fingerprint) => print(&format!("{fingerprint}\n")).map(|()| exit::OK),
        Err(error) => {
            tracing::error!("{error}");
            Ok(exit::FAILED)
        }
    }
}

fn read_leaf(path: &std::path::Path) -> Result<Leaf, Error> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    Leaf::from_pem(&bytes).map_err(|problem| Error::Config(format!("{}: {problem}", path.display())))
}
