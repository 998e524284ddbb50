//! Links: veth pairs, and the settings that make one behave as a wire.

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
}

impl Link<'_> {
    pub(super) fn add(&self) -> Result<()> {
        let ((from, from_name), (to, to_name)) = (self.from, self.to);
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
        from.ip(&format!("link set {from_name} up"))?;
        to.ip(&format!("link set {to_name} up"))
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

/// Makes the switch's or router's end of a link behave as a wire.
///
/// A veth carries packets whose checksum and segmentation are still to be
/// done, which no wire does: with `tx`, `tso` and `gso` off they are finished
/// before the other end sees them. And a packet that an XDP program sends
/// back out of the other end is dropped unless this end polls (NAPI), which
/// it does with `gro` on.
pub(super) fn behave_as_wire(namespace: &Namespace, interface: &str) -> Result<()> {
    let settings = ["tx", "off", "tso", "off", "gso", "off", "gro", "on"];
    ethtool(namespace, interface, &settings)
}

/// Leaves checksums to the hardware, or not.
pub(super) fn set_offload(namespace: &Namespace, interface: &str, offload: Offload) -> Result<()> {
    match offload {
        // How a veth starts.
        Offload::On => Ok(()),
        Offload::Off => ethtool(namespace, interface, &["tx", "off"]),
    }
}

fn ethtool(namespace: &Namespace, interface: &str, settings: &[&str]) -> Result<()> {
    let arguments = [&["-K", interface], settings].concat();
    namespace.run("ethtool", &arguments).map(drop)
}
