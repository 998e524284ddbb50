//! Frames that say where a VIP is.

pub mod arp;
pub mod ndp;

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::model::Mac;

/// Those that tell everybody on the link that `vip` is at `mac` now.
#[must_use]
pub fn announcements(vip: IpAddr, mac: Mac) -> Vec<Vec<u8>> {
    match vip {
        // Both forms: some listen to one, some to the other (RFC 5944 §4.6).
        IpAddr::V4(vip) => vec![
            arp::gratuitous(vip, mac, arp::REQUEST),
            arp::gratuitous(vip, mac, arp::REPLY),
        ],
        IpAddr::V6(vip) => vec![ndp::unsolicited_advertisement(vip, mac)],
    }
}

/// The one that asks whether anybody has `vip`, without saying to have it
/// oneself.
#[must_use]
pub fn probe(vip: IpAddr, mac: Mac) -> Vec<u8> {
    match vip {
        IpAddr::V4(vip) => arp::probe(vip, mac),
        IpAddr::V6(vip) => ndp::duplicate_address_detection(vip, mac),
    }
}
