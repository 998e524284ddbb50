//! What people have today: keepalived moves the VIP, and the node that has it
//! brings what comes to the pods by nft's DNAT and masquerade.
//!
//! One node answers as long as its VRRP speaker does; there is nothing that
//! would move the VIP away from a node on purpose.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::system::{End, System};
use crate::lab::address;
use crate::lab::process::{Process, end_all};
use crate::lab::{ECHO_UDP_PORT, Lab, NGINX_PORT, Node, Spec, UPLINK, Wire};
use crate::wait;

const LIMIT: Duration = Duration::from_secs(30);
/// Who has the VIP whenever it is there.
const FIRST: u8 = 1;

/// How often the master says that it is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Advert {
    /// The default, in VRRP version 2.
    Second,
    /// As fast as version 3 is used.
    Tenth,
}

#[derive(Debug)]
pub(super) struct Keepalived {
    lab: Lab,
    advert: Advert,
}

impl Keepalived {
    pub(super) fn up(mut spec: Spec, advert: Advert) -> Result<Self> {
        spec.agent = None;
        let lab = Lab::up(spec)?;
        let rules = rules(&lab);
        for node in lab.nodes() {
            let file = lab.folder().join(format!("{}.nft", node.name()));
            fs::write(&file, &rules).context("nft's rules are written")?;
            let namespace = node.namespace();
            namespace.run("nft", &["-f", &file.to_string_lossy()])?;
        }
        let this = Self { lab, advert };
        for node in this.lab.spec().node_numbers() {
            this.start(node)?;
        }
        Ok(this)
    }

    fn process(&self, node: Node<'_>) -> Process {
        let file = |end: &str| self.lab.folder().join(format!("{}.{end}", node.name()));
        Process {
            namespace: node.namespace(),
            pid_file: file("keepalived.pid"),
            log: file("keepalived.log"),
        }
    }

    /// Whoever has the lowest number comes first, and takes the VIP back.
    fn config(&self, node: Node<'_>) -> String {
        let (version, advert) = match self.advert {
            Advert::Second => (2, "1"),
            Advert::Tenth => (3, "0.1"),
        };
        let others = self
            .lab
            .nodes()
            .filter(|other| other.number() != node.number());
        let peers: String = others
            .map(|other| format!("    {}\n", other.address().v4))
            .collect();
        format!(
            "global_defs {{
  router_id {name}
  vrrp_version {version}
}}
vrrp_instance bench {{
  state BACKUP
  interface {UPLINK}
  virtual_router_id 51
  priority {priority}
  advert_int {advert}
  unicast_src_ip {own}
  unicast_peer {{
{peers}  }}
  virtual_ipaddress {{
    {vip}/32 dev {UPLINK}
  }}
}}
",
            name = node.name(),
            priority = 200 - 10 * u16::from(node.number()),
            own = node.address().v4,
            vip = vip(),
        )
    }

    /// The nodes that have the VIP.
    fn holders(&self) -> Result<Vec<u8>> {
        let mut holders = Vec::new();
        for node in self.lab.nodes() {
            let listing = node
                .namespace()
                .run("ip", &["-json", "-4", "address", "show", "dev", UPLINK])?;
            let listing: Value = serde_json::from_str(&listing).context("`ip -json`")?;
            let addresses = listing[0]["addr_info"].as_array();
            let vip = vip().to_string();
            if addresses.is_some_and(|all| all.iter().any(|one| one["local"] == *vip)) {
                holders.push(node.number());
            }
        }
        Ok(holders)
    }
}

impl System for Keepalived {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn vips(&self) -> Vec<IpAddr> {
        vec![vip().into()]
    }

    fn owner(&self) -> Result<u8> {
        wait::until_ok(LIMIT, "the first node has the VIP", || {
            let holders = self.holders()?;
            ensure!(holders == [FIRST], "{holders:?} have it");
            Ok(FIRST)
        })
    }

    fn end(&self, node: u8, how: End) -> Result<()> {
        let node = self.lab.node(node);
        match how {
            End::Terminate => self.process(node).end(Signal::SIGTERM),
            // It has children, which would end properly.
            End::Kill => end_all(&node.namespace()),
        }
    }

    fn start(&self, node: u8) -> Result<()> {
        let node = self.lab.node(node);
        let file = self
            .lab
            .folder()
            .join(format!("{}.keepalived", node.name()));
        fs::write(&file, self.config(node)).context("its configuration is written")?;
        let own = |end: &str| self.lab.folder().join(format!("{}.{end}", node.name()));
        let mut command = Command::new("keepalived");
        command
            .args(["--dont-fork", "--log-console", "--vrrp", "--use-file"])
            .arg(&file)
            .arg("--pid")
            .arg(own("keepalived-own.pid"))
            .arg("--vrrp_pid")
            .arg(own("keepalived-vrrp.pid"));
        self.process(node).start(&mut command)
    }

    fn drain(&mut self, _node: u8, _away: bool) -> Result<()> {
        Ok(())
    }
}

/// As Corten's is in the same lab.
fn vip() -> Ipv4Addr {
    address::vip(Wire::SameLink, 0).v4
}

/// What arrives for the VIP goes to any of the others' pods, and what leaves for them
/// has the node's address, so that answers come back this way.
fn rules(lab: &Lab) -> String {
    // The VIP's next holder knows nothing of flows and picks pods anew: those
    // of the node that is lost would be among them.
    let pods = lab.pods().filter(|pod| pod.place().node != FIRST);
    let pods: Vec<_> = pods.map(|pod| pod.address().v4).collect();
    let number = pods.len();
    let elements: Vec<String> = pods
        .iter()
        .enumerate()
        .map(|(index, pod)| format!("{index} : {pod}"))
        .collect();
    let elements = elements.join(", ");
    let vip = vip();
    let to_pod = format!("dnat to numgen random mod {number} map {{ {elements} }}");
    format!(
        "table ip bench {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {vip} tcp dport {NGINX_PORT} {to_pod}
    ip daddr {vip} udp dport {ECHO_UDP_PORT} {to_pod}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ct status dnat masquerade
  }}
}}
"
    )
}
