//! Frontends: all of them in a hash map, and beside it an index and entries,
//! which is where packets look first.
//!
//! The order of writes keeps every packet right, also where the agent dies
//! between two of them: an entry's new value goes to the side that nobody
//! reads, then the hash map and the index change over; what is removed leaves
//! the index first. What may be left behind then is an index that leads to the
//! value before: [`mend`] finds it.

use aya::maps::MapError;
use lb_common::filter::vip_hash;
use lb_common::frontend::{
    FrontendBucket, FrontendEntry, FrontendKey, FrontendValue, NO_PLACE, bucket_and_tag,
    id_and_side,
};

use super::apply::{ApplyError, removed, written};
use super::maps::Maps;

const INDEX: &str = "FRONTEND_INDEX";
const ENTRIES: &str = "FRONTEND_ENTRIES";
const ALL: &str = "FRONTENDS";

/// Adds a frontend or changes its value; which side it goes to is found here.
pub(super) fn put(
    maps: &mut Maps,
    key: &FrontendKey,
    mut value: FrontendValue,
) -> Result<(), ApplyError> {
    let at = Indexed::read(maps, key)?;
    let old = find(ALL, maps.frontends.get(key, 0))?;
    // Packets read the index before the hash map.
    let in_use = match (id_and_side(at.place), old) {
        ((id, side), _) if id == value.id => Some(side),
        (_, Some(old)) if old.id == value.id => Some(old.side),
        _ => None,
    };
    value.side = in_use.map_or(0, |side| 1 - (side & 1));
    let there = maps
        .frontend_entries
        .get(&value.id, 0)
        .map_err(of(ENTRIES))?;
    let mut entry = match in_use {
        Some(_) => FrontendEntry { key: *key, ..there },
        None => fresh(key, value),
    };
    *entry.value_mut(value.place()) = value;
    written(ENTRIES, maps.frontend_entries.set(value.id, entry, 0))?;
    written(ALL, maps.frontends.insert(key, value, 0))?;
    at.put(maps, value.place())
}

/// Removes a frontend; its id may be used again after a while.
pub(super) fn remove(maps: &mut Maps, key: &FrontendKey) -> Result<(), ApplyError> {
    let at = Indexed::read(maps, key)?;
    if let Some(old) = find(ALL, maps.frontends.get(key, 0))?
        && id_and_side(at.place).0 == old.id
    {
        at.remove(maps)?;
    }
    removed(ALL, maps.frontends.remove(key))
}

/// Makes the index and the entries say what the hash map says: an agent that
/// was killed may have left them behind. Says how many were mended.
pub(super) fn mend(
    maps: &mut Maps,
    all: &[(FrontendKey, FrontendValue)],
) -> Result<u32, ApplyError> {
    let mut mended = 0;
    for (key, value) in all {
        let (id, place) = (value.id, value.place());
        let at = Indexed::read(maps, key)?;
        let there = maps.frontend_entries.get(&id, 0).map_err(of(ENTRIES))?;
        if there.key != *key || there.value(place) != value {
            written(
                ENTRIES,
                maps.frontend_entries.set(id, fresh(key, *value), 0),
            )?;
            mended += 1;
        }
        let elsewhere = at.place != NO_PLACE && at.place != place;
        // Another frontend's with the same tag, most likely: it may stay.
        let others = elsewhere && {
            let (id, _) = id_and_side(at.place);
            let entry = maps.frontend_entries.get(&id, 0).map_err(of(ENTRIES))?;
            entry.key != *key
        };
        if at.place == NO_PLACE || elsewhere && !others {
            mended += u32::from(elsewhere);
            at.put(maps, place)?;
        }
    }
    Ok(mended)
}

/// An entry that nobody reads yet.
fn fresh(key: &FrontendKey, value: FrontendValue) -> FrontendEntry {
    FrontendEntry {
        key: *key,
        pad: 0,
        values: [value; 2],
    }
}

/// The bucket of a frontend in the index.
struct Indexed {
    number: u32,
    tag: u32,
    bucket: FrontendBucket,
    /// Where the way of its tag leads, or [`NO_PLACE`].
    place: u32,
}

impl Indexed {
    fn read(maps: &Maps, key: &FrontendKey) -> Result<Self, ApplyError> {
        let buckets = maps.frontend_index.len();
        let (number, tag) = bucket_and_tag(vip_hash(key.vip), key.port, key.protocol, buckets);
        let bucket = maps.frontend_index.get(&number, 0).map_err(of(INDEX))?;
        Ok(Self {
            number,
            tag,
            bucket,
            place: bucket.find(tag),
        })
    }

    /// Where no way is free, packets find it in the hash map.
    fn put(mut self, maps: &mut Maps, place: u32) -> Result<(), ApplyError> {
        if self.place != place && self.bucket.put(self.tag, place) {
            written(INDEX, maps.frontend_index.set(self.number, self.bucket, 0))?;
        }
        Ok(())
    }

    fn remove(mut self, maps: &mut Maps) -> Result<(), ApplyError> {
        self.bucket.remove(self.tag);
        written(INDEX, maps.frontend_index.set(self.number, self.bucket, 0))
    }
}

fn of(map: &'static str) -> impl Fn(MapError) -> ApplyError {
    move |source| ApplyError { map, source }
}

fn find<V>(map: &'static str, found: Result<V, MapError>) -> Result<Option<V>, ApplyError> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(source) => Err(ApplyError { map, source }),
    }
}
