//! A `BFDProfile`: how fast a peer's failure is noticed (RFC 5880).

use alloc::string::String;
use core::ops::RangeInclusive;

use super::Reason;
use super::declared::{BfdProfileSpec, Object};
use super::refused::Refusals;

/// What is not given has the value that FRR has, behind MetalLB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdProfile {
    pub name: String,
    pub receive_interval_ms: u32,
    pub transmit_interval_ms: u32,
    pub detect_multiplier: u8,
    pub echo_interval_ms: u32,
    pub echo_mode: bool,
    pub passive_mode: bool,
    /// The least TTL of packets of a session over several hops.
    pub minimum_ttl: u8,
}

const INTERVAL_MS: RangeInclusive<u32> = 10..=60_000;

impl BfdProfile {
    pub(super) fn of(object: &Object<BfdProfileSpec>, refusals: &mut Refusals) -> Self {
        let spec = &object.spec;
        let mut number = |field, given: Option<u32>, range: RangeInclusive<u32>, default| {
            let value = given.unwrap_or(default);
            if !range.contains(&value) {
                let (min, max) = range.into_inner();
                let reason = Reason::OutOfRange { value, min, max };
                refusals.refuse(&object.place, field, reason);
            }
            value
        };
        let receive = number("receiveInterval", spec.receive_interval, INTERVAL_MS, 300);
        let transmit = number("transmitInterval", spec.transmit_interval, INTERVAL_MS, 300);
        let multiplier = number("detectMultiplier", spec.detect_multiplier, 2..=255, 3);
        let echo = number("echoInterval", spec.echo_interval, INTERVAL_MS, 50);
        let ttl = number("minimumTtl", spec.minimum_ttl, 1..=254, 254);
        Self {
            name: object.name.clone(),
            receive_interval_ms: receive,
            transmit_interval_ms: transmit,
            detect_multiplier: u8::try_from(multiplier).unwrap_or(u8::MAX),
            echo_interval_ms: echo,
            echo_mode: spec.echo_mode,
            passive_mode: spec.passive_mode,
            minimum_ttl: u8::try_from(ttl).unwrap_or(u8::MAX),
        }
    }
}
