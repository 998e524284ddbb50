//! Telling the links which VIPs are here.
//!
//! A VIP that this node gains is announced at once on each of its links, and
//! again as MetalLB does: every 1.1 s, five times in all (its `spamLoop`; a
//! second apart some switches and hosts take it for a storm). A host may miss
//! one, and old entries in its cache lead to the old owner until it hears one.
//!
//! However many VIPs there are, only so much is said, counted over all links
//! (of each VIP two frames, as ARP has two forms, or one of IPv6):
//!
//! - **New here**: [`BATCH`] VIPs every [`TICK`], which is 6,400 a second; 500
//!   take 80 ms. Hosts send elsewhere until they hear it.
//! - **Again**: [`AGAIN_BATCH`] every [`AGAIN_TICK`], which is 640 a second. Up
//!   to 704 VIPs keep to the schedule above; more take longer.
//! - **Claimed** by somebody else, whom hosts believe now: at once, and not
//!   again for [`DEFEND_EVERY`] (RFC 5227 §2.4 c), before others of the 640.
//! - **While not all agents are heard**: [`SAMPLE`] in each [`Wanted::sample`],
//!   in turn. Who owns the same without knowing hears one of them at once: of
//!   two parts of a cluster each owns all VIPs.
//! - **Asked about** before a VIP is used for the first time ([`Prober`]):
//!   [`PROBE_BATCH`] in a [`PROBE_TICK`], which is 6,400 a second.
//! - **Refreshed**, if that is wanted: all, as far as the 640 allow.
//!
//! Then it is silent.
//!
//! Answers to questions are the kernel program's, and whether anybody may
//! answer is the fence's.

mod announcer;
mod lane;
mod prober;
pub mod wire;

pub use announcer::{
    AGAIN_BATCH, AGAIN_TICK, Announcer, BATCH, DEFEND_EVERY, Output, SAMPLE, TICK, Wanted,
};
pub use prober::{Ask, PROBE_BATCH, PROBE_TICK, Prober};
