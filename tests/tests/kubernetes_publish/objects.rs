//! What agents say of themselves, in MetalLB's objects.

use std::collections::BTreeSet;

use lb_tests::kubernetes::Kubectl;
use lb_tests::require;
use serde_json::Value;

use super::{Agent, addresses, server, told, until, yaml};

const NODES: &str = "
apiVersion: v1
kind: Node
metadata: { name: node1, labels: { site: a } }
---
apiVersion: v1
kind: Node
metadata: { name: node2, labels: { site: b } }
";

/// An advertisement by the nodes of a site.
fn advertisement(site: &str) -> String {
    format!(
        "
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {{ name: main, namespace: metallb-system }}
spec:
  interfaces: [eth1, eth0]
  nodeSelectors: [{{ matchLabels: {{ site: {site} }} }}]
"
    )
}

/// The objects of a kind that are Corten's, in MetalLB's namespace.
fn statuses(kubectl: &Kubectl, kind: &str) -> Vec<Value> {
    let list = ["get", kind, "--namespace", "metallb-system"];
    let list = kubectl.json(&list).expect("a list");
    list["items"].as_array().expect("a list").clone()
}

/// The one object of a kind, when it is as it should be.
async fn the_one(kubectl: &Kubectl, kind: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(kind, || match statuses(kubectl, kind).as_slice() {
        [one] if is(one) => Some(one.clone()),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_announces_a_service_says_so_and_nobody_else() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = server();
    let kubectl = server.kubectl();
    for yaml in [NODES, &advertisement("a"), &yaml(1)] {
        kubectl.apply(yaml).expect("applied");
    }
    let first = Agent::start(&server, "node1").await;
    let second = Agent::start(&server, "node2").await;
    let of = |node: &'static str| move |it: &Value| it["status"]["node"] == node;
    let one = the_one(kubectl, "servicel2statuses", of("node1")).await;
    let metadata = &one["metadata"];
    let labels = &metadata["labels"];
    assert_eq!(labels["metallb.io/node"], "node1");
    assert_eq!(labels["metallb.io/service-name"], "web1");
    assert_eq!(labels["metallb.io/service-namespace"], "default");
    assert!(metadata["name"].as_str().expect("one").starts_with("l2-"));
    assert_eq!(metadata["ownerReferences"][0]["kind"], "Node");
    assert_eq!(one["status"]["serviceName"], "web1");
    let links = serde_json::json!([{"name": "eth0"}, {"name": "eth1"}]);
    assert_eq!(one["status"]["interfaces"], links);
    let by = r#"announcing from node "node1" with protocol "layer2""#;
    told(kubectl, by).await;

    // It moves: the other one says so, and the first does not any more.
    kubectl.apply(&advertisement("b")).expect("applied");
    the_one(kubectl, "servicel2statuses", of("node2")).await;
    let by = r#"announcing from node "node2" with protocol "layer2""#;
    told(kubectl, by).await;

    // Its node dies, and the Service goes: somebody else cleans up.
    drop(second);
    kubectl
        .run(&["delete", "service", "web1"])
        .expect("deleted");
    until("nothing is left", || {
        statuses(kubectl, "servicel2statuses")
            .is_empty()
            .then_some(())
    })
    .await;
    first.stop().await;
}

const ROUTER: &str = "
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: { name: router, namespace: metallb-system }
spec: { myASN: 64513, peerASN: 64512, peerAddress: 198.51.100.1 }
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: { name: main, namespace: metallb-system }
";

const ENDPOINT: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web1-a, labels: { kubernetes.io/service-name: web1 } }
addressType: IPv4
endpoints: [{ addresses: [198.51.100.9], nodeName: node1 }]
ports: [{ port: 8080 }]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_says_which_routers_it_tells() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = server();
    let kubectl = server.kubectl();
    for yaml in [NODES, ROUTER, &yaml(1), ENDPOINT] {
        kubectl.apply(yaml).expect("applied");
    }
    let first = Agent::start(&server, "node1").await;
    let second = Agent::start(&server, "node2").await;
    let told = until("both nodes say so", || {
        let told = statuses(kubectl, "servicebgpstatuses");
        let whole = told.iter().all(|it| it["status"]["peers"][0] == "router");
        (told.len() == 2 && whole).then_some(told)
    })
    .await;
    let nodes: BTreeSet<_> = told
        .iter()
        .map(|it| it["status"]["node"].as_str())
        .collect();
    assert_eq!(nodes, [Some("node1"), Some("node2")].into());
    kubectl
        .run(&["delete", "service", "web1"])
        .expect("deleted");
    until("nothing is left", || {
        statuses(kubectl, "servicebgpstatuses")
            .is_empty()
            .then_some(())
    })
    .await;
    first.stop().await;
    second.stop().await;
}

const OVERLAP: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: { name: other, namespace: metallb-system }
spec: { addresses: [192.0.2.64-192.0.2.70] }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_refused_is_seen_with_kubectl() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = server();
    let kubectl = server.kubectl();
    for yaml in [NODES, &yaml(1)] {
        kubectl.apply(yaml).expect("applied");
    }
    let agent = Agent::start(&server, "node1").await;
    let states = |result: &'static str| {
        let states = statuses(kubectl, "configurationstates");
        let names = states.iter().map(|it| it["metadata"]["name"].as_str());
        let names: Vec<_> = names.flatten().collect();
        let all = states.iter().all(|it| it["status"]["result"] == result);
        (names == ["controller", "speaker-node1"] && all).then_some(states)
    };
    let good = until("both say it is good", || states("Valid")).await;
    let condition = |state: &Value| state["status"]["conditions"][0].clone();
    assert_eq!(condition(&good[0])["type"], "poolReconcilerValid");
    assert_eq!(condition(&good[1])["type"], "configReconcilerValid");
    assert_eq!(condition(&good[1])["reason"], "Reconciled");
    assert_eq!(
        good[1]["metadata"]["labels"]["metallb.io/node-name"],
        "node1"
    );
    until("given", || addresses(kubectl).get("web1").copied()).await;

    kubectl.apply(OVERLAP).expect("applied");
    let bad = until("both say it is bad", || states("Invalid")).await;
    for state in &bad {
        let summary = state["status"]["errorSummary"].as_str().expect("one");
        let named = "configuration error: IPAddressPool other: spec.addresses[0]";
        assert!(summary.contains(named), "{summary}");
        assert_eq!(condition(state)["reason"], "ConfigurationError");
        assert_eq!(condition(state)["message"], summary);
    }
    until("the pool is told", || {
        let describe = ["describe", "ipaddresspool", "other", "-n", "metallb-system"];
        let text = kubectl.run(&describe).expect("described");
        (text.contains("Overlap") && text.contains("last good configuration")).then_some(())
    })
    .await;
    // The last good one holds.
    assert_eq!(addresses(kubectl).len(), 1);

    kubectl
        .run(&["delete", "ipaddresspool", "other", "-n", "metallb-system"])
        .expect("deleted");
    let again = until("it is good again", || states("Valid")).await;
    assert!(again[0]["status"]["errorSummary"].is_null(), "{}", again[0]);
    agent.stop().await;
}
