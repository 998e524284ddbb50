//! A client: one TCP connection or one exchange of datagrams after another.
//! Sans IO: it says what it sends, hears what came back, and says when it
//! wants to be called again.

use lb_common::flow::{TCP, UDP};

use crate::{
    endpoints::{PodId, Tuple},
    node::Time,
    packet::{Answer, ConnId, Kind, Packet},
    rng::Rng,
};

const SYN_TRIES_MAX: u32 = 6;
const CLOSE_TRIES_MAX: u32 = 6;
const RTO_MAX_MS: Time = 60_000;
/// A request that is not answered for so long is given up.
const PATIENCE_MS: Time = 120_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Syn,
    /// Has the SYN-ACK.
    Ack,
    Request,
    Fin,
    LastAck,
    Datagrams,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Fin,
    Reset,
    /// The client vanishes without a word.
    Vanish,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) tuple: Tuple,
    pub(crate) conn: ConnId,
    pub(crate) phase: Phase,
    pub(crate) pod: Option<PodId>,
    /// A request of it was answered.
    pub(crate) settled: bool,
    ending: Ending,
    /// Between packets, on average.
    pause: Time,
    rtt: Time,
    until: Time,
    tries: u32,
    /// When the request that waits for its answer was first sent.
    since: Option<Time>,
    ack: u32,
}

/// What a packet's fate meant to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Nothing,
    /// The SYN-ACK came.
    Opened,
    /// A request was answered after so many milliseconds.
    Answered(Time),
    /// Another pod answers than before (UDP).
    Moved,
    /// The connection was reset, or will never go on.
    Lost,
    /// Gave up, unanswered.
    GaveUp(Time),
    Ended,
}

impl Client {
    pub(crate) fn new(tuple: Tuple, conn: ConnId, now: Time, rng: &mut Rng) -> Self {
        let idle = rng.per_mille(300);
        let lasting = rng.per_mille(600);
        let ending = match rng.between(0, 99) {
            0..15 => Ending::Vanish,
            15..25 => Ending::Reset,
            _ => Ending::Fin,
        };
        let phase = match tuple.protocol {
            UDP => Phase::Datagrams,
            _ => Phase::Syn,
        };
        Self {
            tuple,
            conn,
            phase,
            pod: None,
            settled: false,
            ending,
            pause: if idle { 30_000 } else { 3_000 },
            rtt: rng.between(1, 200),
            until: now
                + if lasting {
                    400_000
                } else {
                    rng.around(100_000)
                },
            tries: 0,
            since: None,
            ack: 0,
        }
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.tuple.protocol == TCP
    }

    pub(crate) fn packet(&mut self, now: Time) -> Packet {
        let kind = match self.phase {
            Phase::Syn => Kind::Syn,
            Phase::Ack => Kind::Ack,
            Phase::Request => Kind::Request,
            Phase::Fin if self.ending == Ending::Reset => Kind::Rst,
            Phase::Fin => Kind::Fin,
            Phase::LastAck => Kind::LastAck,
            Phase::Datagrams => Kind::Datagram,
        };
        if self.phase == Phase::Request {
            self.since.get_or_insert(now);
        }
        Packet::new(self.tuple, kind, self.conn, self.ack)
    }

    /// The answer to a challenge ACK.
    pub(crate) fn reset(&self) -> Packet {
        Packet::new(self.tuple, Kind::Rst, self.conn, 0)
    }

    /// What came of the packet; and when the next one is due, if any.
    pub(crate) fn hear(&mut self, answer: Answer, now: Time, rng: &mut Rng) -> (Outcome, Time) {
        match (self.phase, answer) {
            (Phase::Datagrams, _) => self.hear_datagram(answer, now, rng),
            (Phase::Fin | Phase::LastAck, _) => self.hear_closing(answer, now),
            (_, Answer::Rst | Answer::OtherConnection) => (Outcome::Lost, now),
            (Phase::Syn, Answer::SynAck { isn, pod }) => {
                self.ack = isn.wrapping_add(1);
                self.pod = Some(pod);
                self.go(Phase::Ack);
                (Outcome::Opened, now + self.rtt)
            }
            (Phase::Syn, _) => {
                self.tries += 1;
                let due = now + (1000 << self.tries.min(6));
                if self.tries > SYN_TRIES_MAX {
                    return (Outcome::Ended, now);
                }
                (Outcome::Nothing, due)
            }
            (Phase::Ack, _) => {
                self.go(Phase::Request);
                (Outcome::Nothing, now)
            }
            (Phase::Request, Answer::Data { .. }) => {
                let waited = now - self.since.take().unwrap_or(now);
                self.settled = true;
                self.ack = self.ack.wrapping_add(100);
                self.go(if now < self.until {
                    Phase::Request
                } else {
                    Phase::Fin
                });
                (
                    Outcome::Answered(waited),
                    now + self.rtt + rng.around(self.pause),
                )
            }
            (Phase::Request, _) => self.again(now),
        }
    }

    /// Retransmission (RFC 6298).
    fn again(&mut self, now: Time) -> (Outcome, Time) {
        let waited = now - self.since.unwrap_or(now);
        if waited > PATIENCE_MS {
            return (Outcome::GaveUp(waited), now);
        }
        self.tries += 1;
        (Outcome::Nothing, now + self.backoff())
    }

    fn backoff(&self) -> Time {
        ((200 + self.rtt) << (self.tries - 1).min(10)).min(RTO_MAX_MS)
    }

    fn hear_closing(&mut self, answer: Answer, now: Time) -> (Outcome, Time) {
        if self.ending != Ending::Fin || answer == Answer::Rst {
            return (Outcome::Ended, now);
        }
        match (self.phase, answer) {
            (Phase::Fin, Answer::FinAck) => {
                self.go(Phase::LastAck);
                return (Outcome::Nothing, now + self.rtt);
            }
            (Phase::LastAck, _) => return (Outcome::Ended, now),
            _ => {}
        }
        self.tries += 1;
        if self.tries > CLOSE_TRIES_MAX {
            return (Outcome::Ended, now);
        }
        (Outcome::Nothing, now + self.backoff())
    }

    fn hear_datagram(&mut self, answer: Answer, now: Time, rng: &mut Rng) -> (Outcome, Time) {
        let due = now + self.rtt + rng.around(self.pause);
        if now >= self.until {
            return (Outcome::Ended, now);
        }
        let Answer::Data { pod } = answer else {
            return (Outcome::Nothing, due);
        };
        match self.pod.replace(pod) {
            None => (Outcome::Opened, due),
            Some(before) if before == pod => (Outcome::Nothing, due),
            Some(_) => (Outcome::Moved, due),
        }
    }

    /// Whether the next packet is not even sent.
    pub(crate) fn vanishes(&self) -> bool {
        self.phase == Phase::Fin && self.ending == Ending::Vanish
    }

    fn go(&mut self, phase: Phase) {
        self.phase = phase;
        self.tries = 0;
    }
}
