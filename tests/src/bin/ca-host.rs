//! Holds a `Ca` until it is killed: for the test that nothing of it stays when its holder gets a
//! SIGKILL. Prints the directory URL once the CA answers.

use std::{net::Ipv4Addr, path::PathBuf, process::ExitCode};

use process_roulette::{
    front::{Ca, CaSpec, LIFELINE, lifeline_main, offer_lifeline},
    pebble,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(word) if word == LIFELINE => lifeline_main(arguments),
        Some(scratch) => hold(PathBuf::from(scratch)),
        None => ExitCode::from(2),
    }
}

fn hold(scratch: PathBuf) -> ExitCode {
    offer_lifeline();
    let programs = match pebble::find(None, &mut |_| {}) {
        Ok(programs) => programs,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(4);
        }
    };
    let ca = Ca::start(CaSpec {
        programs,
        namespace: None,
        address: Ipv4Addr::LOCALHOST.into(),
        front_port: 0,
        dns_port: 0,
        names: vec!["localhost".to_owned()],
        subject: Ipv4Addr::LOCALHOST.into(),
        http_port: 80,
        tls_port: 443,
        scratch,
    });
    match ca {
        Ok(ca) => {
            println!("{}", ca.directory_url());
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
