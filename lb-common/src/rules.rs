//! What a node does with a packet for a frontend: one pure function, read by
//! the kernel program, the model in the property tests, the simulator and
//! `lb-agent trace` alike.
//!
//! What the tables say is asked for through [`Knowledge`], so that the kernel
//! program looks up no more than the decision needs: an ingress node looks up
//! nothing beyond the slot.

use crate::{
    backend::BackendRef,
    table::{Place, Slot, Target},
};

/// What kind of packet it is, as far as the rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// TCP with SYN and without ACK: it may begin a flow.
    Syn,
    /// Any other TCP segment: it belongs to a flow, or to none.
    Tcp,
    Udp,
}

/// What the tables of this node say about the packet in hand.
pub trait Knowledge {
    /// The backend of the established, unclosed flow that it belongs to.
    fn established(&mut self) -> Option<BackendRef>;
    /// The backend of the flow in its handshake. For [`Segment::Tcp`] only if
    /// the ACK number fits the pod's SYN-ACK.
    fn embryonic(&mut self) -> Option<BackendRef>;
    /// The node whose agent has said that this flow lives there.
    fn moved(&mut self) -> Option<u16>;
    /// Whether another node handed the packet over, rather than a client or a
    /// router having sent it. Asked only for unmarked packets.
    fn handed_over(&mut self) -> bool;
    /// Whether `node` has told which of its flows have moved since the set of
    /// endpoints last changed (or nothing has changed).
    fn told(&mut self, node: u16) -> bool;
    /// Whether every node with endpoints has. For UDP also whether nothing has
    /// changed lately.
    fn all_told(&mut self) -> bool;
    /// Gives back what it is given. The kernel program does so in a way that
    /// the verifier cannot see through, so that it goes on with one state
    /// rather than with one for each way through the rules.
    #[inline(always)]
    fn blur(&self, code: u64) -> u64 {
        code
    }
}

/// How the backend of a delivered packet was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Established(BackendRef),
    Embryonic(BackendRef),
    /// A new flow: to the backend of this id, and remembered as embryonic.
    New(u16),
    /// In mid-flow and unknown: to the pick. The pod resets a stranger's, and
    /// a flow whose entry was lost is found again.
    Pick(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Translate, and on to the pod on this node.
    Deliver(Found),
    /// To another node, unchanged. A marked packet never travels again.
    HandOver { node: u16, marked: bool },
    /// No endpoint takes it: RST, or ICMP port unreachable.
    Reject,
    /// The owner may yet say that it has the flow: TCP will send it again.
    Unsettled,
    /// Marked, and it has no pod here.
    Stranded,
}

/// A [`Decision`] as one number, all of whose bits mean something: its kind in
/// the upper half, what belongs to it in the lower.
///
/// The kernel program reads this and not the enum. Enums leave the payload of
/// their other variants undefined, and the compiler may compute with it ahead
/// of the branch that would tell; the verifier refuses to see a register used
/// that holds something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(u64);

/// Kinds of [`Code`]. From [`kind::ESTABLISHED`] on the packet is delivered.
pub mod kind {
    pub const REJECT: u32 = 0;
    pub const UNSETTLED: u32 = 1;
    pub const STRANDED: u32 = 2;
    pub const HAND_OVER: u32 = 3;
    pub const ESTABLISHED: u32 = 4;
    pub const EMBRYONIC: u32 = 5;
    pub const NEW: u32 = 6;
    pub const PICK: u32 = 7;
}

impl Code {
    const REJECT: Self = Self::of(kind::REJECT, 0);
    const UNSETTLED: Self = Self::of(kind::UNSETTLED, 0);
    const STRANDED: Self = Self::of(kind::STRANDED, 0);

    #[inline(always)]
    const fn of(kind: u32, low: u32) -> Self {
        Self((kind as u64) << 32 | low as u64)
    }

    #[inline(always)]
    const fn hand_over(node: u16, marked: bool) -> Self {
        Self::of(kind::HAND_OVER, node as u32 | (marked as u32) << 16)
    }

    #[inline(always)]
    const fn established(backend: BackendRef) -> Self {
        Self::of(kind::ESTABLISHED, backend.into_bits())
    }

    #[inline(always)]
    const fn embryonic(backend: BackendRef) -> Self {
        Self::of(kind::EMBRYONIC, backend.into_bits())
    }

    #[inline(always)]
    const fn new(backend: u16) -> Self {
        Self::of(kind::NEW, backend as u32)
    }

    #[inline(always)]
    const fn pick(backend: u16) -> Self {
        Self::of(kind::PICK, backend as u32)
    }

    /// One of [`kind`].
    #[inline(always)]
    pub const fn kind(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    const fn low(self) -> u32 {
        self.0 as u32
    }

    /// Hand over: to this node.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower bits are meant")]
    pub const fn node(self) -> u16 {
        self.low() as u16
    }

    /// Hand over: marked.
    #[inline(always)]
    pub const fn marked(self) -> bool {
        self.low() >> 16 & 1 != 0
    }

    /// Deliver: to the backend of this id.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower bits are meant")]
    pub const fn backend_id(self) -> u16 {
        self.low() as u16
    }

    /// Established, embryonic: the backend of the flow.
    #[inline(always)]
    pub const fn backend(self) -> BackendRef {
        BackendRef::from_bits(self.low())
    }

    const fn decision(self) -> Decision {
        match self.kind() {
            kind::REJECT => Decision::Reject,
            kind::UNSETTLED => Decision::Unsettled,
            kind::STRANDED => Decision::Stranded,
            kind::HAND_OVER => Decision::HandOver {
                node: self.node(),
                marked: self.marked(),
            },
            kind::ESTABLISHED => Decision::Deliver(Found::Established(self.backend())),
            kind::EMBRYONIC => Decision::Deliver(Found::Embryonic(self.backend())),
            kind::NEW => Decision::Deliver(Found::New(self.backend_id())),
            _ => Decision::Deliver(Found::Pick(self.backend_id())),
        }
    }
}

/// Decides. `marked`: the packet was handed on once before.
///
/// Never more than two hand-overs, whatever the nodes believe: a packet is
/// handed over plainly only where a client or router sent it, every other
/// hand-over marks it, and a marked packet is not handed over at all.
#[inline(always)]
pub fn decide(
    segment: Segment,
    marked: bool,
    slot: Slot,
    knowledge: &mut impl Knowledge,
) -> Decision {
    coded(segment, marked, slot, knowledge).decision()
}

/// The same as one number.
#[inline(always)]
pub fn coded(segment: Segment, marked: bool, slot: Slot, knowledge: &mut impl Knowledge) -> Code {
    let Code(code) = code(segment, marked, slot, knowledge);
    Code(knowledge.blur(code))
}

#[inline(always)]
fn code(segment: Segment, marked: bool, slot: Slot, knowledge: &mut impl Knowledge) -> Code {
    let now = slot.now.place();
    // With nobody to take new flows, old ones are still looked for.
    let home = match now {
        Place::Nowhere => slot.next.place(),
        Place::Here(_) | Place::Node(_) => now,
    };
    if let Place::Node(node) = home
        && !marked
        && !knowledge.handed_over()
    {
        return at_ingress(segment, now, node, slot.next.place(), knowledge);
    }
    match segment {
        Segment::Syn => syn(marked, now, home, slot.next.place(), knowledge),
        Segment::Tcp => tcp(marked, now, home, slot.next.place(), knowledge),
        Segment::Udp => udp(marked, now, home, slot.next.place(), knowledge),
    }
}

/// The node that a client's packet is handed over to where the slot alone
/// decides that, and no table need be asked. [`Target::NONE`]: [`decide`].
#[inline(always)]
pub const fn plainly(segment: Segment, slot: Slot) -> Target {
    let home = if slot.now.0 == 0 { slot.next } else { slot.now };
    if home.is_local() {
        return Target::NONE;
    }
    match segment {
        Segment::Syn => slot.now,
        Segment::Tcp => home,
        Segment::Udp if slot.next.0 == 0 || slot.next.0 == home.0 => home,
        Segment::Udp => Target::NONE,
    }
}

/// Whether [`decide`] asks for an established flow before anything else, so
/// that one who has found it need ask no more.
#[inline(always)]
pub const fn begins_with_flows(segment: Segment, slot: Slot) -> bool {
    let home = if slot.now.0 == 0 { slot.next } else { slot.now };
    !matches!(segment, Segment::Syn) && home.is_local()
}

/// A client's packet whose pod lives elsewhere: no state, no lookup.
#[inline(always)]
fn at_ingress(
    segment: Segment,
    now: Place,
    home: u16,
    next: Place,
    knowledge: &mut impl Knowledge,
) -> Code {
    let plainly = |node| Code::hand_over(node, false);
    match (segment, now) {
        (Segment::Syn, Place::Nowhere) => Code::REJECT,
        (Segment::Syn | Segment::Tcp, _) => plainly(home),
        // UDP has no handshake that would show a flow to be new: while the
        // owner before the change has not told, it is asked first.
        (Segment::Udp, _) => match next {
            Place::Node(next) if next != home && !knowledge.told(next) => plainly(next),
            // That is this node.
            Place::Here(_) if !knowledge.all_told() => match knowledge.established() {
                Some(backend) => Code::established(backend),
                None => plainly(home),
            },
            Place::Here(_) | Place::Node(_) | Place::Nowhere => plainly(home),
        },
    }
}

#[inline(always)]
fn syn(marked: bool, now: Place, home: Place, next: Place, knowledge: &mut impl Knowledge) -> Code {
    // The pod of a live flow answers with a challenge ACK (RFC 5961 §4), and
    // that decides.
    if let Some(backend) = knowledge.established() {
        return Code::established(backend);
    }
    if let Some(backend) = knowledge.embryonic() {
        return Code::embryonic(backend);
    }
    match (now, home) {
        (Place::Here(id), _) => Code::new(id),
        (Place::Nowhere, _) => Code::REJECT,
        (Place::Node(node), _) if !marked => Code::hand_over(node, true),
        // Two nodes that do not see the same set yet: better a pod that one of
        // them would have picked than a third hand-over.
        (Place::Node(_), _) => match next {
            Place::Here(id) => Code::new(id),
            Place::Node(_) | Place::Nowhere => Code::STRANDED,
        },
    }
}

#[inline(always)]
fn tcp(marked: bool, now: Place, home: Place, next: Place, knowledge: &mut impl Knowledge) -> Code {
    if let Some(backend) = knowledge.established() {
        return Code::established(backend);
    }
    if let Some(backend) = knowledge.embryonic() {
        return Code::embryonic(backend);
    }
    // Its owner has told where it lives. A marked one came here by a table that
    // is newer than ours; TCP will send it again.
    if let Some(node) = knowledge.moved() {
        return if marked {
            Code::STRANDED
        } else {
            Code::hand_over(node, true)
        };
    }
    if marked {
        return match now {
            Place::Here(id) if knowledge.all_told() => Code::pick(id),
            // Nobody takes new flows, and the one who may have had this does
            // not know it: a stranger's.
            Place::Nowhere if knowledge.all_told() => Code::REJECT,
            Place::Here(_) | Place::Node(_) | Place::Nowhere => Code::STRANDED,
        };
    }
    if let Place::Node(node) = home {
        return Code::hand_over(node, true);
    }
    if let Place::Node(node) = next
        && !knowledge.told(node)
    {
        return Code::hand_over(node, true);
    }
    if !knowledge.all_told() {
        return Code::UNSETTLED;
    }
    match now {
        Place::Here(id) => Code::pick(id),
        Place::Node(_) | Place::Nowhere => Code::REJECT,
    }
}

#[inline(always)]
fn udp(marked: bool, now: Place, home: Place, next: Place, knowledge: &mut impl Knowledge) -> Code {
    if let Some(backend) = knowledge.established() {
        return Code::established(backend);
    }
    if !marked && let Some(node) = knowledge.moved() {
        return Code::hand_over(node, true);
    }
    if let Some(backend) = knowledge.embryonic() {
        return Code::embryonic(backend);
    }
    // As at any ingress: the owner before the change is asked first, also
    // where the new pick is here. It sends what it does not know back, marked.
    if let (Place::Here(_), Place::Node(node)) = (now, next)
        && !marked
        && !knowledge.told(node)
        && !knowledge.handed_over()
    {
        return Code::hand_over(node, false);
    }
    match (now, home) {
        (Place::Here(id), _) => Code::new(id),
        (Place::Node(node), _) if !marked => Code::hand_over(node, true),
        (Place::Node(_), _) => Code::STRANDED,
        (Place::Nowhere, Place::Node(node)) if !marked => Code::hand_over(node, true),
        (Place::Nowhere, _) => Code::REJECT,
    }
}

#[cfg(test)]
mod tests;
