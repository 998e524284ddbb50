//! A node and a router that the test starts itself.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use ipnet::IpNet;
use lb_tests::lab::address::{Pair, node_gateway};
use lb_tests::lab::{Lab, Spec, Wire};
use lb_tests::wait;
use serde_json::Value;

use super::{LIMIT, logs};

pub(super) const ROUTER_ASN: u32 = 64512;
pub(super) const NODE_ASN: u32 = 64513;

pub(super) struct OneNode {
    pub(super) lab: Lab,
}

/// A `BGPPeer`: its name, and its spec's lines.
#[derive(Clone, Debug)]
pub(super) struct PeerObject {
    name: &'static str,
    lines: Vec<String>,
}

impl PeerObject {
    /// `more`: of its spec, besides the address.
    pub(super) fn new(name: &'static str, address: impl Into<IpAddr>, more: &[&str]) -> Self {
        let address = format!("peerAddress: \"{}\"", address.into());
        let more = more.iter().map(|&line| line.to_owned());
        Self {
            name,
            lines: std::iter::once(address).chain(more).collect(),
        }
    }
}

impl OneNode {
    /// `arguments`: of the agent.
    pub(super) fn up(prefix: &str, arguments: &[&str]) -> Self {
        let mut spec = Spec::for_test(prefix).expect("programs are built");
        spec.wire = Wire::Routed;
        (spec.nodes, spec.pods) = (1, 1);
        spec.agent_arguments = arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        Self {
            lab: Lab::up(spec).expect("the lab comes up"),
        }
    }

    /// The node's addresses, and the router's towards it.
    pub(super) fn ends(&self) -> (Pair, Pair) {
        (self.lab.node(1).address(), node_gateway(1).address)
    }

    /// Writes the peers, a pool of all VIPs, and an advertisement with these
    /// lines.
    pub(super) fn configure(&self, peers: &[PeerObject], advertisement: &[&str]) {
        let object = |kind: &str, version: &str, name: &str, lines: &str| {
            format!(
                "apiVersion: metallb.io/{version}\nkind: {kind}\nmetadata:\n  name: {name}\n  \
                 namespace: metallb-system\nspec:\n{lines}---\n"
            )
        };
        let indent = |lines: &mut dyn Iterator<Item = &str>| -> String {
            lines.map(|line| format!("  {line}\n")).collect()
        };
        let vips = self.lab.vips();
        // Whole networks, so that advertisements may aggregate.
        let addresses = vips.iter().take(2).map(|vip| {
            let length = if vip.is_ipv4() { 28 } else { 124 };
            let net = IpNet::new(*vip, length).expect("a length").trunc();
            format!("  - \"{net}\"\n")
        });
        let addresses: String = addresses.collect();
        let mut text = object(
            "IPAddressPool",
            "v1beta1",
            "lab",
            &format!("  addresses:\n{addresses}"),
        );
        let said = indent(
            &mut [&["ipAddressPools: [lab]"], advertisement]
                .concat()
                .into_iter(),
        );
        text += &object("BGPAdvertisement", "v1beta1", "lab", &said);
        let profile = "  receiveInterval: 100\n  transmitInterval: 100\n";
        text += &object("BFDProfile", "v1beta1", "fast", profile);
        let profile = "  receiveInterval: 10\n  transmitInterval: 10\n  detectMultiplier: 100\n";
        text += &object("BFDProfile", "v1beta1", "fastest", profile);
        for peer in peers {
            let mut lines = peer.lines.iter().map(String::as_str);
            text += &object("BGPPeer", "v1beta2", peer.name, &indent(&mut lines));
        }
        let written = self.lab.write_file("router.yaml", &text);
        written.expect("written");
    }

    /// Waits until the row of a peer is as wanted.
    pub(super) fn wait_row(&self, peer: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut found = Value::Null;
        let waited = wait::until_ok(LIMIT, &format!("{peer}: {what}"), || {
            let rows = self.lab.node(1).ask(&["bgp", peer])?;
            let row = rows["routers"][0].clone();
            ensure!(fits(&row), "{row}");
            found = row;
            Ok(())
        });
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&self.lab)));
        found
    }

    pub(super) fn wait_established(&self, peer: &str) -> Value {
        self.wait_row(peer, "established", |row| row["established"] == true)
    }
}

/// Waits until a router says what is wanted.
pub(super) fn wait_said(
    what: &str,
    ask: impl Fn() -> Result<String>,
    fits: impl Fn(&str) -> bool,
) -> String {
    let mut found = String::new();
    let waited = wait::until_ok(LIMIT, what, || {
        found = ask()?;
        ensure!(fits(&found), "it says {found}");
        Ok(())
    });
    waited.unwrap_or_else(|error| panic!("{error:#}"));
    found
}
