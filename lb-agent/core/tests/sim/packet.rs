//! What travels: a packet of a client, and what comes back to it.

use lb_common::rules::Segment;

use crate::endpoints::{PodId, Tuple};

/// A connection, or an exchange of datagrams: one use of a tuple. Nothing on
/// the wire carries it; it stands for sequence numbers that fit.
pub(crate) type ConnId = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Syn,
    /// A bare ACK, the third packet of the handshake.
    Ack,
    /// Data that the pod answers with data.
    Request,
    Fin,
    /// The ACK of the pod's FIN.
    LastAck,
    Rst,
    Datagram,
}

impl Kind {
    pub(crate) fn segment(self) -> Segment {
        match self {
            Self::Syn => Segment::Syn,
            Self::Datagram => Segment::Udp,
            Self::Ack | Self::Request | Self::Fin | Self::LastAck | Self::Rst => Segment::Tcp,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) tuple: Tuple,
    pub(crate) kind: Kind,
    pub(crate) conn: ConnId,
    /// The acknowledgement number.
    pub(crate) ack: u32,
    pub(crate) marked: bool,
    pub(crate) hand_overs: u8,
    /// Something that an earlier connection of this tuple left behind had a
    /// say in where it went.
    pub(crate) stale: bool,
}

impl Packet {
    pub(crate) fn new(tuple: Tuple, kind: Kind, conn: ConnId, ack: u32) -> Self {
        Self {
            tuple,
            kind,
            conn,
            ack,
            marked: false,
            hand_overs: 0,
            stale: false,
        }
    }
}

/// What the client hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    SynAck {
        isn: u32,
        pod: PodId,
    },
    /// To a SYN, from a pod that has a connection of this tuple (RFC 5961 §4).
    ChallengeAck,
    Data {
        pod: PodId,
    },
    FinAck,
    Rst,
    /// A pod has another connection of this tuple: the numbers do not fit, and
    /// will not.
    OtherConnection,
}
