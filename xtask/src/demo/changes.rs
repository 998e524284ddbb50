//! The second half: things change under open connections, and nobody notices.

use anyhow::Result;
use lb_tests::lab::{ECHO_UDP_PORT, Endpoint, Lab, NGINX_PORT, Wire};
use lb_tests::load::{Load, Tally, Target, spread};
use serde_json::{Value, json};

use super::forwarding::vips;
use super::story::Story;

/// Per family.
const CONNECTIONS: usize = 100;
const UDP_FLOWS: usize = 20;
/// Before a change counts as survived, every flow was answered this often.
const ANSWERS: u64 = 10;
const NEW_CONNECTIONS: u32 = 200;

struct Changes<'a> {
    lab: &'a mut Lab,
    story: &'a mut Story,
    load: Load,
    steps: Vec<Value>,
}

pub(super) fn under_traffic(lab: &mut Lab, story: &mut Story) -> Result<()> {
    story.chapter("200 connections stay open, while things change");
    let mut targets = Vec::new();
    let udp = lab.manifests.services[1].vip;
    for (tcp, udp) in vips(lab).both().into_iter().zip(udp.both()) {
        targets.extend([Target::tcp((tcp, NGINX_PORT)); CONNECTIONS]);
        targets.extend([Target::udp((udp, ECHO_UDP_PORT)); UDP_FLOWS]);
    }
    let load = Load::start(&lab.client(), targets)?;
    story.say("Each sends a line 20 times a second and is answered; so do 40 UDP flows, where");
    story.say("a packet lost is an answer lost.");
    let mut changes = Changes {
        lab,
        story,
        load,
        steps: Vec::new(),
    };
    changes.all()?;
    let Changes {
        story, load, steps, ..
    } = changes;
    let total = Tally::of(load.finish()?);
    story.say("");
    story.promise(
        total.is_clean(),
        &format!(
            "all together: {} answers, {} connections reset, {} answers lost; the longest wait \
             was {} ms",
            total.answered,
            total.reset,
            total.lost,
            total.longest.as_millis()
        ),
    );
    story.note("changes", steps.into());
    story.note("connections", json!(2 * CONNECTIONS));
    story.note("udp_flows", json!(2 * UDP_FLOWS));
    story.note("total", document(&total));
    Ok(())
}

impl Changes<'_> {
    fn all(&mut self) -> Result<()> {
        let pod = self.lab.pod(2, 1).name();
        self.step("a pod is being deleted: it keeps its connections", |lab| {
            set_pod(lab, Endpoint::Draining)
        })?;
        let without = self.new_connections()?;
        self.story.promise(
            !without.contains_key(&pod),
            &format!("{NEW_CONNECTIONS} new connections went to the other pods, not to {pod}"),
        );
        self.step("the pod comes back", |lab| set_pod(lab, Endpoint::Ready))?;
        let with = self.new_connections()?;
        self.story.promise(
            with.contains_key(&pod),
            &format!("new connections reach {pod} again"),
        );
        if self.lab.spec().wire == Wire::Routed {
            self.step("the router sends to another node", |lab| lab.route_vips(2))?;
            self.step("and back", |lab| lab.route_vips(1))?;
        } else {
            self.owner_changes()?;
        }
        let owner = self.ingress()?;
        let name = format!("the agent of node{owner} is killed with -9, and is away");
        self.step(&name, |lab| lab.node(owner).kill_agent())?;
        self.step("the agent is started again", |lab| {
            lab.node(owner).start_agent()?;
            lab.node(owner).wait_ready()
        })
    }

    fn owner_changes(&mut self) -> Result<()> {
        let old = self.ingress()?;
        let name = format!("node{old} is to answer for no addresses: another node does");
        self.step(&name, |lab| {
            lab.exclude_node(old, true);
            lab.write()?;
            own_anew(lab, |node| node != old)
        })?;
        let away = self.ingress()?;
        self.step(&format!("node{old} may answer again"), |lab| {
            lab.exclude_node(old, false);
            lab.write()?;
            lab.wait_owner(vips(lab).v4.into(), |node| node != away)?;
            own_anew(lab, |_| true)
        })
    }

    /// The node to which the client's IPv4 packets go.
    fn ingress(&self) -> Result<u8> {
        if self.lab.spec().wire == Wire::Routed {
            return Ok(1);
        }
        let vip = vips(self.lab).v4.into();
        Ok(self.lab.wait_owner(vip, |_| true)?.number())
    }

    /// One change, and what it did to the open flows.
    fn step(&mut self, name: &str, change: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
        let before = Tally::of(self.load.look()?);
        change(self.lab)?;
        self.load.wait_for_answers(ANSWERS)?;
        let added = Tally::of(self.load.look()?).since(&before);
        self.story.promise(
            added.is_clean(),
            &format!(
                "{name}: {} answers, {} reset, {} lost{}",
                added.answered,
                added.reset,
                added.lost,
                strange(&added)
            ),
        );
        let mut document = document(&added);
        document["change"] = json!(name);
        self.steps.push(document);
        Ok(())
    }

    /// Which pods take new connections, of both families.
    fn new_connections(&mut self) -> Result<std::collections::BTreeMap<String, u32>> {
        let mut pods = std::collections::BTreeMap::new();
        for vip in vips(self.lab).both() {
            let target = Target::tcp((vip, NGINX_PORT));
            let new = spread(&self.lab.client(), target, NEW_CONNECTIONS / 2)?;
            if new.lost + new.masked > 0 {
                self.story
                    .promise(false, &format!("new connections work: {new:?}"));
            }
            for (pod, count) in new.by_pod {
                *pods.entry(pod).or_default() += count;
            }
        }
        Ok(pods)
    }
}

fn set_pod(lab: &mut Lab, endpoint: Endpoint) -> Result<()> {
    lab.set_endpoint(2, 1, endpoint);
    lab.write()?;
    lab.wait_applied()
}

/// Waits until nodes that are meant own the VIPs, and the client sends to them.
fn own_anew(lab: &Lab, meant: impl Fn(u8) -> bool) -> Result<()> {
    for vip in vips(lab).both() {
        let owner = lab.wait_owner(vip, &meant)?;
        lab.wait_client_sends_to(vip, owner.number())?;
    }
    Ok(())
}

/// What is worth saying if it happened.
fn strange(tally: &Tally) -> String {
    let counts = [
        (tally.moved, "answered by another pod"),
        (tally.masked, "without the client's address"),
        (tally.stalled, "late by more than 2 s"),
        (
            tally.udp_moved,
            "times a UDP flow got another pod (best effort)",
        ),
    ];
    counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!(", {count} {what}"))
        .collect()
}

fn document(tally: &Tally) -> Value {
    json!({
        "answers": tally.answered,
        "connections_reset": tally.reset,
        "answers_lost": tally.lost,
        "pod_lost": tally.moved,
        "udp_flows_at_another_pod": tally.udp_moved,
        "client_address_lost": tally.masked,
        "time_lost_over_2s": tally.stalled,
        "longest_wait_ms": u64::try_from(tally.longest.as_millis()).unwrap_or(u64::MAX),
    })
}
