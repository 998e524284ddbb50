//! Dialogues with a peer, and two speakers that talk with each other.

mod dialogue;
mod simulation;

use alloc::sync::Arc;
use alloc::vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use super::super::config::{Config, Endpoints, RemoteAs};
use super::super::rib::{Route, Routes};
use super::super::wire::Family;
use crate::time::Timestamp;

pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(millis))
}

/// Node 1 or router 2, of AS 64501 and 64502.
pub(super) fn config(number: u8) -> Config {
    Config {
        local_as: 64500 + u32::from(number),
        remote_as: RemoteAs::External,
        id: Ipv4Addr::new(192, 0, 2, number),
        hold_s: 90,
        keepalive_s: None,
        connect_retry: None,
        families: vec![Family::IPV4, Family::IPV6],
        graceful: None,
        drain: Duration::from_secs(5),
    }
}

pub(super) fn endpoints(local: u8, remote: u8) -> Endpoints {
    let address = |number| IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
    Endpoints {
        local: address(local),
        remote: address(remote),
        v4: Some(Ipv4Addr::new(192, 0, 2, local)),
        v6: Some("2001:db8::1".parse().unwrap()),
        link_local: None,
    }
}

/// So many VIPs of 198.51.0.0/16 and as many of IPv6, all alike.
pub(super) fn routes(count: u16) -> Routes {
    let mut routes = Routes::new();
    for number in 0..count {
        let [high, low] = number.to_be_bytes();
        let v4 = Ipv4Addr::new(198, 51, high, low);
        routes.insert(IpAddr::V4(v4).into(), Arc::new(Route::default()));
    }
    routes
}
