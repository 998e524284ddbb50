//! One agent: the real gossip, fence, questions to the gateway and election,
//! wired as the shell wires them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use lb_core::fence::{
    Asker, Fence, Output as Fenced, Renewal, Signals, Timing as FenceTiming, Way, Witness, identity,
};
use lb_core::gossip::{Beat, Cluster, Config, Output, Received, Roll, Status, Timing};
use lb_core::lease::{self, Election};
use lb_core::model::{
    Facts, Inputs, Labels, Links, MemberState, Members, Node as NodeObject, NodeName,
};
use lb_core::owner::Absent;
use lb_core::seal::{NodeId, Standing};

use crate::api::Api;
use crate::world::{Random, at};

pub(crate) const LINK: u32 = 2;
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254));
const LEASE: Duration = Duration::from_secs(6);

pub(crate) fn name(node: usize) -> NodeName {
    NodeName::new(&format!("node{node}"))
}

pub(crate) fn number(name: &NodeName) -> usize {
    let number = name.as_str().strip_prefix("node");
    number.and_then(|n| n.parse().ok()).expect("one of ours")
}

fn address(node: usize) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(node + 1).expect("few")).into()
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Beat(Vec<u8>),
    Renewal(Renewal),
}

/// What another agent says, as the seal would hand it over.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: usize,
    boot: u64,
    counter: u64,
    content: Content,
}

/// A question to the API server that is under way.
#[derive(Debug)]
enum Request {
    Look,
    Write(lease::Write),
}

/// How an agent ends that is asked to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// It comes back by then; none: it hands over.
    returns_by_ms: Option<u64>,
    /// It waits no longer for others.
    patience_ms: u64,
}

/// Which nodes were free, and who was there, in an election.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elected {
    pub(crate) free: BTreeSet<NodeName>,
    pub(crate) owned: BTreeSet<usize>,
    leaving: BTreeSet<NodeName>,
}

pub(crate) struct Agent {
    node: usize,
    all: usize,
    boot: u64,
    counter: u64,
    gossip: Cluster,
    pub(crate) fence: Fence,
    asker: Asker,
    witness: Witness,
    election: Election,
    /// The boot of each other one that it has confirmed, and those before.
    confirmed: BTreeMap<usize, u64>,
    retired: BTreeSet<u64>,
    inputs: Inputs,
    released: bool,
    /// Facts, findings or members have changed since it elected last.
    news: bool,
    /// What is to be sent, and to whom.
    pub(crate) outbox: Vec<(usize, Datagram)>,
    pub(crate) ending: Option<Ending>,
    next_round: u64,
    request: Option<(u64, u64, Request)>,
    /// The answers of the gateway that are on their way.
    answers: Vec<(u64, Vec<u8>)>,
}

impl Agent {
    pub(crate) fn start(
        (node, all): (usize, usize),
        (gossip, fence): (Timing, FenceTiming),
        has_gateway: bool,
        roll: &Roll,
        random: &mut Random,
        now_ms: u64,
    ) -> Self {
        let (boot, now) = (random.next(), at(now_ms));
        let config = Config {
            node: name(node),
            boot,
            timing: gossip,
            remembered: roll.remembered(Duration::from_millis(now_ms)),
        };
        let mut facts = Facts::default();
        for n in 0..all {
            let object = NodeObject {
                name: name(n),
                addresses: vec![address(n)],
                pod_cidrs: Vec::new(),
                excluded: false,
                network_unavailable: false,
                labels: Labels::default(),
            };
            facts.nodes.insert(name(n), Arc::new(object));
        }
        let inputs = Inputs {
            facts,
            this_node: name(node),
            secret: Vec::new(),
            links: Links::default(),
            members: Members::default(),
            free: Some(BTreeSet::new()),
        };
        let mut asker = Asker::new(fence);
        let way = Way {
            mac: None,
            own_mac: [2, 0, 0, 0, 0, 1],
            own: Some(address(node)),
        };
        let gateways = has_gateway.then_some(((LINK, GATEWAY), way));
        asker.configure(&gateways.into_iter().collect(), now);
        let mut gossip = Cluster::new(config, random.next(), now);
        let peers = (0..all).map(|n| (name(n), vec![address(n)])).collect();
        gossip.configure(&peers, now);
        let mut this = Self {
            node,
            all,
            boot,
            counter: 0,
            gossip,
            fence: Fence::new(name(node), boot, fence, now),
            asker,
            witness: Witness::new(name(node)),
            election: Election::new(&identity(&name(node), boot), lease::Timing::of(LEASE)),
            confirmed: BTreeMap::new(),
            retired: BTreeSet::new(),
            inputs,
            released: false,
            news: true,
            outbox: Vec::new(),
            ending: None,
            next_round: now_ms + random.below(500),
            request: None,
            answers: Vec::new(),
        };
        this.drain_gossip(now_ms);
        this
    }

    /// What it owns by what it knows now, if that is news.
    pub(crate) fn elect(&mut self) -> Option<Elected> {
        if !core::mem::take(&mut self.news) {
            return None;
        }
        let absent = Absent::new(&self.inputs);
        let members = self.inputs.members.by_node.iter();
        let leave = members
            .filter(|(_, m)| m.state == MemberState::Leaving && m.left)
            .map(|(node, _)| node.clone());
        let leaving = leave.collect();
        let owner = |vip: usize| {
            let mut order = (0..self.all).map(|turn| (vip + turn) % self.all);
            order.find(|n| absent.why(&name(*n)).is_none())
        };
        let ours = (0..self.all).filter(|vip| owner(*vip) == Some(self.node));
        Some(Elected {
            free: self.inputs.free.clone().unwrap_or_default(),
            owned: ours.collect(),
            leaving,
        })
    }

    /// Its kernel has what that election gives.
    pub(crate) fn applied(&mut self, elected: &Elected, now_ms: u64) {
        self.fence.applied(&elected.free, at(now_ms));
        self.gossip.acted(&elected.leaving, at(now_ms));
        self.drain_gossip(now_ms);
    }

    /// Whom the next process is to know, as the shell writes it down.
    pub(crate) fn roll(&self, before: &Roll, now_ms: u64) -> Roll {
        let now = Duration::from_millis(now_ms);
        before.with(&self.inputs.members, &name(self.node), now)
    }

    /// It is programmed once it has elected for the first time.
    pub(crate) fn set_programmed(&mut self, now_ms: u64) {
        let status = Status {
            programmed: true,
            uplinks_up: true,
        };
        self.gossip.set_status(status, at(now_ms));
        self.drain_gossip(now_ms);
    }

    pub(crate) fn terminate(&mut self, returns_by_ms: Option<u64>, now_ms: u64) {
        let returns_in = returns_by_ms.map(|by| at(by).since(at(now_ms)));
        self.gossip.leave(returns_in, at(now_ms));
        self.drain_gossip(now_ms);
        let patience_ms = if returns_in.is_some() { 1000 } else { 2500 };
        self.ending = Some(Ending {
            returns_by_ms,
            patience_ms: now_ms + patience_ms,
        });
    }

    /// Whether it goes for good.
    pub(crate) fn leaves(&self) -> bool {
        self.ending
            .is_some_and(|ending| ending.returns_by_ms.is_none())
    }

    /// Whether it has ended: others have what it had, or it waits no longer.
    pub(crate) fn has_ended(&mut self, owned: &BTreeSet<usize>, now_ms: u64) -> bool {
        let Some(ending) = self.ending else {
            return false;
        };
        let late = now_ms >= ending.patience_ms;
        match ending.returns_by_ms {
            None => late || self.released && owned.is_empty(),
            Some(by) if self.released => {
                if self.fence.keep(at(by), self.gossip.told(), at(now_ms)) {
                    return true;
                }
                self.terminate(None, now_ms);
                false
            }
            Some(_) => {
                if late {
                    self.terminate(None, now_ms);
                }
                false
            }
        }
    }

    pub(crate) fn receive(&mut self, datagram: Datagram, now_ms: u64) {
        let from = datagram.from;
        if self.retired.contains(&datagram.boot) {
            return;
        }
        let known = self.confirmed.get(&from) == Some(&datagram.boot);
        match datagram.content {
            Content::Beat(payload) => {
                let received = Received {
                    sender: NodeId::of(&name(from)),
                    boot: datagram.boot,
                    counter: datagram.counter,
                    standing: if known {
                        Standing::Confirmed
                    } else {
                        Standing::New
                    },
                    from: address(from),
                    beat: Beat::decode(&payload).expect("what agents send is well formed"),
                };
                self.gossip.handle_beat(received, at(now_ms));
                self.drain_gossip(now_ms);
            }
            // As the shell drops what a boot says that is not confirmed.
            Content::Renewal(renewal) if known => {
                let renewal = Renewal::decode(&renewal.encode()).expect("well formed");
                self.fence.handle_renewal(&name(from), &renewal, at(now_ms));
            }
            Content::Renewal(_) => {}
        }
    }

    /// What is due. `reaches`: the gateway, and the API server.
    pub(crate) fn run(&mut self, reaches: Reaches<'_>, random: &mut Random, now_ms: u64) {
        let now = at(now_ms);
        if self
            .gossip
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.gossip.handle_timeout(now);
        }
        self.drain_gossip(now_ms);
        let doubts = self.fence.doubts(now);
        self.asker.ask(doubts.decides, now);
        self.asker.handle_timeout(now);
        while let Some(question) = self.asker.poll_output() {
            if reaches.gateway && !random.chance(reaches.loss_percent * 2) {
                let after = 1 + random.below(reaches.delay_ms);
                self.answers.push((now_ms + after, answer(&question.frame)));
            }
        }
        let answers = core::mem::take(&mut self.answers);
        for (due, frame) in answers {
            if due <= now_ms {
                self.asker.handle_frame(LINK, &frame);
            } else {
                self.answers.push((due, frame));
            }
        }
        if self.witness.doubt(doubts, now) {
            self.next_round = self.next_round.min(now_ms);
        }
        self.talk_to_api(reaches.api, random, now_ms);
        self.fence.signals(
            Signals {
                carrier: true,
                gateway: self.asker.finding(),
                arbiter: self.witness.finding(),
            },
            now,
        );
        self.fence.handle_timeout(now);
        if self.inputs.free.as_ref() != Some(self.fence.free()) {
            self.inputs.free = Some(self.fence.take());
            self.news = true;
        }
        while let Some(Fenced::Send(to, renewal)) = self.fence.poll_output() {
            self.say(number(&to), Content::Renewal(renewal));
        }
    }

    fn say(&mut self, to: usize, content: Content) {
        self.counter += 1;
        let datagram = Datagram {
            from: self.node,
            boot: self.boot,
            counter: self.counter,
            content,
        };
        self.outbox.push((to, datagram));
    }

    /// As `driver::peers` and `driver::fence` pass it on.
    fn drain_gossip(&mut self, now_ms: u64) {
        while let Some(output) = self.gossip.poll_output() {
            match output {
                Output::Send { to, payload, .. } => {
                    let to = (0..self.all).find(|n| NodeId::of(&name(*n)) == to);
                    self.say(to.expect("one of ours"), Content::Beat(payload));
                }
                Output::Confirm { sender, boot, .. } => {
                    let from = (0..self.all).find(|n| NodeId::of(&name(*n)) == sender);
                    let from = from.expect("one of ours");
                    if let Some(before) = self.confirmed.insert(from, boot) {
                        self.retired.insert(before);
                    }
                }
                Output::Members(members) => self.take_members(members, now_ms),
                Output::Released => {
                    self.released = true;
                    self.take_members(self.gossip.members(), now_ms);
                }
            }
        }
    }

    fn take_members(&mut self, mut members: Members, now_ms: u64) {
        let this = name(self.node);
        let mut others = members.by_node.iter().filter(|(node, _)| **node != this);
        let released = self.released && others.any(|(_, member)| member.counts());
        if let Some(own) = members.by_node.get_mut(&this)
            && own.state == MemberState::Leaving
            && !released
        {
            own.state = MemberState::Alive;
        }
        if members.settled {
            let there = members.by_node.iter().filter(|(_, member)| !member.left);
            let there = there.map(|(node, member)| (node.clone(), member.returns_by));
            self.fence.peers(&there.collect(), at(now_ms));
        }
        self.news |= members != self.inputs.members;
        self.inputs.members = members;
    }

    /// One request at a time; it reaches the server when its answer is due.
    fn talk_to_api(&mut self, api: Option<&mut Api>, random: &mut Random, now_ms: u64) {
        let now = at(now_ms);
        if self.request.is_none() && now_ms >= self.next_round {
            let slow = if random.chance(5) { 300 } else { 0 };
            let due = now_ms + 2 + random.below(20) + random.below(slow + 1);
            self.request = Some((now_ms, due, Request::Look));
            return;
        }
        let Some((began_ms, _, request)) = self.request.take_if(|(_, due, _)| *due <= now_ms)
        else {
            return;
        };
        let began = at(began_ms);
        let failed = api.is_none();
        if let Some(api) = api {
            match request {
                Request::Look => {
                    self.election.saw(api.look(), now);
                    self.witness.read(api.look().as_ref(), began, now);
                    if let Some(write) = self.election.attempt(now) {
                        let due = now_ms + 2 + random.below(20);
                        self.request = Some((now_ms, due, Request::Write(write)));
                        return;
                    }
                }
                Request::Write(write) => {
                    let outcome = api.write(&write);
                    if let lease::Outcome::Written(version) = &outcome {
                        self.witness.renewed(version, began);
                    }
                    self.election.wrote(&write, outcome, began, now);
                }
            }
        }
        let usual = self.election.pause(failed, now);
        let hurried = self.witness.pause(self.election.holds(now).is_some());
        let pause = hurried.map_or(usual, |hurried| hurried.min(usual));
        self.next_round = now_ms + u64::try_from(pause.as_millis()).expect("short");
    }
}

/// What a node reaches at a moment.
pub(crate) struct Reaches<'a> {
    pub(crate) gateway: bool,
    pub(crate) api: Option<&'a mut Api>,
    pub(crate) loss_percent: u64,
    pub(crate) delay_ms: u64,
}

/// What a gateway answers to a request by ARP.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut frame = question.to_vec();
    frame[20..22].copy_from_slice(&[0, 2]);
    frame[22..28].copy_from_slice(&[2, 0, 0, 0, 0, 0xfe]);
    frame[28..32].copy_from_slice(&question[38..42]);
    frame
}
