//! Telling the links which VIPs are here.
//!
//! A VIP that this node gains is announced at once on each of its links, and
//! again as MetalLB does: every 1.1 s, five times in all (its `spamLoop`; a
//! second apart some switches and hosts take it for a storm). A host may miss
//! one, and old entries in its cache lead to the old owner until it hears one.
//! Optionally all VIPs are announced again and again.
//!
//! However many VIPs there are, no more than [`BATCH`] of them are announced
//! on all links together every [`TICK`]: 500 take 80 ms and 1,000 frames
//! (ARP has two forms, and IPv6 one).
//!
//! Answers to questions are the kernel program's, and whether anybody may
//! answer is the fence's.

mod announcer;
mod prober;
pub mod wire;

pub use announcer::{Announcer, BATCH, Output, TICK, Wanted};
pub use prober::{Ask, Prober};
