//! What the programs are told about this node: `CONFIG[0]`.

use std::time::Duration;

use lb_common::addr::Addr;
use lb_common::config::{Config, Uplink, flags};
use lb_common::limits::{FRESH_SECONDS, UPLINKS_MAX};
use lb_common::node::{MacEntry, NodeName, kind};
use lb_common::tunnel::{OVERHEAD_V4, OVERHEAD_V6};
use lb_core::dataplane::Image;

use super::{FilterReady, Reconciler, Settings};
use crate::clock;
use crate::dataplane::apply::ApplyError;
use crate::random;

/// Fresh until some time after the programs that fill the maps are attached.
const NOT_ATTACHED: u32 = u32::MAX;

/// What was there, with what this agent was started with.
pub(super) fn of(settings: &Settings, mut config: Config) -> Config {
    // The maps have just been made.
    if config.client_seed == 0 {
        config.client_seed = random::number().max(1);
        config.fresh_until_s = NOT_ATTACHED;
    }
    config.hz = settings.hz;
    config.tunnel_port = settings.tunnel_port.into();
    config.rates = settings.rates;
    config.embryo_sets = settings.sizes.embryo_sets;
    config.filter_words = settings.sizes.filter_words();
    config.frontend_buckets = settings.sizes.frontend_buckets();
    config.zero = 0;
    config
}

impl Reconciler {
    /// The programs must find this node's configuration before they run.
    pub(super) fn write_config(&mut self, target: &Image) -> Result<(), ApplyError> {
        let mut config = self.config;
        if !self.uplinks.is_empty() {
            let uplinks = self.uplinks.iter().map(|device| Uplink {
                mac: MacEntry {
                    mac: device.mac,
                    node: 0,
                },
                ifindex: device.ifindex,
                pad: 0,
            });
            config.uplinks = [Uplink::default(); UPLINKS_MAX];
            for (to, uplink) in config.uplinks.iter_mut().zip(uplinks) {
                *to = uplink;
            }
        }
        let this = self.inputs.facts.nodes.get(&self.settings.node);
        let addresses = this.map_or(&[][..], |node| &node.addresses);
        let of_family = |v4| {
            let mut of_family = addresses.iter().filter(|address| address.is_ipv4() == v4);
            of_family
                .next()
                .map_or(Addr::UNSPECIFIED, |a| Addr::from(*a))
        };
        config.node_v4 = of_family(true);
        config.node_v6 = of_family(false);
        config.fresh_until_s = fresh_until(config.fresh_until_s, clock::boottime());
        config.flags &= !flags::CHANNEL;
        if self.talks {
            config.flags |= flags::CHANNEL;
        }
        let room = inner_mtu(target);
        // IP and TCP headers without options (RFC 6691 §2).
        config.mss_v4 = room.map_or(0, |room| room.saturating_sub(40));
        config.mss_v6 = room.map_or(0, |room| room.saturating_sub(60));
        if self.kernel.config().is_ok_and(|there| there == config) {
            return Ok(());
        }
        self.put_config(config)?;
        let mut name = NodeName {
            name: [0; 64],
            addr: if config.node_v4 == Addr::UNSPECIFIED {
                config.node_v6
            } else {
                config.node_v4
            },
        };
        let bytes = self.settings.node.as_str().bytes();
        for (to, byte) in name.name.iter_mut().take(63).zip(bytes) {
            *to = byte;
        }
        self.kernel.put_own_name(name)
    }

    fn put_config(&mut self, config: Config) -> Result<(), ApplyError> {
        self.config = config;
        self.kernel.put_config(config)
    }

    /// Puts the half of the client filter that was just filled to use.
    pub(super) fn use_filter(&mut self, ready: FilterReady) {
        let config = Config {
            filter_half: ready.half,
            ..self.config
        };
        match self.put_config(config) {
            // The sweep may have ended meanwhile, which is heard elsewhere.
            Ok(()) => drop(ready.in_use.send(())),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error),
        }
    }
}

/// Until when maps are fresh, for the programs that are attached `now`.
fn fresh_until(before_s: u32, now: Duration) -> u32 {
    let now_s = u32::try_from(now.as_secs()).unwrap_or(NOT_ATTACHED);
    match before_s {
        NOT_ATTACHED => now_s.saturating_add(FRESH_SECONDS),
        past if past <= now_s => 0,
        to_come => to_come,
    }
}

/// Bytes that an IP packet may have to fit every way that has an outer header;
/// none if there is no such way.
fn inner_mtu(image: &Image) -> Option<u32> {
    let routed = image.nodes.values().map(|node| &node.value);
    let routed = routed.filter(|value| value.kind == kind::ROUTED);
    routed
        .map(|value| {
            let overhead = if value.outer_dst.is_v4() {
                OVERHEAD_V4
            } else {
                OVERHEAD_V6
            };
            value.mtu.saturating_sub(overhead)
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_fresh_for_a_while_after_programs_are_attached_and_then_no_more() {
        let at = Duration::from_secs;
        let until = fresh_until(NOT_ATTACHED, at(100));
        assert_eq!(until, 100 + FRESH_SECONDS);
        assert_eq!(
            fresh_until(until, at(105)),
            until,
            "the end stays where it is"
        );
        assert_eq!(fresh_until(until, at(until.into())), 0);
        assert_eq!(fresh_until(0, at(100)), 0, "a restart makes nothing fresh");
    }
}
