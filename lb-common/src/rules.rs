//! What a node does with a packet for a frontend: one pure function, read by
//! the kernel program, the model in the property tests, the simulator and
//! `lb-agent trace` alike.
//!
//! What the tables say is asked for through [`Knowledge`], so that the kernel
//! program looks up no more than the decision needs: an ingress node looks up
//! nothing beyond the slot.

use crate::{
    backend::BackendRef,
    table::{Place, Slot},
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
    /// Whether every node with endpoints has.
    fn all_told(&mut self) -> bool;
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
    /// Marked, and nothing here knows it.
    Stranded,
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
        Segment::Udp => udp(marked, now, home, knowledge),
    }
}

/// A client's packet whose pod lives elsewhere: no state, no lookup.
#[inline(always)]
fn at_ingress(
    segment: Segment,
    now: Place,
    home: u16,
    next: Place,
    knowledge: &mut impl Knowledge,
) -> Decision {
    let plainly = |node| Decision::HandOver {
        node,
        marked: false,
    };
    match (segment, now) {
        (Segment::Syn, Place::Nowhere) => Decision::Reject,
        (Segment::Syn | Segment::Tcp, _) => plainly(home),
        // UDP has no handshake that would show a flow to be new: while the
        // owner before the change has not told, it is asked first.
        (Segment::Udp, _) => match next {
            Place::Node(next) if next != home && !knowledge.told(next) => plainly(next),
            // That is this node.
            Place::Here(_) if !knowledge.all_told() => match knowledge.established() {
                Some(backend) => Decision::Deliver(Found::Established(backend)),
                None => plainly(home),
            },
            Place::Here(_) | Place::Node(_) | Place::Nowhere => plainly(home),
        },
    }
}

#[inline(always)]
fn syn(
    marked: bool,
    now: Place,
    home: Place,
    next: Place,
    knowledge: &mut impl Knowledge,
) -> Decision {
    // The pod of a live flow answers with a challenge ACK (RFC 5961 §4), and
    // that decides.
    if let Some(backend) = knowledge.established() {
        return Decision::Deliver(Found::Established(backend));
    }
    if let Some(backend) = knowledge.embryonic() {
        return Decision::Deliver(Found::Embryonic(backend));
    }
    match (now, home) {
        (Place::Here(id), _) => Decision::Deliver(Found::New(id)),
        (Place::Nowhere, _) => Decision::Reject,
        (Place::Node(node), _) if !marked => Decision::HandOver { node, marked: true },
        // Two nodes that do not see the same set yet: better a pod that one of
        // them would have picked than a third hand-over.
        (Place::Node(_), _) => match next {
            Place::Here(id) => Decision::Deliver(Found::New(id)),
            Place::Node(_) | Place::Nowhere => Decision::Stranded,
        },
    }
}

#[inline(always)]
fn tcp(
    marked: bool,
    now: Place,
    home: Place,
    next: Place,
    knowledge: &mut impl Knowledge,
) -> Decision {
    if let Some(backend) = knowledge.established() {
        return Decision::Deliver(Found::Established(backend));
    }
    if let Some(backend) = knowledge.embryonic() {
        return Decision::Deliver(Found::Embryonic(backend));
    }
    if marked {
        return match now {
            Place::Here(id) if knowledge.all_told() => Decision::Deliver(Found::Pick(id)),
            // Nobody takes new flows, and the one who may have had this does
            // not know it: a stranger's.
            Place::Nowhere if knowledge.all_told() => Decision::Reject,
            Place::Here(_) | Place::Node(_) | Place::Nowhere => Decision::Stranded,
        };
    }
    if let Some(node) = knowledge.moved() {
        return Decision::HandOver { node, marked: true };
    }
    if let Place::Node(node) = home {
        return Decision::HandOver { node, marked: true };
    }
    if let Place::Node(node) = next
        && !knowledge.told(node)
    {
        return Decision::HandOver { node, marked: true };
    }
    if !knowledge.all_told() {
        return Decision::Unsettled;
    }
    match now {
        Place::Here(id) => Decision::Deliver(Found::Pick(id)),
        Place::Node(_) | Place::Nowhere => Decision::Reject,
    }
}

#[inline(always)]
fn udp(marked: bool, now: Place, home: Place, knowledge: &mut impl Knowledge) -> Decision {
    if let Some(backend) = knowledge.established() {
        return Decision::Deliver(Found::Established(backend));
    }
    if !marked && let Some(node) = knowledge.moved() {
        return Decision::HandOver { node, marked: true };
    }
    if let Some(backend) = knowledge.embryonic() {
        return Decision::Deliver(Found::Embryonic(backend));
    }
    match (now, home) {
        (Place::Here(id), _) => Decision::Deliver(Found::New(id)),
        (Place::Node(node), _) if !marked => Decision::HandOver { node, marked: true },
        (Place::Node(_), _) => Decision::Stranded,
        (Place::Nowhere, Place::Node(node)) if !marked => Decision::HandOver { node, marked: true },
        (Place::Nowhere, _) => Decision::Reject,
    }
}

#[cfg(test)]
mod tests;
