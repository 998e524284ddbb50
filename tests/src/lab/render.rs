//! YAML of the lab's objects, laid out as a person would write it.

use super::address;
use super::manifests::{Endpoint, Family, Manifests, Service};

const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

pub(super) fn nodes(manifests: &Manifests) -> String {
    (1..=manifests.nodes)
        .map(|number| node(manifests, number))
        .collect::<Vec<_>>()
        .join("---\n")
}

fn node(manifests: &Manifests, number: u8) -> String {
    let own = address::node(manifests.wire, number).address;
    let [pods4, pods6] = address::pod_subnets(number);
    let mut labels = format!("    kubernetes.io/hostname: node{number}\n");
    if manifests.excluded_nodes.contains(&number) {
        labels.push_str(&format!("    {EXCLUDE_LABEL}: \"\"\n"));
    }
    format!(
        "apiVersion: v1
kind: Node
metadata:
  name: node{number}
  labels:
{labels}spec:
  podCIDR: \"{pods4}\"
  podCIDRs:
    - \"{pods4}\"
    - \"{pods6}\"
status:
  addresses:
    - type: InternalIP
      address: \"{}\"
    - type: InternalIP
      address: \"{}\"
    - type: Hostname
      address: node{number}
  conditions:
    - type: Ready
      status: \"True\"
",
        own.v4, own.v6
    )
}

pub(super) fn service(service: &Service) -> String {
    let Service {
        name,
        port_name,
        protocol,
        port,
        target_port,
        vip,
        annotations,
        extra_spec,
    } = service;
    let protocol = protocol.name();
    let extra: String = extra_spec
        .iter()
        .map(|line| format!("  {line}\n"))
        .collect();
    let mut annotations: String = annotations
        .iter()
        .map(|line| format!("    {line}\n"))
        .collect();
    if !annotations.is_empty() {
        annotations.insert_str(0, "  annotations:\n");
    }
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: default
{annotations}spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  ipFamilies:
    - IPv4
    - IPv6
  selector:
    app: nginx
  ports:
    - name: {port_name}
      protocol: {protocol}
      port: {port}
      targetPort: {target_port}
{extra}status:
  loadBalancer:
    ingress:
      - ip: \"{}\"
      - ip: \"{}\"
",
        vip.v4, vip.v6
    )
}

pub(super) fn endpoint_slice(manifests: &Manifests, service: &Service, family: Family) -> String {
    let mut endpoints = String::new();
    for (place, endpoint) in &manifests.endpoints {
        let (ready, serving, terminating) = match endpoint {
            Endpoint::Ready => (true, true, false),
            Endpoint::Draining => (false, true, true),
            Endpoint::NotReady => (false, false, false),
            Endpoint::Gone => continue,
        };
        endpoints.push_str(&format!(
            "
  - addresses:
      - \"{}\"
    conditions:
      ready: {ready}
      serving: {serving}
      terminating: {terminating}
    nodeName: node{}
    targetRef:
      kind: Pod
      namespace: default
      name: {}",
            family.of(address::pod(*place)),
            place.node,
            place.name(),
        ));
    }
    if endpoints.is_empty() {
        endpoints = " []".into();
    }
    format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{family}
  namespace: default
  labels:
    kubernetes.io/service-name: {name}
addressType: {address_type}
ports:
  - name: {port_name}
    protocol: {protocol}
    port: {target_port}
endpoints:{endpoints}
",
        name = service.name,
        family = family.short(),
        address_type = family.address_type(),
        port_name = service.port_name,
        protocol = service.protocol.name(),
        target_port = service.target_port,
    )
}
