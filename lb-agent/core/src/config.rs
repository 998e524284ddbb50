//! What MetalLB's objects say, validated: plain values that the rest of the
//! core can rely on. Nothing here knows Kubernetes' types.
//!
//! A source hands over what objects say, word for word ([`declared`]). Either
//! all of it is good and becomes a [`Configuration`], or every mistake is named
//! ([`Refused`]) and nothing of it is used: as in MetalLB, the last good
//! configuration stays as a whole ([`Kept`]). Half of a configuration may mean
//! something that nobody wrote, such as an address from a pool that was to be
//! gone.
//!
//! The rules are MetalLB's (`internal/config` there). Those that were limits of
//! one of its BGP implementations only are none here: what any of them took is
//! taken.

mod bfd_profile;
mod bgp_advertisement;
mod community;
pub mod declared;
mod duration;
mod kept;
mod l2_advertisement;
mod lists;
mod password;
mod peer;
mod place;
mod pool;
mod pools;
mod range;
mod reason;
mod refused;
mod secret;
mod selector;
#[cfg(test)]
mod tests;
mod timers;
mod together;

pub use bfd_profile::BfdProfile;
pub use bgp_advertisement::BgpAdvertisement;
pub use community::Community;
pub use kept::Kept;
pub use l2_advertisement::{L2Advertisement, Preference};
pub use password::Password;
pub use peer::{Peer, PeerEnd, RemoteAs};
pub use place::{Kind, ObjectName, Place};
pub use pool::{Pool, ServiceAllocation};
pub use range::{AddressRange, RangeError};
pub use reason::Reason;
pub use refused::Refused;
pub use selector::{LabelSelector, Operator, Requirement, SelectorError};
pub use timers::Timers;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use declared::{Declared, Object};
use refused::Refusals;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Everything, by name. Each part fits the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    pub pools: BTreeMap<String, Pool>,
    pub l2_advertisements: BTreeMap<String, L2Advertisement>,
    pub bgp_advertisements: BTreeMap<String, BgpAdvertisement>,
    pub peers: BTreeMap<String, Peer>,
    /// By alias.
    pub communities: BTreeMap<String, Community>,
    pub bfd_profiles: BTreeMap<String, BfdProfile>,
}

impl Configuration {
    /// `nodes` are the labels of all nodes: two peers may be the same router
    /// if no node selects both. The order of the objects does not matter.
    ///
    /// # Errors
    /// Everything that is wrong, by kind and name.
    pub fn of(declared: &Declared, nodes: &[&Labels]) -> Result<Self, Vec<Refused>> {
        let declared = declared.clone().sorted();
        let mut refusals = Refusals(declared.refused.clone());
        let configuration = Self::read(&declared, &mut refusals);
        together::check(&declared, nodes, &configuration, &mut refusals);
        if refusals.0.is_empty() {
            Ok(configuration)
        } else {
            Err(refusals.0)
        }
    }

    /// Object by object; those that are wrong are told and left out.
    fn read(declared: &Declared, refusals: &mut Refusals) -> Self {
        let pools = by_name(&declared.pools, refusals, |object, refusals| {
            Some(Pool::of(object, refusals))
        });
        let communities = community::aliases(&declared.communities, refusals);
        let l2_advertisements =
            by_name(&declared.l2_advertisements, refusals, |object, refusals| {
                Some(L2Advertisement::of(object, &pools, refusals))
            });
        let bgp_advertisements = by_name(
            &declared.bgp_advertisements,
            refusals,
            |object, refusals| Some(BgpAdvertisement::of(object, &pools, &communities, refusals)),
        );
        let peers = by_name(&declared.peers, refusals, |object, refusals| {
            let password = secret::password(object, &declared.secrets, refusals);
            Peer::of(object, password, refusals)
        });
        let bfd_profiles = by_name(&declared.bfd_profiles, refusals, |object, refusals| {
            Some(BfdProfile::of(object, refusals))
        });
        Self {
            pools,
            l2_advertisements,
            bgp_advertisements,
            peers,
            communities,
            bfd_profiles,
        }
    }
}

fn by_name<T, U>(
    objects: &[Object<T>],
    refusals: &mut Refusals,
    mut read: impl FnMut(&Object<T>, &mut Refusals) -> Option<U>,
) -> BTreeMap<String, U> {
    let mut all = BTreeMap::new();
    for object in objects {
        let mut wrong = |reason| {
            let field = object.place.name_field();
            let object = object.place.object.clone();
            refusals.0.push(Refused {
                object,
                field,
                reason,
            });
        };
        if object.name.is_empty() {
            wrong(Reason::MissingName);
        }
        if all.contains_key(&object.name) {
            wrong(Reason::DuplicateName);
        }
        let value = read(object, refusals);
        all.extend(value.map(|value| (object.name.clone(), value)));
    }
    all
}

impl Declared {
    /// So that the same objects give the same answer in whatever order they
    /// came.
    fn sorted(mut self) -> Self {
        fn sort<T>(objects: &mut [Object<T>]) {
            objects.sort_by(|a, b| (&a.name, &a.place).cmp(&(&b.name, &b.place)));
        }
        sort(&mut self.pools);
        sort(&mut self.l2_advertisements);
        sort(&mut self.bgp_advertisements);
        sort(&mut self.peers);
        sort(&mut self.communities);
        sort(&mut self.bfd_profiles);
        self.refused.sort();
        self
    }
}
