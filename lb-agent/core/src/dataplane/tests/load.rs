//! Ten thousand services of ten endpoints each, and then one change:
//!
//! ```text
//! cargo test -p lb-core --lib --release load -- --ignored --nocapture
//! ```

use super::Agent;
use crate::model::sample::{READY, cluster, ip, name, slice};
use crate::model::{Endpoint, Inputs, NodeName};
use alloc::format;
use alloc::sync::Arc;
use std::println;

use super::{Image, diff, plan};
use crate::desired::{Memo, desired};

fn ten_thousand_services(nodes: u32) -> Inputs {
    let mut inputs = (0..nodes).fold(cluster(), |inputs, n| {
        inputs.node(&format!("node{n}"), &format!("192.0.2.{}", n + 1))
    });
    for s in 0..10_000 {
        let (high, low) = (s / 250, s % 250 + 1);
        let text = format!("ns{}/service-{s}", s % 50);
        let endpoints = (0..10).map(|e| Endpoint {
            address: ip(&format!("10.{}.{high}.{low}", e + 1)),
            node: Some(NodeName::new(&format!("node{}", (s * 10 + e) % nodes))),
            conditions: READY,
        });
        let slices = [slice(&text, endpoints.collect())].into();
        inputs = inputs.service(&text, &format!("203.0.{high}.{low}"));
        inputs.facts.slices.insert(name(&text), Arc::new(slices));
    }
    inputs
}

#[test]
#[ignore = "prints how long it takes; says something in release builds only"]
fn load() {
    for nodes in [100, 5] {
        println!("{nodes} nodes, {} backends on each:", 100_000 / nodes);
        changes(ten_thousand_services(nodes));
    }
}

#[expect(clippy::disallowed_methods, reason = "this is what it is for")]
fn changes(mut inputs: Inputs) {
    let mut agent = Agent::new();
    for round in 0..8 {
        let start = std::time::Instant::now();
        let desired = desired(&inputs, &mut agent.memo);
        let then = std::time::Instant::now();
        let (target, problems) = plan(&desired, &agent.current, &mut agent.ledger, agent.now);
        let steps = diff(&agent.current, &target);
        let end = std::time::Instant::now();
        assert_eq!(problems, []);
        agent.current = target;
        drop(desired);
        println!(
            "round {round}: desired {:?}, plan and diff {:?}, {} steps, letting go {:?}",
            then - start,
            end - then,
            steps.len(),
            end.elapsed(),
        );
        for step in &steps {
            agent.maps.apply(step);
        }
        let pod = format!("10.99.0.{round}");
        inputs = inputs.pod("ns7/service-7", &pod, "node3", READY);
        if round == 4 {
            println!("a new process, with the maps as they are");
            agent.memo = Memo::default();
            agent.current = Image::read(&agent.maps);
        }
    }
}
