//! Questions to the kernel's rtnetlink, answered in plain values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use lb_core::model::Mac;
use netlink_packet_core::ErrorMessage;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkXdp, XdpAttached};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use rtnetlink::{Handle, RouteMessageBuilder};

/// A device with an Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub ifindex: u32,
    pub name: String,
    pub mac: Mac,
    pub mtu: u32,
    pub up: bool,
    /// Its cable is plugged in, or what stands for that.
    pub carrier: bool,
    pub xdp: XdpState,
}

/// What XDP program a device runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpState {
    None,
    /// In the driver: the program of this id.
    Driver(u32),
    /// In the generic way, which is slower.
    Generic(u32),
}

impl XdpState {
    #[must_use]
    pub const fn mode(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Driver(_) => "driver",
            Self::Generic(_) => "generic",
        }
    }

    #[must_use]
    pub const fn program_id(self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Driver(id) | Self::Generic(id) => Some(id),
        }
    }
}

/// Which way an address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) ifindex: u32,
    /// None: it is on the link itself.
    pub(super) gateway: Option<IpAddr>,
    /// The address that packets would leave with.
    pub(super) source: Option<IpAddr>,
    pub(super) mtu: Option<u32>,
    /// It is an address of this machine.
    pub(super) local: bool,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) mac: Option<Mac>,
    /// It did not answer when it was last asked.
    pub(super) failed: bool,
    /// Somebody has set it by hand.
    pub(super) permanent: bool,
    /// The kernel keeps it fresh.
    pub(super) managed: bool,
}

pub(super) type Neighbours = BTreeMap<(u32, IpAddr), Neighbour>;

/// All Ethernet devices but the loopback, by number.
pub(super) async fn devices(handle: &Handle) -> Result<BTreeMap<u32, Device>, rtnetlink::Error> {
    let mut links = handle.link().get().execute();
    let mut devices = BTreeMap::new();
    while let Some(link) = links.try_next().await? {
        if link.header.flags.contains(LinkFlags::Loopback) {
            continue;
        }
        let mut device = Device {
            ifindex: link.header.index,
            name: String::new(),
            mac: [0; 6],
            mtu: 0,
            up: link.header.flags.contains(LinkFlags::Up),
            carrier: link.header.flags.contains(LinkFlags::LowerUp),
            xdp: XdpState::None,
        };
        let mut ethernet = false;
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name = name,
                LinkAttribute::Mtu(mtu) => device.mtu = mtu,
                LinkAttribute::Address(address) => {
                    if let Ok(mac) = address.try_into() {
                        device.mac = mac;
                        ethernet = true;
                    }
                }
                LinkAttribute::Xdp(xdp) => device.xdp = xdp_state(&xdp),
                _ => {}
            }
        }
        if ethernet {
            devices.insert(device.ifindex, device);
        }
    }
    Ok(devices)
}

fn xdp_state(attributes: &[LinkXdp]) -> XdpState {
    let mut id = 0;
    let mut attached = None;
    for attribute in attributes {
        match attribute {
            LinkXdp::ProgId(program) => id = *program,
            LinkXdp::Attached(how) => attached = Some(how),
            _ => {}
        }
    }
    match attached {
        Some(XdpAttached::Driver | XdpAttached::Hardware) => XdpState::Driver(id),
        Some(XdpAttached::SocketBuffer) => XdpState::Generic(id),
        _ => XdpState::None,
    }
}

/// Which addresses are on which device.
pub(super) async fn addresses(handle: &Handle) -> Result<Vec<(u32, IpAddr)>, rtnetlink::Error> {
    let mut messages = handle.address().get().execute();
    let mut addresses = Vec::new();
    while let Some(message) = messages.try_next().await? {
        let mut own = None;
        for attribute in message.attributes {
            match attribute {
                // On point-to-point links the other one is the far end's.
                AddressAttribute::Local(address) => own = Some(address),
                AddressAttribute::Address(address) => own = own.or(Some(address)),
                _ => {}
            }
        }
        addresses.extend(own.map(|address| (message.header.index, address)));
    }
    Ok(addresses)
}

/// Default routes: their devices, and the gateways on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Defaults {
    pub(super) devices: Vec<u32>,
    pub(super) gateways: Vec<(u32, IpAddr)>,
}

pub(super) async fn defaults(handle: &Handle) -> Result<Defaults, rtnetlink::Error> {
    let mut defaults = Defaults::default();
    for request in [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ] {
        let mut routes = handle.route().get(request).execute();
        while let Some(route) = routes.try_next().await? {
            let header = &route.header;
            if header.destination_prefix_length == 0 && header.kind == RouteType::Unicast {
                let devices = oifs(&route);
                let gateway = route
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        RouteAttribute::Gateway(gateway) => address_of(gateway),
                        _ => None,
                    });
                if let (Some(gateway), [device]) = (gateway, &devices[..]) {
                    defaults.gateways.push((*device, gateway));
                }
                defaults.devices.extend(devices);
            }
        }
    }
    defaults.devices.sort_unstable();
    defaults.devices.dedup();
    Ok(defaults)
}

fn oifs(route: &RouteMessage) -> Vec<u32> {
    let attributes = route.attributes.iter();
    attributes
        .flat_map(|attribute| match attribute {
            RouteAttribute::Oif(ifindex) => vec![*ifindex],
            RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
            _ => vec![],
        })
        .collect()
}

/// The route of a packet to this address; none if there is none.
pub(super) async fn route_to(
    handle: &Handle,
    address: IpAddr,
) -> Result<Option<Route>, rtnetlink::Error> {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let request = RouteMessageBuilder::<IpAddr>::new().destination_prefix(address, length);
    let Ok(request) = request else {
        return Ok(None);
    };
    let mut routes = handle.route().get(request.build()).execute();
    let message = match routes.try_next().await {
        Ok(Some(message)) => message,
        Ok(None) => return Ok(None),
        Err(rtnetlink::Error::NetlinkError(error)) if is_unreachable(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let kind = message.header.kind;
    if !matches!(kind, RouteType::Unicast | RouteType::Local) {
        return Ok(None);
    }
    let mut route = Route {
        ifindex: 0,
        gateway: None,
        source: None,
        mtu: None,
        local: kind == RouteType::Local,
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => route.ifindex = ifindex,
            RouteAttribute::Gateway(gateway) => route.gateway = address_of(&gateway),
            RouteAttribute::Via(RouteVia::Inet(via)) => route.gateway = Some(via.into()),
            RouteAttribute::Via(RouteVia::Inet6(via)) => route.gateway = Some(via.into()),
            RouteAttribute::PrefSource(source) => route.source = address_of(&source),
            RouteAttribute::Metrics(metrics) => {
                let mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
                route.mtu = mtu.filter(|mtu| *mtu != 0);
            }
            _ => {}
        }
    }
    Ok((route.ifindex != 0).then_some(route))
}

fn is_unreachable(error: &ErrorMessage) -> bool {
    matches!(
        -error.raw_code(),
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES | libc::ESRCH
    )
}

fn address_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// Everybody's neighbours.
pub(super) async fn neighbours(handle: &Handle) -> Result<Neighbours, rtnetlink::Error> {
    let mut messages = handle.neighbours().get().execute();
    let mut neighbours = Neighbours::new();
    while let Some(message) = messages.try_next().await? {
        if let Some((address, neighbour)) = neighbour(&message) {
            neighbours.insert((message.header.ifindex, address), neighbour);
        }
    }
    Ok(neighbours)
}

fn neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Neighbour)> {
    let state = message.header.state;
    let mut address = None;
    let mut neighbour = Neighbour {
        mac: None,
        failed: matches!(state, NeighbourState::Failed | NeighbourState::Incomplete),
        permanent: state == NeighbourState::Permanent,
        managed: false,
    };
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some((*v4).into());
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some((*v6).into());
            }
            NeighbourAttribute::LinkLayerAddress(mac) => {
                neighbour.mac = mac.as_slice().try_into().ok();
            }
            NeighbourAttribute::ExtFlags(flags) => {
                neighbour.managed = flags.contains(NeighbourExtFlags::Managed);
            }
            _ => {}
        }
    }
    if matches!(
        state,
        NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None
    ) {
        neighbour.mac = None;
    }
    Some((address?, neighbour))
}

/// Asks the kernel to resolve a neighbour, and to keep it fresh from then on
/// (`NTF_EXT_MANAGED`, Linux 5.16), whether or not packets go there.
pub(super) async fn manage(
    handle: &Handle,
    ifindex: u32,
    address: IpAddr,
) -> Result<(), rtnetlink::Error> {
    let mut request = handle
        .neighbours()
        .add(ifindex, address)
        .state(NeighbourState::None)
        .replace();
    request
        .message_mut()
        .attributes
        .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    request.execute().await
}
