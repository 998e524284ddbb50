//! Flows: the only per-connection state there is, and it lives with the pod.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, backend::BackendRef, plain::plain};

/// IANA protocol numbers.
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;

/// TCP flags, as they lie in byte 13 of the header (RFC 9293 §3.1).
pub mod tcp_flags {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const ACK: u8 = 16;
}

/// A flow as the client sees it. Key of `TCP_FLOWS`, `UDP_FLOWS`, `MOVED`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct FlowKey {
    pub client: Addr,
    pub vip: Addr,
    pub client_port: u16,
    pub vip_port: u16,
    /// IANA protocol number.
    pub protocol: u32,
}
plain!(FlowKey);
const _: () = assert!(size_of::<FlowKey>() == 40);

/// A flow as the pod sees it. Key of `TCP_REVERSE`, `UDP_REVERSE`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct ReverseKey {
    pub client: Addr,
    pub pod: Addr,
    /// The client's port as the pod sees it, which differs from the client's
    /// own where two flows would have collided.
    pub client_port: u16,
    pub pod_port: u16,
    /// IANA protocol number.
    pub protocol: u32,
}
plain!(ReverseKey);
const _: () = assert!(size_of::<ReverseKey>() == 40);

/// Bytes of a flow's value. With a key of 40 bytes and the kernel's 48 in front
/// of it, an entry has 128 then and lies in two neighbouring cache lines rather
/// than across three.
const ENTRY_VALUE: usize = 40;

/// An established flow, in the client's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowValue {
    pub backend: BackendRef,
    /// The frontend it came by, for counters and lists.
    pub frontend: u32,
    /// When it last carried a packet from the client, in jiffies (low half).
    pub seen: u32,
    /// The sequence number after the client's FIN: an ACK of it ends that
    /// direction. Valid with [`state::CLIENT_FIN`].
    pub client_fin: u32,
    /// The same for the pod's FIN.
    pub pod_fin: u32,
    /// The client's port as the pod sees it.
    pub pod_client_port: u16,
    /// [`state`].
    pub state: u16,
    /// Fills the entry: see [`ENTRY_VALUE`].
    pub pad: [u32; 4],
}
plain!(FlowValue);
const _: () = assert!(size_of::<FlowValue>() == ENTRY_VALUE);

/// Bits of [`FlowValue::state`].
pub mod state {
    pub const CLIENT_FIN: u16 = 1;
    pub const POD_FIN: u16 = 2;
    pub const CLIENT_FIN_ACKED: u16 = 4;
    pub const POD_FIN_ACKED: u16 = 8;
    /// The pod reset the connection.
    pub const POD_RESET: u16 = 16;
    /// The client said RST. Only the pod knows whether it was in its window,
    /// so the flow still counts; it is swept soon unless the pod goes on.
    pub const CLIENT_RESET: u16 = 32;
    /// Entered before the pod has answered, since it needs another source
    /// port than its own; swept soon unless the pod answers.
    pub const UNPROVEN: u16 = 64;

    /// Both directions have ended.
    pub const ENDED: u16 = CLIENT_FIN_ACKED | POD_FIN_ACKED;
    /// Something has begun to end: packets of both directions look.
    pub const CLOSING: u16 = CLIENT_FIN | POD_FIN | CLIENT_RESET | UNPROVEN;
}

impl FlowValue {
    /// A closed flow counts as none: its 4-tuple may be used again at once,
    /// and the new connection may belong to another pod.
    #[inline(always)]
    pub const fn is_closed(&self) -> bool {
        self.state & state::POD_RESET != 0 || self.state & state::ENDED == state::ENDED
    }
}

/// An established flow, in the pod's direction: everything that the answer
/// needs, so that it leaves with one lookup even when its frontend is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReverseValue {
    pub vip: Addr,
    pub vip_port: u16,
    /// The client's own port.
    pub client_port: u16,
    pub frontend: u32,
    /// When it last carried a packet from the pod, in jiffies (low half).
    pub seen: u32,
    /// [`reverse`].
    pub flags: u32,
    /// Fills the entry: see [`ENTRY_VALUE`].
    pub pad: [u32; 2],
}
plain!(ReverseValue);
const _: () = assert!(size_of::<ReverseValue>() == ENTRY_VALUE);

/// Bits of [`ReverseValue::flags`].
pub mod reverse {
    /// Either side has said FIN or the client RST: packets of the pod look at
    /// the flow too.
    pub const CLOSING: u32 = 1;
    /// Delivered past the stack, so answers leave past it too: the host's
    /// conntrack has not seen the beginning.
    pub const DIRECT: u32 = 2;
}

/// A flow that has yet to prove that both sides take part. Any number of
/// invented sources only turn over this table. `EMBRYONIC[set]` holds four.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Embryo {
    /// Low half of the client's hash; the upper half chose the set. 0: free.
    pub tag: u32,
    pub frontend: u32,
    pub backend_id: u16,
    pub backend_generation: u16,
    /// When it was last written, in jiffies (low half).
    pub seen: u32,
    /// The client's initial sequence number.
    pub client_isn: u32,
    /// The pod's initial sequence number, of its first and its last SYN-ACK: a
    /// listener that sends SYN cookies chooses a new one every time.
    pub first_isn: u32,
    pub last_isn: u32,
    /// The client's port as the pod sees it.
    pub pod_client_port: u16,
    /// [`embryo`].
    pub flags: u16,
}
plain!(Embryo);
const _: () = assert!(size_of::<Embryo>() == 32);

/// Bits of [`Embryo::flags`].
pub mod embryo {
    /// The pod has answered: SYN-ACK for TCP, anything for UDP.
    pub const ANSWERED: u16 = 1;
    /// Not begun by a SYN seen here: a packet in mid-flow was delivered by the
    /// pick. If the pod does not reset it, the flow is entered again.
    pub const ADOPTED: u16 = 2;
    pub const UDP: u16 = 4;
    /// Delivered past the stack.
    pub const DIRECT: u16 = 8;
}

/// Embryos in one set.
pub const EMBRYO_WAYS: usize = 4;

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct EmbryoSet {
    pub ways: [Embryo; EMBRYO_WAYS],
}
plain!(EmbryoSet);

impl Embryo {
    /// Whether an ACK number from the client answers one of the pod's
    /// SYN-ACKs. Exact: a window would let random numbers in.
    #[inline(always)]
    pub const fn acknowledged_by(&self, ack: u32) -> bool {
        self.flags & embryo::ANSWERED != 0
            && (ack == self.first_isn.wrapping_add(1) || ack == self.last_isn.wrapping_add(1))
    }
}

/// What the rules need of a TCP or UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct L4 {
    pub src_port: u16,
    pub dst_port: u16,
    /// TCP only, like all that follows; else 0.
    pub seq: u32,
    pub ack: u32,
    /// Numbers of the sequence space that the segment takes, those of its
    /// flags included.
    pub seq_len: u32,
    /// [`tcp_flags`].
    pub flags: u8,
    pub pad: u8,
    pub pad_end: u16,
}
plain!(L4);

/// Where a flow lives that this node would pick a pod of its own for: written
/// by the agent on the word of the owner's agent. `MOVED[flow]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MovedValue {
    pub node: u32,
}
plain!(MovedValue);

/// Key of `TOLD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ToldKey {
    pub frontend: u32,
    pub node: u32,
}
plain!(ToldKey);

/// The set of endpoints for which a node has told all its moved flows;
/// compared with the frontend's for equality. `TOLD[frontend, node]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ToldValue {
    pub endpoints_hash: u64,
}
plain!(ToldValue);

/// Whether sequence number `a` is at or after `b` (RFC 9293 §3.4, modulo 2^32).
#[inline(always)]
#[expect(
    clippy::cast_possible_wrap,
    reason = "the sign of the difference is meant"
)]
pub const fn at_or_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 >= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_closed_when_reset_by_the_pod_or_ended_on_both_sides() {
        let flow = |state| FlowValue {
            backend: BackendRef {
                id: 0,
                generation: 1,
            },
            frontend: 0,
            seen: 0,
            client_fin: 0,
            pod_fin: 0,
            pod_client_port: 0,
            state,
            pad: [0; 4],
        };
        assert!(!flow(0).is_closed());
        assert!(!flow(state::CLIENT_FIN | state::CLIENT_FIN_ACKED | state::POD_FIN).is_closed());
        assert!(!flow(state::CLIENT_RESET).is_closed());
        assert!(flow(state::POD_RESET).is_closed());
        assert!(flow(state::ENDED).is_closed());
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert!(at_or_after(5, 5));
        assert!(at_or_after(2, u32::MAX));
        assert!(!at_or_after(u32::MAX, 2));
    }

    #[test]
    fn only_the_exact_answer_to_a_syn_ack_fits() {
        let embryo = Embryo {
            first_isn: u32::MAX,
            last_isn: 70,
            flags: embryo::ANSWERED,
            ..Embryo::default()
        };
        assert!(embryo.acknowledged_by(0));
        assert!(embryo.acknowledged_by(71));
        assert!(!embryo.acknowledged_by(70));
        assert!(!Embryo { flags: 0, ..embryo }.acknowledged_by(71));
    }
}
