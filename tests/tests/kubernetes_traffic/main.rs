//! Traffic through a VIP of a real cluster, while Corten itself is replaced,
//! the API server is away, administrators make mistakes, and beside kube-proxy
//! in each of its modes.

mod trial;
mod trouble;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::kubernetes::corten::NAMESPACE;
use lb_tests::kubernetes::{Cluster, NEXT_IMAGE};
use lb_tests::lab::{KubeProxy, NGINX_PORT};
use lb_tests::load::Tally;
use lb_tests::{require, wait};
use serde_json::Value;

use trial::{LIMIT, Trial};

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_lost_while_corten_is_replaced_or_the_api_server_is_away() {
    if !require::root("cluster") {
        return;
    }
    let trial = Trial::start("kctraffic", KubeProxy::Nftables);
    let load = trial.load();

    let image = format!("agent={NEXT_IMAGE}");
    trial.kubectl(&[
        "set",
        "image",
        "--namespace",
        NAMESPACE,
        "daemonset/corten",
        &image,
    ]);
    trial
        .cluster
        .wait_rollout(NAMESPACE, "daemonset/corten")
        .expect("replaced");
    for node in trial.cluster.nodes() {
        let pod = trial.cluster.agent_pod(node.number()).expect("an agent");
        let pod = ["get", "pod", "--namespace", NAMESPACE, &pod];
        let pod = trial.cluster.kubectl().json(&pod).expect("there");
        assert_eq!(pod["spec"]["containers"][0]["image"], NEXT_IMAGE);
    }
    trial.check(&load, "a rolling update of Corten");

    trial.cluster.kill("kube-apiserver").expect("killed");
    trial.check(&load, "the API server is gone");
    for node in trial.cluster.nodes() {
        let killed = trial.cluster.kill_agent(node.number()).expect("killed");
        wait_another_agent(&trial.cluster, node.number(), killed);
    }
    trial.check(&load, "agents start without an API server");
    wait::pass(AWAY);
    trial.check(&load, "the API server was away for a minute");
    trial.cluster.start_api_server().expect("started");
    trial.cluster.wait_api().expect("ready");
    trial.cluster.wait_nodes().expect("ready");
    trial
        .cluster
        .wait_rollout(NAMESPACE, "daemonset/corten")
        .expect("ready again");
    trial.check(&load, "the API server is back");
    let tally = Tally::of(load.finish().expect("traffic ends"));
    assert!(tally.is_clean(), "{tally:?}");
}

pub(crate) fn wait_another_agent(cluster: &Cluster, node: u8, killed: u32) {
    let what = format!("the kubelet of node{node} starts another agent");
    wait::until_ok(LIMIT, &what, || {
        let pid = cluster.agent_pid(node)?;
        ensure!(pid != killed, "it is the old one");
        Ok(())
    })
    .expect("started");
}

#[test]
fn beside_kube_proxy_with_iptables() {
    beside_kube_proxy("kcipt", KubeProxy::Iptables);
}

#[test]
fn beside_kube_proxy_with_nftables() {
    beside_kube_proxy("kcnft", KubeProxy::Nftables);
}

fn beside_kube_proxy(prefix: &str, kube_proxy: KubeProxy) {
    if !require::root("cluster") {
        return;
    }
    let trial = Trial::start(prefix, kube_proxy);
    wait_kube_proxy(&trial);
    for delivery in ["stack", "direct"] {
        let annotation = format!("corten.dev/delivery={delivery}");
        trial.kubectl(&["annotate", "--overwrite", "service", "echo", &annotation]);
        trial.wait_all_pods();
        let load = trial.load();
        trial.check(&load, delivery);
        inside(&trial, delivery);
        trial.check(&load, delivery);
        let tally = Tally::of(load.finish().expect("traffic ends"));
        assert!(tally.is_clean(), "{delivery}: {tally:?}");
    }
}

/// A kube-proxy refuses what it has not written rules for yet; it gathers
/// changes before it does so, each family on its own.
fn wait_kube_proxy(trial: &Trial) {
    for node in trial.cluster.nodes() {
        for url in &urls(trial) {
            let what = format!("the kube-proxy of {} knows {url}", node.name());
            wait::until_ok(LIMIT, &what, || node.run("curl", &with(url))).expect("known");
        }
    }
}

/// The addresses of the Service: its own, and its VIPs.
fn urls(trial: &Trial) -> Vec<String> {
    let service = trial.service();
    let own = service["spec"]["clusterIPs"].as_array().expect("a list");
    let own = own.iter().filter_map(Value::as_str).map(url);
    own.chain(trial.vips.iter().map(|vip| url(&vip.to_string())))
        .collect()
}

/// What a cluster has without a load balancer goes on: addresses and node
/// ports of Services; and its VIPs are reached from inside.
fn inside(trial: &Trial, delivery: &str) {
    let kubectl = trial.cluster.kubectl();
    let urls = urls(trial);
    for node in trial.cluster.nodes() {
        for url in &urls {
            let answer = node.run("curl", &with(url));
            let what = format!("{delivery}: {} asks {url}", node.name());
            check_answer(answer, &what);
        }
    }
    let pods = kubectl.json(&["get", "pods", "--selector=app=echo"]);
    for pod in pods.expect("listed")["items"].as_array().expect("a list") {
        let pod = pod["metadata"]["name"].as_str().expect("a name");
        for url in &urls {
            let host = url.trim_start_matches("http://").trim_end_matches('/');
            let exec = ["exec", pod, "--", "/usr/bin/corten-echo", "--ask", host];
            check_answer(kubectl.run(&exec), &format!("{delivery}: {pod} asks {url}"));
        }
    }
    let port = trial.service()["spec"]["ports"][0]["nodePort"].as_u64();
    let port = port.expect("a node port");
    for node in trial.cluster.nodes() {
        let url = format!("http://{}:{port}/", node.address().v4);
        let client = trial.cluster.lab().client();
        let answer = client.run("curl", &with(&url));
        check_answer(answer, &format!("{delivery}: the client asks {url}"));
    }
}

fn url(address: &str) -> String {
    match address.contains(':') {
        true => format!("http://[{address}]:{NGINX_PORT}/"),
        false => format!("http://{address}:{NGINX_PORT}/"),
    }
}

fn with(url: &str) -> [&str; 6] {
    ["--silent", "--show-error", "--fail", "--max-time", "5", url]
}

fn check_answer(answer: Result<String>, what: &str) {
    let answer = answer.with_context(|| what.to_owned());
    let answer = answer.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(answer.contains("echo-"), "{what}: {answer}");
}
