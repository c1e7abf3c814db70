//! What every run on a bench has in common.

use std::{net::Ipv4Addr, sync::Arc};

use crate::{
    front::Ca,
    procfs::Proc,
    role::Roles,
    run::{Calls, RunError, Runner},
    scenario::{Placeholders, Scenario},
    target::{ServerSpec, this_program},
    world::{Stage, World},
};

/// The scenario in its world, and whom its runs meet there.
pub(super) struct Setting {
    /// Placeholders resolved.
    pub scenario: Scenario,
    /// Which of the names that the preparation left are random.
    pub made: Roles,
    /// The folder that stands for `/`; empty in a private world.
    pub root: String,
    ca: Arc<Ca>,
    control: Calls,
    server: ServerSpec,
    proc: Proc,
}

impl Setting {
    /// Before the first certificate: the server starts without one.
    pub fn new(world: &dyn World, scenario: &Scenario, control: Calls, proc: Proc) -> Setting {
        let placeholders = world.placeholders();
        let scenario = scenario.resolve(placeholders);
        let server = ServerSpec { allow_missing: true, ..server_spec(&scenario, placeholders) };
        let root = placeholders.root.clone();
        Setting { scenario, made: Roles::default(), root, ca: world.ca(), control, server, proc }
    }

    /// The subject has its certificate, and made these names on the way.
    pub fn prepared(&mut self, made: Roles) {
        self.made = made;
        self.server.allow_missing = false;
    }

    /// Somebody who runs the subject on `stage`, the server beside it.
    pub fn runner<'r>(&'r self, stage: &'r mut dyn Stage) -> Result<Runner<'r>, RunError> {
        let (scenario, root) = (&self.scenario, self.root.clone());
        let (ca, server, proc) = (self.ca.clone(), self.server.clone(), self.proc.clone());
        let mut runner = Runner::new(scenario, ca, stage, server, &self.control, proc, root)?;
        runner.knows(self.made.clone());
        runner.start_server()?;
        Ok(runner)
    }
}

fn server_spec(scenario: &Scenario, placeholders: &Placeholders) -> ServerSpec {
    // In a private world the server is reached from the CA's host too.
    let address = if placeholders.root.is_empty() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let first = scenario.artifacts.first();
    ServerSpec {
        tls: (address, placeholders.tls_port).into(),
        http: scenario.server.http.then(|| (address, placeholders.http_port).into()),
        webroots: scenario.server.webroots.clone(),
        certificate: first.map(|a| a.certificate.clone()).unwrap_or_default(),
        key: first.map(|a| a.key.clone()).unwrap_or_default(),
        pid_file: scenario.server.pid_file.clone(),
        unit_file: None,
        program: this_program(),
        allow_missing: false,
    }
}
