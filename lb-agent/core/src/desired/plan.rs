//! What one service asks for, whatever the others do.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use lb_common::addr::Addr;
use lb_common::limits::ENDPOINTS_PER_FRONTEND_MAX;
use sha2::{Digest as _, Sha256};

use super::memo::Roster;
use super::{Backend, Frontend, LocalBackend, Vip};
use crate::model::{
    Conditions, FrontendAddress, NodeName, Protocol, Service, ServicePort, Slice, SlicePort,
};
use crate::owner::{Absent, Candidacy, Contest, NotAnnounced};
use crate::problem::{AddressKind, Problem};
use crate::seed::seed;
use crate::table::{self, Candidate, Table};

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) vips: Vec<IpAddr>,
    /// What is said of all of them.
    pub(super) owned: Arc<Vip>,
    /// Routers are told of them.
    pub(super) advertised: bool,
    pub(super) frontends: Vec<Arc<Frontend>>,
    pub(super) problems: Vec<Problem>,
    /// What is wrong with who owns.
    pub(super) unowned: Vec<Problem>,
}

impl Plan {
    /// Says who owns, now that these nodes are absent.
    pub(super) fn elect(&mut self, roster: &Roster, absent: &Absent) {
        let candidacy = self.owned.candidacy.clone();
        let mut present = candidacy.present(absent);
        let (owner, next) = (present.next(), present.next());
        if self.owned.owner.as_ref() == owner && self.owned.next.as_ref() == next {
            return;
        }
        self.owned = Arc::new(Vip {
            service: self.owned.service.clone(),
            ours: owner == Some(&roster.this_node),
            owner: owner.cloned(),
            next: next.cloned(),
            candidacy: candidacy.clone(),
        });
        self.unowned = self.unowned();
    }

    /// VIPs that nobody announces on a link, unless routers are told of them.
    fn unowned(&self) -> Vec<Problem> {
        if self.owned.owner.is_some() {
            return Vec::new();
        }
        let service = &self.owned.service;
        match self.owned.candidacy.refused {
            None | Some(NotAnnounced::NoCandidate) => {
                let vips = self.vips.iter().map(|vip| Problem::NoOwner {
                    service: service.clone(),
                    vip: *vip,
                });
                vips.collect()
            }
            Some(_) if self.advertised || self.vips.is_empty() => Vec::new(),
            Some(why) => vec![Problem::NotAnnounced {
                service: service.clone(),
                why,
            }],
        }
    }

    /// The table of this seed, if it was built from these candidates.
    fn table(&self, seed: u64, candidates: &[Candidate]) -> Option<Arc<Table>> {
        let mut frontends = self.frontends.iter();
        let frontend = frontends.find(|frontend| frontend.seed == seed)?;
        let same = self::candidates(&frontend.backends) == candidates;
        same.then(|| frontend.table.clone())
    }
}

/// `served`: the addresses that it has. `old`: the last plan of this service, to take tables from that are still
/// right.
pub(super) fn plan(
    service: &Service,
    served: &[IpAddr],
    slices: &[Slice],
    roster: &Roster,
    absent: &Absent,
    old: Option<&Plan>,
) -> Plan {
    let mut problems = Vec::new();
    let vips = vips(service, served, roster, &mut problems);
    let mut frontends = Vec::new();
    if !vips.is_empty() && slices.is_empty() {
        problems.push(Problem::NoSlices {
            service: service.name.clone(),
        });
    }
    for port in &service.ports {
        if port.protocol == Protocol::Sctp {
            problems.push(Problem::ProtocolNotSupported {
                service: service.name.clone(),
                port: port.port,
                protocol: port.protocol,
            });
            continue;
        }
        for vip in &vips {
            let mut draft = Draft {
                service,
                slices,
                roster,
                problems: &mut problems,
            };
            frontends.push(Arc::new(draft.frontend(*vip, port, old)));
        }
    }
    // Every port of a service meets the same endpoints.
    problems.sort_unstable();
    problems.dedup();
    let contest = Contest {
        service,
        served: if vips.is_empty() { &[] } else { served },
        slices,
        this_node: &roster.this_node,
    };
    let mut plan = Plan {
        advertised: roster.electorate.advertises_to_routers(contest),
        owned: Arc::new(Vip {
            service: service.name.clone(),
            owner: None,
            ours: false,
            next: None,
            candidacy: Arc::new(Candidacy::of(contest, &roster.electorate)),
        }),
        vips,
        frontends,
        problems,
        unowned: Vec::new(),
    };
    plan.unowned = plan.unowned();
    plan.elect(roster, absent);
    plan
}

/// Those of the service's VIPs that can be served, each once.
fn vips(
    service: &Service,
    served: &[IpAddr],
    roster: &Roster,
    problems: &mut Vec<Problem>,
) -> Vec<IpAddr> {
    if served.is_empty() {
        problems.push(Problem::NoVip {
            service: service.name.clone(),
        });
    }
    let mut vips = Vec::with_capacity(served.len());
    for vip in served.iter().map(IpAddr::to_canonical) {
        if let Some(kind) = AddressKind::of(vip) {
            problems.push(Problem::VipImpossible {
                service: service.name.clone(),
                vip,
                kind,
            });
        } else if let Some(node) = roster.addresses.get(&vip) {
            problems.push(Problem::VipIsNodeAddress {
                service: service.name.clone(),
                vip,
                node: node.clone(),
            });
        } else if !vips.contains(&vip) {
            vips.push(vip);
        }
    }
    vips
}

struct Draft<'a> {
    service: &'a Service,
    slices: &'a [Slice],
    roster: &'a Roster,
    problems: &'a mut Vec<Problem>,
}

impl Draft<'_> {
    fn frontend(&mut self, vip: IpAddr, port: &ServicePort, old: Option<&Plan>) -> Frontend {
        let address = FrontendAddress {
            vip,
            port: port.port,
            protocol: port.protocol,
        };
        let seed = seed(&self.roster.secret, address);
        let backends = self.backends(address, port, seed);
        let candidates = candidates(&backends);
        if !self.slices.is_empty() && candidates.iter().all(|c| !c.usable) {
            self.problems.push(Problem::NoReadyBackend {
                service: self.service.name.clone(),
                frontend: address,
            });
        }
        let table = old
            .and_then(|old| old.table(seed, &candidates))
            .unwrap_or_else(|| Arc::new(table::build(seed, &candidates)));
        Frontend {
            address,
            service: self.service.name.clone(),
            port_name: port.name.as_str().into(),
            delivery: self.service.delivery,
            seed,
            backends_hash: backends_hash(&backends),
            local: local(&backends),
            backends,
            table,
        }
    }

    /// The endpoints of the VIP's family behind this port. One that two slices
    /// list (it moves from one to the other) counts once, in its best
    /// condition.
    fn backends(&mut self, at: FrontendAddress, port: &ServicePort, seed: u64) -> Vec<Backend> {
        let same = |other: &&SlicePort| other.name == port.name && other.protocol == port.protocol;
        let mut found: BTreeMap<(IpAddr, u16), (&NodeName, Conditions)> = BTreeMap::new();
        let mut port_found = false;
        for slice in self.slices {
            let Some(port) = slice.ports.iter().find(same) else {
                continue;
            };
            port_found = true;
            for endpoint in &slice.endpoints {
                let address = endpoint.address.to_canonical();
                if address.is_ipv4() != at.vip.is_ipv4() {
                    continue;
                }
                let Some(node) = self.node_of(address, endpoint.node.as_ref()) else {
                    continue;
                };
                let new = (node, endpoint.conditions);
                let entry = found.entry((address, port.port)).or_insert(new);
                if (new.1, new.0) > (entry.1, entry.0) {
                    *entry = new;
                }
            }
        }
        // Without pods, slices have no ports either.
        let has_pods = self.slices.iter().any(|slice| !slice.endpoints.is_empty());
        if !port_found && has_pods {
            self.problems.push(Problem::PortNotInSlices {
                service: self.service.name.clone(),
                port: port.port,
                name: port.name.clone(),
                protocol: port.protocol,
            });
        }
        let found = found.into_iter();
        let mut backends: Vec<_> = found
            .map(|((address, port), (node, conditions))| Backend {
                address,
                port,
                node: node.clone(),
                here: *node == self.roster.this_node,
                conditions,
            })
            .collect();
        if backends.len() > ENDPOINTS_PER_FRONTEND_MAX {
            self.problems.push(Problem::TooManyBackends {
                service: self.service.name.clone(),
                frontend: at,
                present: backends.len(),
            });
            limit(&mut backends, seed);
        }
        backends
    }

    /// The node of an endpoint that can be served.
    fn node_of<'a>(&mut self, address: IpAddr, node: Option<&'a NodeName>) -> Option<&'a NodeName> {
        let service = || self.service.name.clone();
        let problem = if let Some(kind) = AddressKind::of(address) {
            Problem::BackendImpossible {
                service: service(),
                address,
                kind,
            }
        } else {
            match node {
                None => Problem::BackendWithoutNode {
                    service: service(),
                    address,
                },
                Some(node) if self.roster.nodes.contains_key(node) => return Some(node),
                Some(node) => Problem::BackendWithoutAgent {
                    service: service(),
                    address,
                    node: node.clone(),
                },
            }
        };
        self.problems.push(problem);
        None
    }
}

fn local(backends: &[Backend]) -> Vec<LocalBackend> {
    let here = backends.iter().filter(|backend| backend.here);
    here.map(Backend::as_local).collect()
}

/// Leaves those that are usable and, among equals, those of the lowest hash,
/// so that all nodes leave out the same ones.
fn limit(backends: &mut Vec<Backend>, seed: u64) {
    let rank = |b: &Backend| {
        let hash = table::hash(seed, b.address, b.port);
        (!b.conditions.ready, hash)
    };
    backends.sort_by_cached_key(rank);
    backends.truncate(ENDPOINTS_PER_FRONTEND_MAX);
    backends.sort_unstable_by_key(|backend| (backend.address, backend.port));
}

/// The ready ones take new flows; if there is none, those that drain.
fn candidates(backends: &[Backend]) -> Vec<Candidate> {
    let any_ready = backends.iter().any(|backend| backend.conditions.ready);
    let candidate = |backend: &Backend| Candidate {
        address: backend.address,
        port: backend.port,
        usable: backend.conditions.ready || (!any_ready && backend.conditions.is_draining()),
    };
    backends.iter().map(candidate).collect()
}

/// Equal sets have equal hashes on all nodes; nodes compare by equality alone.
fn backends_hash(backends: &[Backend]) -> u64 {
    let mut hash = Sha256::new_with_prefix("corten backends v1");
    for (backend, candidate) in backends.iter().zip(candidates(backends)) {
        hash.update(Addr::from(backend.address).bytes);
        hash.update(backend.port.to_be_bytes());
        hash.update([u8::from(candidate.usable)]);
        // No name contains a zero byte, so no two sets read alike.
        hash.update(backend.node.as_str());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let (first, _) = digest.split_first_chunk().expect("32 bytes");
    u64::from_be_bytes(*first)
}
