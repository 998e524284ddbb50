//! MetalLB's ConfigMap, which held everything before its version 0.13: the key
//! `config`, in YAML of its own. As strict as it was: a key that does not exist
//! is an error.

use std::collections::BTreeMap;

use lb_core::config::declared::{
    BfdProfileSpec, BgpAdvertisementSpec, CommunitySpec, Declaration, L2AdvertisementSpec, Object,
    PeerSpec, PoolSpec, PoolsSpec, RequirementSpec, SelectorSpec,
};
use lb_core::config::{Community, Labels, Password, Place, Reason, Refused};
use serde::Deserialize;
use serde_saphyr::{MessageFormatter as _, UserMessageFormatter};

use super::config::{self, Part};
use super::shape::Metadata;

/// The key with the text, and the usual name of the ConfigMap.
pub(in crate::source) const KEY: &str = "config";

/// Whether a file's ConfigMap is that one.
pub(in crate::source) fn is_it(metadata: &Metadata) -> bool {
    metadata.name.as_deref() == Some(KEY) && config::is_there(metadata)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    peers: Option<Vec<Peer>>,
    bgp_communities: Option<BTreeMap<String, String>>,
    address_pools: Option<Vec<Pool>>,
    bfd_profiles: Option<Vec<BfdProfile>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Peer {
    my_asn: u32,
    peer_asn: u32,
    peer_address: String,
    source_address: String,
    peer_port: u16,
    hold_time: Option<String>,
    keepalive_time: Option<String>,
    router_id: String,
    node_selectors: Option<Vec<NodeSelector>>,
    password: String,
    bfd_profile: String,
    ebgp_multihop: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct NodeSelector {
    match_labels: Option<Labels>,
    match_expressions: Option<Vec<Requirement>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Requirement {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Pool {
    name: String,
    protocol: String,
    addresses: Option<Vec<String>>,
    avoid_buggy_ips: bool,
    auto_assign: Option<bool>,
    bgp_advertisements: Option<Vec<Advertisement>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Advertisement {
    aggregation_length: Option<i32>,
    aggregation_length_v6: Option<i32>,
    localpref: Option<u32>,
    communities: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct BfdProfile {
    name: String,
    receive_interval: Option<u32>,
    transmit_interval: Option<u32>,
    detect_multiplier: Option<u32>,
    echo_interval: Option<u32>,
    echo_mode: bool,
    passive_mode: bool,
    minimum_ttl: Option<u32>,
}

/// What a ConfigMap of this name says, or all that is wrong with its form.
pub(in crate::source) fn part(config_map: &str, text: &str) -> Part {
    let file: Option<File> = match serde_saphyr::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let line = error.location().map_or(0, |location| location.line());
            let said = UserMessageFormatter.format_message(error.without_snippet());
            let message = format!("line {line} of it: {said}");
            let field = format!("data.{KEY}");
            return Part::Refused(vec![Refused {
                object: Place::entry(config_map, String::new()).object,
                field,
                reason: Reason::Format { message },
            }]);
        }
    };
    let mut reader = Reader {
        config_map,
        declarations: Vec::new(),
        refused: Vec::new(),
        l2: 0,
        bgp: 0,
    };
    reader.file(file.unwrap_or_default());
    if reader.refused.is_empty() {
        Part::Declarations(reader.declarations)
    } else {
        Part::Refused(reader.refused)
    }
}

/// Names are those that MetalLB's own converter gave.
struct Reader<'a> {
    config_map: &'a str,
    declarations: Vec<Declaration>,
    refused: Vec<Refused>,
    l2: usize,
    bgp: usize,
}

impl Reader<'_> {
    fn file(&mut self, file: File) {
        for (index, peer) in file.peers.into_iter().flatten().enumerate() {
            let name = format!("peer{}", index + 1);
            let peer = self.object(name, format!("peers[{index}]"), peer.into());
            self.declarations.push(Declaration::Peer(peer));
        }
        for (index, pool) in file.address_pools.into_iter().flatten().enumerate() {
            self.pool(&format!("address-pools[{index}]"), pool);
        }
        if let Some(communities) = file.bgp_communities {
            self.communities(communities);
        }
        for (index, profile) in file.bfd_profiles.into_iter().flatten().enumerate() {
            let entry = format!("bfd-profiles[{index}]");
            let profile = self.object(profile.name.clone(), entry, profile.into());
            self.declarations.push(Declaration::BfdProfile(profile));
        }
    }

    fn object<T>(&self, name: String, entry: String, spec: T) -> Object<T> {
        Object {
            name,
            labels: Labels::new(),
            place: Place::entry(self.config_map, entry),
            spec,
        }
    }

    fn refuse(&mut self, field: String, reason: Reason) {
        self.refused.push(Refused {
            object: Place::entry(self.config_map, String::new()).object,
            field,
            reason,
        });
    }

    fn pool(&mut self, entry: &str, pool: Pool) {
        let spec = PoolSpec {
            addresses: pool.addresses.unwrap_or_default(),
            auto_assign: pool.auto_assign,
            avoid_buggy_ips: pool.avoid_buggy_ips,
            service_allocation: None,
        };
        let pools = || PoolsSpec {
            names: vec![pool.name.clone()],
            selectors: Vec::new(),
        };
        let object = self.object(pool.name.clone(), entry.to_owned(), spec);
        self.declarations.push(Declaration::Pool(object));
        match pool.protocol.as_str() {
            "layer2" => {
                if pool.bgp_advertisements.is_some_and(|all| !all.is_empty()) {
                    let field = format!("{entry}.bgp-advertisements");
                    self.refuse(field, Reason::BgpAdvertisementsOfLayer2);
                }
                self.l2 += 1;
                let spec = L2AdvertisementSpec {
                    pools: pools(),
                    ..L2AdvertisementSpec::default()
                };
                let name = format!("l2advertisement{}", self.l2);
                let object = self.object(name, entry.to_owned(), spec);
                self.declarations.push(Declaration::L2(object));
            }
            "bgp" => self.advertisements(entry, pool.bgp_advertisements, &pools()),
            "" => self.refuse(format!("{entry}.protocol"), Reason::MissingProtocol),
            other => {
                let value = other.to_owned();
                self.refuse(
                    format!("{entry}.protocol"),
                    Reason::UnknownProtocol { value },
                );
            }
        }
    }

    /// One with everything by default, if there are none.
    fn advertisements(
        &mut self,
        entry: &str,
        given: Option<Vec<Advertisement>>,
        pools: &PoolsSpec,
    ) {
        let given = given.filter(|all| !all.is_empty());
        let all = given.unwrap_or_else(|| vec![Advertisement::default()]);
        for (index, one) in all.iter().enumerate() {
            let entry = format!("{entry}.bgp-advertisements[{index}]");
            if let Some(other) = all[..index].iter().position(|other| other == one) {
                self.refuse(entry.clone(), Reason::EqualAdvertisements { other });
            }
            self.bgp += 1;
            let spec = BgpAdvertisementSpec {
                pools: pools.clone(),
                aggregation_length: one.aggregation_length,
                aggregation_length_v6: one.aggregation_length_v6,
                local_pref: one.localpref.unwrap_or_default(),
                communities: one.communities.clone().unwrap_or_default(),
                ..BgpAdvertisementSpec::default()
            };
            let object = self.object(format!("bgpadvertisement{}", self.bgp), entry, spec);
            self.declarations.push(Declaration::Bgp(object));
        }
    }

    fn communities(&mut self, communities: BTreeMap<String, String>) {
        for (alias, value) in &communities {
            if value.parse::<Community>().is_err() {
                let value = value.clone();
                let field = format!("bgp-communities.{alias}");
                self.refuse(field, Reason::CommunityValue { value });
            }
        }
        let aliases = communities.into_iter().collect();
        let entry = "bgp-communities".to_owned();
        let object = self.object("communities".to_owned(), entry, CommunitySpec { aliases });
        self.declarations.push(Declaration::Community(object));
    }
}

impl From<Peer> for PeerSpec {
    fn from(peer: Peer) -> Self {
        let selectors = peer.node_selectors.unwrap_or_default();
        Self {
            my_asn: peer.my_asn,
            peer_asn: peer.peer_asn,
            peer_address: peer.peer_address,
            source_address: peer.source_address,
            peer_port: peer.peer_port,
            hold_time: peer.hold_time,
            keepalive_time: peer.keepalive_time,
            router_id: peer.router_id,
            node_selectors: selectors.into_iter().map(SelectorSpec::from).collect(),
            password: Password::new(peer.password),
            bfd_profile: peer.bfd_profile,
            ebgp_multi_hop: peer.ebgp_multihop,
            ..Self::default()
        }
    }
}

impl From<NodeSelector> for SelectorSpec {
    fn from(selector: NodeSelector) -> Self {
        let requirements = selector.match_expressions.unwrap_or_default();
        let requirements = requirements.into_iter().map(|one| RequirementSpec {
            key: one.key,
            operator: one.operator,
            values: one.values.unwrap_or_default(),
        });
        Self {
            match_labels: selector.match_labels.unwrap_or_default(),
            match_expressions: requirements.collect(),
        }
    }
}

impl From<BfdProfile> for BfdProfileSpec {
    fn from(profile: BfdProfile) -> Self {
        Self {
            receive_interval: profile.receive_interval,
            transmit_interval: profile.transmit_interval,
            detect_multiplier: profile.detect_multiplier,
            echo_interval: profile.echo_interval,
            echo_mode: profile.echo_mode,
            passive_mode: profile.passive_mode,
            minimum_ttl: profile.minimum_ttl,
        }
    }
}

#[cfg(test)]
mod tests;
