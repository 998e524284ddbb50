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

use super::maps::{Maps, OpenError, total};
use super::pins::Pins;
use super::readback::{self, OWN_NODE, ReadError};

/// Why the tables cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum ViewError {
    Open(#[from] OpenError),
    Read(#[from] ReadError),
}

/// The tables, read once.
#[derive(Debug)]
pub struct View {
    pub maps: Maps,
    /// Sorted by service, then by key.
    pub frontends: Vec<Frontend>,
    pub node_names: BTreeMap<u32, NodeName>,
    pub backends: BTreeMap<u16, BackendValue>,
}

#[derive(Debug)]
pub struct Frontend {
    pub key: FrontendKey,
    pub value: FrontendValue,
    pub namespace: String,
    pub service: String,
    pub endpoints: Vec<(EndpointKey, EndpointValue)>,
}

impl View {
    pub fn read(pins: &Pins) -> Result<Self, ViewError> {
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
    pub fn node(&self, id: u32) -> String {
        match self.node_names.get(&id) {
            Some(name) => text(&name.name),
            None if id == OWN_NODE => "this node".to_owned(),
            None => format!("#{id}"),
        }
    }

    pub fn traffic(&self, frontend: u32) -> Traffic {
        let counted = self.maps.traffic.get(&frontend, 0);
        counted.map(|counted| total(&counted)).unwrap_or_default()
    }

    /// What was delivered to an endpoint on this node.
    pub fn pod_traffic(&self, endpoint: &EndpointValue) -> Option<Traffic> {
        let Target::Here(id) = RawTarget(endpoint.target).place() else {
            return None;
        };
        let counted = self.maps.pod_traffic.get(&u32::from(id), 0).ok()?;
        Some(total(&counted))
    }
}

impl Frontend {
    pub fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.service)
    }

    pub fn address(&self) -> String {
        socket(self.key.vip, self.key.port)
    }

    pub fn ready(&self) -> usize {
        let ready =
            |(_, value): &&(EndpointKey, EndpointValue)| value.conditions & condition::READY != 0;
        self.endpoints.iter().filter(ready).count()
    }

    pub fn delivery(&self) -> &'static str {
        if self.value.flags & flags::DIRECT != 0 {
            "direct"
        } else {
            "stack"
        }
    }
}

/// A name that is padded with zeros.
pub fn text(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

pub fn ip(addr: Addr) -> String {
    IpAddr::from(addr).to_string()
}

/// An address with its port, IPv6 in brackets.
pub fn socket(addr: Addr, port: u16) -> String {
    std::net::SocketAddr::new(addr.into(), port).to_string()
}

pub fn protocol(number: u32) -> String {
    let known = u8::try_from(number).ok().and_then(Protocol::from_number);
    known.map_or_else(|| number.to_string(), |known| known.to_string())
}

/// Parts of a whole in percent, with one digit.
pub fn percent(part: u64, whole: u64) -> String {
    let tenths = part * 1000 / whole.max(1);
    format!("{}.{}%", tenths / 10, tenths % 10)
}
