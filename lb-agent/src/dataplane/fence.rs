//! Until when this node answers for its VIPs, and who else says to have one:
//! maps that are not part of any image.

use aya::maps::{Array, HashMap, MapData};
use lb_common::addr::Addr;
use lb_common::vip::{Claim, Fence};
use lb_core::time::Timestamp;

use super::apply::ApplyError;
use super::maps::{OpenError, typed};
use super::pins::Pins;
use super::readback::ReadError;

/// `FENCE`, and the only writer of it.
pub struct FenceMap {
    fence: Array<MapData, Fence>,
    written: Option<Fence>,
}

impl std::fmt::Debug for FenceMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FenceMap").finish_non_exhaustive()
    }
}

impl FenceMap {
    pub fn open(pins: &Pins) -> Result<Self, OpenError> {
        Ok(Self {
            fence: typed(pins, "FENCE")?,
            written: None,
        })
    }

    /// Nothing is answered after that; none: nothing is answered.
    pub fn set(&mut self, until: Option<Timestamp>) -> Result<(), ApplyError> {
        let fence = Fence {
            until_ns: until.map_or(0, Timestamp::nanos),
        };
        if self.written != Some(fence) {
            let written = self.fence.set(0, fence, 0);
            let error = |source| ApplyError {
                map: "FENCE",
                source,
            };
            written.map_err(error)?;
            self.written = Some(fence);
        }
        Ok(())
    }
}

/// Until when VIPs are answered for, whoever has written it.
pub fn fence(pins: &Pins) -> Result<Fence, ReadError> {
    let map: Array<MapData, Fence> = typed(pins, "FENCE")?;
    let error = |source| ReadError::Map {
        map: "FENCE",
        source,
    };
    map.get(&0, 0).map_err(error)
}

/// Who else said last to have a VIP.
pub fn claims(pins: &Pins) -> Result<Vec<(Addr, Claim)>, ReadError> {
    let map: HashMap<MapData, Addr, Claim> = typed(pins, "CLAIMS")?;
    let error = |source| ReadError::Map {
        map: "CLAIMS",
        source,
    };
    map.iter().map(|entry| entry.map_err(error)).collect()
}
