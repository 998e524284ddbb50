mod accepted;
mod random;
mod refused;

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::declared::{
    BfdProfileSpec, BgpAdvertisementSpec, CommunitySpec, Declared, L2AdvertisementSpec, Object,
    PeerSpec, PoolSpec, RequirementSpec, SelectorSpec,
};
use super::{Configuration, Kind, Labels, Place, Refused};

fn object<T>(kind: Kind, name: &str, spec: T) -> Object<T> {
    Object {
        name: name.to_string(),
        labels: Labels::new(),
        place: Place::object(kind, name),
        spec,
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn selector(key: &str, value: &str) -> SelectorSpec {
    SelectorSpec {
        match_labels: Labels::from([(key.to_string(), value.to_string())]),
        match_expressions: Vec::new(),
    }
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> SelectorSpec {
    SelectorSpec {
        match_labels: Labels::new(),
        match_expressions: vec![RequirementSpec {
            key: key.to_string(),
            operator: operator.to_string(),
            values: texts(values),
        }],
    }
}

/// One of each kind, all good.
fn good() -> Declared {
    let mut all = Declared::default();
    all.pool("pool", &["192.0.2.0/24"]);
    let l2 = L2AdvertisementSpec::default();
    all.l2_advertisements
        .push(object(Kind::L2Advertisement, "l2", l2));
    all.bgp("bgp");
    all.peer("peer", "198.51.100.1");
    let community = CommunitySpec {
        aliases: vec![("no-export".to_string(), "65535:65281".to_string())],
    };
    all.communities
        .push(object(Kind::Community, "names", community));
    let profile = BfdProfileSpec::default();
    all.bfd_profiles
        .push(object(Kind::BfdProfile, "fast", profile));
    all
}

impl Declared {
    fn pool(&mut self, name: &str, addresses: &[&str]) {
        let spec = PoolSpec {
            addresses: texts(addresses),
            ..PoolSpec::default()
        };
        self.pools.push(object(Kind::IpAddressPool, name, spec));
    }

    fn bgp(&mut self, name: &str) -> &mut BgpAdvertisementSpec {
        let spec = BgpAdvertisementSpec::default();
        self.bgp_advertisements
            .push(object(Kind::BgpAdvertisement, name, spec));
        let last = self.bgp_advertisements.last_mut();
        &mut last.expect("it was just added").spec
    }

    fn peer(&mut self, name: &str, address: &str) -> &mut PeerSpec {
        let spec = PeerSpec {
            my_asn: 64_513,
            peer_asn: 64_512,
            peer_address: address.to_string(),
            ..PeerSpec::default()
        };
        self.peers.push(object(Kind::BgpPeer, name, spec));
        let last = self.peers.last_mut();
        &mut last.expect("it was just added").spec
    }
}

/// Labels of three nodes.
fn nodes() -> [Labels; 3] {
    ["node1", "node2", "node3"]
        .map(|name| Labels::from([("kubernetes.io/hostname".to_string(), name.to_string())]))
}

fn read(declared: &Declared) -> Result<Configuration, Vec<Refused>> {
    let nodes = nodes();
    Configuration::of(declared, &nodes.each_ref())
}

fn edited(edit: impl FnOnce(&mut Declared)) -> Result<Configuration, Vec<Refused>> {
    let mut declared = good();
    edit(&mut declared);
    read(&declared)
}
