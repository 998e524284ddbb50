//! The task that keeps the answer fresh.
//!
//! In: the question ([`Question`]), through a `watch` channel, and the
//! kernel's messages about links, addresses, routes and neighbours. Out: the
//! answer ([`NetFacts`]), whole, through another `watch` channel, when it
//! differs from the last. After any message everything is read again: so an
//! overrun of the socket, which loses messages, loses nothing. Cancelling the
//! task at any point loses nothing either.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use lb_core::fence::Way;
use lb_core::model::{Links, NodeName};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;
use tokio::time::timeout;

use super::netlink::{self, Defaults, Device};
use super::reach::{Machine, uplinks};

/// Kernel messages come in swarms.
const QUIET: Duration = Duration::from_millis(20);
const QUIET_MAX: Duration = Duration::from_millis(200);
/// Everything is looked at again this often in any case.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long the first answer waits for neighbours that do not answer.
const RESOLVE_LIMIT: Duration = Duration::from_secs(1);
const RESOLVE_STEP: Duration = Duration::from_millis(20);

/// What the agent wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The addresses of this node, as its Node object has them.
    pub own: Vec<IpAddr>,
    /// Those of all others.
    pub nodes: BTreeMap<NodeName, Vec<IpAddr>>,
    /// The pods here whose devices matter.
    pub pods: BTreeSet<IpAddr>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetFacts {
    /// To this question; none before the first.
    pub question: Option<Question>,
    pub uplinks: Vec<Device>,
    pub links: Links,
    /// The gateways of default routes by uplinks, and how they are asked.
    pub gateways: BTreeMap<(u32, IpAddr), Way>,
    /// Names of the devices in `links.pods`.
    pub pod_devices: BTreeMap<u32, String>,
}

impl NetFacts {
    /// Whether one of the uplinks has carrier. Before they are known, nothing is
    /// known against them.
    #[must_use]
    pub fn has_carrier(&self) -> bool {
        self.uplinks.is_empty() || self.uplinks.iter().any(|uplink| uplink.carrier)
    }
}

/// Why the kernel cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
    #[error("cannot read the devices")]
    Read(#[source] rtnetlink::Error),
    #[error("the kernel stopped telling about links and routes")]
    Closed,
}

/// Answers until nobody asks any more. `named`: the uplinks, if the user said.
pub async fn run(
    named: Vec<String>,
    mut questions: watch::Receiver<Question>,
    answers: watch::Sender<NetFacts>,
) -> Result<(), NetError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Socket)?;
    tokio::spawn(connection);
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Neigh,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let (connection, _, mut messages) =
        rtnetlink::new_multicast_connection(&groups).map_err(NetError::Socket)?;
    tokio::spawn(connection);
    let mut watcher = Watcher {
        handle,
        named,
        remembered: BTreeMap::new(),
    };
    let mut settled: Option<Question> = None;
    loop {
        let question = questions.borrow_and_update().clone();
        let first = settled.as_ref() != Some(&question);
        match watcher.answer(&question, first).await {
            Ok(answer) => {
                settled = Some(question);
                answers.send_if_modified(|last| {
                    let changed = *last != answer;
                    *last = answer;
                    changed
                });
            }
            // Something went away while it was looked at; look again.
            Err(error) => tracing::warn!(%error, "cannot read links and routes"),
        }
        let news = async {
            messages.next().await?;
            let quiet = async {
                while timeout(QUIET, messages.next())
                    .await
                    .is_ok_and(|m| m.is_some())
                {}
            };
            let _still_busy = timeout(QUIET_MAX, quiet).await;
            Some(())
        };
        tokio::select! {
            changed = questions.changed() => if changed.is_err() {
                return Ok(());
            },
            news = timeout(LOOK_EVERY, news) => if news == Ok(None) {
                return Err(NetError::Closed);
            },
        }
    }
}

/// An address of this node to ask a neighbour from: of its family, and of its
/// scope if there is one.
fn own_beside(neighbour: IpAddr, link: u32, addresses: &[(u32, IpAddr)]) -> Option<IpAddr> {
    let is_local = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let here = addresses
        .iter()
        .filter(|(ifindex, address)| *ifindex == link && address.is_ipv4() == neighbour.is_ipv4());
    let mut here = here.map(|(_, address)| *address);
    let first = here.clone().next();
    here.find(|address| is_local(address) == is_local(&neighbour))
        .or(first)
}

struct Watcher {
    handle: Handle,
    named: Vec<String>,
    remembered: BTreeMap<(u32, IpAddr), lb_core::model::Mac>,
}

impl Watcher {
    async fn answer(
        &mut self,
        question: &Question,
        first: bool,
    ) -> Result<NetFacts, rtnetlink::Error> {
        let mut machine = self.look(question).await?;
        self.keep_fresh(&machine).await;
        if first {
            let resolve = async {
                while !self.is_resolved(&machine) {
                    tokio::time::sleep(RESOLVE_STEP).await;
                    machine.neighbours = netlink::neighbours(&self.handle).await?;
                }
                Ok::<(), rtnetlink::Error>(())
            };
            if let Ok(result) = timeout(RESOLVE_LIMIT, resolve).await {
                result?;
            }
        }
        self.remember(&mut machine);
        let addresses = netlink::addresses(&self.handle).await?;
        let defaults = netlink::defaults(&self.handle).await?;
        let links = machine.links(&question.nodes, &question.own, &question.pods);
        let pod_devices = links.pods.values().filter_map(|ifindex| {
            let device = machine.devices.get(ifindex)?;
            Some((*ifindex, device.name.clone()))
        });
        let mut uplinks = uplinks(
            &self.named,
            &machine.devices,
            &addresses,
            &question.own,
            &defaults.devices,
        );
        let gateways = self
            .gateways(&defaults, &uplinks, &machine, &addresses)
            .await;
        for uplink in &mut uplinks {
            // Ours to change, and no reason to look at everything again.
            uplink.xdp = netlink::XdpState::None;
        }
        Ok(NetFacts {
            question: Some(question.clone()),
            uplinks,
            pod_devices: pod_devices.collect(),
            gateways,
            links,
        })
    }

    /// Has the kernel keep in mind where the gateways are, and says how they are
    /// asked.
    async fn gateways(
        &self,
        defaults: &Defaults,
        uplinks: &[Device],
        machine: &Machine,
        addresses: &[(u32, IpAddr)],
    ) -> BTreeMap<(u32, IpAddr), Way> {
        let mut gateways = BTreeMap::new();
        for (ifindex, address) in &defaults.gateways {
            let Some(uplink) = uplinks.iter().find(|uplink| uplink.ifindex == *ifindex) else {
                continue;
            };
            let known = machine.neighbours.get(&(*ifindex, *address));
            if !known.is_some_and(|known| known.managed || known.permanent)
                && let Err(error) = netlink::manage(&self.handle, *ifindex, *address).await
            {
                tracing::warn!(%address, %error, "cannot have the gateway watched");
            }
            let way = Way {
                mac: known.and_then(|known| known.mac),
                own_mac: uplink.mac,
                own: own_beside(*address, *ifindex, addresses),
            };
            gateways.insert((*ifindex, *address), way);
        }
        gateways
    }

    async fn look(&self, question: &Question) -> Result<Machine, rtnetlink::Error> {
        let mut machine = Machine {
            devices: netlink::devices(&self.handle).await?,
            neighbours: netlink::neighbours(&self.handle).await?,
            ..Machine::default()
        };
        for address in question.nodes.values().flatten() {
            if let Some(route) = netlink::route_to(&self.handle, *address).await? {
                machine.routes.insert(*address, route);
            }
        }
        for pod in &question.pods {
            if let Some(route) = netlink::route_to(&self.handle, *pod).await? {
                machine.pod_routes.insert(*pod, route);
            }
        }
        Ok(machine)
    }

    /// Packets leave by XDP, which the stack does not see: left alone it would
    /// forget its neighbours.
    async fn keep_fresh(&self, machine: &Machine) {
        for (ifindex, address) in machine.first_hops() {
            let known = machine.neighbours.get(&(ifindex, address));
            if known.is_some_and(|known| known.managed || known.permanent) {
                continue;
            }
            if let Err(error) = netlink::manage(&self.handle, ifindex, address).await {
                tracing::warn!(%address, %error, "cannot have the neighbour kept fresh");
            }
        }
    }

    fn is_resolved(&self, machine: &Machine) -> bool {
        machine.first_hops().iter().all(|hop| {
            let known = machine.neighbours.get(hop);
            known.is_some_and(|known| known.mac.is_some())
        })
    }

    /// A MAC is kept while its neighbour cannot be resolved: most likely it
    /// will come back with the same one.
    fn remember(&mut self, machine: &mut Machine) {
        let hops = machine.first_hops();
        self.remembered.retain(|hop, _| hops.contains(hop));
        for hop in hops {
            if let Some(mac) = machine.neighbours.get(&hop).and_then(|known| known.mac) {
                self.remembered.insert(hop, mac);
            }
        }
        machine.remembered.clone_from(&self.remembered);
    }
}
