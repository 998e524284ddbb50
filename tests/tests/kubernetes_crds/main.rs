//! The custom resources on a real API server: what people have is taken, and
//! what is wrong is refused with a word on why.

mod cases;

use std::fs;

use lb_tests::kubernetes::{ApiServer, Kubectl};
use lb_tests::require;

use cases::{Case, GOOD, WRONG_LISTS, WRONG_PEERS};

/// What people have.
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../lb-agent/tests/manifests");

/// A server that knows the kinds, with a namespace for them.
fn server() -> ApiServer {
    let server = ApiServer::start().expect("it starts");
    let kubectl = server.kubectl();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/crds");
    let definitions = ["apply", "--kustomize", folder, "--output", "name"];
    let made = kubectl
        .run(&definitions)
        .expect("they are good definitions");
    let names: Vec<&str> = made.lines().collect();
    assert_eq!(names.len(), 9, "{made}");
    let mut wait = vec!["wait", "--for=condition=Established", "--timeout=60s"];
    wait.extend(names);
    kubectl.run(&wait).expect("they are established");
    let namespace = ["create", "namespace", "metallb-system"];
    kubectl.run(&namespace).expect("a namespace");
    server
}

fn document(number: usize, &(kind, spec, _): &Case) -> String {
    let (version, kind) = kind.split_once(' ').expect("a version and a kind");
    let spec = if spec.is_empty() {
        String::new()
    } else {
        format!("spec: {spec}\n")
    };
    format!(
        "---\napiVersion: metallb.io/{version}\nkind: {kind}\nmetadata: {{name: case-{number}, \
         namespace: metallb-system}}\n{spec}"
    )
}

/// What the server says of each case, in their order; empty if it takes it.
fn said(kubectl: &Kubectl, cases: &[Case]) -> Vec<String> {
    let documents = cases.iter().enumerate();
    let documents: String = documents.map(|(n, case)| document(n, case)).collect();
    let file = kubectl.kubeconfig().with_extension("cases.yaml");
    fs::write(&file, documents).expect("it is written");
    let file = file.to_str().expect("a path");
    let arguments = [
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--filename",
        file,
    ];
    let output = kubectl.command(&arguments).output().expect("kubectl runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // What is said of one reaches to the name of the next.
    let blocks: Vec<&str> = text.split("\"case-").collect();
    let of = |number: usize| {
        let name = format!("{number}\" is invalid:");
        let mut blocks = blocks.iter().filter(|block| block.starts_with(&name));
        blocks.next().map(ToString::to_string).unwrap_or_default()
    };
    let all: Vec<String> = (0..cases.len()).map(of).collect();
    let refused = all.iter().filter(|said| !said.is_empty()).count();
    assert!(refused > 0 || output.status.success(), "{text}");
    all
}

#[test]
fn the_api_server_takes_what_is_good_and_refuses_what_is_wrong_with_a_reason() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = server();
    for name in [
        "pool-and-advertisement",
        "configmap-bgp",
        "configmap-layer2",
    ] {
        let text = fs::read_to_string(format!("{MANIFESTS}/{name}.yaml")).expect("it is there");
        server.kubectl().apply(&text).expect("it is taken as it is");
    }
    for (case, said) in GOOD.iter().zip(said(server.kubectl(), GOOD)) {
        assert_eq!(said, "", "{case:?}");
    }
    let mut different = Vec::new();
    for cases in [WRONG_LISTS, WRONG_PEERS] {
        for (case, said) in cases.iter().zip(said(server.kubectl(), cases)) {
            if !said.contains(case.2) {
                different.push(format!("{case:?}: {said:?}"));
            }
        }
    }
    assert!(different.is_empty(), "{different:#?}");
}

#[test]
fn graceful_restart_is_for_good_and_old_peers_keep_what_they_do_not_say() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = server();
    let peer = |version: &str, name: &str, more: &str| {
        format!(
            "apiVersion: metallb.io/{version}\nkind: BGPPeer\nmetadata: {{name: {name}, \
             namespace: metallb-system}}\nspec: {{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1\
             {more}}}\n"
        )
    };
    let kubectl = server.kubectl();
    let with = |restart| {
        peer(
            "v1beta2",
            "new",
            &format!(", enableGracefulRestart: {restart}"),
        )
    };
    kubectl.apply(&with(true)).expect("it is new");
    let error = kubectl
        .apply(&with(false))
        .expect_err("it cannot be changed");
    let error = format!("{error:#}");
    let said = "EnableGracefulRestart cannot be changed after creation";
    assert!(error.contains(said), "{error}");

    kubectl
        .apply(&peer("v1beta1", "old", ""))
        .expect("v1beta1 is served");
    let arguments = [
        "get",
        "bgppeers.v1beta2.metallb.io",
        "old",
        "-n",
        "metallb-system",
    ];
    let old = kubectl.json(&arguments).expect("it is a v1beta2 too");
    assert_eq!(old["apiVersion"], "metallb.io/v1beta2");
    assert!(old["spec"].get("holdTime").is_none(), "{old}");
    assert!(old["spec"].get("keepaliveTime").is_none(), "{old}");
}
