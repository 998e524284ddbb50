//! What routers are told: of a prefix only while this node serves it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lb_core::desired::Desired;

use super::Reconciler;
use crate::driver::bgp::Session;

impl Reconciler {
    /// `attached`: the programs are where they should be. Without them the
    /// tables serve nobody.
    pub(super) fn tell_routers(&self, desired: &Desired, attached: bool) {
        let is_served = |vip: IpAddr| attached && self.current.vips.contains_key(&vip.into());
        let sessions = desired.bgp.iter().map(|(name, peer)| {
            let session = Session {
                routes: Arc::new(peer.routes(is_served)),
                peer: peer.clone(),
            };
            (name.clone(), session)
        });
        let sessions: BTreeMap<_, _> = sessions.collect();
        self.tells.sessions.send_if_modified(|last| {
            let changed = last.as_deref() != Some(&sessions);
            if changed {
                *last = Some(Arc::new(sessions));
            }
            changed
        });
    }
}
