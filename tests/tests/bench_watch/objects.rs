//! The objects of a large cluster, made through the API server.

use std::net::Ipv4Addr;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use lb_agent::crd::ServiceL2Status;
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) const NODES: u32 = 100;
pub(crate) const ENDPOINTS: u32 = 10;
/// Requests at once.
const AT_ONCE: u32 = 16;

/// The benchmarks' range (RFC 2544), addresses given by number.
pub(crate) const CONFIGURATION: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: main
  namespace: metallb-system
spec:
  addresses: [198.18.0.0/16]
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata:
  name: main
  namespace: metallb-system
";

pub(crate) fn node_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(192, 0, 2, 0).to_bits() + number)
}

/// Every fifth endpoint, the first of each Service among them, is on `node1`;
/// the others are spread evenly.
pub(crate) fn node_of(service: u32, endpoint: u32) -> u32 {
    let number = service * ENDPOINTS + endpoint;
    if number.is_multiple_of(5) {
        1
    } else {
        number % (NODES - 1) + 2
    }
}

fn name(service: u32) -> String {
    format!("service-{service:05}")
}

fn service(number: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name(number),
            "annotations": {"metallb.io/ip-allocated-from-pool": "main"},
        },
        "spec": {
            "type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": false,
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    })
}

fn status(number: u32) -> Value {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number + 1);
    json!({"status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}})
}

/// The endpoints of a Service; the first one is another pod in every `round`.
pub(crate) fn endpoints(service: u32, round: u8) -> Value {
    let endpoints = (0..ENDPOINTS).map(|endpoint| {
        let [_, _, high, low] = service.to_be_bytes();
        let network = u8::try_from(endpoint).expect("there are ten") + 1;
        let network = if endpoint == 0 { 90 + round } else { network };
        json!({
            "addresses": [Ipv4Addr::new(10, network, high, low)],
            "nodeName": format!("node{}", node_of(service, endpoint)),
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {
                "kind": "Pod", "namespace": "default",
                "name": format!("{}-{endpoint}", name(service)),
                "uid": format!("00000000-0000-4000-8000-{:012}", service * ENDPOINTS + endpoint),
            },
        })
    });
    endpoints.collect()
}

fn slice(number: u32) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-1", name(number)),
            "labels": {"kubernetes.io/service-name": name(number)},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints(number, 0),
    })
}

pub(crate) async fn make_nodes(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for number in 1..=NODES {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": format!("node{number}")},
            "status": {"addresses": [{"type": "InternalIP", "address": node_address(number)}]},
        });
        nodes
            .create(&PostParams::default(), &serde_json::from_value(node)?)
            .await?;
    }
    Ok(())
}

/// Services of these numbers, with their addresses and endpoints.
pub(crate) async fn make_services(client: &Client, from: u32, to: u32) -> Result<()> {
    let mut tasks = JoinSet::new();
    for first in from..to.min(from + AT_ONCE) {
        let client = client.clone();
        tasks.spawn(async move {
            let services: Api<Service> = Api::namespaced(client.clone(), "default");
            let slices: Api<EndpointSlice> = Api::namespaced(client, "default");
            let parameters = PostParams::default();
            let mut number = first;
            while number < to {
                let made = serde_json::from_value(service(number))?;
                services.create(&parameters, &made).await?;
                let patch = Patch::Merge(status(number));
                let patched = PatchParams::default();
                services
                    .patch_status(&name(number), &patched, &patch)
                    .await?;
                let made = serde_json::from_value(slice(number))?;
                slices.create(&parameters, &made).await?;
                number += AT_ONCE;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Replaces the first endpoint of a Service by another.
pub(crate) async fn change(client: &Client, service: u32, round: u8) -> Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let patch = Patch::Merge(json!({"endpoints": endpoints(service, round)}));
    let name = format!("{}-1", name(service));
    slices.patch(&name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Of how many Services a node says that it answers for them.
pub(crate) async fn announced(client: &Client, node: &str) -> Result<usize> {
    let statuses: Api<ServiceL2Status> = Api::namespaced(client.clone(), "metallb-system");
    let own = ListParams::default().labels(&format!("metallb.io/node={node}"));
    Ok(statuses.list_metadata(&own).await?.items.len())
}
