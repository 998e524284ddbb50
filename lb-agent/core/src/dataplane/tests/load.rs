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
use alloc::vec::Vec;
use core::time::Duration;
use std::println;
use std::time::Instant;

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
    let mut took: [Vec<Duration>; 3] = Default::default();
    for round in 0..43_u32 {
        let start = Instant::now();
        let desired = desired(&inputs, &mut agent.memo);
        let then = Instant::now();
        let (target, problems) = plan(&desired, &agent.current, &mut agent.ledger, agent.now);
        let steps = diff(&agent.current, &target);
        let end = Instant::now();
        assert_eq!(problems, []);
        agent.current = target;
        drop(desired);
        let parts = [then - start, end - then, end.elapsed()];
        if round < 3 {
            let steps = steps.len();
            println!("desired, plan and diff, letting go: {parts:?}, {steps} steps");
        }
        let took = took.iter_mut().zip(parts);
        took.for_each(|(took, part)| took.push(part));
        for step in &steps {
            agent.maps.apply(step);
        }
        // Here and elsewhere, in turn; what was given up is free again by then.
        let node = format!("node{}", round % 2 + 1);
        let service = format!("ns{}/service-{round}", round % 50);
        inputs = inputs.pod(&service, &format!("10.99.0.{round}"), &node, READY);
        agent.wait(Duration::from_secs(11));
        if round == 1 {
            println!("a new process, with the maps as they are");
            agent.memo = Memo::default();
            agent.current = Image::read(&agent.maps);
        }
    }
    for (place, what) in ["here", "elsewhere"].into_iter().enumerate() {
        let middle = took.each_ref().map(|took| {
            let one_way = took.iter().skip(3 + place).step_by(2);
            let mut sorted: Vec<_> = one_way.copied().collect();
            sorted.sort_unstable();
            sorted[sorted.len() / 2]
        });
        println!("one more pod {what}, medians: {middle:?}");
    }
}
