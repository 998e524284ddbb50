//! Who has which address, and who may have it too.
//!
//! Services share an address if all have the same sharing key, which is not
//! empty; if the packets for each may go to the same nodes (all of them with
//! policy Cluster, or Local with the same selector); and if no two have a port
//! in common (MetalLB, internal/allocator checkSharing). Namespaces do not
//! matter.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Refusal;
use crate::model::{Protocol, Service, ServiceName, ServicePort, TrafficPolicy};

/// Those with an equal one may share: sharing key and selector. Nobody shares
/// with an empty sharing key.
pub(super) type Key<'a> = (&'a str, &'a str);

pub(super) type Port = (u16, Protocol);

/// What a Service would do with an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) key: Key<'a>,
    ports: &'a [ServicePort],
}

impl<'a> Claim<'a> {
    pub(super) fn of(service: &'a Service) -> Self {
        let request = &service.request;
        let selector = match service.traffic_policy {
            TrafficPolicy::Cluster => "",
            TrafficPolicy::Local => request.selector.as_str(),
        };
        Self {
            service: &service.name,
            key: (request.sharing_key.as_deref().unwrap_or_default(), selector),
            ports: &service.ports,
        }
    }

    pub(super) fn shares(&self) -> bool {
        !self.key.0.is_empty()
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = Port> + use<'a> {
        self.ports.iter().map(|port| (port.port, port.protocol))
    }
}

#[derive(Debug, Default)]
pub(super) struct Holders<'a> {
    held: BTreeMap<IpAddr, Holding<'a>>,
    /// Statuses that have an address which their Service is not given again:
    /// until they are written, nobody else gets it.
    leaving: BTreeMap<IpAddr, &'a ServiceName>,
    /// Of Services that others serve.
    foreign: BTreeMap<IpAddr, &'a ServiceName>,
}

#[derive(Debug)]
struct Holding<'a> {
    key: Key<'a>,
    services: Vec<&'a ServiceName>,
    ports: BTreeSet<Port>,
}

impl<'a> Holders<'a> {
    /// Whether a Service that has nothing yet may have an address.
    ///
    /// # Errors
    /// Who has it, and why it is not shared.
    pub(super) fn check(&self, claim: &Claim<'_>, address: IpAddr) -> Result<(), Refusal> {
        if let Some(holding) = self.held.get(&address) {
            if !claim.shares() || holding.key != claim.key {
                let holders = holding.services.iter().copied().cloned();
                return Err(Refusal::NotShared {
                    service: claim.service.clone(),
                    holders: holders.collect(),
                });
            }
            if let Some((port, protocol)) = holding.taken(claim) {
                return Err(Refusal::PortTaken {
                    protocol,
                    port,
                    address,
                });
            }
        }
        if let Some(holder) = self.foreign.get(&address) {
            let holder = (*holder).clone();
            return Err(Refusal::Foreign { address, holder });
        }
        match self.leaving.get(&address) {
            Some(holder) if *holder != claim.service => Err(Refusal::NotFreeYet {
                address,
                holder: (*holder).clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The first of the claim's ports that is in use on an address.
    pub(super) fn taken_port(&self, claim: &Claim<'_>, address: IpAddr) -> Option<Port> {
        self.held.get(&address)?.taken(claim)
    }

    /// Nobody has it in any way.
    pub(super) fn is_unused(&self, address: IpAddr) -> bool {
        !self.held.contains_key(&address) && !self.is_reserved(address)
    }

    /// Nobody new may have it, also if it is shared.
    pub(super) fn is_reserved(&self, address: IpAddr) -> bool {
        self.leaving.contains_key(&address) || self.foreign.contains_key(&address)
    }

    /// True if nobody had it.
    pub(super) fn take(&mut self, claim: &Claim<'a>, address: IpAddr) -> bool {
        let holding = self.held.entry(address).or_insert_with(|| Holding {
            key: claim.key,
            services: Vec::new(),
            ports: BTreeSet::new(),
        });
        holding.services.push(claim.service);
        holding.ports.extend(claim.ports());
        holding.services.len() == 1
    }

    /// True if nobody else has it.
    pub(super) fn leave(&mut self, service: &'a ServiceName, address: IpAddr) -> bool {
        let unused = self.is_unused(address);
        self.leaving.insert(address, service);
        unused
    }

    /// True if nobody else has it.
    pub(super) fn reserve(&mut self, service: &'a ServiceName, address: IpAddr) -> bool {
        let unused = self.is_unused(address);
        self.foreign.insert(address, service);
        unused
    }

    /// All addresses that Services have.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.held.keys().copied()
    }
}

impl Holding<'_> {
    fn taken(&self, claim: &Claim<'_>) -> Option<Port> {
        claim.ports().find(|port| self.ports.contains(port))
    }
}
