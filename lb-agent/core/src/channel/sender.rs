//! What is on its way to the far end, and what waits for it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::datagram::{HEADER, push};
use super::{DATAGRAM_MAX, MESSAGE_MAX, QUEUE_MAX, WINDOW};

/// Sent again at a time when nothing is heard: what was lost is sent in the
/// order in which it is missed.
const AGAIN_MAX: usize = 8;
/// One that is missed while so many later ones have arrived was lost.
const OVERTAKEN: u32 = 3;

#[derive(Debug)]
struct Sent {
    content: Vec<u8>,
    /// The far end has it, out of turn.
    arrived: bool,
    /// It was sent again because it was overtaken; that is done once.
    overtaken: bool,
}

#[derive(Debug, Default)]
pub(super) struct Sender {
    /// The number of the first of those under way.
    first: u64,
    under_way: VecDeque<Sent>,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
}

impl Sender {
    /// Bytes of messages that there is room for.
    pub(super) fn room(&self) -> usize {
        QUEUE_MAX.saturating_sub(self.waiting_bytes)
    }

    /// False: it is too long, or there is no room for it.
    pub(super) fn queue(&mut self, message: &[u8]) -> bool {
        let bytes = message.len() + 1;
        if message.len() > MESSAGE_MAX || bytes > self.room() {
            return false;
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(message.to_vec());
        true
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The next datagram that may leave for the first time: its number and
    /// what it says.
    pub(super) fn fill(&mut self) -> Option<(u64, &[u8])> {
        if self.under_way.len() >= WINDOW || self.waiting.is_empty() {
            return None;
        }
        let mut content = Vec::new();
        while let Some(message) = self.waiting.front() {
            if HEADER + content.len() + message.len() + 1 > DATAGRAM_MAX {
                break;
            }
            push(&mut content, message);
            self.waiting_bytes -= message.len() + 1;
            self.waiting.pop_front();
        }
        let number = self.first + length(&self.under_way);
        self.under_way.push_back(Sent {
            content,
            arrived: false,
            overtaken: false,
        });
        let sent = self.under_way.back()?;
        Some((number, &sent.content))
    }

    /// The far end waits for `next` and has those of `beyond`. None: that is
    /// not possible. Else whether anything new has arrived.
    pub(super) fn acknowledged(&mut self, next: u64, beyond: u64) -> Option<bool> {
        let end = self.first + length(&self.under_way);
        if next > end {
            return None;
        }
        let mut news = false;
        while self.first < next {
            self.under_way.pop_front();
            self.first += 1;
            news = true;
        }
        // An older word than the last says nothing that is not known.
        if next == self.first {
            for (bit, sent) in self.under_way.iter_mut().skip(1).take(64).enumerate() {
                let arrived = beyond >> bit & 1 != 0;
                news |= arrived && !sent.arrived;
                sent.arrived |= arrived;
            }
        }
        Some(news)
    }

    /// What was lost for certain, each once.
    pub(super) fn overtaken(&mut self) -> Vec<(u64, Vec<u8>)> {
        let mut later = 0;
        let mut lost = Vec::new();
        let mut number = self.first + length(&self.under_way);
        for sent in self.under_way.iter_mut().rev() {
            number -= 1;
            if sent.arrived {
                later += 1;
            } else if later >= OVERTAKEN && !sent.overtaken {
                sent.overtaken = true;
                lost.push((number, sent.content.clone()));
            }
        }
        lost.reverse();
        lost
    }

    /// The first of those that have not arrived.
    pub(super) fn again(&mut self) -> Vec<(u64, Vec<u8>)> {
        let numbered = (self.first..).zip(&self.under_way);
        let missing = numbered.filter(|(_, sent)| !sent.arrived);
        missing
            .take(AGAIN_MAX)
            .map(|(number, sent)| (number, sent.content.clone()))
            .collect()
    }
}

fn length<T>(queue: &VecDeque<T>) -> u64 {
    u64::try_from(queue.len()).unwrap_or(u64::MAX)
}
