//! Which routes a peer has been told, and the messages that make them those
//! that it should have.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::config::Endpoints;
use super::connection::Agreed;
use super::wire::{Attributes, Family, HEADER_LEN, MpReach, MpUnreach, Origin, Segment, Update};
use crate::shared::SharedMap;

/// RFC 8326: this way goes away, take another.
pub const GRACEFUL_SHUTDOWN: (u16, u16) = (65535, 0);
/// Of iBGP, where nothing else is said: what everybody takes for it.
const LOCAL_PREF: u32 = 100;

/// What is said of a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// For peers of the same AS; none: 100.
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
    /// Sorted.
    pub communities: Vec<(u16, u16)>,
    pub large_communities: Vec<(u32, u32, u32)>,
}

/// Mostly all peers are told the same, and share it.
pub type Routes = SharedMap<IpNet, Arc<Route>>;

/// Why a route is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withheld {
    FamilyNotAgreed,
    NoNextHop,
    TooLong,
}

impl Withheld {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FamilyNotAgreed => "FamilyNotAgreed",
            Self::NoNextHop => "NoNextHop",
            Self::TooLong => "TooLong",
        }
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FamilyNotAgreed => "the session is not for this address family",
            Self::NoNextHop => "this node has no address of that family towards the peer",
            Self::TooLong => "its communities do not fit into a message",
        })
    }
}

impl Route {
    /// The same while it goes (RFC 8326 section 4).
    #[must_use]
    pub fn leaving(&self) -> Self {
        let mut route = self.clone();
        if let Err(at) = route.communities.binary_search(&GRACEFUL_SHUTDOWN) {
            route.communities.insert(at, GRACEFUL_SHUTDOWN);
        }
        route.local_pref = Some(0);
        route
    }
}

/// Those of `before` that are not among `now`, as they are told while they go.
#[must_use]
pub fn leaving(before: &Routes, now: &Routes) -> Routes {
    let mut said: BTreeMap<&Route, Arc<Route>> = BTreeMap::new();
    let gone = before
        .iter()
        .filter(|(prefix, _)| !now.contains_key(prefix));
    gone.map(|(prefix, route)| {
        let leaving = said
            .entry(route)
            .or_insert_with(|| Arc::new(route.leaving()));
        (*prefix, leaving.clone())
    })
    .collect()
}

/// What a peer has been told in this session: all that it was to be told last,
/// but for what is withheld. So there is no copy of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RibOut {
    wanted: Routes,
    withheld: Arc<BTreeMap<IpNet, Withheld>>,
}

impl RibOut {
    /// What the peer knows of a prefix.
    #[must_use]
    pub fn sent(&self, prefix: &IpNet) -> Option<&Route> {
        let sent = self.wanted.get(prefix)?;
        (!self.withheld.contains_key(prefix)).then_some(sent)
    }

    /// How many it knows.
    #[must_use]
    pub fn sent_count(&self) -> usize {
        self.wanted.len().saturating_sub(self.withheld.len())
    }

    /// All that it was to be told.
    #[must_use]
    pub const fn wanted(&self) -> &Routes {
        &self.wanted
    }

    #[must_use]
    pub fn withheld(&self) -> &BTreeMap<IpNet, Withheld> {
        &self.withheld
    }

    /// What was told of a family is told anew.
    pub fn forget(&mut self, family: Family) {
        let others = |prefix: &IpNet| Family::of(prefix) != family;
        let wanted = self.wanted.iter().filter(|(prefix, _)| others(prefix));
        self.wanted = wanted.map(|(p, route)| (*p, route.clone())).collect();
        Arc::make_mut(&mut self.withheld).retain(|prefix, _| others(prefix));
    }

    /// The messages that make what is told `wanted`: those of equal attributes
    /// together. Withdrawals first: they make room. What both share is not
    /// looked at.
    pub fn update(&mut self, wanted: &Routes, session: &Session<'_>) -> Vec<Update> {
        let mut groups: BTreeMap<(Family, &Route), Vec<IpNet>> = BTreeMap::new();
        let mut gone = Vec::new();
        for (prefix, old, new) in self.wanted.unshared(wanted) {
            match new {
                Some(route) if old != new => {
                    let group = groups.entry((Family::of(prefix), route)).or_default();
                    group.push(*prefix);
                }
                Some(_) => {}
                None => gone.push(*prefix),
            }
        }
        let mut withheld = (*self.withheld).clone();
        // What the peer has never heard of is not withdrawn.
        gone.retain(|prefix| withheld.remove(prefix).is_none());
        let mut announced = Vec::new();
        for ((family, route), prefixes) in &groups {
            match session.room(*family, route) {
                Ok(room) => {
                    prefixes.iter().for_each(|prefix| {
                        withheld.remove(prefix);
                    });
                    session.announce(*family, route, prefixes, room, &mut announced);
                }
                Err(reason) => {
                    let known = prefixes.iter().filter(|p| self.sent(p).is_some());
                    gone.extend(known);
                    withheld.extend(prefixes.iter().map(|prefix| (*prefix, reason)));
                }
            }
        }
        let (v4, v6): (Vec<_>, Vec<_>) = gone
            .into_iter()
            .partition(|p| Family::of(p) == Family::IPV4);
        let mut updates = Vec::new();
        session.withdraw(Family::IPV4, &v4, &mut updates);
        session.withdraw(Family::IPV6, &v6, &mut updates);
        updates.append(&mut announced);
        self.wanted = wanted.clone();
        if *self.withheld != withheld {
            self.withheld = Arc::new(withheld);
        }
        updates
    }
}

/// How routes are said in a session.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    pub local_as: u32,
    pub agreed: &'a Agreed,
    pub endpoints: &'a Endpoints,
}

impl Session<'_> {
    /// Bytes for prefixes in a message about such routes.
    fn room(&self, family: Family, route: &Route) -> Result<usize, Withheld> {
        if !self.agreed.context.families.contains(&family) {
            return Err(Withheld::FamilyNotAgreed);
        }
        let max = self.agreed.context.message_max();
        // Before they are written anywhere.
        if 4 * route.communities.len() + 12 * route.large_communities.len() > max {
            return Err(Withheld::TooLong);
        }
        let update = self.empty(family, route).ok_or(Withheld::NoNextHop)?;
        let used = update.encode(self.agreed.context.as4).len();
        // MP_REACH may grow beyond 255 bytes, which takes one byte more.
        let left = max.checked_sub(used + 1);
        left.filter(|left| *left > 17).ok_or(Withheld::TooLong)
    }

    fn announce(
        &self,
        family: Family,
        route: &Route,
        all: &[IpNet],
        room: usize,
        out: &mut Vec<Update>,
    ) {
        for prefixes in chunks(all, room) {
            let Some(mut update) = self.empty(family, route) else {
                return;
            };
            match &mut update.attributes.reach {
                Some(reach) => reach.prefixes = prefixes.to_vec(),
                None => update.announced = prefixes.to_vec(),
            }
            out.push(update);
        }
    }

    fn withdraw(&self, family: Family, all: &[IpNet], out: &mut Vec<Update>) {
        // Header, two lengths, and an attribute's head.
        let room = self.agreed.context.message_max() - HEADER_LEN - 4 - 7;
        for prefixes in chunks(all, room) {
            let prefixes = prefixes.to_vec();
            let mut update = Update::default();
            // RFC 8950: where routes came in MP_REACH, they go in MP_UNREACH.
            let classic = matches!(self.next_hop(family), Some((IpAddr::V4(_), _)) | None);
            if family == Family::IPV4 && classic {
                update.withdrawn = prefixes;
            } else {
                update.attributes.unreach = Some(MpUnreach { family, prefixes });
            }
            out.push(update);
        }
    }

    /// One about such routes, without prefixes. None without a next hop.
    fn empty(&self, family: Family, route: &Route) -> Option<Update> {
        let (next_hop, link_local) = self.next_hop(family)?;
        let internal = self.agreed.context.internal;
        let path = if internal {
            Vec::new()
        } else {
            [Segment::Sequence([self.local_as].into())].into()
        };
        let mut attributes = Attributes {
            origin: Some(Origin::Igp),
            as_path: Some(path),
            med: route.med,
            local_pref: internal.then(|| route.local_pref.unwrap_or(LOCAL_PREF)),
            communities: route.communities.clone(),
            large_communities: route.large_communities.clone(),
            ..Attributes::default()
        };
        match next_hop {
            IpAddr::V4(v4) => attributes.next_hop = Some(v4),
            IpAddr::V6(_) => {
                attributes.reach = Some(MpReach {
                    family,
                    next_hop,
                    link_local,
                    prefixes: Vec::new(),
                });
            }
        }
        Some(Update {
            attributes,
            ..Update::default()
        })
    }

    /// This node, as the peer reaches it.
    fn next_hop(&self, family: Family) -> Option<(IpAddr, Option<Ipv6Addr>)> {
        let Endpoints {
            local,
            v4,
            v6,
            link_local,
            ..
        } = *self.endpoints;
        let over_v6 = match local {
            IpAddr::V6(local) if local.is_unicast_link_local() => v6.or(Some(local)),
            IpAddr::V6(local) => Some(local),
            IpAddr::V4(_) => v6,
        };
        let over_v6 = over_v6.map(|v6| (IpAddr::V6(v6), link_local));
        let over_v4 = |v4: Ipv4Addr| (IpAddr::V4(v4), None);
        match (family, local) {
            (Family::IPV4, IpAddr::V4(local)) => Some(over_v4(local)),
            (Family::IPV4, IpAddr::V6(_)) if self.agreed.extended_next_hop => over_v6,
            (Family::IPV4, IpAddr::V6(_)) => v4.map(over_v4),
            _ => over_v6,
        }
    }
}

/// As many in each as have room.
fn chunks(all: &[IpNet], room: usize) -> impl Iterator<Item = &[IpNet]> {
    let mut rest = all;
    core::iter::from_fn(move || {
        let mut left = room;
        let fits = rest.iter().take_while(|prefix| {
            let size = 1 + usize::from(prefix.prefix_len().div_ceil(8));
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        });
        let (part, more) = rest.split_at(fits.count());
        rest = more;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests;
