//! The private world: namespaces of its own, so that a pipeline full of absolute paths and
//! production host names runs as it is.

use std::{
    sync::Arc,
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, umount2},
    unistd::sethostname,
};
use process_roulette_tracer as tracer;

pub use super::isolate::isolate;
use super::{
    Snapshot, Stage, World, WorldError,
    control::{PRIVATE_NAME, VARIABLE},
    furnish::{self, BUNDLES, Item},
    network,
    scenery::{Scenery, failed, go, remove, scratch},
    shim,
};
use crate::{
    event::WorldKind,
    front::{Ca, CaSpec},
    pebble::Programs,
    scenario::{Placeholders, Scenario},
};

/// Production and staging CAs whose host names clients have as their default. All of them are
/// the world's CA; the first is in its directory URL.
pub const CA_NAMES: [&str; 9] = [
    "acme-v02.api.letsencrypt.org",
    "acme-staging-v02.api.letsencrypt.org",
    "acme.zerossl.com",
    "api.buypass.com",
    "api.test4.buypass.no",
    "dv.acme-v02.api.pki.goog",
    "dv.acme-v02.test-api.pki.goog",
    "acme.ssl.com",
    "acme-api.actalis.com",
];

/// The subject's host calls itself this.
const HOST: &str = "renewal";

/// A world of namespaces, in a worker process that has called [`isolate`]. Its stages are set
/// and left on the thread that built it.
#[derive(Debug)]
pub struct PrivateWorld {
    placeholders: Placeholders,
    environment: BTreeMap<String, String>,
    cwd: PathBuf,
    ca: Arc<Ca>,
    scenery: Scenery,
}

impl PrivateWorld {
    /// Builds the world for one scenario and starts its CA.
    ///
    /// # Errors
    /// The part that could not be built, with what the kernel said.
    pub fn build(scenario: &Scenario, programs: &Programs, roots: &str) -> Result<Self, WorldError> {
        let scratch = scratch(&[&scenario.folder, &programs.pebble, &programs.challtestsrv])?;
        let ca = Arc::new(start_ca(&scratch, programs)?);
        let bundle = BUNDLES.iter().find(|path| Path::new(path).exists()).unwrap_or(&BUNDLES[0]);
        let placeholders = Placeholders {
            root: String::new(),
            directory_url: ca.directory_url().to_string(),
            http_port: 80,
            tls_port: 443,
            ca_bundle: (*bundle).to_string(),
        };
        let scenario = scenario.resolve(&placeholders);
        let mut environment = furnish::environment(None, bundle, &scenario);
        environment.insert(VARIABLE.to_string(), PRIVATE_NAME.to_string());
        environment.insert(shim::PID_FILE.to_string(), scenario.server.pid_file.clone());
        let items = items(&scenario, &placeholders, &format!("{}{roots}", ca.roots_pem()))?;
        let scenery = Scenery::build(&scratch, &scenario, &items)?;
        let cwd = scenario.subject.cwd.as_deref().unwrap_or("/").into();
        Ok(Self { placeholders, environment, cwd, ca, scenery })
    }
}

fn start_ca(scratch: &Path, programs: &Programs) -> Result<Ca, WorldError> {
    let namespace = network::build().map_err(failed("join two network hosts"))?;
    sethostname(HOST).map_err(|errno| failed("set the host name")(errno.into()))?;
    let folder = scratch.join("ca");
    fs::create_dir(&folder).map_err(failed("make a folder for the CA"))?;
    Ca::start(CaSpec {
        programs: programs.clone(),
        namespace: Some(namespace),
        address: IpAddr::V4(network::CA),
        front_port: 443,
        dns_port: 53,
        names: CA_NAMES.map(str::to_string).to_vec(),
        subject: IpAddr::V4(network::SUBJECT),
        http_port: 80,
        tls_port: 443,
        scratch: folder,
    })
    .map_err(|error| failed("start the world's CA")(io::Error::other(error)))
}

/// Every file that the world gets. `roots`: what it trusts besides the host's roots, as PEM.
fn items(
    scenario: &Scenario,
    placeholders: &Placeholders,
    roots: &str,
) -> Result<Vec<Item>, WorldError> {
    let mut items = furnish::host_items(
        scenario,
        HOST,
        IpAddr::V4(network::SUBJECT),
        IpAddr::V4(network::CA),
        &CA_NAMES.map(str::to_string),
    );
    let mut bundle = furnish::host_roots();
    if !bundle.is_empty() && !bundle.ends_with(b"\n") {
        bundle.push(b'\n');
    }
    bundle.extend(roots.as_bytes());
    for path in BUNDLES {
        if Path::new(path).exists() || path == placeholders.ca_bundle {
            // Some are links to others.
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
            items.push(Item::new(path, bundle.clone()));
        }
    }
    items.push(Item::new(
        shim::SETTINGS,
        format!("{}={}\n{VARIABLE}={PRIVATE_NAME}\n", shim::PID_FILE, scenario.server.pid_file),
    ));
    items.extend(furnish::scenario_items(scenario, placeholders)?);
    Ok(items)
}

impl PrivateWorld {
    /// x
    pub fn try_out(&mut self, command: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
        for layer in self.scenery.layers().list() { eprintln!("{layer:?}"); }
        for round in 0..20 {
            let t0 = std::time::Instant::now();
            let folder = self.scenery.folder()?;
            let trees = folder.join("trees");
            self.scenery.layers().copy(None, &trees)?;
            let t1 = std::time::Instant::now();
            self.scenery.enter(&trees, &folder)?;
            let t2 = std::time::Instant::now();
            if round == 0 {
                let s = std::process::Command::new(command[0]).args(&command[1..]).env_clear().envs(&self.environment).status();
                eprintln!("{s:?}");
            }
            let t3 = std::time::Instant::now();
            self.scenery.leave()?;
            let t4 = std::time::Instant::now();
            if round == 0 {
                for path in self.scenery.layers().differences(None, &trees)? { eprintln!("touched {}", path.display()); }
            }
            let t5 = std::time::Instant::now();
            remove(&folder);
            eprintln!("copy {:?} enter {:?} leave {:?} diff {:?} remove {:?}", t1-t0, t2-t1, t4-t3, t5-t4, t5.elapsed());
        }
        Ok(())
    }
}
