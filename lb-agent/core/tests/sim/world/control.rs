//! What is not traffic: agents that sweep, listen and start, EndpointSlices, and
//! everything that is done to the cluster.

use std::{collections::BTreeMap, rc::Rc};

use lb_core::moved::Presence;

use super::{Event, NODES, SWEEP_MS, World};
use crate::{
    agent::{at, since_start},
    endpoints::{NodeId, PodId, Set},
    node::Time,
    pod::Pod,
    scenario::Action,
};

/// How long a datagram between agents travels, from and to.
const DATAGRAM_MS: (Time, Time) = (1, 50);
const DATAGRAM_LOSS_PER_MILLE: u64 = 20;
/// How long it takes until an agent's tables say who is waited for.
const PLAN_MS: (Time, Time) = (1, 100);
/// How long after a change an agent has looked through its flows.
const WALK_MS: (Time, Time) = (20, 500);
/// How long it takes the others to notice that a node is dead.
const DEATH_NOTICED_MS: Time = 3_000;
/// How long it takes until the endpoints of a dead node leave the slices.
const EVICTION_MS: Time = 20_000;
/// How long a VIP outlives the agent of its owner.
const EXPIRY_MS: Time = 5_000;

impl World {
    pub(super) fn sweep(&mut self, id: NodeId) {
        self.at(self.now + SWEEP_MS, Event::Sweep(id));
        self.walk(id);
    }

    fn talks(&self, id: NodeId) -> bool {
        let node = &self.nodes[usize::from(id) - 1];
        self.channel && node.up && node.agent.up
    }

    pub(super) fn walk(&mut self, id: NodeId) {
        if self.talks(id) {
            let now = self.now;
            self.nodes[usize::from(id) - 1].walk(&self.tuples, now);
            self.settle(id);
        }
    }

    /// A node has applied a change.
    pub(super) fn tables_changed(&mut self, id: NodeId) {
        if self.talks(id) {
            let now = self.now;
            let node = self.node(id);
            let sets = node.sets();
            node.agent.talk.set_tables(&sets, at(now));
            self.settle(id);
            let looks = now + self.rng.between(WALK_MS.0, WALK_MS.1);
            self.at(looks, Event::Walk(id));
        }
    }

    pub(super) fn datagram(&mut self, from: NodeId, to: NodeId, datagram: &[u8]) {
        if self.talks(to) {
            let now = self.now;
            let node = self.node(to);
            node.agent.talk.handle_datagram(from, datagram, at(now));
            self.settle(to);
        }
    }

    pub(super) fn timer(&mut self, id: NodeId) {
        if self.timers.get(&id) == Some(&self.now) {
            self.timers.remove(&id);
        }
        if self.talks(id) {
            let now = self.now;
            self.node(id).agent.talk.handle_timeout(at(now));
            self.settle(id);
        }
    }

    /// Sends what an agent has to send, and arranges its next call.
    fn settle(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node(id);
        let leaving = node.settle(now);
        let deadline = node.agent.talk.deadline(at(now)).map(since_start);
        for (to, datagram) in leaving {
            if !self.rng.per_mille(DATAGRAM_LOSS_PER_MILLE) {
                let arrives = now + self.rng.between(DATAGRAM_MS.0, DATAGRAM_MS.1);
                self.at(arrives, Event::Datagram(id, to, datagram));
            }
        }
        if self.plans.insert(id) {
            let planned = now + self.rng.between(PLAN_MS.0, PLAN_MS.1);
            self.at(planned, Event::Plan(id));
        }
        // Milliseconds are rounded down.
        let Some(deadline) = deadline.map(|deadline| deadline.max(now) + 1) else {
            return;
        };
        if self.timers.get(&id).is_none_or(|&timer| deadline < timer) {
            self.timers.insert(id, deadline);
            self.at(deadline, Event::Timer(id));
        }
    }

    pub(super) fn plan(&mut self, id: NodeId) {
        self.plans.remove(&id);
        if self.talks(id) {
            let now = self.now;
            self.node(id).plan(now);
        }
    }

    fn presences(&self, id: NodeId) -> BTreeMap<NodeId, Presence> {
        let others = self.known.iter().filter(|&&node| node != id);
        let presence = |node| match self.dead.contains(node) {
            true => Presence::Gone,
            false => Presence::There,
        };
        others.map(|node| (*node, presence(node))).collect()
    }

    /// What gossip says has changed.
    fn tell_presences(&mut self) {
        for id in 1..=NODES {
            if self.talks(id) {
                let (now, presences) = (self.now, self.presences(id));
                self.node(id).agent.talk.set_peers(&presences, at(now));
                self.settle(id);
            }
        }
    }

    /// A new process of an agent, on maps as they are.
    pub(super) fn begin_agent(&mut self, id: NodeId) {
        self.boots += 1;
        let (boot, presences, now) = (self.boots, self.presences(id), self.now);
        let tuples = std::mem::take(&mut self.tuples);
        self.node(id).start_agent(boot, &presences, &tuples, now);
        self.tuples = tuples;
        self.settle(id);
        self.at(now + WALK_MS.1, Event::Walk(id));
    }

    /// An agent starts, and reads the slices.
    fn start_agent(&mut self, id: NodeId, maps_are_kept: bool) {
        let (now, truth) = (self.now, Rc::clone(&self.truth));
        let channel = self.channel;
        self.known.insert(id);
        self.dead.retain(|&dead| dead != id);
        let node = self.node(id);
        node.agent.up = true;
        if maps_are_kept {
            node.apply(&truth, now);
        } else {
            node.forget(&truth, now, channel);
        }
        if channel {
            self.begin_agent(id);
            self.tell_presences();
        }
    }

    /// What the EndpointSlices say of the pods.
    pub(super) fn slices(&mut self) -> Rc<Set> {
        let alive = || self.pods.iter().filter(|pod| pod.alive);
        let none_ready = !alive().any(Pod::takes_new_flows);
        let endpoints = alive().map(|pod| {
            let serves = none_ready && pod.draining && pod.ready;
            pod.endpoint(pod.takes_new_flows() || serves)
        });
        self.tables.set(endpoints.collect())
    }

    fn publish(&mut self) {
        self.truth = self.slices();
        for id in 1..=NODES {
            let (low, high) = self.plan.delay_ms;
            let arrives = self.now + self.rng.between(low, high);
            // No agent hears of an older change after a newer one.
            let heard = &mut self.heard[usize::from(id) - 1];
            *heard = arrives.max(*heard + 1);
            let at = *heard;
            self.at(at, Event::Apply(id, Rc::clone(&self.truth)));
        }
    }

    fn random_pod(&mut self, suits: impl Fn(&Pod) -> bool) -> Option<usize> {
        let pods = self.pods.iter().filter(|pod| pod.alive && suits(pod));
        let pods: Vec<PodId> = pods.map(|pod| pod.id).collect();
        self.rng.choose(&pods).map(usize::from)
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Add => {
                let up = self.up();
                let node = self.rng.choose(&up).unwrap_or(1);
                self.add(node);
            }
            Action::AddOn(node) => self.add(node),
            Action::Drain { gone_after } => {
                if let Some(pod) = self.random_pod(Pod::takes_new_flows) {
                    self.pods[pod].draining = true;
                    self.at(self.now + gone_after, Event::Act(Action::Remove(pod)));
                    self.publish();
                }
            }
            Action::Remove(pod) => {
                self.pods[pod].die();
                self.publish();
            }
            Action::Unready { back_after } => {
                if let Some(pod) = self.random_pod(Pod::takes_new_flows) {
                    self.pods[pod].ready = false;
                    self.at(self.now + back_after, Event::Act(Action::Ready(pod)));
                    self.publish();
                }
            }
            Action::Ready(pod) => {
                self.pods[pod].ready = true;
                self.publish();
            }
            Action::Ingress(node) => self.ingress = node,
            Action::AgentDown { node, back_after } => {
                self.node(node).agent.up = false;
                self.at(self.now + EXPIRY_MS, Event::Act(Action::Expire(node)));
                self.at(self.now + DEATH_NOTICED_MS, Event::Act(Action::Dead(node)));
                self.at(self.now + back_after, Event::Act(Action::AgentUp(node)));
            }
            Action::Expire(node) if self.ingress == node && !self.node(node).agent.up => {
                self.move_ingress();
            }
            Action::Expire(_) => {}
            Action::AgentUp(node) if self.node(node).up => self.start_agent(node, true),
            Action::AgentUp(_) => {}
            Action::Wipe(node) => {
                let tuples = std::mem::take(&mut self.tuples);
                let displaced = self.node(node).displaced(&tuples);
                self.tuples = tuples;
                self.forgotten.extend(displaced);
                self.start_agent(node, false);
            }
            Action::NodeDown { node, back_after } => self.crash(node, back_after),
            Action::Dead(node) if !self.node(node).agent.up => {
                self.dead.push(node);
                self.tell_presences();
            }
            Action::Dead(_) => {}
            Action::Evict => self.publish(),
            Action::NodeUp(node) => {
                self.node(node).up = true;
                self.start_agent(node, false);
            }
        }
    }

    fn add(&mut self, node: NodeId) {
        let id = PodId::try_from(self.pods.len()).unwrap_or(0);
        self.pods.push(Pod::new(id, node));
        self.publish();
    }

    fn crash(&mut self, id: NodeId, back_after: Time) {
        let now = self.now;
        let node = self.node(id);
        node.up = false;
        node.agent.up = false;
        for pod in self.pods.iter_mut().filter(|pod| pod.node == id) {
            pod.die();
        }
        if self.ingress == id {
            self.move_ingress();
        }
        self.at(now + DEATH_NOTICED_MS, Event::Act(Action::Dead(id)));
        self.at(now + EVICTION_MS, Event::Act(Action::Evict));
        self.at(now + back_after, Event::Act(Action::NodeUp(id)));
    }
}
