//! Which node the client's packets to the VIPs come to.

use std::net::IpAddr;

use anyhow::{Result, ensure};

use super::{Lab, Wire};
use crate::load::Target;

impl Lab {
    /// Of all services.
    #[must_use]
    pub fn vips(&self) -> Vec<IpAddr> {
        let services = self.manifests.services.iter();
        services.flat_map(|service| service.vip.both()).collect()
    }

    /// Every service at each of its VIPs.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let services = self.manifests.services.iter();
        services
            .flat_map(|service| {
                service.vip.both().map(|vip| Target {
                    protocol: service.protocol,
                    address: (vip, service.port).into(),
                })
            })
            .collect()
    }

    /// Has the client's packets for all VIPs go to one node: it becomes their
    /// only possible owner, or the router's way to them.
    pub fn send_to(&mut self, node: u8) -> Result<()> {
        if self.spec.wire == Wire::Routed {
            return self.route_vips(node);
        }
        for other in self.spec.node_numbers() {
            self.exclude_node(other, other != node);
        }
        self.write()?;
        for vip in self.vips() {
            self.wait_owner(vip, |owner| owner == node)?;
            self.wait_client_sends_to(vip, node)?;
        }
        Ok(())
    }

    /// Makes the router send all VIPs' packets to a node.
    pub fn route_vips(&self, node: u8) -> Result<()> {
        let vips = self.vips();
        vips.into_iter()
            .try_for_each(|vip| self.set_vip_route(vip, node))
    }

    /// Makes the router send a VIP's packets to a node.
    pub fn set_vip_route(&self, vip: IpAddr, node: u8) -> Result<()> {
        ensure!(
            self.spec.wire == Wire::Routed,
            "only a routed lab has a route for a VIP"
        );
        let own = self.node(node).address();
        let via: IpAddr = match vip {
            IpAddr::V4(_) => own.v4.into(),
            IpAddr::V6(_) => own.v6.into(),
        };
        self.router().ip(&format!("route replace {vip} via {via}"))
    }
}
