//! What the pinned tables say, with names instead of ids.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::addr::Addr;
use lb_common::backend::BackendValue;
use lb_common::frontend::{FrontendKey, FrontendValue, flags};
use lb_common::node::NodeName;
use lb_common::table::{Place as Target, Target as RawTarget};
use lb_common::traffic::{EndpointKey, EndpointValue, FrontendName, Traffic, condition};
use lb_core::model::Protocol;

use crate::dataplane::maps::{Maps, total};
use crate::dataplane::pins::Pins;
use crate::dataplane::readback::{self, OWN_NODE};

/// The tables, read once.
pub(super) struct View {
    pub(super) maps: Maps,
    /// Sorted by service, then by key.
    pub(super) frontends: Vec<Frontend>,
    pub(super) node_names: BTreeMap<u32, NodeName>,
    pub(super) backends: BTreeMap<u16, BackendValue>,
}

pub(super) struct Frontend {
    pub(super) key: FrontendKey,
    pub(super) value: FrontendValue,
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) endpoints: Vec<(EndpointKey, EndpointValue)>,
}

impl View {
    pub(super) fn read(pins: &Pins) -> anyhow::Result<Self> {
        let maps = Maps::open(pins)?;
        let names = readback::names(pins)?;
        let mut endpoints: BTreeMap<u32, Vec<(EndpointKey, EndpointValue)>> = BTreeMap::new();
        for (key, value) in readback::endpoints(pins)? {
            endpoints
                .entry(key.frontend)
                .or_default()
                .push((key, value));
        }
        let mut frontends: Vec<_> = readback::frontends(pins)?
            .into_iter()
            .map(|(key, value)| {
                let mut endpoints = endpoints.remove(&value.id).unwrap_or_default();
                endpoints.sort_unstable_by_key(|(key, _)| *key);
                let (namespace, service) = match names.get(&value.id) {
                    Some(FrontendName { namespace, service }) => (text(namespace), text(service)),
                    None => Default::default(),
                };
                Frontend {
                    key,
                    value,
                    namespace,
                    service,
                    endpoints,
                }
            })
            .collect();
        frontends.sort_by(|a, b| {
            let key = |f: &Frontend| (f.namespace.clone(), f.service.clone(), f.key);
            key(a).cmp(&key(b))
        });
        Ok(Self {
            maps,
            frontends,
            node_names: readback::node_names(pins)?,
            backends: readback::backends(pins)?,
        })
    }

    /// The name of a node; of this one as far as it is known.
    pub(super) fn node(&self, id: u32) -> String {
        match self.node_names.get(&id) {
            Some(name) => text(&name.name),
            None if id == OWN_NODE => "this node".to_owned(),
            None => format!("#{id}"),
        }
    }

    pub(super) fn traffic(&self, frontend: u32) -> Traffic {
        let counted = self.maps.traffic.get(&frontend, 0);
        counted.map(|counted| total(&counted)).unwrap_or_default()
    }

    /// What was delivered to an endpoint on this node.
    pub(super) fn pod_traffic(&self, endpoint: &EndpointValue) -> Option<Traffic> {
        let Target::Here(id) = RawTarget(endpoint.target).place() else {
            return None;
        };
        let counted = self.maps.pod_traffic.get(&u32::from(id), 0).ok()?;
        Some(total(&counted))
    }
}

impl Frontend {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.service)
    }

    pub(super) fn address(&self) -> String {
        socket(self.key.vip, self.key.port)
    }

    pub(super) fn ready(&self) -> usize {
        let ready =
            |(_, value): &&(EndpointKey, EndpointValue)| value.conditions & condition::READY != 0;
        self.endpoints.iter().filter(ready).count()
    }

    pub(super) fn delivery(&self) -> &'static str {
        if self.value.flags & flags::DIRECT != 0 {
            "direct"
        } else {
            "stack"
        }
    }
}

/// A name that is padded with zeros.
pub(super) fn text(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

pub(super) fn ip(addr: Addr) -> String {
    IpAddr::from(addr).to_string()
}

/// An address with its port, IPv6 in brackets.
pub(super) fn socket(addr: Addr, port: u16) -> String {
    std::net::SocketAddr::new(addr.into(), port).to_string()
}

pub(super) fn protocol(number: u32) -> String {
    let known = u8::try_from(number).ok().and_then(Protocol::from_number);
    known.map_or_else(|| number.to_string(), |known| known.to_string())
}

/// Parts of a whole in percent, with one digit.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let tenths = part * 1000 / whole.max(1);
    format!("{}.{}%", tenths / 10, tenths % 10)
}
