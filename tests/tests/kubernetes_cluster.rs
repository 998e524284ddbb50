//! A whole cluster in the lab: it comes up, runs pods, and leaves nothing.

use std::fs;
use std::time::Duration;

use lb_tests::kubernetes::{Cluster, images, workload};
use lb_tests::lab::{KubeProxy, Spec};
use lb_tests::{require, wait};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn pods_answer_at_service_addresses_and_nothing_is_left_behind() {
    if !require::root("cluster") {
        return;
    }
    let spec = Spec::for_cluster("kcbase").expect("programs are built");
    let images = images().expect("images are built");
    let cluster = Cluster::up(spec, KubeProxy::Iptables, &images).expect("it comes up");
    let kubectl = cluster.kubectl();
    kubectl.apply(&workload::echo_pods()).expect("applied");
    kubectl
        .apply(&workload::echo_service("echo", ""))
        .expect("applied");
    cluster
        .wait_rollout("default", "daemonset/echo")
        .expect("rolled out");
    let service = kubectl.json(&["get", "service", "echo"]).expect("there");
    for address in service["spec"]["clusterIPs"].as_array().expect("a list") {
        let address = address.as_str().expect("an address");
        let url = match address.contains(':') {
            true => format!("http://[{address}]/"),
            false => format!("http://{address}/"),
        };
        for node in cluster.nodes() {
            let what = format!("{} reaches {url}", node.name());
            let answer = wait::until_ok(LIMIT, &what, || {
                node.run("curl", &["--silent", "--fail", "--max-time", "2", &url])
            });
            let answer = answer.expect("an answer");
            assert!(answer.contains("\"pod\":\"echo-"), "{answer}");
        }
    }
    let folder = cluster.lab().folder();
    let names: Vec<String> = cluster
        .lab()
        .namespaces()
        .expect("listed")
        .iter()
        .map(|namespace| namespace.name().to_owned())
        .collect();
    cluster.down().expect("it is taken down");
    assert!(!folder.exists(), "{} is left", folder.display());
    for name in names {
        assert_eq!(groups(&name), Vec::<String>::new());
    }
}

/// Control groups of that name, in all hierarchies.
fn groups(name: &str) -> Vec<String> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("there are groups");
    hierarchies
        .flatten()
        .map(|hierarchy| hierarchy.path().join(name))
        .chain([format!("/sys/fs/cgroup/{name}").into()])
        .filter(|group| group.exists())
        .map(|group| group.display().to_string())
        .collect()
}
