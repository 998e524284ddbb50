//! The talk with one far end.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use lb_common::hash::mix;

use super::datagram::{Datagram, messages};
use super::receiver::Receiver;
use super::sender::Sender;
use super::{RETRANSMIT, RETRANSMIT_LONGEST, SILENT};
use crate::time::Timestamp;

/// What a session wants done, and what it has found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To be sealed and sent.
    Transmit(Vec<u8>),
    /// A process of the far end that was not talked with before: nothing that
    /// was said to an earlier one, or heard from it, counts any more.
    Up,
    /// One message, in the order in which it was sent.
    Received(Vec<u8>),
    /// It has not acknowledged for [`SILENT`] what it should have.
    Silent,
    /// It does again.
    Answers,
}

/// Why a datagram was not used. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// It cannot be read.
    Malformed,
    /// Of a session that is over.
    Stale,
    /// It acknowledges what was never sent.
    NotSent,
    /// It is further ahead than it may be.
    TooFarAhead,
}

impl Refused {
    pub const ALL: [Self; 4] = [
        Self::Malformed,
        Self::Stale,
        Self::NotSent,
        Self::TooFarAhead,
    ];

    /// For counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Stale => "stale",
            Self::NotSent => "not_sent",
            Self::TooFarAhead => "too_far_ahead",
        }
    }
}

#[derive(Debug)]
pub struct Session {
    /// Our name.
    local: u64,
    /// What it will be in the next session: who names it has heard us lately.
    candidate: u64,
    /// The far end's name, as it says itself; not proven.
    heard_of: u64,
    /// The same, proven: it has named us.
    peer: Option<u64>,
    /// The far end has said that it is in this session too.
    confirmed: bool,
    sender: Sender,
    receiver: Receiver,
    /// Something is to be acknowledged, or answered.
    answer: bool,
    /// When to send again, and how often that was done in a row.
    timer: Option<Timestamp>,
    tries: u32,
    /// Since when an acknowledgement is due.
    waits_since: Option<Timestamp>,
    silent: bool,
    outputs: VecDeque<Output>,
}

impl Session {
    /// `boot`: random, another one for each process, not 0.
    #[must_use]
    pub fn new(boot: u64, now: Timestamp) -> Self {
        Self {
            local: boot.max(1),
            candidate: following(boot),
            heard_of: 0,
            peer: None,
            confirmed: false,
            sender: Sender::default(),
            receiver: Receiver::default(),
            answer: true,
            timer: Some(now + RETRANSMIT),
            tries: 0,
            waits_since: None,
            silent: false,
            outputs: VecDeque::new(),
        }
    }

    /// Whether there is somebody to talk with.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.peer.is_some()
    }

    /// Bytes that may be sent now, each message counting one more than it has.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.is_up() { self.sender.room() } else { 0 }
    }

    /// Takes a message, to leave with the next [`Self::flush`]. False: there is
    /// no room for it, or nobody to hear it.
    pub fn queue(&mut self, message: &[u8]) -> bool {
        self.is_up() && self.sender.queue(message)
    }

    /// Sends what was queued, as far as the window allows.
    pub fn flush(&mut self, now: Timestamp) {
        let mut sent = Vec::new();
        while let Some((number, content)) = self.sender.fill() {
            sent.push((number, content.to_vec()));
        }
        for (number, content) in &sent {
            self.transmit(*number, content);
        }
        if !sent.is_empty() {
            self.timer.get_or_insert(now + RETRANSMIT);
            self.waits_since.get_or_insert(now);
        }
    }

    pub fn handle_datagram(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), Refused> {
        let datagram = Datagram::decode(bytes).ok_or(Refused::Malformed)?;
        if !self.is_of_session(&datagram, now)? {
            return Ok(());
        }
        self.confirmed |= datagram.known;
        let acknowledged = self.sender.acknowledged(datagram.next, datagram.beyond);
        if acknowledged.ok_or(Refused::NotSent)? {
            self.progress(now);
        }
        if let Some((number, content)) = datagram.content {
            self.answer = true;
            if !self.receiver.take(number, content) {
                return Err(Refused::TooFarAhead);
            }
            while let Some(content) = self.receiver.pop() {
                let received = messages(&content).map(|message| Output::Received(message.to_vec()));
                self.outputs.extend(received);
            }
        }
        self.flush(now);
        Ok(())
    }

    /// Whether a datagram is of the session, which may begin with it.
    fn is_of_session(&mut self, datagram: &Datagram<'_>, now: Timestamp) -> Result<bool, Refused> {
        let from = datagram.from;
        let known = self.peer == Some(from);
        if datagram.to == self.candidate {
            self.local = self.candidate;
            self.candidate = following(self.local);
            self.begin(from, now);
            return Ok(true);
        }
        if datagram.to == self.local && self.peer.is_none() {
            self.begin(from, now);
            return Ok(true);
        }
        if datagram.to == self.local && known {
            return Ok(true);
        }
        if known || self.peer.is_none() {
            // It does not know us: it is told who we are, and nothing else.
            self.heard_of = from;
            self.answer = true;
            return Ok(false);
        }
        if datagram.to == 0 || datagram.to == self.local {
            // Another process of the far end, or a datagram of one before that
            // was long under way, or was recorded: if it names the candidate,
            // it is there now.
            let question = Datagram {
                from: self.candidate,
                to: from,
                known: false,
                next: 0,
                beyond: 0,
                content: None,
            };
            let question = Output::Transmit(question.encode());
            self.outputs.push_back(question);
            return Ok(false);
        }
        // Answered, what is left of a session that is over would end the one
        // that followed, and leave something in turn.
        Err(Refused::Stale)
    }

    /// Sends again what is due; harmless when early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.timer.is_none_or(|timer| now < timer) {
            return;
        }
        self.tries = self.tries.saturating_add(1);
        let doubled = 1_u32 << self.tries.min(8);
        let pause = (RETRANSMIT * doubled).min(RETRANSMIT_LONGEST);
        if !self.is_up() {
            if self.tries > 1 {
                // Who was heard of may have another name by now, and take what
                // names it for what is left of a session that is over.
                self.heard_of = 0;
            }
            self.answer = true;
            self.timer = Some(now + pause);
            return;
        }
        for (number, content) in self.sender.again() {
            self.transmit(number, &content);
        }
        if self.tries > 1 {
            // Perhaps the far end is in another session.
            let hello = Datagram {
                to: 0,
                known: false,
                ..self.datagram(None)
            };
            let hello = Output::Transmit(hello.encode());
            self.outputs.push_back(hello);
        }
        self.answer |= !self.confirmed;
        let waits = !self.confirmed || !self.sender.is_idle();
        self.timer = waits.then_some(now + pause);
        let waited = self
            .waits_since
            .map_or(Duration::ZERO, |since| now.since(since));
        if waited >= SILENT && !self.silent {
            self.silent = true;
            self.outputs.push_back(Output::Silent);
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if !core::mem::take(&mut self.answer) {
            return None;
        }
        Some(Output::Transmit(self.datagram(None).encode()))
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timer
    }

    fn begin(&mut self, peer: u64, now: Timestamp) {
        self.peer = Some(peer);
        self.heard_of = peer;
        self.sender = Sender::default();
        self.receiver = Receiver::default();
        self.confirmed = false;
        self.timer = Some(now + RETRANSMIT);
        self.tries = 0;
        self.waits_since = None;
        self.silent = false;
        // It may not know that we have heard it.
        self.answer = true;
        self.outputs.push_back(Output::Up);
    }

    /// Something has arrived at the far end.
    fn progress(&mut self, now: Timestamp) {
        self.tries = 0;
        let idle = self.sender.is_idle();
        self.timer = (!idle || !self.confirmed).then_some(now + RETRANSMIT);
        self.waits_since = (!idle).then_some(now);
        if core::mem::take(&mut self.silent) {
            self.outputs.push_back(Output::Answers);
        }
        for (number, content) in self.sender.overtaken() {
            self.transmit(number, &content);
        }
    }

    fn transmit(&mut self, number: u64, content: &[u8]) {
        let bytes = self.datagram(Some((number, content))).encode();
        self.answer = false;
        self.outputs.push_back(Output::Transmit(bytes));
    }

    fn datagram<'a>(&self, content: Option<(u64, &'a [u8])>) -> Datagram<'a> {
        Datagram {
            from: self.local,
            to: self.peer.unwrap_or(self.heard_of),
            known: self.is_up(),
            next: self.receiver.next(),
            beyond: self.receiver.beyond(),
            content,
        }
    }
}

/// Another name, which nobody has heard yet.
fn following(name: u64) -> u64 {
    mix(name.wrapping_add(0x9e37_79b9_7f4a_7c15)).max(1)
}
