//! BIRD as the router.

use ipnet::IpNet;
use lb_tests::frr::host_prefix;
use lb_tests::require;
use lb_tests::routers::Bird;

use super::one_node::{NODE_ASN, OneNode, PeerObject, ROUTER_ASN, wait_said};

/// A protocol for the node's session of one family, which carries both.
fn protocol(name: &str, local: &str, node: &str, more: &str) -> String {
    format!(
        "protocol bgp {name} {{
            local {local} as {ROUTER_ASN};
            neighbor {node} {more};
            hold time 9;
            connect delay time 1;
            error wait time 1, 2;
            ipv4 {{ import all; export none; extended next hop; }};
            ipv6 {{ import all; export none; }};
        }}
        "
    )
}

fn config(protocols: &str) -> String {
    format!(
        "router id 192.0.2.254;
        protocol device {{}}
        protocol bfd {{ interface \"*\" {{ interval 100 ms; multiplier 3; }}; }}
        {protocols}"
    )
}

/// Over IPv4 and over IPv6, from both sides at once, with BFD, a password
/// (right, wrong and missing), communities and aggregation.
#[test]
fn bird_has_what_is_configured() {
    if !require::root("net") {
        return;
    }
    let net = OneNode::up("bgpbird", &["--bgp-listen-port", "179"]);
    let (node, router) = net.ends();
    let both = |v4: &str, v6: &str| {
        let (of_v4, of_v6) = (node.v4.to_string(), node.v6.to_string());
        config(
            &(protocol("four", &router.v4.to_string(), &of_v4, v4)
                + &protocol("six", &router.v6.to_string(), &of_v6, v6)),
        )
    };
    let external = format!("as {NODE_ASN}");
    // BIRD connects too: one of the two connections stays.
    let v4 = format!("{external}; password \"right\"; bfd on");
    let folder = net.lab.folder().join("bird");
    let bird = Bird::start(net.lab.router(), folder, &both(&v4, &external)).expect("BIRD runs");
    let asn = format!("myASN: {NODE_ASN}");
    let common = [
        &asn as &str,
        "dynamicASN: external",
        "dualStackAddressFamily: true",
    ];
    let configure = |password: &[&str], advertisement: &[&str]| {
        let four = [&common[..], &["bfdProfile: fast"], password].concat();
        let peers = [
            PeerObject::new("four", router.v4, &four),
            PeerObject::new("six", router.v6, &common),
        ];
        net.configure(&peers, advertisement);
    };
    let communities = &["communities: [\"64512:7\", \"large:64512:1:2\", \"65535:65281\"]"];
    configure(&["password: right"], communities);
    for name in ["four", "six"] {
        net.wait_established(name);
    }
    // Up first, and fast when both have agreed on it.
    net.wait_row("four", "BFD is up, and fast", |row| {
        row["bfd"]["up"] == true && row["bfd"]["detection_ms"] == 300
    });
    let ask = || bird.ask("show bfd sessions");
    wait_said("BIRD's session of BFD is up", ask, |text| {
        text.contains(" Up ")
    });
    for name in ["four", "six"] {
        for vip in net.lab.vips() {
            let command = format!("show route protocol {name} all {}", host_prefix(vip));
            let ask = || bird.ask(&command);
            let told = wait_said(&command, ask, |text| text.contains("BGP.as_path"));
            for expected in [
                &format!("BGP.as_path: {NODE_ASN}") as &str,
                "BGP.origin: IGP",
                "(64512,7)",
                "(64512, 1, 2)",
                "(65535,65281)",
            ] {
                assert!(told.contains(expected), "{expected}: {told}");
            }
        }
    }
    // Neither side ends what it has because the other one connects as well: if
    // anything did, it was BFD on a machine that has other work.
    let row = net.wait_established("four");
    assert_eq!(row["flaps"], row["bfd"]["downs"], "{row}");

    // What an administrator asks for, in BIRD's words.
    let before = row["messages"]["refreshes"]["received"].as_u64();
    bird.ask("reload in four").expect("BIRD answers");
    net.wait_row("four", "asked to tell all again", |row| {
        row["messages"]["refreshes"]["received"].as_u64() > before
    });

    // Aggregation takes the place of single addresses.
    configure(
        &["password: right"],
        &["aggregationLength: 28", "aggregationLengthV6: 124"],
    );
    let ask = || bird.ask("show route protocol four");
    wait_said("BIRD has what is aggregated", ask, |text| {
        let vips = net.lab.vips();
        let mut aggregated = [(vips[0], 28), (vips[1], 124)]
            .into_iter()
            .map(|(vip, length)| {
                let net = IpNet::new(vip, length).expect("a length").trunc();
                net.to_string()
            });
        let single = vips.iter().map(|vip| host_prefix(*vip));
        aggregated.all(|net| text.contains(&net)) && !{ single }.any(|net| text.contains(&net))
    });

    // Another password, and none: no session, and a reason.
    for password in [&["password: wrong"] as &[&str], &[]] {
        configure(password, communities);
        net.wait_row("four", "not established, with a reason", |row| {
            let text = row["last_error"]["text"].as_str().unwrap_or_default();
            row["established"] == false
                && (text.contains("another password") || text.contains("no answer"))
        });
    }
    configure(&["password: right"], communities);
    net.wait_established("four");
    net.lab.down().expect("the lab goes");
}

/// Of the same AS: LOCAL_PREF is said, and no AS.
#[test]
fn bird_of_the_same_as_hears_preferences() {
    if !require::root("net") {
        return;
    }
    let net = OneNode::up("bgpibgp", &[]);
    let (node, router) = net.ends();
    let four = protocol(
        "four",
        &router.v4.to_string(),
        &node.v4.to_string(),
        "internal; passive on",
    );
    let folder = net.lab.folder().join("bird");
    let bird = Bird::start(net.lab.router(), folder, &config(&four)).expect("BIRD runs");
    let (mine, its) = (
        format!("myASN: {ROUTER_ASN}"),
        format!("peerASN: {ROUTER_ASN}"),
    );
    let peer = PeerObject::new("four", router.v4, &[&mine, &its]);
    net.configure(&[peer], &["localPref: 150"]);
    net.wait_established("four");
    let vip = net.lab.vips()[0];
    let command = format!("show route all {}", host_prefix(vip));
    let told = wait_said(
        &command,
        || bird.ask(&command),
        |text| text.contains("BGP.local_pref"),
    );
    assert!(told.contains("BGP.local_pref: 150"), "{told}");
    assert!(
        !told.contains(&format!("BGP.as_path: {ROUTER_ASN}")),
        "{told}"
    );
    net.lab.down().expect("the lab goes");
}
