//! From what a document says to what the core knows.

use std::fmt;
use std::net::IpAddr;

use lb_core::model::{
    Conditions, Endpoint, Node, NodeName, Protocol, ServiceName, Slice, SlicePort,
};

use super::service::labels;
use super::shape::{self, Metadata, NodeBody, SliceBody};
use super::{Ignored, SliceName};

const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const SERVICE: &str = "kubernetes.io/service-name";

/// A mistake, an object that is not for us, or an object.
pub(super) type Read<T> = Result<Result<T, Ignored>, String>;

pub(super) fn address(text: &str, of: fmt::Arguments<'_>) -> Result<IpAddr, String> {
    let address = text.parse().ok();
    address.ok_or_else(|| format!("\"{text}\" of {of} is not an IP address"))
}

pub(in crate::source) fn slice(metadata: &Metadata, body: SliceBody) -> Read<(SliceName, Slice)> {
    let slice = name(metadata)?;
    let Some(service) = metadata.label(SERVICE) else {
        return Ok(Err(Ignored::SliceOfNobody { slice }));
    };
    if body.address_type.as_deref() == Some("FQDN") {
        return Ok(Err(Ignored::SliceOfNames { slice }));
    }
    let service = ServiceName::new(&slice.namespace, service);
    let ports = body.ports.into_iter().filter_map(|port| {
        Some(SlicePort {
            name: port.name.unwrap_or_default(),
            protocol: protocol(port.protocol),
            port: port.port?,
        })
    });
    let ports = ports.collect();
    let endpoints = body.endpoints.into_iter();
    let endpoints = endpoints
        .map(|endpoint| self::endpoint(&slice, endpoint))
        .collect::<Result<_, _>>()?;
    let facts = Slice {
        service,
        ports,
        endpoints,
    };
    Ok(Ok((slice, facts)))
}

fn endpoint(slice: &SliceName, endpoint: shape::Endpoint) -> Result<Endpoint, String> {
    let Some(address) = endpoint.addresses.first() else {
        return Err(format!(
            "an endpoint of EndpointSlice {slice} has no address"
        ));
    };
    let address = self::address(address, format_args!("EndpointSlice {slice}"))?;
    let conditions = endpoint.conditions.unwrap_or_default();
    Ok(Endpoint {
        address,
        node: endpoint.node_name.as_deref().map(NodeName::new),
        conditions: Conditions::from_options(
            conditions.ready,
            conditions.serving,
            conditions.terminating,
        ),
    })
}

pub(in crate::source) fn node(metadata: &Metadata, body: NodeBody) -> Result<Node, String> {
    let name = metadata.name.as_deref().ok_or("a Node without a name")?;
    let NodeBody { spec, status } = body;
    let addresses = status.addresses.unwrap_or_default().into_iter();
    let addresses = addresses
        .filter(|entry| matches!(entry.kind.as_str(), "InternalIP" | "ExternalIP"))
        .map(|entry| address(&entry.address, format_args!("Node {name}")))
        .collect::<Result<_, _>>()?;
    let conditions = status.conditions.unwrap_or_default();
    // The single one is the first of the many, wherever both are given.
    let first = spec.pod_cidr.into_iter().collect();
    Ok(Node {
        name: NodeName::new(name),
        addresses,
        pod_cidrs: spec.pod_cidrs.unwrap_or(first),
        excluded: metadata.label(EXCLUDED).is_some(),
        network_unavailable: conditions
            .iter()
            .any(|c| c.kind == "NetworkUnavailable" && c.status == "True"),
        labels: labels(metadata),
    })
}

pub(in crate::source) fn name(metadata: &Metadata) -> Result<ServiceName, String> {
    let name = metadata.name.as_deref().ok_or("it has no metadata.name")?;
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    Ok(ServiceName::new(namespace, name))
}

pub(super) fn protocol(protocol: Option<shape::Protocol>) -> Protocol {
    match protocol {
        None | Some(shape::Protocol::Tcp) => Protocol::Tcp,
        Some(shape::Protocol::Udp) => Protocol::Udp,
        Some(shape::Protocol::Sctp) => Protocol::Sctp,
    }
}

/// Seconds since 1970 of a time as Kubernetes writes it:
/// `2026-05-06T07:08:09Z`. Anything else is no time.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Howard Hinnant, "chrono-compatible low-level date algorithms",
    // days_from_civil: years begin in March, so that the leap day is last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:00:00Z"), Some(951_825_600));
        assert_eq!(seconds("2026-11-21T12:00:17Z"), Some(1_795_262_417));
        for wrong in [
            "",
            "today",
            "2026-13-01T00:00:00Z",
            "2026-11-21T12:00:17+01:00",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
