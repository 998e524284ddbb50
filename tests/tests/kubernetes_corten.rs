//! Corten on a real cluster, installed from manifests/install.yaml, with the
//! YAML that people have.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lb_tests::kubernetes::corten::{NAMESPACE, addresses, wait_addresses, wait_configuration};
use lb_tests::kubernetes::readme::{self, Desk};
use lb_tests::kubernetes::{Cluster, ClusterNode, audit, images, page};
use lb_tests::lab::{KubeProxy, Spec, UPLINK, address};
use lb_tests::{require, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// Connections that show that every pod answers.
const CONNECTIONS: u32 = 60;

struct People {
    cluster: Cluster,
    own: IpAddr,
}

impl People {
    fn start(prefix: &str) -> Self {
        let spec = Spec::for_cluster(prefix).expect("programs are built");
        let images = images().expect("images are built");
        let cluster = Cluster::up(spec, KubeProxy::Nftables, &images).expect("it comes up");
        cluster.install().expect("Corten is installed");
        let own = address::client().address.v4.into();
        Self { cluster, own }
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl().run(arguments).expect("kubectl")
    }

    fn apply(&self, file: &str) {
        self.kubectl(&["apply", "--filename", &seed(file)]);
    }

    fn delete(&self, file: &str) {
        self.kubectl(&["delete", "--filename", &seed(file)]);
    }

    /// Waits until so many pods, and no others, answer at the address.
    fn wait_pods(&self, address: IpAddr, port: u16, pods: usize) {
        let what = format!("{pods} pods answer at {address}");
        let client = self.cluster.lab().client();
        wait::until_ok(LIMIT, &what, || -> Result<()> {
            let found = page::spread(&client, self.own, address, port, CONNECTIONS)?;
            ensure!(found.len() == pods, "these do: {found:?}");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.cluster.agent_logs()));
    }

    fn scale(&self, deployment: &str, replicas: u32) {
        let replicas = format!("--replicas={replicas}");
        self.kubectl(&["scale", deployment, &replicas]);
    }

    /// Waits until connections are refused, which takes no time.
    fn wait_refused(&self, address: IpAddr, port: u16) {
        let client = self.cluster.lab().client();
        wait::until_ok(LIMIT, "connections are refused", || {
            page::refused(&client, address, port)
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.cluster.agent_logs()));
    }

    /// Waits until no agent has a Service left.
    fn wait_nothing_left(&self) {
        for node in self.cluster.nodes() {
            let what = format!("{} has no Services", node.name());
            wait::until_ok(LIMIT, &what, || {
                let services = self.cluster.ask_agent(node.number(), &["services"])?;
                ensure!(
                    services.as_array().is_some_and(Vec::is_empty),
                    "it has {services}"
                );
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.cluster.agent_logs()));
        }
    }
}

fn seed(file: &str) -> String {
    format!("{}/seeds/{file}.yaml", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn manifests_that_people_have_work_unchanged() {
    if !require::root("cluster") {
        return;
    }
    let people = People::start("kcpeople");
    layer2_with_a_config_map(&people);
    bgp_with_a_config_map(&people);
    a_pool_and_an_advertisement(&people);
    a_mistake_is_seen_with_kubectl(&people);
    roles_allow_what_is_used_and_no_more(&people);
    let desk = Desk::new(&[]).expect("laid out");
    removal_leaves_nothing(&people, &desk);
    overlays_bring_addresses(&people, &desk);
}

const PEER: &str = "
apiVersion: v1
kind: Secret
metadata: { name: router, namespace: metallb-system }
type: kubernetes.io/basic-auth
stringData: { username: '', password: hidden }
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: { name: router, namespace: metallb-system }
spec:
  myASN: 64513
  peerASN: 64512
  peerAddress: 10.227.0.1
  passwordSecret: { name: router, namespace: metallb-system }
";

/// After all of the above, and a peer with a password.
fn roles_allow_what_is_used_and_no_more(people: &People) {
    let kubectl = people.cluster.kubectl();
    kubectl.apply(PEER).expect("applied");
    let allowed = audit::allowed(kubectl).expect("roles");
    wait::until_ok(LIMIT, "all that is allowed was used", || {
        let used = people.cluster.uses()?;
        let unused: Vec<_> = allowed.difference(&used.granted).collect();
        ensure!(unused.is_empty(), "not used: {unused:?}");
        Ok(())
    })
    .expect("used");
    let used = people.cluster.uses().expect("an audit log");
    assert_eq!(used.forbidden, BTreeSet::new(), "asked for, not allowed");
}

/// The one ServiceL2Status that there is.
fn one_status(people: &People) -> Result<Value> {
    let all = ["get", "servicel2statuses", "--all-namespaces"];
    let all = people.cluster.kubectl().json(&all)?;
    match all["items"].as_array().map(Vec::as_slice) {
        Some([one]) => Ok(one.clone()),
        _ => bail!("not one: {all}"),
    }
}

/// A configuration that takes several objects to be wrong is refused, and
/// everybody says so.
fn a_mistake_is_seen_with_kubectl(people: &People) {
    people.apply("helm-pool");
    let states = |result| wait_configuration(&people.cluster, result).expect("told");
    states("Valid");
    let kubectl = people.cluster.kubectl();
    kubectl.apply(OVERLAP).expect("applied");
    states("Invalid");
    wait::until_ok(LIMIT, "the pool is told", || {
        let describe = [
            "describe",
            "ipaddresspool",
            "overlap",
            "-n",
            "metallb-system",
        ];
        let described = kubectl.run(&describe)?;
        ensure!(described.contains("Overlap"), "{described}");
        Ok(())
    })
    .expect("told");
    kubectl
        .run(&["delete", "ipaddresspool", "overlap", "-n", "metallb-system"])
        .expect("deleted");
    states("Valid");
    people.delete("helm-pool");
}

const OVERLAP: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: { name: overlap, namespace: metallb-system }
spec: { addresses: [143.92.123.0/24] }
";

fn layer2_with_a_config_map(people: &People) {
    let client = people.cluster.lab().client();
    client
        .ip(&format!("route add 192.168.1.0/24 dev {UPLINK}"))
        .expect("the client is on that subnet");
    for file in ["layer2-configmap", "layer2-deployment", "layer2-service"] {
        people.apply(file);
    }
    let expected: IpAddr = "192.168.1.210".parse().expect("an address");
    let found = wait_addresses(&people.cluster, "nginx").expect("an address");
    assert_eq!(found, [expected]);
    let described = people.kubectl(&["describe", "service", "nginx"]);
    assert!(described.contains("IPAllocated"), "{described}");
    assert!(
        described.contains("Assigned IP [\"192.168.1.210\"]"),
        "{described}"
    );
    wait::until_ok(LIMIT, "it is told who announces it", || {
        let one = one_status(people)?;
        let node = one["status"]["node"].as_str().unwrap_or_default();
        let described = people.kubectl(&["describe", "service", "nginx"]);
        let text = format!("announcing from node {node:?} with protocol \"layer2\"");
        ensure!(described.contains(&text), "{one}\n{described}");
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", people.cluster.agent_logs()));
    let listed = people.kubectl(&["get", "service", "nginx"]);
    assert!(listed.contains("192.168.1.210"), "{listed}");
    people.wait_pods(expected, 8080, 2);

    let nginx = "deployment/nginx-deployment";
    for replicas in [1, 5] {
        people.scale(nginx, replicas);
        people.wait_pods(expected, 8080, replicas as usize);
    }
    people.scale(nginx, 0);
    people.wait_refused(expected, 8080);
    people.scale(nginx, 2);
    people.wait_pods(expected, 8080, 2);

    people.delete("layer2-service");
    people.wait_nothing_left();
    people.apply("layer2-service");
    let found = wait_addresses(&people.cluster, "nginx").expect("an address");
    assert_eq!(found, [expected], "the same as before");
    people.wait_pods(expected, 8080, 2);
    for file in ["layer2-service", "layer2-deployment", "layer2-configmap"] {
        people.delete(file);
    }
    people.wait_nothing_left();
}

/// The client stands for a router that has learnt the route from a node: there
/// is none at the peer's address that the article names.
fn bgp_with_a_config_map(people: &People) {
    let client = people.cluster.lab().client();
    let node = people.cluster.node(2).address();
    client
        .ip(&format!("route add 172.16.192.0/20 via {}", node.v4))
        .expect("a route");
    people.apply("microk8s-configmap");
    // In the article, another Service had the first address.
    people.kubectl(&["create", "service", "loadbalancer", "other", "--tcp=80"]);
    let other = wait_addresses(&people.cluster, "other").expect("an address");
    assert_eq!(other, ["172.16.192.0".parse::<IpAddr>().expect("one")]);
    people.apply("microk8s-nginx");
    let expected: IpAddr = "172.16.192.1".parse().expect("an address");
    let found = wait_addresses(&people.cluster, "nginx").expect("an address");
    assert_eq!(found, [expected]);
    people.wait_pods(expected, 80, 3);
    people.delete("microk8s-nginx");
    people.kubectl(&["delete", "service", "other"]);
    people.delete("microk8s-configmap");
    people.wait_nothing_left();
}

fn a_pool_and_an_advertisement(people: &People) {
    let client = people.cluster.lab().client();
    client
        .ip(&format!("route add 143.92.123.0/24 dev {UPLINK}"))
        .expect("the client is on that subnet");
    people.apply("helm-pool");
    people.apply("microk8s-nginx");
    let expected: IpAddr = "143.92.123.123".parse().expect("an address");
    let found = wait_addresses(&people.cluster, "nginx").expect("an address");
    assert_eq!(found, [expected]);
    people.wait_pods(expected, 80, 3);
    // The only address of the pool is taken.
    people.kubectl(&["create", "service", "loadbalancer", "late", "--tcp=80"]);
    wait::until_ok(LIMIT, "the refusal is told", || {
        let kubectl = people.cluster.kubectl();
        let described = kubectl.run(&["describe", "service", "late"])?;
        ensure!(described.contains("AllocationFailed"), "{described}");
        ensure!(addresses(kubectl, "late")?.is_empty(), "it has an address");
        Ok(())
    })
    .expect("told");
    people.delete("microk8s-nginx");
    let found = wait_addresses(&people.cluster, "late").expect("the address is free now");
    assert_eq!(found, [expected]);
    people.kubectl(&["delete", "service", "late"]);
    people.delete("helm-pool");
    people.wait_nothing_left();
}

/// By README.md's steps.
fn removal_leaves_nothing(people: &People, desk: &Desk) {
    let kubectl = people.cluster.kubectl();
    for node in people.cluster.nodes() {
        assert_eq!(
            left_on(node).len(),
            2,
            "{}: {:?}",
            node.name(),
            left_on(node)
        );
    }
    for step in readme::blocks("### Remove").expect("steps") {
        desk.run(kubectl, &step)
            .unwrap_or_else(|error| panic!("{step}{error:#}"));
    }
    for node in people.cluster.nodes() {
        assert_eq!(left_on(node), Vec::<String>::new(), "{}", node.name());
    }
    let ours = "app.kubernetes.io/part-of=corten";
    let kinds = "clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts";
    let left = people.kubectl(&["get", kinds, "--all-namespaces", "--selector", ours]);
    assert_eq!(left, "");
    for what in [
        "servicel2statuses",
        "servicebgpstatuses",
        "configurationstates",
    ] {
        assert_eq!(people.kubectl(&["get", what, "--all-namespaces"]), "");
    }
    people.kubectl(&["get", "bgppeer", "router", "--namespace", "metallb-system"]);
}

/// What there is of Corten on a node: pins, and programs on its uplink.
fn left_on(node: ClusterNode<'_>) -> Vec<String> {
    let pins = node.run("ls", &["/sys/fs/bpf"]).expect("a bpffs");
    let pins = pins.lines().filter(|name| *name == "corten");
    let link = node.run("ip", &["link", "show", "dev", UPLINK]);
    let link = link.expect("an uplink");
    let programs = link.lines().filter(|line| line.contains("prog/xdp"));
    pins.chain(programs).map(str::to_owned).collect()
}

/// On a cluster that has the definitions already.
fn overlays_bring_addresses(people: &People, desk: &Desk) {
    let kubectl = people.cluster.kubectl();
    for (overlay, expected) in [("l2", "192.0.2.80"), ("bgp", "203.0.113.0")] {
        let apply = format!(
            "kubectl apply --server-side --force-conflicts --kustomize manifests/overlays/{overlay}"
        );
        desk.run(kubectl, &apply).expect("applied");
        people
            .cluster
            .wait_rollout(NAMESPACE, "daemonset/corten")
            .expect("rolled out");
        people.apply("microk8s-nginx");
        let expected: IpAddr = expected.parse().expect("an address");
        wait::until_ok(LIMIT, "nginx has an address of that pool", || {
            let found = addresses(kubectl, "nginx")?;
            ensure!(found == [expected], "it has {found:?}");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", people.cluster.agent_logs()));
        if overlay == "l2" {
            people.wait_pods(expected, 80, 3);
        }
    }
    people.delete("microk8s-nginx");
}
