//! What is not traffic: agents that sweep, listen and start, EndpointSlices, and
//! everything that is done to the cluster.

use std::rc::Rc;

use super::{Event, NODES, SWEEP_MS, World};
use crate::{
    endpoints::{NodeId, PodId, Set},
    node::Time,
    pod::Pod,
    scenario::Action,
};

const MESSAGE_MS: Time = 1_200;
/// How long it takes the others to notice that a node is dead.
const DEATH_NOTICED_MS: Time = 3_000;
/// How long it takes until the endpoints of a dead node leave the slices.
const EVICTION_MS: Time = 20_000;
/// How long a VIP outlives the agent of its owner.
const EXPIRY_MS: Time = 5_000;

impl World {
    pub(super) fn sweep(&mut self, id: NodeId) {
        let now = self.now;
        self.at(now + SWEEP_MS, Event::Sweep(id));
        let mut peers = self.up();
        peers.retain(|&peer| peer != id);
        let node = &mut self.nodes[usize::from(id) - 1];
        if !node.up || !node.agent.up {
            return;
        }
        for (to, message) in node.sweep(&self.tuples, &peers, now) {
            self.at(now + MESSAGE_MS, Event::Message(id, to, Box::new(message)));
        }
    }

    /// An agent starts: reads the slices, and asks the others to say again
    /// what they said while it was away.
    fn start_agent(&mut self, id: NodeId, maps_are_kept: bool) {
        let (now, truth) = (self.now, Rc::clone(&self.truth));
        let peers: Vec<NodeId> = (1..=NODES).filter(|&peer| peer != id).collect();
        let channel = self.channel;
        let node = self.node(id);
        if maps_are_kept {
            node.apply(&truth, now);
        } else {
            node.forget(&truth, now, channel);
        }
        let hello = node.agent.start(peers.iter().copied());
        if self.channel {
            for peer in peers {
                let message = Event::Message(id, peer, Box::new(hello.clone()));
                self.at(now + MESSAGE_MS, message);
            }
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
            Action::Dead(node) => self.dead.push(node),
            Action::Evict => self.publish(),
            Action::NodeUp(node) => {
                self.node(node).up = true;
                self.dead.retain(|&dead| dead != node);
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
