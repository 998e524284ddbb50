//! Ordered maps whose copies are cheap: a copy shares with the original
//! whatever neither of them changes.
//!
//! What is known and what should be are handed on whole, and mostly differ in
//! one entry of ten thousand from the last time. With these maps a copy costs
//! next to nothing, and what differs between two of them is found without
//! looking at what they share. They say nothing that an ordinary map does not.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::{self, Entry};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::iter::FlatMap;
use core::ops::Index;
use core::slice;

/// Entries that are shared or copied together, at most. Copying them costs
/// about as much as looking at so many parts.
const PART: usize = 128;

/// A `BTreeMap` in parts.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    /// In order; none is empty, but for the only one.
    parts: Vec<Arc<BTreeMap<K, V>>>,
}

type Part<K, V> = Arc<BTreeMap<K, V>>;

/// In the order of the keys.
pub type Iter<'a, K, V> = FlatMap<
    slice::Iter<'a, Part<K, V>>,
    btree_map::Iter<'a, K, V>,
    fn(&'a Part<K, V>) -> btree_map::Iter<'a, K, V>,
>;

impl<K, V> SharedMap<K, V> {
    #[must_use]
    pub const fn new() -> Self {
        Self { parts: Vec::new() }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.is_empty())
    }

    pub fn clear(&mut self) {
        self.parts.clear();
    }

    pub fn iter(&self) -> Iter<'_, K, V> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.parts.iter().flat_map(|part| part.keys())
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.parts.iter().flat_map(|part| part.values())
    }

    /// Whether nothing can differ, since everything is shared. Maps that are
    /// equal need not be the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.parts.len() == other.parts.len() && self.parts.iter().zip(&other.parts).all(same_part)
    }
}

fn same_part<K, V>((one, other): (&Part<K, V>, &Part<K, V>)) -> bool {
    Arc::ptr_eq(one, other)
}

impl<K: Ord, V> SharedMap<K, V> {
    fn sorted(mut entries: impl Iterator<Item = (K, V)>) -> Self {
        // With room for more in each part.
        let parts = core::iter::from_fn(|| {
            let part: BTreeMap<K, V> = entries.by_ref().take(PART / 2).collect();
            (!part.is_empty()).then(|| Arc::new(part))
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// The part that has this key, if any has.
    fn at(&self, key: &K) -> usize {
        let begins_before = |part: &Part<K, V>| {
            let first = part.first_key_value();
            first.is_none_or(|(first, _)| first <= key)
        };
        let after = self.parts.partition_point(begins_before);
        after.saturating_sub(1)
    }

    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.parts.get(self.at(key))?.get(key)
    }

    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// What may differ between this map and another: for each key of either
    /// that is not in a part that both have, what each of them has, in order.
    pub fn unshared<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
        let [ours, theirs] = unshared_parts(&self.parts, &other.parts);
        let ours = ours.into_iter().flat_map(|part| part.iter());
        let theirs = theirs.into_iter().flat_map(|part| part.iter());
        pairs(ours, theirs)
    }
}

/// For each key of either, what each has: one walk over both, which are in
/// order.
pub fn pairs<'a, K: Ord + 'a, V: 'a>(
    ours: impl Iterator<Item = (&'a K, &'a V)>,
    theirs: impl Iterator<Item = (&'a K, &'a V)>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let (mut ours, mut theirs) = (ours.peekable(), theirs.peekable());
    core::iter::from_fn(move || match (ours.peek(), theirs.peek()) {
        (Some((a, _)), Some((b, _))) if a == b => {
            let ((key, our), (_, their)) = (ours.next()?, theirs.next()?);
            Some((key, Some(our), Some(their)))
        }
        (Some((a, _)), b) if b.is_none_or(|(b, _)| a < b) => {
            ours.next().map(|(key, our)| (key, Some(our), None))
        }
        _ => theirs.next().map(|(key, their)| (key, None, Some(their))),
    })
}

/// Without those that are in both.
fn unshared_parts<'a, K: Ord, V>(
    ours: &'a [Part<K, V>],
    theirs: &'a [Part<K, V>],
) -> [Vec<&'a Part<K, V>>; 2] {
    let (mut our_own, mut their_own) = (Vec::new(), Vec::new());
    let mut ours = ours.iter().peekable();
    let mut theirs = theirs.iter().peekable();
    loop {
        let (a, b) = (ours.peek().copied(), theirs.peek().copied());
        let order = match (a, b) {
            (None, None) => return [our_own, their_own],
            (Some(_), None) => core::cmp::Ordering::Less,
            (None, Some(_)) => core::cmp::Ordering::Greater,
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => {
                ours.next();
                theirs.next();
                continue;
            }
            // Whichever begins first; so parts that both have meet again.
            (Some(a), Some(b)) => a
                .first_key_value()
                .map(|(key, _)| key)
                .cmp(&b.first_key_value().map(|(key, _)| key)),
        };
        if order.is_le() {
            our_own.extend(ours.next());
        }
        if order.is_ge() {
            their_own.extend(theirs.next());
        }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.entry(key) {
            Entry::Occupied(mut entry) => Some(entry.insert(value)),
            Entry::Vacant(entry) => {
                entry.insert(value);
                None
            }
        }
    }

    /// What is shared is copied now, whether or not anything is changed.
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        if self.parts.is_empty() {
            self.parts.push(Arc::default());
        }
        let mut at = self.at(&key);
        let part = &self.parts[at];
        if part.len() >= PART && !part.contains_key(&key) {
            let middle = part.keys().nth(PART / 2).cloned();
            let middle = middle.expect("there are that many");
            let end = Arc::make_mut(&mut self.parts[at]).split_off(&middle);
            self.parts.insert(at + 1, Arc::new(end));
            at += usize::from(key >= middle);
        }
        Arc::make_mut(&mut self.parts[at]).entry(key)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.at(key);
        let part = self.parts.get_mut(at)?;
        if !part.contains_key(key) {
            return None;
        }
        Arc::make_mut(part).get_mut(key)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let parts = self.parts.iter_mut();
        parts.flat_map(|part| Arc::make_mut(part).values_mut())
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.at(key);
        let part = self.parts.get_mut(at)?;
        if !part.contains_key(key) {
            return None;
        }
        let part = Arc::make_mut(part);
        let removed = part.remove(key);
        if part.is_empty() {
            self.parts.remove(at);
        }
        removed
    }

    /// Makes it hold these entries, sorted by their keys, each once. What stays
    /// as it is is shared with what this was.
    pub fn replace_with(&mut self, entries: &[(K, V)])
    where
        V: PartialEq,
    {
        let new = entries.iter().map(|(key, value)| (key, value));
        let differ = pairs(self.iter(), new).filter(|(_, old, new)| old != new);
        let differ: Vec<_> = differ
            .map(|(key, _, new)| (key.clone(), new.cloned()))
            .collect();
        if differ.len() > entries.len() / 4 {
            *self = Self::sorted(entries.iter().cloned());
            return;
        }
        for (key, new) in differ {
            match new {
                Some(new) => drop(self.insert(key, new)),
                None => drop(self.remove(&key)),
            }
        }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.unshared(other).all(|(_, ours, theirs)| ours == theirs)
    }
}

impl<K: Ord, V: Eq> Eq for SharedMap<K, V> {}

impl<K: Ord, V> FromIterator<(K, V)> for SharedMap<K, V> {
    /// Of several with the same key, the last one stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                core::mem::swap(later, first);
            }
            same
        });
        Self::sorted(entries.into_iter())
    }
}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Ord, V> Index<&K> for SharedMap<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("the key is in the map")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        Insert(u16, u8),
        Remove(u16),
        Edit(u16),
        Copy,
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = prop_oneof![
            6 => (0..600_u16, any::<u8>()).prop_map(|(key, value)| Change::Insert(key, value)),
            3 => (0..600_u16).prop_map(Change::Remove),
            1 => (0..600_u16).prop_map(Change::Edit),
            1 => Just(Change::Copy),
        ];
        prop::collection::vec(change, 0..1500)
    }

    /// What differs, found by looking at everything.
    fn differing(one: &BTreeMap<u16, u8>, other: &BTreeMap<u16, u8>) -> Vec<u16> {
        let keys: alloc::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
        let keys = keys.into_iter().copied();
        keys.filter(|key| one.get(key) != other.get(key)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_an_ordinary_map_and_copies_stay_as_they_were(changes in changes()) {
            let (mut map, mut plain) = (SharedMap::new(), BTreeMap::new());
            let mut copies = Vec::new();
            for change in &changes {
                match *change {
                    Change::Insert(key, value) => {
                        prop_assert_eq!(map.insert(key, value), plain.insert(key, value));
                    }
                    Change::Remove(key) => {
                        prop_assert_eq!(map.remove(&key), plain.remove(&key));
                    }
                    Change::Edit(key) => {
                        let edit = |value: &mut u8| *value = value.wrapping_add(1);
                        map.get_mut(&key).map(edit);
                        plain.get_mut(&key).map(edit);
                        prop_assert_eq!(map.get(&key), plain.get(&key));
                    }
                    Change::Copy => copies.push((map.clone(), plain.clone())),
                }
            }
            prop_assert_eq!(map.len(), plain.len());
            prop_assert_eq!(map.is_empty(), plain.is_empty());
            prop_assert!(map.iter().eq(plain.iter()));
            let all: Vec<_> = plain.clone().into_iter().collect();
            let anew: SharedMap<_, _> = all.iter().rev().copied().collect();
            prop_assert_eq!(&anew, &map);
            for (copy, _) in &copies {
                let mut replaced = copy.clone();
                replaced.replace_with(&all);
                prop_assert_eq!(&replaced, &map);
            }
            for (copy, before) in &copies {
                prop_assert!(copy.iter().eq(before.iter()));
                let unshared = copy.unshared(&map);
                let differ = unshared.filter(|(_, one, other)| one != other);
                let differ: Vec<_> = differ.map(|(key, _, _)| *key).collect();
                prop_assert_eq!(&differ, &differing(before, &plain));
                prop_assert_eq!(*copy == map, differ.is_empty());
            }
        }
    }

    #[test]
    fn one_change_leaves_nearly_everything_shared() {
        let map: SharedMap<u32, u32> = (0..10_000).map(|n| (n, n)).collect();
        let mut copy = map.clone();
        assert!(copy.is_same(&map));
        copy.insert(5_000, 0);
        assert!(!copy.is_same(&map));
        assert!(copy.unshared(&map).count() <= PART);
    }
}
