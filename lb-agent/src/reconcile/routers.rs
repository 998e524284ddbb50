//! What routers are told: of a prefix only while this node serves it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_common::addr::Addr;
use lb_core::bgp::rib::Routes;
use lb_core::desired::{BgpPeers, Desired, Prefixes};
use lb_core::shared::SharedMap;

use super::Reconciler;
use crate::driver::bgp::{Session, Sessions};

/// The VIPs that the tables have.
type Served = SharedMap<Addr, bool>;

/// What sessions are made of.
#[derive(Debug)]
pub(super) struct ToldOf {
    peers: BgpPeers,
    /// None: the programs are not where they should be.
    served: Option<Served>,
}

impl Reconciler {
    /// `attached`: the programs are where they should be. Without them the
    /// tables serve nobody.
    pub(super) fn tell_routers(&mut self, desired: &Desired, attached: bool) {
        let served = attached.then(|| self.current.vips.clone());
        let same = self.told_of.as_ref().is_some_and(|of| {
            of.peers == desired.bgp
                && match (&of.served, &served) {
                    (Some(one), Some(other)) => one.is_same(other),
                    (one, other) => one.is_none() && other.is_none(),
                }
        });
        let untold = desired.untold.clone();
        self.tells.sessions.send_if_modified(|last| {
            let before = last.as_deref();
            let same_untold = before.is_some_and(|last| last.untold == untold);
            if same && same_untold {
                return false;
            }
            let by_peer = match before {
                Some(last) if same => last.by_peer.clone(),
                _ => sessions(&desired.bgp, served.as_ref(), before),
            };
            let sessions = Sessions { by_peer, untold };
            let changed = before != Some(&sessions);
            if changed {
                *last = Some(Arc::new(sessions));
            }
            changed
        });
        if !same {
            self.told_of = Some(ToldOf {
                peers: desired.bgp.clone(),
                served,
            });
        }
    }
}

/// `before`: to be shared with.
fn sessions(
    peers: &BgpPeers,
    served: Option<&Served>,
    before: Option<&Sessions>,
) -> BTreeMap<String, Session> {
    let mut done: Vec<(&Prefixes, Routes)> = Vec::new();
    let mut sessions = BTreeMap::new();
    for (name, peer) in peers {
        let prefixes = &peer.prefixes;
        let there = done.iter().find(|(other, _)| prefixes.is_same(other));
        let routes = if let Some((_, routes)) = there {
            routes.clone()
        } else {
            let before = before.and_then(|before| before.by_peer.get(name));
            let mut routes = before.map(|b| b.routes.clone()).unwrap_or_default();
            routes.replace_with(&ready(prefixes, served));
            done.push((prefixes, routes.clone()));
            routes
        };
        let peer = peer.clone();
        sessions.insert(name.clone(), Session { peer, routes });
    }
    sessions
}

/// The routes of those prefixes of which a VIP is served.
fn ready(
    prefixes: &Prefixes,
    served: Option<&Served>,
) -> Vec<(ipnet::IpNet, Arc<lb_core::bgp::rib::Route>)> {
    let Some(served) = served else {
        return Vec::new();
    };
    let mut routes = Vec::with_capacity(prefixes.len());
    let ready = prefixes.iter().filter(|(_, prefix)| {
        let mut vips = prefix.holders.iter().map(|(_, vip)| *vip);
        vips.any(|vip| served.contains_key(&vip.into()))
    });
    routes.extend(ready.map(|(net, prefix)| (*net, prefix.route.clone())));
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::bgp::rib::Route;
    use lb_core::desired::Prefix;
    use lb_core::model::ServiceName;

    fn prefix(vips: &[&str]) -> Prefix {
        let holder = |vip: &&str| (ServiceName::new("shop", "web"), vip.parse().unwrap());
        Prefix {
            route: Arc::new(Route::default()),
            holders: vips.iter().map(holder).collect(),
        }
    }

    #[test]
    fn only_prefixes_with_a_vip_that_is_served_are_routes() {
        let net = |text: &str| text.parse::<ipnet::IpNet>().unwrap();
        let all: Prefixes = [
            (net("192.0.2.7/32"), prefix(&["192.0.2.7"])),
            (net("192.0.2.8/31"), prefix(&["192.0.2.8", "192.0.2.9"])),
            (net("2001:db8::7/128"), prefix(&["2001:db8::7"])),
        ]
        .into_iter()
        .collect();
        let told = |served: Option<&[&str]>| -> Vec<String> {
            let served = served.map(|vips| {
                let vips = vips.iter().map(|vip| vip.parse::<std::net::IpAddr>());
                vips.map(|vip| (vip.unwrap().into(), true)).collect()
            });
            let ready = ready(&all, served.as_ref());
            ready.iter().map(|(net, _)| net.to_string()).collect()
        };
        assert_eq!(told(None), [""; 0], "no program is attached");
        assert_eq!(told(Some(&["192.0.2.1"])), [""; 0]);
        assert_eq!(
            told(Some(&["192.0.2.9", "2001:db8::7"])),
            ["192.0.2.8/31", "2001:db8::7/128"]
        );
    }
}
