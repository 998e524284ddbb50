//! `lb-agent bgp`.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use crate::clock;
use crate::report::Report;
use crate::report::routers::{BfdRow, Router, Routers};

/// List routers that this node has sessions with: state, and what they are told
///
/// Which routers there should be is what BGPPeer objects say, and what they are
/// told what BGPAdvertisement objects do. A Service that is told nowhere is in
/// `lb-agent services` or `status` with the reason.
///
/// JSON: {agent_runs, routers: [{name, address, port, asn, vrf, state,
/// established, since_s, last_error: {at_s, text}, remote_asn, remote_id,
/// hold_s, flaps, routes: [{prefix, local_pref, communities[]}], withheld:
/// [{prefix, reason}], pending, messages: {opens: {sent, received}, …,
/// prefixes_received, …}, bfd: {profile, state, up, since_s, diagnostic,
/// remote_diagnostic, multihop, transmit_ms, detection_ms, sent, received, ups,
/// downs, error}}]}. Times are in seconds since boot.
#[derive(Debug, Args)]
pub(super) struct Bgp {
    /// Only this peer, with its routes
    peer: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Answer {
    agent_runs: bool,
    #[serde(flatten)]
    routers: Routers,
}

impl Bgp {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let folder = self.place.run_folder();
        let agent_runs = Report::read(&folder).is_some();
        let mut routers = Routers::read(&folder)?.unwrap_or_default();
        if let Some(wanted) = &self.peer {
            routers.routers.retain(|router| router.name == *wanted);
            if routers.routers.is_empty() {
                anyhow::bail!("this node has no session with a peer {wanted}");
            }
        }
        if self.output.is_json() {
            output::json(&Answer {
                agent_runs,
                routers,
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        if !agent_runs {
            say!("No agent runs: routers know what they were told last, or have forgotten it.\n");
        }
        if routers.routers.is_empty() {
            say!("This node has sessions with nobody: no BGPPeer selects it.");
        } else {
            print(&routers.routers, self.peer.is_some());
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(routers: &[Router], whole: bool) {
    let now_s = clock::now().seconds();
    let header = [
        "PEER",
        "ADDRESS",
        "AS",
        "STATE",
        "SINCE",
        "ROUTES",
        "BFD",
        "LAST ERROR",
    ];
    let mut table = output::table(&header);
    for router in routers {
        let asn = router
            .remote_asn
            .map_or(router.asn.clone(), |n| n.to_string());
        let error = router.last_error.as_ref();
        table.add_row([
            router.name.clone(),
            router.endpoint(),
            asn,
            router.state.clone(),
            format!("{} s", now_s.saturating_sub(router.since_s)),
            routes(router),
            router
                .bfd
                .as_ref()
                .map_or("none", |bfd| &bfd.state)
                .to_owned(),
            error.map_or(String::new(), |error| error.text.clone()),
        ]);
    }
    output::print(&table);
    for router in routers.iter().filter(|_| whole) {
        if let Some(bfd) = &router.bfd {
            say!("{}", about(bfd, now_s));
        }
        for route in &router.routes {
            let local = route.local_pref.map(|pref| format!(" local-pref {pref}"));
            let communities = route.communities.join(" ");
            say!(
                "{}{} {communities}",
                route.prefix,
                local.unwrap_or_default()
            );
        }
        for withheld in &router.withheld {
            say!("{} is not told: {}", withheld.prefix, withheld.reason);
        }
    }
}

fn about(bfd: &BfdRow, now_s: u32) -> String {
    let hops = if bfd.multihop { ", multihop" } else { "" };
    let mut text = format!(
        "BFD, profile {}{hops}: {} for {} s, a packet every {} ms, the peer is gone after {} ms; \
         {} sent, {} received, {} times up, {} times down",
        bfd.profile,
        bfd.state,
        now_s.saturating_sub(bfd.since_s),
        bfd.transmit_ms,
        bfd.detection_ms,
        bfd.sent,
        bfd.received,
        bfd.ups,
        bfd.downs
    );
    if bfd.downs > 0 {
        text += &format!("; last, this side said \"{}\"", bfd.diagnostic);
        text += &format!(", and the peer \"{}\"", bfd.remote_diagnostic);
    }
    if let Some(error) = &bfd.error {
        text += &format!("; {error}");
    }
    text
}

fn routes(router: &Router) -> String {
    if router.established {
        router.routes.len().to_string()
    } else {
        format!("0 of {}", router.pending)
    }
}
