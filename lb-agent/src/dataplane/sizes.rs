//! How large the maps are, and the options that say so.

use lb_common::frontend::buckets_for;
use lb_common::limits::default_size;
use lb_common::maps::Map;

/// Sizes of maps. They are fixed when the maps are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(
    next_help_heading = "Sizes of maps (fixed when they are made; `lb-agent purge` removes them)"
)]
pub struct MapSizes {
    /// Addresses that are answered for
    #[arg(long, value_name = "N", default_value_t = default_size::VIPS)]
    pub max_vips: u32,
    /// Frontends: combinations of address, port and protocol
    #[arg(long, value_name = "N", default_value_t = default_size::FRONTENDS)]
    pub max_frontends: u32,
    /// Pieces of pick tables, 1 KiB each: a frontend takes 4 (up to 16 pods) to 256
    #[arg(long, value_name = "N", default_value_t = default_size::TABLE_CHUNKS)]
    pub max_table_chunks: u32,
    /// Endpoints of all frontends together, on all nodes
    #[arg(long, value_name = "N", default_value_t = default_size::ENDPOINTS)]
    pub max_endpoints: u32,
    /// Established TCP flows of pods on this node; about 260 bytes each
    #[arg(long, value_name = "N", default_value_t = default_size::TCP_FLOWS)]
    pub max_tcp_flows: u32,
    /// UDP flows of pods on this node; when full, the oldest goes
    #[arg(long, value_name = "N", default_value_t = default_size::UDP_FLOWS)]
    pub max_udp_flows: u32,
    /// Sets of four handshakes that are under way; a power of two
    #[arg(long, value_name = "N", default_value_t = default_size::EMBRYO_SETS, value_parser = power_of_two)]
    pub embryo_sets: u32,
    /// Fragmented datagrams that are under way
    #[arg(long, value_name = "N", default_value_t = default_size::FRAGMENTS)]
    pub max_fragments: u32,
}

fn power_of_two(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|error| format!("{error}"))?;
    if number.is_power_of_two() {
        Ok(number)
    } else {
        Err(format!("{number} is not a power of two"))
    }
}

impl Default for MapSizes {
    fn default() -> Self {
        Self {
            max_vips: default_size::VIPS,
            max_frontends: default_size::FRONTENDS,
            max_table_chunks: default_size::TABLE_CHUNKS,
            max_endpoints: default_size::ENDPOINTS,
            max_tcp_flows: default_size::TCP_FLOWS,
            max_udp_flows: default_size::UDP_FLOWS,
            embryo_sets: default_size::EMBRYO_SETS,
            max_fragments: default_size::FRAGMENTS,
        }
    }
}

impl MapSizes {
    /// Entries of a map, and the option that sets them if there is one.
    #[must_use]
    pub fn of(&self, map: &Map) -> (u32, Option<&'static str>) {
        let (entries, option) = match map.name {
            "VIPS" => (self.max_vips, "--max-vips"),
            "FRONTENDS" | "FRONTEND_ENTRIES" | "TRAFFIC" | "NAMES" => {
                (self.max_frontends, "--max-frontends")
            }
            "FRONTEND_INDEX" => (self.frontend_buckets(), "--max-frontends"),
            "TABLES" => (self.max_table_chunks, "--max-table-chunks"),
            "ENDPOINTS" => (self.max_endpoints, "--max-endpoints"),
            "TCP_FLOWS" | "TCP_REVERSE" => (self.max_tcp_flows, "--max-tcp-flows"),
            "CLIENT_FILTER" => (2 * self.filter_words(), "--max-tcp-flows"),
            "UDP_FLOWS" | "UDP_REVERSE" => (self.max_udp_flows, "--max-udp-flows"),
            "EMBRYONIC" => (self.embryo_sets, "--embryo-sets"),
            "FRAGMENTS" => (self.max_fragments, "--max-fragments"),
            _ => return (map.max_entries, None),
        };
        (entries, Some(option))
    }

    /// Buckets of the frontends' index.
    #[must_use]
    pub fn frontend_buckets(&self) -> u32 {
        buckets_for(self.max_frontends)
    }

    /// Words in one half of the client filter: two bits for each flow.
    #[must_use]
    pub fn filter_words(&self) -> u32 {
        (self.max_tcp_flows / 32).max(64).next_power_of_two()
    }

    /// As the core wants to know them.
    #[must_use]
    pub fn for_core(&self) -> lb_core::dataplane::Sizes {
        lb_core::dataplane::Sizes {
            frontends: self.max_frontends,
            table_chunks: self.max_table_chunks,
            ..lb_core::dataplane::Sizes::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::maps::MAPS;

    #[test]
    fn the_defaults_are_those_of_the_maps() {
        let sizes = MapSizes::default();
        for map in MAPS {
            assert_eq!(sizes.of(map).0, map.max_entries, "{}", map.name);
        }
    }
}
