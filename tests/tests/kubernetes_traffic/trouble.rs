//! What administrators do, by mistake and otherwise, while there is traffic.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_tests::kubernetes::corten::{NAMESPACE, addresses, wait_addresses, wait_configuration};
use lb_tests::kubernetes::{page, workload};
use lb_tests::lab::{KubeProxy, NGINX_PORT};
use lb_tests::load::{Load, Tally, Target, spread};
use lb_tests::{require, wait};
use serde_json::Value;

use crate::trial::{LIMIT, NEW_FLOWS, Trial};
use crate::wait_another_agent;

const CONFIGURATION: &str = "metallb-system";

#[test]
fn what_administrators_do_breaks_no_traffic() {
    if !require::root("cluster") {
        return;
    }
    let trial = Trial::start("kctrouble", KubeProxy::Nftables);
    let load = trial.load();
    for (what, trouble) in [
        ("wrong objects", wrong_objects as fn(&Trial)),
        ("the cluster's Secret is deleted", secret_deleted),
        ("the Lease is deleted", lease_deleted),
        ("pools change", pools_change),
        ("a Service has no endpoints", no_endpoints),
        ("a Service changes its families", families_change),
        ("an agent's pod is deleted", agent_deleted),
        ("a kubelet is away", kubelet_away),
        ("a node is drained", node_drained),
    ] {
        eprintln!("{what}");
        trouble(&trial);
        trial.check(&load, what);
    }
    let tally = Tally::of(Load::finish(load).expect("traffic ends"));
    assert!(tally.is_clean(), "{tally:?}");
}

/// Waits, and shows the agents' logs where it was in vain.
fn until<T>(trial: &Trial, what: &str, check: impl FnMut() -> Result<T>) -> T {
    wait::until_ok(LIMIT, what, check)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", trial.cluster.agent_logs()))
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    let parsed = texts.iter().map(|text| text.parse().expect("an address"));
    parsed.collect()
}

fn wait_has(trial: &Trial, service: &str, expected: &[&str]) {
    let what = format!("{service} has {expected:?}");
    until(trial, &what, || {
        let found = addresses(trial.cluster.kubectl(), service)?;
        ensure!(found == ips(expected), "it has {found:?}");
        Ok(())
    });
}

/// Every one of many new connections is answered.
fn wait_answers(trial: &Trial, address: &str) {
    let address: IpAddr = address.parse().expect("an address");
    let target = Target::tcp(SocketAddr::new(address, NGINX_PORT));
    until(trial, &format!("all get answers from {address}"), || {
        let found = spread(&trial.cluster.lab().client(), target, NEW_FLOWS)?;
        ensure!(found.lost == 0, "{found:?}");
        Ok(())
    });
}

fn pool(name: &str, addresses: &str) -> String {
    format!(
        "apiVersion: metallb.io/v1beta1\n\
         kind: IPAddressPool\n\
         metadata: {{ name: {name}, namespace: {CONFIGURATION} }}\n\
         spec: {{ addresses: [{addresses}] }}\n"
    )
}

/// Some the API server refuses, by the schema; others it cannot see.
fn wrong_objects(trial: &Trial) {
    let kubectl = trial.cluster.kubectl();
    for (object, field) in [
        (pool("wrong", "192.0.2.300"), "spec.addresses"),
        (pool("wrong", "192.0.2.9-192.0.2.7"), "spec.addresses"),
        (
            pool("wrong", "198.51.100.0/24").replace("spec: {", "spec: { autoAssign: 'maybe', "),
            "spec.autoAssign",
        ),
    ] {
        let refused = kubectl.apply(&object).expect_err("refused");
        assert!(format!("{refused:#}").contains(field), "{refused:#}");
    }
    let overlap = pool("overlap", "192.0.2.90-192.0.2.95");
    kubectl.apply(&overlap).expect("taken");
    wait_configuration(&trial.cluster, "Invalid").expect("told");
    trial.kubectl(&["delete", "ipaddresspool", "overlap", "-n", CONFIGURATION]);
    wait_configuration(&trial.cluster, "Valid").expect("told");
}

fn secret_deleted(trial: &Trial) {
    let secret = ["secret", "corten-cluster", "--namespace", NAMESPACE];
    let kubectl = trial.cluster.kubectl();
    let get = || kubectl.json(&[&["get"], &secret[..]].concat());
    let before = get().expect("there");
    trial.kubectl(&[&["delete"], &secret[..]].concat());
    let after = until(trial, "the Secret is back", get);
    assert_eq!(after["data"], before["data"]);
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
}

fn lease_deleted(trial: &Trial) {
    let lease = ["lease", "corten", "--namespace", NAMESPACE];
    trial.kubectl(&[&["delete"], &lease[..]].concat());
    until(trial, "somebody holds the Lease", || {
        let kubectl = trial.cluster.kubectl();
        let lease = kubectl.json(&[&["get"], &lease[..]].concat())?;
        let holder = lease["spec"]["holderIdentity"].as_str();
        ensure!(holder.is_some_and(|holder| !holder.is_empty()), "{lease}");
        Ok(())
    });
    let service = workload::echo_service("second", "");
    trial.cluster.kubectl().apply(&service).expect("applied");
    let given = wait_addresses(&trial.cluster, "second").expect("addresses");
    assert_eq!(given.len(), 2, "{given:?}");
    trial.kubectl(&["delete", "service", "second"]);
}

/// An address that no pool has any more is replaced (MetalLB from 0.14.2 on);
/// those that another pool has stay.
fn pools_change(trial: &Trial) {
    let kubectl = trial.cluster.kubectl();
    kubectl
        .apply(&pool("extra", "192.0.2.150/32, 2001:db8:0:2::150/128"))
        .expect("applied");
    let mut service = workload::echo_service("second", "");
    service = service.replace(
        "  name: second\n",
        "  name: second\n  annotations: { metallb.io/address-pool: extra }\n",
    );
    kubectl.apply(&service).expect("applied");
    wait_has(trial, "second", &["192.0.2.150", "2001:db8:0:2::150"]);
    wait_answers(trial, "192.0.2.150");
    kubectl
        .apply(&pool("extra", "192.0.2.151/32, 2001:db8:0:2::150/128"))
        .expect("applied");
    wait_has(trial, "second", &["192.0.2.151", "2001:db8:0:2::150"]);
    wait_answers(trial, "192.0.2.151");
    trial.kubectl(&["delete", "ipaddresspool", "extra", "-n", CONFIGURATION]);
    wait_has(trial, "second", &[]);
    trial.kubectl(&["delete", "service", "second"]);
}

fn no_endpoints(trial: &Trial) {
    let kubectl = trial.cluster.kubectl();
    let service = workload::echo_service("second", "").replace("app: echo", "app: nothing");
    kubectl.apply(&service).expect("applied");
    let given = wait_addresses(&trial.cluster, "second").expect("addresses");
    let client = trial.cluster.lab().client();
    for address in given {
        until(trial, &format!("{address} refuses"), || {
            page::refused(&client, address, NGINX_PORT)
        });
    }
    trial.kubectl(&["delete", "service", "second"]);
}

fn families_change(trial: &Trial) {
    let kubectl = trial.cluster.kubectl();
    let service = workload::echo_service("second", "");
    let prefer = service.replace("RequireDualStack", "PreferDualStack");
    let single = service.replace("RequireDualStack", "SingleStack");
    for (object, families) in [(&prefer, 2), (&single, 1), (&prefer, 2)] {
        kubectl.apply(object).expect("applied");
        let what = format!("second has {families} families");
        let found = until(trial, &what, || {
            let found = addresses(kubectl, "second")?;
            ensure!(found.len() == families, "{found:?}");
            Ok(found)
        });
        wait_answers(trial, &found[0].to_string());
    }
    trial.kubectl(&["delete", "service", "second"]);
}

fn agent_deleted(trial: &Trial) {
    let node = 2;
    let pod = trial.cluster.agent_pod(node).expect("an agent");
    let pid = trial.cluster.agent_pid(node).expect("it runs");
    trial.kubectl(&["delete", "pod", &pod, "--namespace", NAMESPACE]);
    wait_another_agent(&trial.cluster, node, pid);
    trial
        .cluster
        .wait_rollout(NAMESPACE, "daemonset/corten")
        .expect("ready");
}

/// Pods run on, and so does the agent; a Service that comes meanwhile is served.
fn kubelet_away(trial: &Trial) {
    let node = trial.cluster.node(3);
    node.kill("kubelet").expect("killed");
    let service = workload::echo_service("second", "");
    trial.cluster.kubectl().apply(&service).expect("applied");
    let given = wait_addresses(&trial.cluster, "second").expect("addresses");
    wait_answers(trial, &given[0].to_string());
    node.start_kubelet().expect("started");
    trial.cluster.wait_nodes().expect("ready");
    trial.kubectl(&["delete", "service", "second"]);
}

/// Pods of a Deployment move away, those of DaemonSets stay, and no new
/// connection is refused meanwhile.
fn node_drained(trial: &Trial) {
    let kubectl = trial.cluster.kubectl();
    kubectl.apply(MOVABLE).expect("applied");
    trial
        .cluster
        .wait_rollout("default", "deployment/movable")
        .expect("rolled out");
    let service = workload::echo_service("second", "").replace("app: echo", "app: movable");
    kubectl.apply(&service).expect("applied");
    let given = wait_addresses(&trial.cluster, "second").expect("addresses");
    wait_answers(trial, &given[0].to_string());
    trial.kubectl(&["cordon", "node1"]);
    let target = Target::tcp(SocketAddr::new(given[0], NGINX_PORT));
    let mut drain = kubectl
        .command(&["drain", "node1", "--ignore-daemonsets", "--timeout=60s"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("kubectl");
    let drained = loop {
        let found = spread(&trial.cluster.lab().client(), target, NEW_FLOWS).expect("asked");
        assert_eq!(found.lost, 0, "{found:?}\n{}", trial.cluster.agent_logs());
        if let Some(status) = drain.try_wait().expect("it runs") {
            break status;
        }
    };
    assert!(drained.success(), "{drained}");
    until(trial, "nothing is left on node1", || {
        let pods = kubectl.json(&["get", "pods", "--selector=app=movable"])?;
        let there = |pod: &&Value| pod["spec"]["nodeName"] == "node1";
        let left = pods["items"]
            .as_array()
            .context("a list")?
            .iter()
            .filter(there);
        ensure!(left.count() == 0, "{pods}");
        Ok(())
    });
    trial.kubectl(&["uncordon", "node1"]);
    trial.kubectl(&["delete", "service/second", "deployment/movable"]);
}

/// Pods that go on for some seconds after they were told to end, as servers
/// should: nobody can know at once that a pod takes nothing new.
const MOVABLE: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: movable }
spec:
  replicas: 4
  selector: { matchLabels: { app: movable } }
  template:
    metadata: { labels: { app: movable } }
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: echo
        image: corten.dev/lab/echo:1
        args: [--port=80, --udp-port=5353]
        lifecycle: { preStop: { sleep: { seconds: 5 } } }
        readinessProbe: { tcpSocket: { port: 80 }, periodSeconds: 1 }
";
