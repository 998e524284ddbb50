//! Ten thousand Services at once, in the ways that could be slow:
//!
//! ```text
//! cargo test -p lb-core --lib --release ipam::tests::load -- --ignored --nocapture
//! ```

use alloc::format;
use std::println;

use super::{World, cluster, files};

const NUMBER: usize = 10_000;

fn many(world: World, edit: impl Fn(World, &str, usize) -> World) -> World {
    (0..NUMBER).fold(world, |world, n| {
        let name = format!("ns{}/service-{n}", n % 50);
        edit(world.service(&name), &name, n)
    })
}

#[expect(clippy::disallowed_methods, reason = "this is what it is for")]
fn measure(what: &str, world: &World) {
    let start = std::time::Instant::now();
    let assignment = world.assign();
    let took = start.elapsed();
    let allocations = assignment.allocations.values();
    let refused = allocations.filter(|a| a.refusal.is_some()).count();
    println!("{what}: {took:?}, {refused} refused");
}

#[test]
#[ignore = "prints how long it takes; says something in release builds only"]
fn load() {
    let plain = |world: World, _: &str, _: usize| world;
    let large = || cluster().pool("a", "10.0.0.0/16,2001:db8::/64");
    let fresh = many(large(), plain);
    measure("all new", &fresh);
    measure("all settled", &fresh.settle());
    let tight = cluster().pool("a", "10.0.0.0/19").pool("b", "10.1.0.0/22");
    measure("pools too small", &many(tight, plain));
    let pools = (0..100).fold(cluster(), |world, n| {
        world.pool(&format!("p{n:02}"), &format!("10.0.{n}.0/25"))
    });
    measure("100 pools, all full", &many(pools, plain));
    let keys = |ports: usize| {
        move |world: World, name: &str, n: usize| {
            world.shares(name, "key", &format!("{}", n % ports + 1))
        }
    };
    measure("one address for all", &many(large(), keys(NUMBER)));
    measure("one key, one port", &many(large(), keys(1)));
    measure("one key, 100 ports", &many(large(), keys(100)));
    let dual = |world: World, name: &str, _: usize| {
        world.edit(name, |s| {
            s.request.cluster_ips.push("2001:db8:9::1".parse().unwrap());
            s.request.family_policy = crate::model::FamilyPolicy::RequireDualStack;
        })
    };
    measure("both families", &many(large(), dual));
    measure("manifests", &many(files().pool("a", "10.0.0.0/16"), plain));
    let tight = files().pool("a", "10.0.0.0/19");
    measure("manifests, pool too small", &many(tight, plain));
}
