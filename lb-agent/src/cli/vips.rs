//! `lb-agent vips`.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::Place;
use super::output::{self, Output, say};
use crate::clock;
use crate::report::vips::{VipRow, Vips};

/// List VIPs: which node answers ARP and NDP for each, since when, and why
///
/// As this node sees it; others see the same as soon as they have heard the
/// same. With a VIP, all nodes are listed: the candidates in the order in
/// which they would own it, then the others, each with the reason if it cannot
/// own it now.
///
/// Why nobody owns a VIP: NoPool (its Service's addresses are not of one
/// pool), NoAdvertisement (no L2Advertisement is for it), SharedAndSelected
/// (it is shared, and an advertisement selects Services), NoCandidate (no node
/// can). Why a node cannot: NotSelected (by no advertisement), Excluded (by
/// its label), NetworkUnavailable, NoLocalEndpoint (externalTrafficPolicy is
/// Local), NoAgent, Down, Leaving, NotProgrammed, NoCarrier.
///
/// JSON: [{vip, service, owner, since_s (since 1970), next, refused, links: null
/// for all or [], nodes: [{node, why_not}]}]
#[derive(Debug, Args)]
pub(super) struct ListVips {
    /// Only this one, with all nodes
    vip: Option<IpAddr>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

impl ListVips {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let folder = self.place.run_folder();
        let known = Vips::read(&folder)
            .with_context(|| format!("cannot read what the agent wrote to {}", folder.display()))?;
        let Some(mut known) = known else {
            anyhow::bail!(
                "no agent has written to {} yet: is it running? --run-dir names another folder",
                folder.display()
            );
        };
        if let Some(vip) = self.vip {
            known.vips.retain(|row| row.vip == vip.to_canonical());
            anyhow::ensure!(!known.vips.is_empty(), "{vip} is no VIP");
        }
        self.output.answer(&known.vips, |rows| {
            print(rows);
            if let (Some(_), [row]) = (self.vip, &rows[..]) {
                print_nodes(row);
            }
        })
    }
}

fn print(rows: &[VipRow]) {
    let now_s = clock::wall().as_secs();
    let mut table = output::table(&["VIP", "SERVICE", "OWNER", "SINCE", "NEXT", "LINKS"]);
    for row in rows {
        let nobody = || match &row.refused {
            Some(why) => format!("nobody: {why}"),
            None => "nobody".to_owned(),
        };
        table.add_row([
            row.vip.to_string(),
            row.service.clone(),
            row.owner.clone().unwrap_or_else(nobody),
            output::duration(now_s.saturating_sub(row.since_s)),
            row.next.clone().unwrap_or_else(|| "-".to_owned()),
            row.links.as_ref().map_or("all".to_owned(), |l| l.join(",")),
        ]);
    }
    output::print(&table);
}

fn print_nodes(row: &VipRow) {
    say!();
    if row.nodes.is_empty() {
        say!("there are too many VIPs and nodes to say why of each");
        return;
    }
    let mut table = output::table(&["NODE", "CAN OWN IT"]);
    for node in &row.nodes {
        let can = match &node.why_not {
            None => "yes".to_owned(),
            Some(why) => format!("no: {why}"),
        };
        table.add_row([node.node.clone(), can]);
    }
    output::print(&table);
}
