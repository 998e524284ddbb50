//! Links: veth pairs, their addresses and settings.

use anyhow::Result;

use super::address::Interface;
use super::spec::Offload;
use crate::command::run;
use crate::netns::Namespace;

/// A veth pair between two namespaces.
#[derive(Debug)]
pub(super) struct Link<'a> {
    pub(super) from: (&'a Namespace, &'a str),
    pub(super) to: (&'a Namespace, &'a str),
    pub(super) mtu: u16,
}

impl Link<'_> {
    pub(super) fn add(&self) -> Result<()> {
        let ((from, from_name), (to, to_name)) = (self.from, self.to);
        let mtu = self.mtu;
        run(
            "ip",
            &[
                "link",
                "add",
                "name",
                from_name,
                "netns",
                from.name(),
                "type",
                "veth",
                "peer",
                "name",
                to_name,
                "netns",
                to.name(),
            ],
        )?;
        from.ip(&format!("link set {from_name} mtu {mtu} up"))?;
        to.ip(&format!("link set {to_name} mtu {mtu} up"))
    }
}

/// Addresses that work at once: without duplicate address detection.
pub(super) fn assign(namespace: &Namespace, interface: &str, own: Interface) -> Result<()> {
    let Interface {
        address,
        v4_len,
        v6_len,
    } = own;
    namespace.ip(&format!(
        "address add {}/{v4_len} dev {interface}\n\
         address add {}/{v6_len} dev {interface} nodad\n",
        address.v4, address.v6
    ))
}

/// Leaves checksums to the hardware, or not.
pub(super) fn set_offload(namespace: &Namespace, interface: &str, offload: Offload) -> Result<()> {
    match offload {
        // How a veth starts.
        Offload::On => Ok(()),
        Offload::Off => ethtool(namespace, interface, &["tx", "off"]),
    }
}

pub(super) fn ethtool(namespace: &Namespace, interface: &str, settings: &[&str]) -> Result<()> {
    let arguments = [&["-K", interface], settings].concat();
    namespace.run("ethtool", &arguments).map(drop)
}
