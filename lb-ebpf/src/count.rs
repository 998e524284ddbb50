//! Counters: one for each reason, and traffic by frontend and backend.

use lb_common::{
    traffic::{Rate, Traffic},
    verdict::Reason,
};

use crate::maps::{COUNTERS, POD_TRAFFIC, RATES, TRAFFIC};

/// Counts a packet under its reason.
#[inline(always)]
pub fn reason(reason: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason) {
        // SAFETY: a per-CPU entry, and programs are not preempted by others
        // that count on the same CPU in the same direction.
        unsafe { *counter += 1 };
    }
}

/// Counts something that happened on a packet's way.
#[inline(always)]
pub fn event(event: Reason) {
    reason(event as u32);
}

#[inline(always)]
pub fn frontend(id: u32, bytes: u32) {
    add(TRAFFIC.get_ptr_mut(id), bytes);
}

#[inline(always)]
pub fn backend(id: u16, bytes: u32) {
    add(POD_TRAFFIC.get_ptr_mut(u32::from(id)), bytes);
}

#[inline(always)]
fn add(entry: Option<*mut Traffic>, bytes: u32) {
    if let Some(entry) = entry {
        // SAFETY: as in `reason`.
        let traffic = unsafe { &mut *entry };
        traffic.packets += 1;
        traffic.bytes += u64::from(bytes);
    }
}

/// Takes one packet from this CPU's budget for packets of our own making.
#[inline(always)]
pub fn within_rate(kind: u32, limit: u32, jiffies: u32) -> bool {
    match RATES.get_ptr_mut(kind) {
        Some(rate) => {
            // SAFETY: as in `reason`.
            let rate: &mut Rate = unsafe { &mut *rate };
            rate.take(jiffies, limit)
        }
        None => false,
    }
}
