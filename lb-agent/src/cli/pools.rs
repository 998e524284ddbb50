//! `lb-agent pools`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use crate::report::Report;
use crate::report::addresses::{Addresses, PoolRow, RefusalRow, ServiceRow};

/// List pools of addresses: how full they are, and who has which address
///
/// Says what the agent has worked out: in a cluster, one agent writes it into
/// the status of the Services.
///
/// JSON: {agent_runs, pools: [{name, ranges[], auto_assign, avoid_buggy_ips,
/// pinned, priority, assigned_ipv4, assigned_ipv6, available_ipv4,
/// available_ipv6, addresses: [{address, services[]}]}], elsewhere: [{address,
/// services[]}], refused: [{service, addresses[], refusal: {name, text}}]}.
/// Pinned: only for Services that the pool selects. Elsewhere: addresses that
/// are of no pool. Refused: Services that do not have what they ask for.
#[derive(Debug, Args)]
pub(super) struct Pools {
    /// Only this pool
    pool: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Answer {
    agent_runs: bool,
    pools: Vec<PoolAnswer>,
    elsewhere: Vec<Holders>,
    refused: Vec<Refused>,
}

#[derive(Debug, Serialize)]
struct PoolAnswer {
    #[serde(flatten)]
    pool: PoolRow,
    addresses: Vec<Holders>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Holders {
    address: IpAddr,
    services: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Refused {
    service: String,
    addresses: Vec<IpAddr>,
    refusal: RefusalRow,
}

impl Pools {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let folder = self.place.run_folder();
        let agent_runs = Report::read(&folder).is_some();
        let Some(addresses) = Addresses::read(&folder)? else {
            anyhow::bail!(
                "no agent has worked out addresses yet ({} has no file of them): is one running?",
                folder.display()
            );
        };
        let mut answer = answer(addresses, agent_runs);
        if let Some(wanted) = &self.pool {
            answer.pools.retain(|pool| pool.pool.name == *wanted);
            answer.elsewhere.clear();
            if answer.pools.is_empty() {
                anyhow::bail!("there is no pool {wanted}");
            }
        }
        self.output.answer(&answer, print)
    }
}

fn answer(addresses: Addresses, agent_runs: bool) -> Answer {
    let Addresses { pools, services } = addresses;
    let mut held: BTreeMap<Option<String>, BTreeMap<IpAddr, Vec<String>>> = BTreeMap::new();
    for service in &services {
        let pool = held.entry(service.pool.clone()).or_default();
        for address in &service.addresses {
            pool.entry(*address).or_default().push(service.full_name());
        }
    }
    let mut of = |pool: Option<String>| {
        let held = held.remove(&pool).unwrap_or_default().into_iter();
        held.map(|(address, services)| Holders { address, services })
            .collect()
    };
    let pools = pools.into_iter().map(|pool| PoolAnswer {
        addresses: of(Some(pool.name.clone())),
        pool,
    });
    Answer {
        agent_runs,
        pools: pools.collect(),
        elsewhere: of(None),
        refused: services.into_iter().filter_map(refused).collect(),
    }
}

fn refused(service: ServiceRow) -> Option<Refused> {
    Some(Refused {
        service: service.full_name(),
        addresses: service.addresses,
        refusal: service.refusal?,
    })
}

fn print(answer: &Answer) {
    if !answer.agent_runs {
        say!("no agent runs: this is what the last one worked out");
        say!();
    }
    if answer.pools.is_empty() {
        say!("there is no pool: Services have the addresses that they say themselves");
    } else {
        let mut table = output::table(&["POOL", "RANGES", "FOR", "IPV4", "IPV6"]);
        for PoolAnswer { pool, .. } in &answer.pools {
            table.add_row([
                &pool.name,
                &pool.ranges.join(" "),
                whom_for(pool),
                &usage(pool.assigned_ipv4, pool.available_ipv4),
                &usage(pool.assigned_ipv6, pool.available_ipv6),
            ]);
        }
        output::print(&table);
    }
    let of_pools = answer.pools.iter().flat_map(|answer| {
        let name = answer.pool.name.as_str();
        answer.addresses.iter().map(move |held| (name, held))
    });
    let elsewhere = answer.elsewhere.iter().map(|held| ("-", held));
    let held: Vec<_> = of_pools.chain(elsewhere).collect();
    if !held.is_empty() {
        say!();
        let mut table = output::table(&["ADDRESS", "POOL", "SERVICES"]);
        for (pool, held) in held {
            let services = held.services.join(" ");
            table.add_row([&held.address.to_string(), pool, &services]);
        }
        output::print(&table);
    }
    if !answer.refused.is_empty() {
        say!();
    }
    for refused in &answer.refused {
        say!("{}: {}", refused.service, refused.refusal.text);
    }
}

/// Which Services may have addresses of a pool.
fn whom_for(pool: &PoolRow) -> &'static str {
    match (pool.auto_assign, pool.pinned) {
        (true, false) => "all",
        (true, true) => "selected",
        (false, false) => "who ask",
        (false, true) => "selected who ask",
    }
}

/// `3 of 256`; nothing where it has none of the family.
fn usage(assigned: u64, available: u64) -> String {
    // As many as the counter of the API holds, or more.
    const ENOUGH: u64 = i64::MAX.unsigned_abs();
    match assigned.saturating_add(available) {
        0 => "-".to_owned(),
        all if all >= ENOUGH => format!("{assigned} of very many"),
        all => format!("{assigned} of {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, pool: Option<&str>, addresses: &[&str]) -> ServiceRow {
        ServiceRow {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            pool: pool.map(ToOwned::to_owned),
            refusal: None,
        }
    }

    #[test]
    fn an_address_is_listed_with_all_who_have_it() {
        let pool = PoolRow {
            name: "a".to_owned(),
            ranges: vec!["192.0.2.0-192.0.2.3".to_owned()],
            auto_assign: true,
            avoid_buggy_ips: false,
            pinned: false,
            priority: None,
            assigned_ipv4: 1,
            assigned_ipv6: 0,
            available_ipv4: 3,
            available_ipv6: 0,
        };
        assert_eq!(usage(pool.assigned_ipv4, pool.available_ipv4), "1 of 4");
        assert_eq!(usage(pool.assigned_ipv6, pool.available_ipv6), "-");
        assert_eq!(usage(7, u64::MAX / 2 - 7), "7 of very many");
        let services = vec![
            service("db", Some("a"), &["192.0.2.0"]),
            service("old", None, &["203.0.113.1"]),
            service("web", Some("a"), &["192.0.2.0"]),
        ];
        let pools = vec![pool];
        let answer = answer(Addresses { pools, services }, true);
        let held = |address: &str, services: &[&str]| Holders {
            address: address.parse().unwrap(),
            services: services.iter().map(ToString::to_string).collect(),
        };
        let both = held("192.0.2.0", &["shop/db", "shop/web"]);
        assert_eq!(answer.pools[0].addresses, [both]);
        assert_eq!(answer.elsewhere, [held("203.0.113.1", &["shop/old"])]);
        let json = serde_json::to_value(&answer.pools[0]).unwrap();
        assert_eq!(json["name"], "a", "one level");
    }
}
