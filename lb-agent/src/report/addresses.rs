//! Which addresses the agent has worked out: pools, and what every Service is
//! to have. A file of its own, written when that changes, read by `lb-agent
//! pools` and `lb-agent services`. What the last agent wrote stays when it has
//! gone.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use lb_core::config::{Configuration, Pool};
use lb_core::ipam::{Allocation, Assignment, PoolUse};
use lb_core::model::ServiceName;
use serde::{Deserialize, Serialize};

use super::file;

const FILE: &str = "addresses.json";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// In the order of their names.
    pub pools: Vec<PoolRow>,
    pub services: Vec<ServiceRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRow {
    pub name: String,
    /// In the order in which they are given.
    pub ranges: Vec<String>,
    pub auto_assign: bool,
    pub avoid_buggy_ips: bool,
    /// Only for the Services that it selects.
    pub pinned: bool,
    pub priority: Option<u64>,
    pub assigned_ipv4: u64,
    pub assigned_ipv6: u64,
    pub available_ipv4: u64,
    pub available_ipv6: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRow {
    pub namespace: String,
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub pool: Option<String>,
    /// Why it has not what it asks for.
    pub refusal: Option<RefusalRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalRow {
    pub name: String,
    pub text: String,
}

impl Addresses {
    #[must_use]
    pub fn new(config: Option<&Configuration>, assignment: &Assignment) -> Self {
        let pools = config.into_iter().flat_map(|config| config.pools.values());
        let none = PoolUse::default();
        let pools = pools.map(|pool| {
            let used = assignment.pools.get(&pool.name);
            PoolRow::new(pool, used.unwrap_or(&none))
        });
        let services = assignment.allocations.iter();
        let services = services.map(|(name, allocation)| ServiceRow::new(name, allocation));
        Self {
            pools: pools.collect(),
            services: services.collect(),
        }
    }

    /// Whole, by rename.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        file::write(folder, FILE, self)
    }

    /// What the agent that runs now, or the last one, has worked out; none
    /// before the first one has.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        file::read(folder, FILE)
    }

    /// There is nothing any more that they are the addresses of.
    pub fn remove(folder: &Path) -> io::Result<()> {
        file::remove(folder, FILE)
    }
}

impl PoolRow {
    fn new(pool: &Pool, used: &PoolUse) -> Self {
        let allocation = pool.service_allocation.as_ref();
        let priority = allocation.and_then(|allocation| allocation.priority);
        Self {
            name: pool.name.clone(),
            ranges: pool.ranges.iter().map(ToString::to_string).collect(),
            auto_assign: pool.auto_assign,
            avoid_buggy_ips: pool.avoid_buggy_ips,
            pinned: allocation.is_some(),
            priority: priority.map(Into::into),
            assigned_ipv4: used.assigned_v4,
            assigned_ipv6: used.assigned_v6,
            available_ipv4: used.available_v4,
            available_ipv6: used.available_v6,
        }
    }
}

impl ServiceRow {
    fn new(name: &ServiceName, allocation: &Allocation) -> Self {
        Self {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            addresses: allocation.addresses.clone(),
            pool: allocation.pool.clone(),
            refusal: allocation.refusal.as_ref().map(|refusal| RefusalRow {
                name: refusal.name().to_owned(),
                text: format!("{refusal}; {}", refusal.advice()),
            }),
        }
    }

    /// `namespace/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::ipam::assign;
    use lb_core::model::{Facts, Service};
    use std::sync::Arc;

    #[test]
    fn what_is_written_is_read_and_nothing_before() {
        let folder = std::env::temp_dir().join(format!("corten-addresses-{}", std::process::id()));
        assert_eq!(Addresses::read(&folder).unwrap(), None);
        let mut facts = Facts::default();
        for (name, asked) in [("good", "203.0.113.80"), ("wrong", "here")] {
            let mut service = Service::new(ServiceName::new("shop", name));
            service.request.addresses = Some(asked.to_owned());
            let name = service.name.clone();
            facts.services.insert(name, Arc::new(service));
        }
        let addresses = Addresses::new(None, &assign(&facts));
        addresses.write(&folder).unwrap();
        let read = Addresses::read(&folder).unwrap().unwrap();
        assert_eq!(read, addresses);
        let [good, wrong] = read.services.as_slice() else {
            panic!("{read:?}");
        };
        assert_eq!(good.addresses.len(), 1);
        assert_eq!(wrong.full_name(), "shop/wrong");
        let refusal = wrong.refusal.as_ref().unwrap();
        assert_eq!(refusal.name, "AnnotationInvalid");
        Addresses::remove(&folder).unwrap();
        Addresses::remove(&folder).unwrap();
        assert_eq!(Addresses::read(&folder).unwrap(), None);
        std::fs::remove_dir(&folder).unwrap();
    }
}
