//! What has come from the far end, and in which order it is passed on.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::WINDOW;

#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// The number that is waited for.
    next: u64,
    /// Those that came out of turn.
    early: BTreeMap<u64, Vec<u8>>,
}

impl Receiver {
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Bit n: `next + 1 + n` is here.
    pub(super) fn beyond(&self) -> u64 {
        let bits = self.early.keys().map(|number| number - self.next - 1);
        bits.filter(|bit| *bit < 64)
            .fold(0, |beyond, bit| beyond | 1 << bit)
    }

    /// False: nobody may have sent that yet.
    pub(super) fn take(&mut self, number: u64, content: &[u8]) -> bool {
        let window = u64::try_from(WINDOW).unwrap_or(0);
        if number >= self.next.saturating_add(window) {
            return false;
        }
        if number >= self.next {
            self.early.entry(number).or_insert_with(|| content.to_vec());
        }
        true
    }

    /// The next one in order, if it is here.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let content = self.early.remove(&self.next)?;
        self.next += 1;
        Some(content)
    }
}
