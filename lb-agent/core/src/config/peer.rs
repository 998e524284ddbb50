//! A `BGPPeer`: a router to tell routes to.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::num::NonZeroU32;

use super::declared::{Object, PeerSpec};
use super::refused::Refusals;
use super::timers::{self, Timers};
use super::{LabelSelector, Password, Place, Reason, lists};

/// The port of BGP (RFC 4271).
const PORT: u16 = 179;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    pub my_asn: NonZeroU32,
    pub remote_as: RemoteAs,
    /// What the peer is to take for our ASN, in place of `my_asn`.
    pub local_asn: Option<NonZeroU32>,
    pub end: PeerEnd,
    pub source_address: Option<IpAddr>,
    pub port: u16,
    /// None: the speaker's own.
    pub timers: Option<Timers>,
    /// Seconds between attempts to connect.
    pub connect_s: Option<u16>,
    pub router_id: Option<Ipv4Addr>,
    /// Nodes that one of them fits have a session; empty: all.
    pub node_selectors: Vec<LabelSelector>,
    pub password: Option<Password>,
    /// Name of a BFD profile.
    pub bfd_profile: Option<String>,
    pub graceful_restart: bool,
    pub ebgp_multi_hop: bool,
    pub vrf: Option<String>,
    /// Both families over one session.
    pub dual_stack_address_family: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAs {
    Number(NonZeroU32),
    /// The same as ours, whatever it is.
    Internal,
    /// Any other than ours.
    External,
}

/// Where the peer is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerEnd {
    Address(IpAddr),
    /// Unnumbered: whoever is on that link.
    Interface(String),
}

impl Peer {
    /// Alone, without the other peers. None if there is no such peer.
    pub(super) fn of(
        object: &Object<PeerSpec>,
        password: Option<Password>,
        refusals: &mut Refusals,
    ) -> Option<Self> {
        let Object { place, spec, .. } = object;
        let my_asn = NonZeroU32::new(spec.my_asn).ok_or(Reason::NoLocalAsn);
        let my_asn = refusals.keep(place, "myASN", my_asn);
        let remote_as = remote_as(place, spec, refusals);
        let end = end(place, spec, refusals);
        let source_address = address(place, "sourceAddress", &spec.source_address, refusals);
        let timers = timers::of(place, spec, refusals);
        let connect_s = timers::connect_s(place, spec, refusals);
        let router_id = router_id(place, &spec.router_id, refusals);
        let selectors = &spec.node_selectors;
        let node_selectors = lists::selectors(place, "nodeSelectors", selectors, refusals);
        if spec.ebgp_multi_hop && spec.my_asn != 0 && spec.my_asn == spec.peer_asn {
            refusals.refuse(place, "ebgpMultiHop", Reason::MultiHopOfIbgp);
        }
        Some(Self {
            name: object.name.clone(),
            my_asn: my_asn?,
            remote_as: remote_as?,
            local_asn: NonZeroU32::new(spec.local_asn),
            end: end?,
            source_address,
            port: if spec.peer_port == 0 {
                PORT
            } else {
                spec.peer_port
            },
            timers,
            connect_s,
            router_id,
            node_selectors,
            password,
            bfd_profile: said(&spec.bfd_profile),
            graceful_restart: spec.graceful_restart,
            ebgp_multi_hop: spec.ebgp_multi_hop,
            vrf: said(&spec.vrf),
            dual_stack_address_family: spec.dual_stack_address_family,
        })
    }
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

fn remote_as(place: &Place, spec: &PeerSpec, refusals: &mut Refusals) -> Option<RemoteAs> {
    let number = NonZeroU32::new(spec.peer_asn);
    let (field, read) = match (number, spec.dynamic_asn.as_str()) {
        (Some(number), "") => ("peerASN", Ok(RemoteAs::Number(number))),
        (None, "") => ("peerASN", Err(Reason::NoPeerAsn)),
        (Some(_), _) => ("dynamicASN", Err(Reason::BothPeerAsns)),
        (None, "internal") => ("dynamicASN", Ok(RemoteAs::Internal)),
        (None, "external") => ("dynamicASN", Ok(RemoteAs::External)),
        (None, other) => {
            let value = other.to_string();
            ("dynamicASN", Err(Reason::DynamicAsn { value }))
        }
    };
    refusals.keep(place, field, read)
}

fn end(place: &Place, spec: &PeerSpec, refusals: &mut Refusals) -> Option<PeerEnd> {
    let field = "peerAddress";
    match (spec.peer_address.is_empty(), spec.interface.is_empty()) {
        (false, true) => address(place, field, &spec.peer_address, refusals).map(PeerEnd::Address),
        (true, false) => Some(PeerEnd::Interface(spec.interface.clone())),
        (true, true) => {
            refusals.refuse(place, field, Reason::NoAddressOrInterface);
            None
        }
        (false, false) => {
            refusals.refuse(place, "interface", Reason::BothAddressAndInterface);
            None
        }
    }
}

fn address(place: &Place, field: &str, text: &str, refusals: &mut Refusals) -> Option<IpAddr> {
    let text = said(text)?;
    let read = text.parse::<IpAddr>();
    let read = read.map_err(|_says_no_more| Reason::NotAnAddress { value: text });
    let address = refusals.keep(place, field, read)?;
    Some(address.to_canonical())
}

fn router_id(place: &Place, text: &str, refusals: &mut Refusals) -> Option<Ipv4Addr> {
    let field = "routerID";
    match address(place, field, text, refusals)? {
        IpAddr::V4(v4) => Some(v4),
        value @ IpAddr::V6(_) => {
            refusals.refuse(place, field, Reason::RouterIdNotIpv4 { value });
            None
        }
    }
}
