//! What routers cost an agent: how soon four of them know a thousand VIPs, in
//! how many messages, and what sessions that only wait take, beside BIRD doing
//! the same at the other end.

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

pub mod routers;

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use self::routers::{Routers, node_addresses, router_addresses};
use crate::lab::address::pod;
use crate::lab::{Lab, Place, Spec, Wire};
use crate::wait;

pub const VIPS: u16 = 1000;
const LIMIT: Duration = Duration::from_secs(60);
/// Sessions wait for so long while it is measured what that takes.
const IDLE: Duration = Duration::from_secs(20);
/// What is promised.
const TELL_S: f64 = 2.0;
const FLAP_MESSAGES: u64 = 1;
const PEER_KB: f64 = 100.0;
const IDLE_PERCENT: f64 = 3.0;

/// One router.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    pub router: String,
    /// From when the agent was told of its routers until this one has all
    /// prefixes, the sessions' opening included.
    pub all_s: f64,
    /// UPDATEs for all of them, and end-of-RIB.
    pub updates: u64,
    /// For one VIP that goes, and comes back.
    pub gone_updates: u64,
    pub back_updates: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub vips: u16,
    pub told: Vec<Told>,
    /// What the agent has more with the sessions than without, for each.
    pub peer_kb: f64,
    /// Of a core, with four sessions of BGP, and of BFD with a packet every
    /// 100 ms each way; and BIRD at the other end of the same sessions.
    pub agent_idle_percent: f64,
    pub bird_idle_percent: f64,
}

/// `programs`: the folder of the agent and the lab's programs.
pub fn run(programs: &Path, step: impl Fn(&str)) -> Result<Figures> {
    let mut spec = Spec::new("cortenbgp", programs.join("corten-echo"));
    spec.agent = Some(programs.join("lb-agent"));
    spec.wire = Wire::Routed;
    (spec.nodes, spec.pods) = (1, 1);
    let waiting = spec.clone();
    step("bringing up a node with a thousand VIPs");
    let lab = Lab::up(spec)?;
    lab.write_file("many.yaml", &services(VIPS))?;
    wait_vips(&lab, VIPS)?;
    // What is read again and again is no router's: so often has it been read
    // when they are there.
    for name in ["slow", "fast"] {
        lab.write_file("routers.yaml", &routers::profile(name))?;
        settled_kb(&lab)?;
    }
    let before_kb = settled_kb(&lab)?;
    step("four routers are told: FRR, BIRD, GoBGP, and BIRD once more");
    let routers = Routers::start(&lab)?;
    let started = Instant::now();
    lab.write_file("routers.yaml", &routers::objects(false))?;
    let mut all_s = vec![None; routers.names().len()];
    wait::until_ok(LIMIT, "all routers have all prefixes", || {
        for (index, place) in all_s.iter_mut().enumerate() {
            if place.is_none() && routers.prefixes(index)? == usize::from(VIPS) {
                *place = Some(started.elapsed().as_secs_f64());
            }
        }
        ensure!(all_s.iter().all(Option::is_some), "{all_s:?}");
        Ok(())
    })?;
    let peer_kb = (settled_kb(&lab)? - before_kb) / 4.0;
    let told = flap(&lab, &routers, &all_s)?;
    drop(routers);
    lab.down()?;
    step("four sessions with BFD wait for 20 s");
    let (agent_idle_percent, bird_idle_percent) = idle(waiting)?;
    Ok(Figures {
        vips: VIPS,
        told,
        peer_kb,
        agent_idle_percent,
        bird_idle_percent,
    })
}

/// One VIP of [`VIPS`] goes, and comes back. `all_s`: by router.
pub fn flap(lab: &Lab, routers: &Routers, all_s: &[Option<f64>]) -> Result<Vec<Told>> {
    let wait = |count: u16| {
        wait::until_ok(LIMIT, "all routers know what has changed", || {
            for index in 0..all_s.len() {
                let has = routers.prefixes(index)?;
                ensure!(has == usize::from(count), "router {index} has {has}");
            }
            Ok(())
        })
    };
    let first = updates(lab)?;
    lab.write_file("many.yaml", &services(VIPS - 1))?;
    wait(VIPS - 1)?;
    let gone = updates(lab)?;
    lab.write_file("many.yaml", &services(VIPS))?;
    wait(VIPS)?;
    let back = updates(lab)?;
    let rows = routers
        .names()
        .into_iter()
        .enumerate()
        .map(|(index, name)| Told {
            router: name.to_owned(),
            all_s: all_s[index].unwrap_or(f64::NAN),
            updates: first[index],
            gone_updates: gone[index] - first[index],
            back_updates: back[index] - gone[index],
        });
    Ok(rows.collect())
}

/// In percent of a core: the agent, and BIRD.
fn idle(spec: Spec) -> Result<(f64, f64)> {
    let lab = Lab::up(spec)?;
    let (node, router) = (lab.node(1).namespace(), lab.router());
    for (here, there) in node_addresses().into_iter().zip(router_addresses()).skip(1) {
        node.ip(&format!("address add {here}/28 dev eth0"))?;
        router.ip(&format!("address add {there}/28 dev node1"))?;
    }
    let bird = routers::bird_of_four(&lab)?;
    lab.write_file("routers.yaml", &routers::objects(true))?;
    lab.node(1).wait_sessions(4, 100)?;
    let agent = lab.node(1).agent_pid().context("no agent")?;
    let pids = [agent, bird.pid()?];
    let before = [cpu_ns(pids[0])?, cpu_ns(pids[1])?];
    let started = Instant::now();
    thread::sleep(IDLE);
    let passed = started.elapsed().as_secs_f64() * 1e9;
    let percent = |index: usize| -> Result<f64> {
        Ok((cpu_ns(pids[index])? - before[index]) / passed * 100.0)
    };
    let both = (percent(0)?, percent(1)?);
    drop(bird);
    lab.down()?;
    Ok(both)
}

impl Figures {
    /// Whether it is more than is promised.
    #[must_use]
    pub fn over(&self) -> bool {
        let told = self.told.iter().any(|told| {
            told.all_s > TELL_S
                || told.gone_updates > FLAP_MESSAGES
                || told.back_updates > FLAP_MESSAGES
        });
        told || self.peer_kb > PEER_KB || self.agent_idle_percent > IDLE_PERCENT
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:>8} {:>6} {:>14} {:>10} {:>14} {:>14}\n",
            "router", "VIPs", "all told, s", "messages", "one goes", "it comes back"
        );
        for told in &self.told {
            text += &format!(
                "{:>8} {:>6} {:>14.2} {:>10} {:>14} {:>14}\n",
                told.router,
                self.vips,
                told.all_s,
                told.updates,
                told.gone_updates,
                told.back_updates
            );
        }
        text += &format!(
            "promised {:>20.0} {:>25} {:>14}\n\nmemory for each router {:.0} kB (promised {PEER_KB:.0})\n\
             four waiting sessions with BFD at 100 ms: agent {:.2} % of a core (promised \
             {IDLE_PERCENT:.0}), BIRD {:.2} %, ratio {:.1}\n{}\n",
            TELL_S,
            FLAP_MESSAGES,
            FLAP_MESSAGES,
            self.peer_kb,
            self.agent_idle_percent,
            self.bird_idle_percent,
            self.agent_idle_percent / self.bird_idle_percent,
            if self.over() { "OVER" } else { "ok" }
        );
        text
    }
}

/// So many Services with a VIP each and one pod, and what advertises them.
#[must_use]
pub fn services(count: u16) -> String {
    let backend = pod(Place { node: 1, pod: 1 }).v4;
    let mut text = "apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: many
  namespace: metallb-system
spec:
  addresses: [100.64.0.0/16]
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata:
  name: many
  namespace: metallb-system
spec:
  ipAddressPools: [many]
"
    .to_owned();
    for number in 0..count {
        let [high, low] = (number + 1).to_be_bytes();
        let vip = Ipv4Addr::new(100, 64, high, low);
        text += &format!(
            "---
apiVersion: v1
kind: Service
metadata:
  name: s{number}
  namespace: default
  annotations:
    metallb.io/loadBalancerIPs: {vip}
spec:
  type: LoadBalancer
  ports:
    - name: http
      protocol: TCP
      port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: s{number}-a
  namespace: default
  labels:
    kubernetes.io/service-name: s{number}
addressType: IPv4
ports:
  - name: http
    protocol: TCP
    port: 80
endpoints:
  - addresses: [{backend}]
    nodeName: node1
    conditions:
      ready: true
"
        );
    }
    text
}

/// Waits until the node serves those.
pub fn wait_vips(lab: &Lab, count: u16) -> Result<()> {
    let own = lab.manifests.services.len();
    wait::until_ok(LIMIT, "the node serves all VIPs", || {
        let answer = lab.node(1).ask(&["services"])?;
        let known = answer.as_array().map_or(0, Vec::len);
        ensure!(known == usize::from(count) + own, "{known}");
        Ok(())
    })
}

/// UPDATEs sent to each router, in the order of their names.
fn updates(lab: &Lab) -> Result<Vec<u64>> {
    // The report is written five times a second.
    thread::sleep(Duration::from_millis(500));
    let sent = |row: Value| row["messages"]["updates"]["sent"].as_u64();
    let rows = lab.node(1).routers()?;
    Ok(rows.into_iter().filter_map(sent).collect())
}

/// What the agent holds itself; pages of its program are not counted, of which
/// more are there once routers are.
fn memory_kb(lab: &Lab) -> Result<f64> {
    let pid = lab.node(1).agent_pid().context("no agent")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kb = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kb.context("no RssAnon")
}

/// Once the agent has nothing to do any more: its memory is the same for a
/// second.
fn settled_kb(lab: &Lab) -> Result<f64> {
    let started = Instant::now();
    let mut last = memory_kb(lab)?;
    loop {
        thread::sleep(Duration::from_secs(1));
        let now = memory_kb(lab)?;
        // A page or two come and go.
        if (now - last).abs() < 16.0 || started.elapsed() > LIMIT {
            return Ok(now);
        }
        last = now;
    }
}

/// What a process has computed, all threads together.
fn cpu_ns(pid: u32) -> Result<f64> {
    let mut total = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().unwrap_or_default();
        total += first.parse::<f64>().context("schedstat")?;
    }
    Ok(total)
}
