//! The program beside a model in plain Rust: the same packets, the same
//! tables, the same decisions.

use std::cell::RefCell;
use std::net::SocketAddr;

use lb_common::backend::BackendRef;
use lb_common::config::flags::CHANNEL;
use lb_common::filter::client_bit;
use lb_common::flow::{
    Embryo, EmbryoSet, FlowKey, FlowValue, MovedValue, TCP, ToldKey, ToldValue, UDP, embryo, state,
};
use lb_common::frontend::flags;
use lb_common::hash::source_hash;
use lb_common::rules::{Decision, Found, Knowledge, Segment as Kind, decide};
use lb_common::table::{CHUNK_SLOTS, Chunk, Slot, Target};
use lb_common::verdict::Reason;
use lb_tests::object::world::{
    BOTH, Family, World, flow_key, frame, from_node, marked_from_node, node, port, tunnelled,
};
use lb_tests::packet::Segment;
use proptest::prelude::*;

/// How a packet comes here.
#[derive(Clone, Copy, Debug)]
enum Came {
    Client,
    Node,
    Marked,
    Tunnelled { marked: bool },
}

impl Came {
    fn marked(self) -> bool {
        matches!(self, Self::Marked | Self::Tunnelled { marked: true })
    }
}

/// A packet, and all that the tables say about it.
#[derive(Clone, Debug)]
struct Case {
    family: Family,
    /// `None`: UDP.
    tcp: Option<&'static str>,
    came: Came,
    /// The client lives on the node on the same link.
    lives_on_node: bool,
    slot: Slot,
    flags: u32,
    /// The state of the flow's entry, if there is one.
    established: Option<u16>,
    /// Of the flow in its handshake, if there is one.
    embryo: Option<u16>,
    ack_fits: bool,
    channel: bool,
    moved: Option<u16>,
    told: [bool; 2],
}

const NODES: [u16; 2] = [node::SAME_LINK, node::ROUTED];
const ISN: u32 = 5000;

impl Case {
    fn protocol(&self) -> u8 {
        if self.tcp.is_some() { TCP } else { UDP }
    }

    fn kind(&self) -> Kind {
        match self.tcp {
            None => Kind::Udp,
            Some("S") => Kind::Syn,
            Some(_) => Kind::Tcp,
        }
    }

    fn client(&self) -> SocketAddr {
        if self.lives_on_node {
            (self.family.same_link(), 40000).into()
        } else {
            self.family.client()
        }
    }

    fn vip(&self) -> SocketAddr {
        self.family.vip(port::FREE)
    }

    fn backend(&self) -> BackendRef {
        BackendRef {
            id: if self.family == Family::V4 { 0 } else { 1 },
            generation: 1,
        }
    }

    fn frame(&self) -> Vec<u8> {
        let packet = match self.tcp {
            None => Segment::udp(self.client(), self.vip()),
            Some(letters) => {
                let ack = if self.ack_fits { ISN + 1 } else { 9 };
                Segment::tcp(self.client(), self.vip(), letters).ack(ack)
            }
        }
        .packet();
        let (from, to) = (self.family.routed(), self.family.own());
        match self.came {
            Came::Client => frame(&packet),
            Came::Node => from_node(&packet),
            Came::Marked => marked_from_node(&packet),
            Came::Tunnelled { marked } => tunnelled(from, to, marked, &packet),
        }
    }

    /// What is to be counted.
    fn expected(&self) -> Vec<Reason> {
        let mut model = Model(self);
        match decide(self.kind(), self.came.marked(), self.slot, &mut model) {
            Decision::Deliver(Found::Established(_)) => vec![Reason::delivered_established],
            Decision::Deliver(Found::New(_)) => vec![Reason::delivered_new],
            Decision::Deliver(Found::Pick(_)) => vec![Reason::delivered_pick],
            Decision::Deliver(Found::Embryonic(_)) => {
                let answered = self.embryo.is_some_and(|bits| bits & embryo::ANSWERED != 0);
                let mut reasons = vec![Reason::delivered_embryonic];
                if self.kind() != Kind::Syn && answered {
                    reasons.push(Reason::flow_established);
                }
                reasons
            }
            Decision::HandOver { node, marked } => vec![match (node, marked) {
                (node::SAME_LINK, false) => Reason::handed_over,
                (node::SAME_LINK, true) => Reason::handed_on,
                (node::ROUTED, false) => Reason::handed_over_routed,
                (node::ROUTED, true) => Reason::handed_on_routed,
                _ => Reason::no_next_hop,
            }],
            Decision::Reject if self.tcp == Some("R") => vec![Reason::not_answerable],
            Decision::Reject => vec![Reason::rejected_no_backend],
            Decision::Unsettled => vec![Reason::unsettled],
            Decision::Stranded => vec![Reason::stranded],
        }
    }
}

/// The tables as the case says that they are.
struct Model<'a>(&'a Case);

impl Knowledge for Model<'_> {
    fn established(&mut self) -> Option<BackendRef> {
        let bits = self.0.established?;
        let closed = bits & state::POD_RESET != 0 || bits & state::ENDED == state::ENDED;
        (!closed).then(|| self.0.backend())
    }

    fn embryonic(&mut self) -> Option<BackendRef> {
        let bits = self.0.embryo?;
        let fits = self.0.ack_fits && bits & embryo::ANSWERED != 0;
        (self.0.kind() != Kind::Tcp || fits).then(|| self.0.backend())
    }

    fn moved(&mut self) -> Option<u16> {
        self.0.moved.filter(|_| self.0.channel)
    }

    fn handed_over(&mut self) -> bool {
        match self.0.came {
            Came::Tunnelled { .. } => true,
            Came::Node => !self.0.lives_on_node,
            Came::Client | Came::Marked => false,
        }
    }

    fn told(&mut self, node: u16) -> bool {
        if self.0.flags & flags::AWAITING_TOLD != 0 {
            let index = NODES.iter().position(|&known| known == node);
            return index.is_some_and(|index| self.0.told[index]);
        }
        let unsettled = match self.0.kind() {
            Kind::Udp => flags::UDP_UNSETTLED,
            Kind::Syn | Kind::Tcp => flags::TCP_UNSETTLED,
        };
        self.0.flags & unsettled == 0
    }

    fn all_told(&mut self) -> bool {
        let udp = self.0.kind() == Kind::Udp && self.0.flags & flags::UDP_UNSETTLED != 0;
        self.0.flags & flags::AWAITING_TOLD == 0 && !udp
    }
}

/// Writes what the case says into the kernel's tables, and takes it out again
/// where it says nothing.
fn set_up(world: &mut World, case: &Case) -> anyhow::Result<()> {
    let key = flow_key(case.client(), case.vip(), case.protocol());
    let frontend = world.frontend_flags(case.vip(), case.protocol(), case.flags)?;
    let slots = [case.slot; CHUNK_SLOTS];
    world
        .array("TABLES")?
        .set(frontend.chunk, Chunk { slots }, 0)?;
    let channel = if case.channel { CHANNEL } else { 0 };
    world.configure(|config| config.flags = channel)?;
    let moved = case.moved.map(|node| MovedValue { node: node.into() });
    put(world, "MOVED", key, moved)?;
    for (&node, &has) in NODES.iter().zip(&case.told) {
        let told = ToldKey {
            frontend: frontend.id,
            node: node.into(),
        };
        let endpoints_hash = frontend.endpoints_hash;
        put(
            world,
            "TOLD",
            told,
            has.then_some(ToldValue { endpoints_hash }),
        )?;
    }
    let flows = if case.tcp.is_some() {
        "TCP_FLOWS"
    } else {
        "UDP_FLOWS"
    };
    let flow = case.established.map(|state| FlowValue {
        backend: case.backend(),
        frontend: frontend.id,
        seen: 0,
        client_fin: 0,
        pod_fin: 0,
        pod_client_port: key.client_port,
        state,
        pad: [0; 4],
    });
    put::<FlowKey, _>(world, flows, key, flow)?;
    handshake(world, case, &key, frontend.id)
}

/// The client's embryo, and its cell in the filter.
fn handshake(world: &mut World, case: &Case, key: &FlowKey, frontend: u32) -> anyhow::Result<()> {
    // The low half of jiffies.
    let seen = world.run("lb_clock", &[0; 64])?.action;
    let config = *world.config();
    let protocol = case.protocol();
    let hash = source_hash(config.client_seed, key.client, key.client_port, protocol);
    let set = u32::try_from(hash >> 32)? & (config.embryo_sets - 1);
    let mut value = EmbryoSet::default();
    if let Some(bits) = case.embryo {
        let udp = if case.tcp.is_some() { 0 } else { embryo::UDP };
        value.ways[2] = Embryo {
            tag: u32::try_from(hash & u64::from(u32::MAX))? | 1,
            frontend,
            backend_id: case.backend().id,
            backend_generation: case.backend().generation,
            seen,
            client_isn: 1000,
            first_isn: ISN,
            last_isn: ISN,
            pod_client_port: key.client_port,
            flags: bits | udp,
        };
    }
    world.array("EMBRYONIC")?.set(set, value, 0)?;
    if case.established.is_some() {
        let (word, bit) = client_bit(hash, config.filter_words);
        world.array("CLIENT_FILTER")?.set(word, 1_u64 << bit, 0)?;
    }
    Ok(())
}

fn put<K: aya::Pod, V: aya::Pod>(
    world: &mut World,
    map: &str,
    key: K,
    value: Option<V>,
) -> anyhow::Result<()> {
    let mut map = world.hash::<K, V>(map)?;
    match value {
        Some(value) => map.insert(key, value, 0)?,
        None if map.get(&key, 0).is_ok() => map.remove(&key)?,
        None => {}
    }
    Ok(())
}

fn targets(family: Family) -> impl Strategy<Value = Target> {
    prop::sample::select(vec![
        Target::NONE,
        Target::local(if family == Family::V4 { 0 } else { 1 }),
        Target::node(node::SAME_LINK),
        Target::node(node::ROUTED),
        Target::node(node::UNKNOWN),
    ])
}

fn cases() -> impl Strategy<Value = Case> {
    let packet = (
        prop::sample::select(BOTH.to_vec()),
        prop::sample::select(vec![
            None,
            Some("S"),
            Some("A"),
            Some("PA"),
            Some("FA"),
            Some("R"),
        ]),
        prop::sample::select(vec![
            Came::Client,
            Came::Node,
            Came::Marked,
            Came::Tunnelled { marked: false },
            Came::Tunnelled { marked: true },
        ]),
        any::<bool>(),
        any::<bool>(),
    );
    packet.prop_flat_map(|(family, tcp, came, lives_on_node, ack_fits)| {
        let states = vec![0, state::CLIENT_FIN, state::POD_RESET, state::ENDED];
        let embryos = vec![0, embryo::ANSWERED];
        let known = (
            prop::option::of(prop::sample::select(states)),
            prop::option::of(prop::sample::select(embryos)),
            any::<bool>(),
            prop::option::of(prop::sample::select(NODES.to_vec())),
            any::<[bool; 2]>(),
        );
        (targets(family), targets(family), 0_u32..8, known).prop_map(
            move |(now, next, flags, (established, embryo, channel, moved, told))| Case {
                family,
                tcp,
                came,
                lives_on_node,
                slot: Slot { now, next },
                flags,
                established,
                embryo,
                ack_fits,
                channel,
                moved,
                told,
            },
        )
    })
}

#[test]
fn the_program_decides_as_the_model_does() {
    let Some(world) = World::fresh() else {
        return;
    };
    let world = RefCell::new(world);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(5000));
    let result = runner.run(&cases(), |case| {
        let mut world = world.borrow_mut();
        set_up(&mut world, &case).map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
        let mut counted = world.ingress(&case.frame()).counted;
        counted.sort_unstable();
        let mut expected = case.expected();
        expected.sort_unstable();
        prop_assert_eq!(counted, expected);
        Ok(())
    });
    result.expect("no difference");
}
