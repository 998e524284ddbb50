//! A Service, as far as it is for us.

use lb_core::model::{
    Delivery, Family, FamilyPolicy, Labels, Request, Service, ServicePort, TrafficPolicy,
};

use super::convert::{Read, address, name, protocol, seconds};
use super::shape::{self, Metadata, ServiceBody, ServiceSpec};
use super::{Ignored, Ours};

const DELIVERY: &str = "corten.dev/delivery";
const PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// MetalLB's annotations; the second prefix until 0.15, and in many manifests.
const PREFIXES: [&str; 2] = ["metallb.io/", "metallb.universe.tf/"];
/// Written beside the status, with the first prefix.
const ALLOCATED_FROM: &str = "metallb.io/ip-allocated-from-pool";

pub(in crate::source) fn service(
    metadata: &Metadata,
    body: ServiceBody,
    ours: &Ours,
) -> Read<Service> {
    let name = name(metadata)?;
    let ServiceBody { spec, status } = body;
    let assigned = status.load_balancer.and_then(|status| status.ingress);
    let assigned = assigned.unwrap_or_default().into_iter();
    let status = assigned.filter_map(|ingress| ingress.ip).collect();
    let kind = spec.kind.as_deref().unwrap_or("ClusterIP");
    if kind != "LoadBalancer" {
        return Ok(Err(match metadata.annotation(ALLOCATED_FROM) {
            Some(_) => Ignored::Released {
                service: name,
                addresses: status,
            },
            None => Ignored::Type {
                service: name,
                is: kind.to_owned(),
            },
        }));
    }
    if spec.load_balancer_class != ours.class {
        return Ok(Err(Ignored::Class {
            service: name,
            class: spec.load_balancer_class,
            addresses: status,
        }));
    }
    if let Some(proxy) = metadata.label(PROXY) {
        return Ok(Err(Ignored::Proxy {
            service: name,
            proxy: proxy.to_owned(),
            addresses: status,
        }));
    }
    let delivery = match metadata.annotation(DELIVERY) {
        None | Some("stack") => Delivery::Stack,
        Some("direct") => Delivery::Direct,
        Some(other) => {
            return Err(format!(
                "annotation {DELIVERY} of Service {name} is \"{other}\": it may be stack or direct"
            ));
        }
    };
    let request = request(metadata, &spec, &name)?;
    let ports = spec.ports.unwrap_or_default().into_iter();
    let ports = ports
        .map(|port| {
            if port.port == 0 {
                return Err(format!("Service {name} has port 0"));
            }
            Ok(ServicePort {
                name: port.name.unwrap_or_default(),
                port: port.port,
                protocol: protocol(port.protocol),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Ok(Service {
        labels: labels(metadata),
        status,
        ports,
        delivery,
        traffic_policy: match spec.external_traffic_policy {
            None | Some(shape::TrafficPolicy::Cluster) => TrafficPolicy::Cluster,
            Some(shape::TrafficPolicy::Local) => TrafficPolicy::Local,
        },
        created_s: metadata.creation_timestamp.as_deref().and_then(seconds),
        request,
        name,
    }))
}

/// What it says about the addresses that it wants. What is wrong with an
/// address that is asked for is told by the core.
fn request(
    metadata: &Metadata,
    spec: &ServiceSpec,
    name: &impl std::fmt::Display,
) -> Result<Request, String> {
    // The single one is the first of the many, wherever both are given.
    let single = || spec.cluster_ip.iter().cloned().collect();
    let cluster_ips = spec.cluster_ips.clone().filter(|ips| !ips.is_empty());
    let cluster_ips: Vec<_> = cluster_ips.unwrap_or_else(single);
    let cluster_ips = cluster_ips
        .iter()
        .filter(|ip| !matches!(ip.as_str(), "" | "None"))
        .map(|ip| address(ip, format_args!("Service {name}")))
        .collect::<Result<_, _>>()?;
    let families = spec
        .ip_families
        .iter()
        .flatten()
        .map(|family| match family {
            shape::Family::V4 => Family::V4,
            shape::Family::V6 => Family::V6,
        });
    let annotation = |what: &str| {
        let mut names = PREFIXES.iter().map(|prefix| format!("{prefix}{what}"));
        let value = names.find_map(|name| metadata.annotation(&name));
        value.map(ToOwned::to_owned)
    };
    let [_, old_prefix] = PREFIXES;
    let annotations = metadata.annotations.iter().flatten();
    let deprecated = annotations.filter(|(name, _)| name.starts_with(old_prefix));
    Ok(Request {
        cluster_ips,
        families: families.collect(),
        family_policy: match spec.ip_family_policy {
            None | Some(shape::FamilyPolicy::Single) => FamilyPolicy::SingleStack,
            Some(shape::FamilyPolicy::Prefer) => FamilyPolicy::PreferDualStack,
            Some(shape::FamilyPolicy::Require) => FamilyPolicy::RequireDualStack,
        },
        addresses: annotation("loadBalancerIPs"),
        load_balancer_ip: spec.load_balancer_ip.clone(),
        pool: annotation("address-pool"),
        sharing_key: annotation("allow-shared-ip"),
        selector: selector(spec),
        allocated_from: metadata.annotation(ALLOCATED_FROM).map(ToOwned::to_owned),
        deprecated: deprecated.map(|(name, _)| name.clone()).collect(),
        deleting: metadata.deletion_timestamp.is_some(),
    })
}

fn selector(spec: &ServiceSpec) -> String {
    let pairs = spec.selector.iter().flatten();
    let pairs: Vec<_> = pairs
        .map(|(key, value)| format!("{key}={}", value.as_deref().unwrap_or_default()))
        .collect();
    pairs.join(",")
}

pub(in crate::source) fn labels(metadata: &Metadata) -> Labels {
    let labels = metadata.labels.iter().flatten();
    labels
        .map(|(key, value)| (key.clone(), value.clone().unwrap_or_default()))
        .collect()
}
