//! Which prefix which router was told, and why others were not: a file of its
//! own, written when that changes, read by `lb-agent bgp`. What the last agent
//! wrote stays when it has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use lb_core::bgp::rib::{GRACEFUL_SHUTDOWN, RibOut, Route, Routes, Withheld};
use lb_core::desired::{Prefixes, Untold};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use super::file;

const FILE: &str = "routes.json";

/// What was told, as commands read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// In their order.
    pub prefixes: Vec<PrefixRow>,
    /// Addresses that nobody is told of, by address.
    pub untold: Vec<UntoldRow>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixRow {
    pub prefix: String,
    pub vips: Vec<IpAddr>,
    pub services: Vec<String>,
    /// By the peers' names, each in one of the two.
    pub told: Vec<ToldRow>,
    pub not_told: Vec<NotToldRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldRow {
    pub peer: String,
    pub local_pref: Option<u32>,
    pub communities: Vec<String>,
    /// It goes: the peer is to take another way (RFC 8326).
    pub leaving: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotToldRow {
    pub peer: String,
    pub reason: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UntoldRow {
    pub vip: IpAddr,
    pub service: String,
    pub reason: String,
    pub text: String,
}

/// What is known of the peers. Cheap to copy and to compare: it shares what
/// sessions are made of, and rows are made when they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldOf {
    pub peers: BTreeMap<String, OfPeer>,
    pub untold: Arc<Vec<Untold>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfPeer {
    pub prefixes: Prefixes,
    /// Those of them that this node serves.
    pub routes: Routes,
    pub rib: RibOut,
    pub established: bool,
    /// This node is left alone.
    pub leaving: bool,
}

/// Why a peer is not told of a prefix that another one is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotTold {
    PeerNotChosen,
    NotProgrammed,
    NoSession,
    Underway,
    Withheld(Withheld),
}

impl NotTold {
    const fn name(self) -> &'static str {
        match self {
            Self::PeerNotChosen => "PeerNotChosen",
            Self::NotProgrammed => "NotProgrammed",
            Self::NoSession => "NoSession",
            Self::Underway => "Underway",
            Self::Withheld(withheld) => withheld.name(),
        }
    }
}

impl fmt::Display for NotTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PeerNotChosen => "no BGPAdvertisement of it is for this peer (peers)",
            Self::NotProgrammed => "this node's tables do not serve it yet, or no more",
            Self::NoSession => "the session is not established",
            Self::Underway => "it is about to be told",
            Self::Withheld(withheld) => return withheld.fmt(f),
        })
    }
}

impl OfPeer {
    /// None: nothing is to be said of it, as this node leaves.
    fn of(&self, net: &IpNet) -> Option<Result<&Route, NotTold>> {
        if let Some(route) = self.rib.sent(net) {
            return Some(Ok(route));
        }
        Some(Err(if let Some(withheld) = self.rib.withheld().get(net) {
            NotTold::Withheld(*withheld)
        } else if self.routes.contains_key(net) {
            if self.established {
                NotTold::Underway
            } else {
                NotTold::NoSession
            }
        } else if self.prefixes.contains_key(net) {
            NotTold::NotProgrammed
        } else if self.leaving {
            return None;
        } else {
            NotTold::PeerNotChosen
        }))
    }
}

impl ToldOf {
    /// Whole, by rename.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        file::write(folder, FILE, self)
    }

    fn prefixes(&self) -> BTreeSet<IpNet> {
        let mut all = BTreeSet::new();
        let mut last: Option<&OfPeer> = None;
        for peer in self.peers.values() {
            if last.is_none_or(|last| !last.prefixes.is_same(&peer.prefixes)) {
                all.extend(peer.prefixes.keys());
            }
            if last.is_none_or(|last| !last.rib.wanted().is_same(peer.rib.wanted())) {
                all.extend(peer.rib.wanted().keys());
            }
            last = Some(peer);
        }
        all
    }

    fn row(&self, net: IpNet) -> PrefixRow {
        let (mut vips, mut services) = (BTreeSet::new(), BTreeSet::new());
        let (mut told, mut not_told) = (Vec::new(), Vec::new());
        for (name, peer) in &self.peers {
            if let Some(prefix) = peer.prefixes.get(&net) {
                vips.extend(prefix.holders.iter().map(|(_, vip)| *vip));
                services.extend(prefix.holders.iter().map(|(service, _)| service));
            }
            match peer.of(&net) {
                Some(Ok(route)) => told.push(ToldRow::new(name, route)),
                Some(Err(why)) => not_told.push(NotToldRow {
                    peer: name.clone(),
                    reason: why.name().to_owned(),
                    text: why.to_string(),
                }),
                None => {}
            }
        }
        PrefixRow {
            prefix: net.to_string(),
            vips: vips.into_iter().collect(),
            services: services.into_iter().map(ToString::to_string).collect(),
            told,
            not_told,
        }
    }
}

/// As [`Told`], a row at a time.
impl Serialize for ToldOf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Prefixes<'a>(&'a ToldOf);
        impl Serialize for Prefixes<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let rows = self.0.prefixes().into_iter().map(|net| self.0.row(net));
                serializer.collect_seq(rows)
            }
        }
        struct Nobody<'a>(&'a [Untold]);
        impl Serialize for Nobody<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.iter().map(UntoldRow::new))
            }
        }
        let mut told = serializer.serialize_struct("Told", 2)?;
        told.serialize_field("prefixes", &Prefixes(self))?;
        told.serialize_field("untold", &Nobody(&self.untold))?;
        told.end()
    }
}

impl Told {
    /// None if no agent has written any.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        file::read(folder, FILE)
    }
}

impl ToldRow {
    fn new(peer: &str, route: &Route) -> Self {
        let standard = route.communities.iter().map(|(a, b)| format!("{a}:{b}"));
        let large = route.large_communities.iter();
        let large = large.map(|(a, b, c)| format!("{a}:{b}:{c}"));
        Self {
            peer: peer.to_owned(),
            local_pref: route.local_pref,
            communities: standard.chain(large).collect(),
            leaving: route.communities.contains(&GRACEFUL_SHUTDOWN),
        }
    }
}

impl UntoldRow {
    fn new(Untold { vip, service, why }: &Untold) -> Self {
        Self {
            vip: *vip,
            service: service.to_string(),
            reason: why.name().to_owned(),
            text: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::desired::{Prefix, Why};
    use lb_core::model::ServiceName;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn prefixes(all: &[&str]) -> Prefixes {
        let prefix = |text: &&str| {
            let prefix = Prefix {
                route: Arc::default(),
                holders: [(ServiceName::new("shop", "web"), net(text).addr())].into(),
            };
            (net(text), prefix)
        };
        all.iter().map(prefix).collect()
    }

    fn routes(all: &[&str]) -> Routes {
        all.iter().map(|text| (net(text), Arc::default())).collect()
    }

    fn peer(told: &[&str], served: &[&str]) -> OfPeer {
        OfPeer {
            prefixes: prefixes(told),
            routes: routes(served),
            rib: RibOut::default(),
            established: false,
            leaving: false,
        }
    }

    /// `prefix peer reason …`, as they are read again.
    fn rows(of: &ToldOf) -> Vec<String> {
        let text = serde_json::to_vec(of).unwrap();
        let told: Told = serde_json::from_slice(&text).unwrap();
        let row = |row: &PrefixRow| {
            let told = row.told.iter().map(|told| format!(" {}", told.peer));
            let not_told = row.not_told.iter();
            let not_told = not_told.map(|n| format!(" {}:{}", n.peer, n.reason));
            row.prefix.clone() + &told.chain(not_told).collect::<String>()
        };
        let untold = told.untold.iter();
        let untold = untold.map(|row| format!("{} {} {}", row.vip, row.service, row.reason));
        told.prefixes.iter().map(row).chain(untold).collect()
    }

    #[test]
    fn every_peer_has_a_reason_or_the_route() {
        let (a, b) = ("192.0.2.1/32", "192.0.2.2/32");
        let underway = OfPeer {
            established: true,
            ..peer(&[a, b], &[a, b])
        };
        let leaving = OfPeer {
            leaving: true,
            ..peer(&[], &[])
        };
        let of = ToldOf {
            peers: [
                ("away".to_owned(), peer(&[a, b], &[a])),
                ("leaving".to_owned(), leaving),
                ("other".to_owned(), peer(&[b], &[])),
                ("up".to_owned(), underway),
            ]
            .into(),
            untold: Arc::new(vec![Untold {
                vip: "192.0.2.3".parse().unwrap(),
                service: ServiceName::new("shop", "db"),
                why: Why::NoLocalEndpoint,
            }]),
        };
        assert_eq!(
            rows(&of),
            [
                "192.0.2.1/32 away:NoSession other:PeerNotChosen up:Underway",
                "192.0.2.2/32 away:NotProgrammed other:NotProgrammed up:Underway",
                "192.0.2.3 shop/db NoLocalEndpoint",
            ]
        );
    }
}
