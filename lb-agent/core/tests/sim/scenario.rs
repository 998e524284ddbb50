//! What is done to the cluster: the scenarios of flow-consistency.md section
//! 3, and single changes.

use crate::{endpoints::NodeId, node::Time, rng::Rng, world::END_MS};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A pod on any node.
    Add,
    AddOn(NodeId),
    /// Some pod gets no new flows, and is gone later.
    Drain {
        gone_after: Time,
    },
    Remove(usize),
    Unready {
        back_after: Time,
    },
    Ready(usize),
    Ingress(NodeId),
    AgentDown {
        node: NodeId,
        back_after: Time,
    },
    AgentUp(NodeId),
    /// What the node owned while its agent lived is no longer its.
    Expire(NodeId),
    /// The node's maps are lost.
    Wipe(NodeId),
    NodeDown {
        node: NodeId,
        back_after: Time,
    },
    /// The others have noticed that it is dead.
    Dead(NodeId),
    /// The slices are written anew.
    Evict,
    NodeUp(NodeId),
}

/// One run of a scenario.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Nodes at first: 1 to this.
    pub(crate) nodes: NodeId,
    /// Pods at first.
    pub(crate) pods: u16,
    pub(crate) actions: Vec<(Time, Action)>,
    /// How late an agent hears of a change, from and to.
    pub(crate) delay_ms: (Time, Time),
    /// Sets of the table of handshakes; a power of two.
    pub(crate) embryo_sets: usize,
    pub(crate) flood: bool,
    /// Connections that begin at once from the port of the one before.
    pub(crate) reuse_per_mille: u64,
}

impl Plan {
    fn new() -> Self {
        Self {
            nodes: 6,
            pods: 8,
            actions: Vec::new(),
            delay_ms: (20, 300),
            embryo_sets: 64,
            flood: false,
            reuse_per_mille: 100,
        }
    }

    fn at(&mut self, at: Time, action: Action) {
        self.actions.push((at, action));
    }

    /// Additions and drains by turns.
    fn churn(&mut self, rng: &mut Rng) {
        let mut at = rng.between(20_000, 40_000);
        while at < END_MS {
            self.at(at, Action::Add);
            at += rng.between(10_000, 25_000);
            let gone_after = rng.between(10_000, 60_000);
            self.at(at, Action::Drain { gone_after });
            at += rng.between(10_000, 25_000);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    AddOne,
    AddTwo,
    Flap,
    ScaleUp,
    RollingUpdate,
    NewNode,
    Disagreement3s,
    Disagreement10s,
    ReadinessFlaps,
    Flood,
    SizeClass,
    PortReuse,
    Chaos,
    AgentDead,
    MapsWiped,
    // One change at a time.
    DrainOne,
    OneReadinessFlap,
    OnlyPodUnready,
    OwnerMoves,
    AgentRestart,
    FreshIngress,
}

impl Scenario {
    pub(crate) const ALL: [Self; 21] = [
        Self::AddOne,
        Self::AddTwo,
        Self::Flap,
        Self::ScaleUp,
        Self::RollingUpdate,
        Self::NewNode,
        Self::Disagreement3s,
        Self::Disagreement10s,
        Self::ReadinessFlaps,
        Self::Flood,
        Self::SizeClass,
        Self::PortReuse,
        Self::Chaos,
        Self::AgentDead,
        Self::MapsWiped,
        Self::DrainOne,
        Self::OneReadinessFlap,
        Self::OnlyPodUnready,
        Self::OwnerMoves,
        Self::AgentRestart,
        Self::FreshIngress,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AddOne => "add 1 pod",
            Self::AddTwo => "add 2 pods",
            Self::Flap => "flap 8-10-8",
            Self::ScaleUp => "HPA 3 to 12",
            Self::RollingUpdate => "rolling update, long drain",
            Self::NewNode => "new node and new pods",
            Self::Disagreement3s => "disagreement, 3 s",
            Self::Disagreement10s => "disagreement, 10 s",
            Self::ReadinessFlaps => "readiness flaps",
            Self::Flood => "SYN and ACK flood",
            Self::SizeClass => "size class",
            Self::PortReuse => "port reuse",
            Self::Chaos => "chaos",
            Self::AgentDead => "agent dead 90 s",
            Self::MapsWiped => "maps wiped",
            Self::DrainOne => "drain 1 pod",
            Self::OneReadinessFlap => "1 readiness flap",
            Self::OnlyPodUnready => "the only pod unready",
            Self::OwnerMoves => "owner moves",
            Self::AgentRestart => "agent restart",
            Self::FreshIngress => "new node is ingress",
        }
    }

    /// Losses and stale-tuple losses of 10,000 flows in column F; what is not
    /// in it should lose nothing.
    pub(crate) fn column_f(self) -> f64 {
        match self {
            Self::Flap => 0.8,
            Self::ScaleUp => 0.9,
            Self::RollingUpdate => 2.5,
            Self::Disagreement3s => 2.0,
            Self::Disagreement10s => 1.7,
            Self::ReadinessFlaps => 3.0,
            Self::PortReuse => 4.0,
            Self::Chaos => 4.8,
            Self::AgentDead => 7.4,
            Self::MapsWiped => 54.0,
            Self::AddOne
            | Self::AddTwo
            | Self::NewNode
            | Self::Flood
            | Self::SizeClass
            | Self::DrainOne
            | Self::OneReadinessFlap
            | Self::OnlyPodUnready
            | Self::OwnerMoves
            | Self::AgentRestart
            | Self::FreshIngress => 0.0,
        }
    }

    pub(crate) fn plan(self, rng: &mut Rng) -> Plan {
        let mut plan = Plan::new();
        let once = rng.between(60_000, 150_000);
        match self {
            Self::AddOne => plan.at(once, Action::Add),
            Self::AddTwo => {
                plan.at(once, Action::Add);
                plan.at(once + rng.between(5_000, 60_000), Action::Add);
            }
            Self::Flap => flap(&mut plan, rng),
            Self::ScaleUp => {
                plan.pods = 3;
                for step in 1..10 {
                    plan.at(step * rng.between(15_000, 25_000), Action::Add);
                }
            }
            Self::RollingUpdate => rolling_update(&mut plan, rng),
            Self::NewNode => new_node(&mut plan, once, rng),
            Self::Disagreement3s => {
                plan.delay_ms = (0, 3_000);
                plan.churn(rng);
            }
            Self::Disagreement10s => {
                plan.delay_ms = (0, 10_000);
                plan.churn(rng);
            }
            Self::ReadinessFlaps => readiness_flaps(&mut plan, rng),
            Self::Flood => {
                plan.flood = true;
                plan.embryo_sets = 8;
                plan.churn(rng);
            }
            Self::SizeClass => size_class(&mut plan, rng),
            Self::PortReuse => {
                plan.reuse_per_mille = 700;
                plan.churn(rng);
            }
            Self::Chaos => chaos(&mut plan, rng),
            Self::AgentDead => {
                plan.churn(rng);
                let node = any_node(rng);
                let back_after = 90_000;
                plan.at(once, Action::AgentDown { node, back_after });
            }
            Self::MapsWiped => {
                plan.at(rng.between(60_000, 150_000), Action::Add);
                plan.at(once, Action::Wipe(any_node(rng)));
            }
            Self::DrainOne => plan.at(
                once,
                Action::Drain {
                    gone_after: 100_000,
                },
            ),
            Self::OneReadinessFlap => {
                let back_after = rng.between(1_000, 60_000);
                plan.at(once, Action::Unready { back_after });
            }
            Self::OnlyPodUnready => {
                plan.pods = 1;
                let back_after = rng.between(1_000, 60_000);
                plan.at(once, Action::Unready { back_after });
            }
            Self::OwnerMoves => {}
            Self::AgentRestart => {
                let (node, back_after) = (any_node(rng), rng.between(1_000, 30_000));
                plan.at(once, Action::AgentDown { node, back_after });
                // One change that it only learns of when it comes back.
                plan.at(once + rng.between(0, 60_000), Action::Add);
            }
            Self::FreshIngress => {
                plan.nodes = 5;
                plan.at(once, Action::NodeUp(6));
                plan.at(once, Action::Ingress(6));
            }
        }
        plan
    }
}

fn any_node(rng: &mut Rng) -> NodeId {
    rng.choose(&[1, 2, 3, 4, 5, 6]).unwrap_or(1)
}

fn flap(plan: &mut Plan, rng: &mut Rng) {
    let mut at = rng.between(20_000, 30_000);
    while at < END_MS {
        for _ in 0..2 {
            plan.at(at, Action::Add);
            at += rng.between(100, 5_000);
        }
        at += rng.between(10_000, 20_000);
        for _ in 0..2 {
            let gone_after = rng.between(5_000, 30_000);
            plan.at(at, Action::Drain { gone_after });
            at += rng.between(100, 5_000);
        }
        at += rng.between(10_000, 20_000);
    }
}

fn rolling_update(plan: &mut Plan, rng: &mut Rng) {
    let mut at = rng.between(20_000, 30_000);
    for _ in 0..plan.pods {
        plan.at(at, Action::Add);
        at += rng.between(1_000, 5_000);
        let gone_after = rng.between(100_000, 300_000);
        plan.at(at, Action::Drain { gone_after });
        at += rng.between(10_000, 20_000);
    }
}

fn new_node(plan: &mut Plan, at: Time, rng: &mut Rng) {
    plan.nodes = 5;
    plan.at(at, Action::NodeUp(6));
    plan.at(at + rng.between(100, 3_000), Action::AddOn(6));
    plan.at(at + rng.between(100, 10_000), Action::Ingress(6));
    plan.at(at + rng.between(5_000, 20_000), Action::AddOn(6));
}

fn readiness_flaps(plan: &mut Plan, rng: &mut Rng) {
    let mut at = rng.between(10_000, 20_000);
    while at < END_MS {
        let back_after = rng.between(2_000, 15_000);
        plan.at(at, Action::Unready { back_after });
        at += rng.between(5_000, 15_000);
    }
}

/// Across the number of endpoints at which the table grows, and back.
fn size_class(plan: &mut Plan, rng: &mut Rng) {
    plan.pods = 15;
    let mut at = rng.between(40_000, 60_000);
    for _ in 0..3 {
        plan.at(at, Action::Add);
        at += rng.between(2_000, 10_000);
    }
    at += rng.between(40_000, 60_000);
    for _ in 0..3 {
        let gone_after = rng.between(10_000, 20_000);
        plan.at(at, Action::Drain { gone_after });
        at += rng.between(2_000, 10_000);
    }
}

fn chaos(plan: &mut Plan, rng: &mut Rng) {
    plan.delay_ms = (0, 3_000);
    plan.reuse_per_mille = 300;
    plan.flood = true;
    plan.churn(rng);
    let mut at = rng.between(10_000, 20_000);
    while at < END_MS {
        let node = any_node(rng);
        let action = match rng.between(0, 9) {
            0..4 => Action::Unready {
                back_after: rng.between(2_000, 15_000),
            },
            4..6 => Action::Add,
            6..8 => Action::Drain {
                gone_after: rng.between(5_000, 120_000),
            },
            8 => Action::AgentDown {
                node,
                back_after: rng.between(1_000, 10_000),
            },
            _ if at > 100_000 => Action::Add,
            _ => Action::NodeDown {
                node,
                back_after: rng.between(30_000, 60_000),
            },
        };
        plan.at(at, action);
        at += rng.between(8_000, 20_000);
    }
}
