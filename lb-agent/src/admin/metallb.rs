//! The same under MetalLB's names, for dashboards and alerts that are there
//! already: those that its alerts ask for, and what it says of routers.

use lb_core::ipam::PoolUse;

use super::routers;
use super::text::{Kind, Text};
use crate::publish::Decided;
use crate::report::routers::Routers;

/// Name, help, and the number.
type Pool = (&'static str, &'static str, fn(&PoolUse) -> u64);

const POOLS: [Pool; 6] = [
    (
        "metallb_allocator_addresses_in_use_total",
        "Addresses of a pool that Services have.",
        |pool| pool.assigned_v4 + pool.assigned_v6,
    ),
    (
        "metallb_allocator_ipv4_addresses_in_use_total",
        "Those of IPv4.",
        |pool| pool.assigned_v4,
    ),
    (
        "metallb_allocator_ipv6_addresses_in_use_total",
        "Those of IPv6.",
        |pool| pool.assigned_v6,
    ),
    (
        "metallb_allocator_addresses_total",
        "Addresses of a pool.",
        |pool| total_v4(pool).saturating_add(total_v6(pool)),
    ),
    (
        "metallb_allocator_ipv4_addresses_total",
        "Those of IPv4.",
        total_v4,
    ),
    (
        "metallb_allocator_ipv6_addresses_total",
        "Those of IPv6.",
        total_v6,
    ),
];

fn total_v4(pool: &PoolUse) -> u64 {
    pool.assigned_v4.saturating_add(pool.available_v4)
}

fn total_v6(pool: &PoolUse) -> u64 {
    pool.assigned_v6.saturating_add(pool.available_v6)
}

pub(super) fn lines(decided: &Decided, told: &Routers) -> String {
    let mut text = Text::default();
    text.family(
        "metallb_k8s_client_config_loaded_bool",
        Kind::Gauge,
        "Whether there was a good configuration yet.",
    );
    text.sample(&[], u8::from(decided.config.good.is_some()));
    text.family(
        "metallb_k8s_client_config_stale_bool",
        Kind::Gauge,
        "Whether an older configuration is used, as the present one is wrong.",
    );
    text.sample(&[], u8::from(!decided.config.refused.is_empty()));
    for (name, help, value) in POOLS {
        text.family(name, Kind::Gauge, help);
        for (pool, used) in &decided.assignment.pools {
            text.sample(&[("pool", pool)], value(used));
        }
    }
    let mut of_routers = Text::default();
    routers::of_routers(&mut of_routers, told);
    text.into_string() + &of_routers.renamed("corten_", "metallb_")
}
