//! Where tables are: runs of chunks in `TABLES`.

use alloc::vec;
use alloc::vec::Vec;

use lb_common::table::CHUNK_SLOTS;

/// Chunks that a table of so many slots takes.
pub(super) fn chunks_of(slots: u32) -> u32 {
    slots.div_ceil(u32::try_from(CHUNK_SLOTS).unwrap_or(u32::MAX))
}

/// Which chunks are free. A run begins at a multiple of its own length, so
/// that small tables do not leave holes that fit nobody.
#[derive(Debug)]
pub(super) struct Places {
    taken: Vec<bool>,
    /// No free run of 2^n chunks begins before `search_from[n]`.
    search_from: [usize; 32],
}

impl Places {
    pub(super) fn new(chunks: u32) -> Self {
        Self {
            taken: vec![false; usize::try_from(chunks).unwrap_or(0)],
            search_from: [0; 32],
        }
    }

    /// Only before anything is placed: nothing becomes free again here.
    pub(super) fn take(&mut self, first: u32, count: u32) {
        let range = first..first.saturating_add(count);
        for chunk in range {
            let place = usize::try_from(chunk).ok();
            if let Some(taken) = place.and_then(|place| self.taken.get_mut(place)) {
                *taken = true;
            }
        }
    }

    /// The lowest free run of `count` chunks, a power of two; now taken.
    pub(super) fn place(&mut self, count: u32) -> Option<u32> {
        let length = usize::try_from(count)
            .ok()
            .filter(|n| n.is_power_of_two())?;
        let class = usize::try_from(count.trailing_zeros()).ok()?;
        let from = *self.search_from.get(class)?;
        let mut run = from;
        while let Some(chunks) = self.taken.get_mut(run..run + length) {
            if !chunks.contains(&true) {
                chunks.fill(true);
                self.search_from[class] = run + length;
                return u32::try_from(run).ok();
            }
            run += length;
        }
        self.search_from[class] = run;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_aligned_and_do_not_overlap() {
        let mut places = Places::new(64);
        places.take(0, 4);
        let runs: Vec<_> = [1, 16, 4, 1, 4, 16].map(|n| (places.place(n), n)).into();
        let starts: Vec<_> = runs.iter().map(|(start, _)| start.unwrap()).collect();
        assert_eq!(starts, [4, 16, 8, 5, 12, 32]);
        assert_eq!(places.place(16), Some(48));
        assert_eq!(places.place(16), None);
        assert_eq!(places.place(1), Some(6), "small ones still fit");
    }

    #[test]
    fn a_run_larger_than_the_map_has_no_place() {
        assert_eq!(Places::new(8).place(16), None);
        assert_eq!(Places::new(0).place(1), None);
    }
}
