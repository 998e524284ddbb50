//! Agents of ours, from a folder of manifests.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::system::{End, System};
use crate::lab::{Lab, Spec};
use crate::wait;

const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Corten {
    lab: Lab,
}

impl Corten {
    /// `timing`: as `--timing` has it.
    pub(super) fn up(mut spec: Spec, timing: &str) -> Result<Self> {
        spec.agent_arguments = vec!["--timing".into(), timing.into()];
        let mut lab = Lab::up(spec)?;
        // One address for all, so that its owner is the one that is lost.
        let vip = lab.manifests.services[0].vip;
        for service in &mut lab.manifests.services {
            service.vip = vip;
            service.annotations = vec!["metallb.io/allow-shared-ip: bench".into()];
        }
        lab.write()?;
        lab.wait_applied()?;
        Ok(Self { lab })
    }

    /// A lab that is up already.
    pub(super) fn of(lab: Lab) -> Self {
        Self { lab }
    }
}

impl System for Corten {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn vips(&self) -> Vec<IpAddr> {
        self.lab.manifests.services[0].vip.both().to_vec()
    }

    fn owner(&self) -> Result<u8> {
        wait::until_ok(LIMIT, "all agents are there", || self.lab.are_all_there())?;
        let mut owners = Vec::new();
        for vip in self.vips() {
            owners.push(self.lab.wait_owner(vip, |_| true)?.number());
        }
        let owner = owners[0];
        ensure!(owners == [owner; 2], "one owner of both, not {owners:?}");
        Ok(owner)
    }

    fn end(&self, node: u8, how: End) -> Result<()> {
        match how {
            End::Terminate => self.lab.node(node).stop_agent(),
            End::Kill => self.lab.node(node).kill_agent(),
        }
    }

    fn start(&self, node: u8) -> Result<()> {
        self.lab.node(node).start_agent()?;
        self.lab.node(node).wait_ready()
    }

    fn drain(&mut self, node: u8, away: bool) -> Result<()> {
        self.lab.exclude_node(node, away);
        self.lab.write()
    }
}
