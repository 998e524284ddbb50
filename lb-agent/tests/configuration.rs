//! Manifests that people have, and the cases that a real API server is asked
//! about in tests/, read without one.

use std::path::{Path, PathBuf};

use lb_agent::source::file::{self, Manifests};
use lb_agent::source::object::Ours;
use lb_core::config::{Configuration, PeerEnd};

#[path = "../../tests/tests/kubernetes_crds/cases.rs"]
mod cases;

use cases::{Case, GOOD, WRONG_LISTS, WRONG_PEERS};

fn load(name: &str) -> Manifests {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    file::load(&path.join(name), &Ours::default()).expect("it can be read")
}

#[track_caller]
fn configuration(name: &str) -> Configuration {
    let manifests = load(name);
    assert!(manifests.refused.is_empty(), "{:#?}", manifests.refused);
    let good = manifests.facts.config.good.expect("it is good");
    Configuration::clone(&good)
}

fn ranges(configuration: &Configuration, pool: &str) -> Vec<String> {
    let ranges = configuration.pools[pool].ranges.iter();
    ranges.map(ToString::to_string).collect()
}

#[test]
fn the_old_config_map_of_bgp_people_is_taken_as_it_is() {
    let all = configuration("configmap-bgp.yaml");
    assert_eq!(ranges(&all, "default"), ["172.16.192.0-172.16.207.255"]);
    let peer = &all.peers["peer1"];
    assert_eq!((peer.my_asn.get(), peer.port), (64513, 179));
    assert_eq!(peer.end, PeerEnd::Address([10, 227, 0, 1].into()));
    let advertisement = &all.bgp_advertisements["bgpadvertisement1"];
    assert!(advertisement.pools.contains("default"));
    assert!(all.l2_advertisements.is_empty());
}

#[test]
fn the_old_config_map_of_layer_2_people_is_taken_as_it_is() {
    let all = configuration("configmap-layer2.yaml");
    assert_eq!(ranges(&all, "default"), ["192.168.1.210-192.168.1.220"]);
    assert!(all.pools["default"].auto_assign);
    assert!(
        all.l2_advertisements["l2advertisement1"]
            .pools
            .contains("default")
    );
}

#[test]
fn a_pool_and_its_advertisement_are_taken_as_they_are() {
    let all = configuration("pool-and-advertisement.yaml");
    assert_eq!(ranges(&all, "ip-pool"), ["143.92.123.123-143.92.123.123"]);
    assert!(
        all.l2_advertisements["l2-network"]
            .pools
            .contains("ip-pool")
    );
}

/// What is said of the case, apart from what another object may cure.
fn said(case: &Case) -> Vec<String> {
    let (kind, spec, _) = case;
    let (version, kind) = kind.split_once(' ').expect("a version and a kind");
    let spec = if spec.is_empty() {
        String::new()
    } else {
        format!("spec: {spec}\n")
    };
    let text =
        format!("apiVersion: metallb.io/{version}\nkind: {kind}\nmetadata: {{name: case}}\n{spec}");
    let path = PathBuf::from("case.yaml");
    let read = file::read(&path, &text, &Ours::default()).expect("it is YAML");
    let refused = read.refused.into_iter().map(|it| it.refused);
    let refused = refused.filter(|refused| !refused.reason.may_pass());
    refused.map(|refused| refused.to_string()).collect()
}

#[test]
fn what_an_api_server_takes_is_taken_without_one() {
    for case in GOOD {
        let said = said(case);
        assert!(said.is_empty(), "{case:?}: {said:#?}");
    }
}

#[test]
fn what_an_api_server_refuses_is_refused_without_one() {
    for case in WRONG_LISTS.iter().chain(WRONG_PEERS) {
        assert!(!said(case).is_empty(), "{case:?}");
    }
}
