use lb_core::config::declared::Declared;
use lb_core::config::{Community, Configuration, Timers};

use super::part;

fn read(text: &str) -> Result<Configuration, Vec<String>> {
    let mut declared = Declared::default();
    part("config", text).add_to(&mut declared);
    let read = Configuration::of(&declared, &[]);
    read.map_err(|refused| refused.iter().map(ToString::to_string).collect())
}

const EVERYTHING: &str = "
peers:
- my-asn: 64500
  peer-asn: 64501
  peer-address: 10.0.0.1
  peer-port: 1179
  source-address: 10.0.0.2
  router-id: 10.10.10.10
  hold-time: 2m
  keepalive-time: 20s
  password: hunter2
  bfd-profile: fast
  ebgp-multihop: true
  node-selectors:
  - match-labels: {rack: a}
    match-expressions:
    - {key: zone, operator: In, values: [x, y]}
bgp-communities:
  vpn-only: 1234:1
address-pools:
- name: production
  protocol: bgp
  addresses: [192.0.2.0/25, 2001:db8::/112]
  avoid-buggy-ips: true
  auto-assign: false
  bgp-advertisements:
  - aggregation-length: 32
    aggregation-length-v6: 120
    localpref: 100
    communities: [vpn-only, '65535:65282']
  - aggregation-length: 26
- name: My_Pool
  protocol: layer2
  addresses: [192.0.2.128-192.0.2.140]
bfd-profiles:
- name: fast
  receive-interval: 100
  transmit-interval: 100
  detect-multiplier: 5
  echo-interval: 70
  echo-mode: false
  passive-mode: true
  minimum-ttl: 200
";

#[test]
fn everything_there_was_is_read() {
    let all = read(EVERYTHING).unwrap();
    let peer = &all.peers["peer1"];
    assert_eq!(peer.port, 1179);
    let timers = Timers {
        hold_s: 120,
        keepalive_s: 20,
    };
    assert_eq!(peer.timers, Some(timers));
    assert_eq!(peer.password.as_ref().unwrap().reveal(), "hunter2");
    assert!(peer.ebgp_multi_hop);
    assert_eq!(peer.router_id, Some([10, 10, 10, 10].into()));
    assert_eq!(peer.source_address, Some([10, 0, 0, 2].into()));
    assert_eq!(peer.node_selectors[0].to_string(), "rack=a,zone in (x,y)");

    let pool = &all.pools["production"];
    assert_eq!(pool.ranges.len(), 2);
    assert!(pool.avoid_buggy_ips && !pool.auto_assign);
    let first = &all.bgp_advertisements["bgpadvertisement1"];
    assert_eq!((first.local_pref, first.length(false)), (100, 120));
    let expected = [
        Community::Standard(1234, 1),
        Community::Standard(65_535, 65_282),
    ];
    assert!(first.communities.iter().eq(&expected));
    assert_eq!(all.bgp_advertisements["bgpadvertisement2"].length(true), 26);
    assert!(
        all.l2_advertisements["l2advertisement1"]
            .pools
            .contains("My_Pool")
    );

    let fast = &all.bfd_profiles["fast"];
    assert_eq!((fast.receive_interval_ms, fast.detect_multiplier), (100, 5));
    assert_eq!((fast.echo_interval_ms, fast.minimum_ttl), (70, 200));
    assert!(fast.passive_mode && !fast.echo_mode);
}

#[test]
fn nothing_is_a_configuration_too() {
    for text in ["", "{}", "address-pools:\n"] {
        assert_eq!(read(text), Ok(Configuration::default()), "{text:?}");
    }
}

fn with_pool(more: &str) -> String {
    format!("address-pools:\n- {{name: a, addresses: [192.0.2.0/24], {more}}}\n")
}

#[test]
fn what_is_wrong_is_said_in_its_own_words() {
    let peer = |more: &str| {
        format!("peers:\n- {{my-asn: 1, peer-asn: 2, peer-address: 10.0.0.1, {more}}}\n")
    };
    for (text, expected) in [
        (
            "pools: []".to_owned(),
            "ConfigMap config: data.config: line 1 of it: ",
        ),
        (
            "peer-autodiscovery: {}".to_owned(),
            "ConfigMap config: data.config: line 1 of it: ",
        ),
        (
            peer("bfdProfile: fast"),
            "ConfigMap config: data.config: line 2 of it: ",
        ),
        (
            with_pool("protocol: l2"),
            "ConfigMap config: address-pools[0].protocol: unknown protocol \"l2\"",
        ),
        (
            with_pool("auto-assign: true"),
            "ConfigMap config: address-pools[0].protocol: address pool is missing the protocol",
        ),
        (
            with_pool("protocol: layer2, bgp-advertisements: [{localpref: 1}]"),
            "ConfigMap config: address-pools[0].bgp-advertisements: cannot have \
             bgp-advertisements configuration element in a layer2 address pool",
        ),
        (
            with_pool("protocol: bgp, bgp-advertisements: [{localpref: 1}, {localpref: 1}]"),
            "ConfigMap config: address-pools[0].bgp-advertisements[1]: duplicate definition of \
             bgpadvertisements",
        ),
        (
            with_pool("protocol: bgp, bgp-advertisements: [{aggregation-length: 23}]"),
            "ConfigMap config: address-pools[0].bgp-advertisements[0].aggregation-length: invalid \
             aggregation length 23: prefix 24",
        ),
        (
            with_pool("protocol: bgp, bgp-advertisements: [{communities: [a]}]"),
            "ConfigMap config: address-pools[0].bgp-advertisements[0].communities[0]: invalid \
             community format \"a\"",
        ),
        (
            "bgp-communities: {a: b}".to_owned(),
            "ConfigMap config: bgp-communities.a: invalid community value \"b\"",
        ),
        (
            "address-pools: [{protocol: layer2, addresses: [192.0.2.0/24]}]".to_owned(),
            "ConfigMap config: address-pools[0].name: missing name",
        ),
        (
            "address-pools: [{name: a, protocol: layer2}]".to_owned(),
            "ConfigMap config: address-pools[0].addresses: pool has no prefixes defined",
        ),
        (
            peer("hold-time: 2s"),
            "ConfigMap config: peers[0].hold-time: invalid hold time \"2s\"",
        ),
        (
            peer("router-id: x"),
            "ConfigMap config: peers[0].router-id: \"x\" is not an IP address",
        ),
        (
            "peers: [{my-asn: 1, peer-address: 10.0.0.1}]".to_owned(),
            "ConfigMap config: peers[0].peer-asn: missing peer ASN",
        ),
        (
            "bfd-profiles: [{name: a, receive-interval: 1}]".to_owned(),
            "ConfigMap config: bfd-profiles[0].receive-interval: invalid value 1",
        ),
    ] {
        let refused = read(&text).expect_err(expected);
        let fits = refused.len() == 1 && refused[0].starts_with(expected);
        assert!(fits, "{expected}: {refused:#?}");
    }
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let text = "address-pools:\n- {name: a, protocol: layer2, addresses: [192.0.2.0/25]}\n\
                - {name: a, protocol: layer2, addresses: [192.0.2.128/25]}\n";
    let refused = read(text).unwrap_err();
    let expected = "ConfigMap config: address-pools[1].name: duplicate definition";
    assert!(refused[0].starts_with(expected), "{refused:?}");
}
