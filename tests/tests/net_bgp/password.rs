//! Passwords (TCP MD5).

use anyhow::ensure;
use lb_tests::lab::Lab;
use lb_tests::{require, wait};

use super::{LIMIT, logs, spec, wait_next_hops};

#[test]
fn a_session_with_a_password_needs_the_same_one() {
    needs_the_same("bgpmd5", false);
}

/// The key is for a link-local address that nobody has written down.
#[test]
fn so_does_one_with_a_router_that_only_its_link_is_known_of() {
    needs_the_same("bgpmd5link", true);
}

/// Passwords: the right one, another, none where the router wants one.
fn needs_the_same(prefix: &str, unnumbered: bool) {
    if !require::root("net") {
        return;
    }
    let mut spec = spec(prefix);
    (spec.nodes, spec.pods, spec.unnumbered) = (1, 1, unnumbered);
    let mut lab = Lab::up(spec).expect("the lab comes up");
    wait_next_hops(&lab, &[1]);
    let frr = lab.frr();
    let (peer, name) = match unnumbered {
        true => ("node1".to_owned(), "router"),
        false => (lab.node(1).address().v4.to_string(), "router-node1-ipv4"),
    };
    let neighbor = format!("neighbor {peer} password right");
    frr.commands(&["configure terminal", "router bgp 64512", &neighbor])
        .expect("configured");
    let state = |expected: &str| {
        wait::until_ok(
            LIMIT,
            &format!("the router's session is {expected}"),
            || {
                let rows = lab.node(1).ask(&["bgp", name])?;
                let router = &rows["routers"][0];
                let up = router["established"] == true;
                ensure!(up == (expected == "there"), "{router}");
                Ok(router["last_error"]["text"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned())
            },
        )
        .unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&lab)))
    };
    state("gone");
    let plain = lab.manifests.more["bgp.yaml"].clone();
    let with = |password: &str| {
        let line = format!("  enableGracefulRestart: true\n  password: {password}\n");
        plain.replacen("  enableGracefulRestart: true\n", &line, 1)
    };
    let write = |lab: &Lab, text: String| {
        lab.write_file("bgp.yaml", &text).expect("written");
    };
    write(&lab, with("right"));
    state("there");
    write(&lab, with("wrong"));
    state("gone");
    wait::until_ok(LIMIT, "the reason is said", || {
        let rows = lab.node(1).ask(&["bgp", name])?;
        let text = rows["routers"][0]["last_error"]["text"].to_string();
        ensure!(text.contains("another password"), "{text}");
        Ok(())
    })
    .expect("a reason");
    lab.manifests.more.clear();
    lab.down().expect("the lab goes");
}
