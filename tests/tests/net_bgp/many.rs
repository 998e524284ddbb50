//! A thousand VIPs and four routers: how many messages it takes.

use anyhow::ensure;
use lb_tests::bench::bgp::routers::{Routers, objects};
use lb_tests::bench::bgp::{VIPS, flap, services, wait_vips};
use lb_tests::{require, wait};

use super::one_node::OneNode;
use super::{LIMIT, logs};

/// For all VIPs, end-of-RIB included: one message holds 800 of them, and VIPs
/// that are ready a moment later are one more.
const MESSAGES: u64 = 6;

#[test]
fn a_thousand_vips_are_few_messages_and_a_flap_is_one() {
    if !require::root("net") {
        return;
    }
    let net = OneNode::up("bgpmany", &[]);
    net.lab
        .write_file("many.yaml", &services(VIPS))
        .expect("written");
    wait_vips(&net.lab, VIPS).expect("the node serves all");
    let routers = Routers::start(&net.lab).expect("the routers run");
    net.lab
        .write_file("routers.yaml", &objects(false))
        .expect("written");
    wait::until_ok(LIMIT * 3, "all routers have all prefixes", || {
        for (index, name) in routers.names().iter().enumerate() {
            let has = routers.prefixes(index)?;
            ensure!(has == usize::from(VIPS), "{name} has {has}");
        }
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&net.lab)));
    let all_s = vec![None; routers.names().len()];
    let told = flap(&net.lab, &routers, &all_s).expect("a VIP goes, and comes back");
    assert_eq!(told.len(), 4, "{told:?}");
    for router in told {
        assert!(router.updates <= MESSAGES, "{router:?}");
        assert_eq!(
            (router.gone_updates, router.back_updates),
            (1, 1),
            "{router:?}"
        );
    }
    drop(routers);
    net.lab.down().expect("the lab goes");
}
