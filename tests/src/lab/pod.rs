//! A pod: a namespace behind its node with the echo server in it.

use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::address::{self, Pair};
use super::process::Process;
use super::spec::Place;
use super::{ECHO_PORT, ECHO_UDP_PORT, Lab, NGINX_PORT};
use crate::netns::Namespace;
use crate::wait;

const START_LIMIT: Duration = Duration::from_secs(5);

/// A handle to one pod of a lab.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    pub(super) lab: &'a Lab,
    pub(super) place: Place,
}

impl Pod<'_> {
    #[must_use]
    pub fn name(self) -> String {
        self.place.name()
    }

    #[must_use]
    pub fn place(self) -> Place {
        self.place
    }

    #[must_use]
    pub fn address(self) -> Pair {
        address::pod(self.place)
    }

    #[must_use]
    pub fn namespace(self) -> Namespace {
        self.lab.namespace(&self.name())
    }

    /// Starts its server, listening when this returns.
    pub fn start(self) -> Result<()> {
        let process = self.process();
        let mut command = Command::new(&self.lab.spec.echo);
        command.args(["--name", &self.name()]);
        for port in [NGINX_PORT, ECHO_PORT] {
            command.args(["--port", &port.to_string()]);
        }
        for port in [ECHO_UDP_PORT, ECHO_PORT] {
            command.args(["--udp-port", &port.to_string()]);
        }
        process.start(&mut command)?;
        let namespace = self.namespace();
        let what = format!("the server of {} listens", self.name());
        wait::until_ok(START_LIMIT, &what, || {
            let local = (Ipv4Addr::LOCALHOST, NGINX_PORT);
            namespace.within(|| TcpStream::connect(local))??;
            Ok(())
        })
        .with_context(|| process.log_tail())
    }

    /// Ends its server as Kubernetes would: open connections are reset.
    pub fn stop(self) -> Result<()> {
        self.process().end(Signal::SIGTERM)
    }

    #[must_use]
    pub fn pid(self) -> Option<u32> {
        self.process().pid()
    }

    fn process(self) -> Process {
        let name = self.name();
        let folder: PathBuf = self.lab.folder().join("pods");
        Process {
            namespace: self.namespace(),
            pid_file: folder.join(format!("{name}.pid")),
            log: folder.join(format!("{name}.log")),
        }
    }
}
