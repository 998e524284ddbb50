//! Which node answers for which VIP, and why: a file of its own, written when
//! that changes, read by `lb-agent vips`. What the last agent wrote stays when
//! it has gone.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lb_core::desired::{Desired, Vip};
use lb_core::model::NodeName;
use lb_core::owner::{Absent, LinkChoice};
use serde::{Deserialize, Serialize};

use super::file;

const FILE: &str = "vips.json";

/// More rows about nodes are not written: who asks about one VIP of so many is
/// told its owner and the next.
const NODES_MOST: usize = 50_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vips {
    /// By address.
    pub vips: Vec<VipRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipRow {
    pub vip: IpAddr,
    pub service: String,
    pub owner: Option<String>,
    /// In seconds since 1970, by this node's clock: since when it knows that.
    pub since_s: u64,
    /// Who owns it if the owner goes.
    pub next: Option<String>,
    /// Why nobody may own it.
    pub refused: Option<String>,
    /// The links that this node answers on if it owns it; none: all uplinks.
    pub links: Option<Vec<String>>,
    /// The candidates in their order, then all others; empty where there are
    /// too many.
    pub nodes: Vec<NodeRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    pub node: String,
    /// Why it cannot own the VIP; none: it can.
    pub why_not: Option<String>,
}

impl Vips {
    /// As desired now. `before`: what was written last, for since when.
    #[must_use]
    pub fn new(desired: &Desired, before: &Self, now: Duration) -> Self {
        let nodes: usize = desired.vips.values().map(|vip| nodes_of(vip)).sum();
        let with_nodes = nodes <= NODES_MOST;
        let vips = desired.vips.iter().map(|(address, vip)| {
            let owner = vip.owner.as_ref().map(ToString::to_string);
            let at = before.vips.binary_search_by_key(address, |row| row.vip);
            let old = at.ok().and_then(|at| before.vips.get(at));
            let same = old.filter(|old| old.owner == owner);
            VipRow {
                vip: *address,
                service: vip.service.to_string(),
                since_s: same.map_or(now.as_secs(), |old| old.since_s),
                owner,
                next: vip.next.as_ref().map(ToString::to_string),
                refused: vip.candidacy.refused.map(|why| why.name().to_owned()),
                links: match &vip.candidacy.links {
                    LinkChoice::All => None,
                    LinkChoice::Named(names) => Some(names.iter().cloned().collect()),
                },
                nodes: if with_nodes {
                    node_rows(vip, &desired.absent)
                } else {
                    Vec::new()
                },
            }
        });
        Self {
            vips: vips.collect(),
        }
    }

    /// Whole, by rename.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        file::write(folder, FILE, self)
    }

    /// What was written last; none: nothing was.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        file::read(folder, FILE)
    }
}

fn nodes_of(vip: &Vip) -> usize {
    vip.candidacy.order.len() + vip.candidacy.others.len()
}

fn node_rows(vip: &Vip, absent: &Absent) -> Vec<NodeRow> {
    let candidacy = &vip.candidacy;
    let others = candidacy.others.iter().map(|(node, _)| node);
    let row = |node: &NodeName| NodeRow {
        node: node.to_string(),
        why_not: candidacy
            .why_not(node, absent)
            .map(|why| why.name().to_owned()),
    };
    candidacy.order.iter().chain(others).map(row).collect()
}
