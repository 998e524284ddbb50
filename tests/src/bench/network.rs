//! The network of the end-to-end bench: a client, a node and a pod in a row.
//!
//! ```text
//!   client eth0 ----- eth0 node pod ----- eth0 pod
//! ```

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::tc::{SchedClassifierLinkId, TcAttachOptions};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode};
use nix::net::if_::if_nametoindex;

use crate::command::{feed, run};
use crate::netns::Namespace;
use crate::object::world::{Family, ROUTER_MAC, UPLINK_MAC};

const PREFIX: &str = "cortenbench-";
pub(super) const UPLINK: &str = "eth0";
/// The node's device towards the pod.
pub(super) const POD: &str = "pod";
const POD_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x10];

/// Of the Service that is compared with nft's: the data plane's pod and others
/// at the same place.
fn endpoints() -> impl Iterator<Item = Ipv4Addr> {
    (10..20).map(|last| Ipv4Addr::new(198, 51, 100, last))
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) client: Namespace,
    pub(super) node: Namespace,
    pub(super) pod: Namespace,
}

impl Network {
    /// Builds it; what an earlier one left is removed.
    pub(super) fn up() -> Result<Self> {
        remove()?;
        let add = |name: &str| Namespace::add(format!("{PREFIX}{name}"));
        let network = Self {
            client: add("client")?,
            node: add("node")?,
            pod: add("pod")?,
        };
        network.build()?;
        Ok(network)
    }

    fn build(&self) -> Result<()> {
        let Self { client, node, pod } = self;
        link(client, (node, UPLINK))?;
        link(pod, (node, POD))?;
        for (namespace, device, mac) in [
            (client, UPLINK, ROUTER_MAC),
            (node, UPLINK, UPLINK_MAC),
            (pod, UPLINK, POD_MAC),
        ] {
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            namespace.ip(&format!("link set {device} address {mac} up"))?;
        }
        // Polled also without a program, as network cards are.
        node.run("ethtool", &["-K", UPLINK, "gro", "on"])?;
        node.ip(&format!(
            "link set {POD} up\naddress add {}/24 dev {UPLINK}\naddress add {}/32 dev {POD}\n",
            Family::V4.own(),
            Family::V4.own(),
        ))?;
        let mac = POD_MAC.map(|byte| format!("{byte:02x}")).join(":");
        for endpoint in endpoints() {
            node.ip(&format!(
                "route add {endpoint} dev {POD}\n\
                 neigh add {endpoint} dev {POD} lladdr {mac} nud permanent\n"
            ))?;
        }
        node.sysctl(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            (&format!("net/ipv4/conf/{UPLINK}/rp_filter"), "0"),
        ])
    }

    /// The node's index of its uplink, and of its device towards the pod.
    pub(super) fn devices(&self) -> Result<[u32; 2]> {
        self.node
            .within(|| Ok([if_nametoindex(UPLINK)?, if_nametoindex(POD)?]))?
    }

    /// What kube-proxy does in its nftables mode for a Service with these
    /// endpoints and externalTrafficPolicy Cluster: one of them by chance, and
    /// the node's own address as the source.
    pub(super) fn add_nft(&self) -> Result<()> {
        let vip = Family::V4.vip(0).ip();
        let port = Family::V4.pod().port();
        let mut chains = String::new();
        let mut picks = Vec::new();
        for (index, endpoint) in endpoints().enumerate() {
            chains.push_str(&format!(
                "chain endpoint{index} {{\nmeta l4proto tcp dnat to {endpoint}:{port}\n}}\n"
            ));
            picks.push(format!("{index} : goto endpoint{index}"));
        }
        let rules = format!(
            "table ip bench {{
                {chains}
                chain service {{
                    meta mark set meta mark or 0x4000
                    numgen random mod {count} vmap {{ {picks} }}
                }}
                map services {{
                    type ipv4_addr . inet_proto . inet_service : verdict
                    elements = {{ {vip} . tcp . 80 : goto service }}
                }}
                chain prerouting {{
                    type nat hook prerouting priority dstnat
                    ip daddr . meta l4proto . th dport vmap @services
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    meta mark and 0x4000 == 0 return
                    meta mark set meta mark xor 0x4000
                    masquerade fully-random
                }}
            }}\n",
            count = picks.len(),
            picks = picks.join(", "),
        );
        feed(self.node.command("nft").args(["-f", "-"]), &rules)?;
        // Cards check checksums, and tell: no card here to do it.
        self.node
            .sysctl(&[("net/netfilter/nf_conntrack_checksum", "0")])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What stays is removed by the next one.
        drop(remove());
    }
}

fn remove() -> Result<()> {
    Namespace::list(PREFIX)?
        .iter()
        .try_for_each(Namespace::delete)
}

fn link(from: &Namespace, (to, device): (&Namespace, &str)) -> Result<()> {
    let arguments = [
        ["link", "add", "name", UPLINK, "netns", from.name(), "type"],
        ["veth", "peer", "name", device, "netns", to.name(), ""],
    ];
    let arguments = arguments.as_flattened();
    run("ip", &arguments[..arguments.len() - 1]).map(drop)
}

/// Attaches an XDP program to a namespace's uplink, in native mode.
pub(super) fn attach_xdp(
    namespace: &Namespace,
    ebpf: &mut Ebpf,
    program: &str,
) -> Result<XdpLinkId> {
    let program: &mut Xdp = ebpf
        .program_mut(program)
        .context("no program")?
        .try_into()?;
    let attached = namespace.within(|| program.attach(UPLINK, XdpMode::Driver))?;
    attached.context("cannot attach XDP")
}

pub(super) fn detach_xdp(ebpf: &mut Ebpf, program: &str, link: XdpLinkId) -> Result<()> {
    let program: &mut Xdp = ebpf
        .program_mut(program)
        .context("no program")?
        .try_into()?;
    Ok(program.detach(link)?)
}

/// Where a TCX program goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcx {
    pub(super) program: &'static str,
    pub(super) device: &'static str,
    pub(super) direction: TcAttachType,
}

impl Tcx {
    /// On the way in by a device.
    pub(super) const fn ingress(program: &'static str, device: &'static str) -> Self {
        Self {
            program,
            device,
            direction: TcAttachType::Ingress,
        }
    }
}

/// Attaches a TCX program in a namespace, ahead of any other.
pub(super) fn attach_tcx(
    namespace: &Namespace,
    ebpf: &mut Ebpf,
    tcx: Tcx,
) -> Result<SchedClassifierLinkId> {
    let program: &mut SchedClassifier = ebpf
        .program_mut(tcx.program)
        .context("no program")?
        .try_into()?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let attached =
        namespace.within(|| program.attach_with_options(tcx.device, tcx.direction, options))?;
    attached.with_context(|| format!("cannot attach {}", tcx.program))
}

pub(super) fn detach_tcx(
    ebpf: &mut Ebpf,
    program: &str,
    link: SchedClassifierLinkId,
) -> Result<()> {
    let program: &mut SchedClassifier = ebpf
        .program_mut(program)
        .context("no program")?
        .try_into()?;
    Ok(program.detach(link)?)
}
