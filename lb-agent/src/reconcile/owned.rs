//! The VIPs of this node, and the links that each is answered and announced
//! on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::addr::Addr;
use lb_core::dataplane::Image;
use lb_core::desired::{Desired, Vip};
use lb_core::fence::Standing;
use lb_core::l2::Wanted;
use lb_core::owner::LinkChoice;
use lb_core::problem::Problem;
use lb_core::shared::SharedMap;

use super::Reconciler;
use crate::dataplane::apply::ApplyError;
use crate::driver::claims::{self, Probed};
use crate::net::Device;

/// For each VIP of this node the numbers of its uplinks, as the configuration
/// of the kernel programs counts them.
pub(super) type Links = BTreeMap<IpAddr, BTreeSet<usize>>;

/// What [`Reconciler::owned`] was worked out from.
pub(super) type OwnedOf = (SharedMap<IpAddr, Arc<Vip>>, Vec<Device>);

impl Reconciler {
    /// Whether nothing is to be done about this node's VIPs: they are those of
    /// the last run, which left nothing undone. With ten thousand of them it
    /// takes longer to look at each than what most runs are for.
    pub(super) fn owns_the_same(&self, desired: &Desired) -> bool {
        let same = |(vips, uplinks): &OwnedOf| {
            vips.is_same(&desired.vips) && *uplinks == self.uplinks && self.unproven.is_empty()
        };
        self.owned_of.as_ref().is_some_and(same)
    }

    pub(super) fn owned(&self, desired: &Desired) -> Links {
        let ours = desired.vips.iter().filter(|(_, vip)| vip.ours);
        let ours = ours.filter(|(address, _)| !self.unproven.contains(address));
        ours.map(|(address, vip)| {
            let uplinks = self.uplinks.iter().enumerate();
            let chosen = uplinks.filter(|(_, device)| vip.candidacy.links.has(&device.name));
            (*address, chosen.map(|(number, _)| number).collect())
        })
        .collect()
    }

    /// A VIP that no node of ours has used yet is not answered for before
    /// somebody asked whether another machine has it. What the maps have was
    /// used: here, or by the node that owned it.
    pub(super) fn hold_back_unproven(&mut self, desired: &Desired, target: &mut Image) {
        let ours = desired.vips.iter().filter(|(_, vip)| vip.ours);
        let mut unproven = BTreeSet::new();
        for (address, _) in ours {
            let known = self.current.vips.contains_key(&Addr::from(*address));
            let asked = self.unproven.contains(address);
            if (asked || !known) && !self.others.free.contains(address) {
                unproven.insert(*address);
                target.vips.insert(Addr::from(*address), false);
            }
        }
        self.unproven = unproven;
    }

    /// What others are to be asked about, and who does not count as another.
    pub(super) fn tell_unproven(&self) {
        let links = self.uplinks.iter().map(|d| (d.ifindex, d.mac));
        let links: BTreeMap<_, _> = links.collect();
        // Those that turned out to be free are no longer asked about once the
        // maps have them.
        let probed = self.unproven.iter().map(|vip| (*vip, links.clone()));
        let macs = self.inputs.links.macs.values().flatten();
        let probed = Probed {
            vips: probed.collect(),
            nodes: macs.chain(links.values()).copied().collect(),
        };
        self.tells.probed.send_if_modified(|last| {
            let changed = *last != probed;
            *last = probed;
            changed
        });
    }

    /// VIPs that other machines say to have.
    pub(super) fn claimed(&self, desired: &Desired) -> BTreeSet<Problem> {
        let foreign = self.others.foreign.iter();
        let foreign = foreign.filter_map(|(address, mac)| {
            let vip = desired.vips.get(address)?;
            Some(Problem::VipClaimed {
                service: vip.service.clone(),
                vip: *address,
                mac: claims::text(*mac),
                held_back: self.unproven.contains(address),
            })
        });
        foreign.collect()
    }

    /// Says on which uplinks questions are answered. VIPs that are answered on
    /// all are so also on uplinks that come later.
    pub(super) fn choose_links(&mut self) -> Result<(), ApplyError> {
        let all = self.uplinks.len();
        let some = self.owned.iter().filter(|(_, links)| links.len() < all);
        let masks = some.map(|(vip, links)| {
            let bits = links
                .iter()
                .filter_map(|number| 1_u32.checked_shl(u32::try_from(*number).ok()?));
            (Addr::from(*vip), bits.fold(0, |mask, bit| mask | bit))
        });
        let there = self.current.vips.iter().filter(|(_, ours)| **ours);
        let there: Vec<Addr> = there.map(|(vip, _)| *vip).collect();
        self.kernel.set_links(masks.collect(), &there)
    }

    /// Tells the links which VIPs are this node's; nothing while the fence does
    /// not let it answer.
    pub(super) fn tell_owned(&mut self) {
        self.told_standing = true;
        let fenced = matches!(self.found.standing, Standing::Lapsed(_));
        let ifindex = |number: &usize| self.uplinks.get(*number).map(|device| device.ifindex);
        let vips = self.owned.iter().filter(|_| !fenced).map(|(vip, links)| {
            let links = links.iter().filter_map(ifindex);
            (*vip, links.collect())
        });
        let vips: BTreeMap<_, _> = vips.collect();
        let contested = self.others.contested.iter().copied();
        // Without carrier nobody hears it; with it, all is to be said again.
        let carry = self.uplinks.iter().filter(|device| device.carrier);
        let wanted = Wanted {
            contested: contested.filter(|vip| vips.contains_key(vip)).collect(),
            vips,
            links: carry.map(|d| (d.ifindex, d.mac)).collect(),
            refresh: self.settings.announce_every,
            sample: self.found.announce_every,
        };
        self.tells.owned.send_if_modified(|last| {
            let changed = *last != wanted;
            *last = wanted;
            changed
        });
    }
}

/// Services that this node would answer for, had it the links that their
/// advertisements name.
pub(super) fn unlinked(desired: &Desired, ours: &Links) -> Vec<Problem> {
    let nowhere = ours.iter().filter(|(_, links)| links.is_empty());
    let mut problems: Vec<_> = nowhere
        .filter_map(|(address, _)| {
            let vip = desired.vips.get(address)?;
            match &vip.candidacy.links {
                // Without any uplink there is more to be said than this.
                LinkChoice::All => None,
                LinkChoice::Named(links) => Some(Problem::NoSuchLink {
                    service: vip.service.clone(),
                    links: links.iter().cloned().collect(),
                }),
            }
        })
        .collect();
    problems.dedup();
    problems
}
