//! `lb-agent bgp`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use crate::clock;
use crate::report::Report;
use crate::report::routers::{BfdRow, Router, Routers};
use crate::report::routes::{PrefixRow, Told, ToldRow, UntoldRow};

/// List routers that this node has sessions with, what each is told, and why not
///
/// Which routers there should be is what BGPPeer objects say, and what they are
/// told what BGPAdvertisement objects do.
///
/// JSON: {agent_runs, routers: [{name, address, port, asn, vrf, state,
/// established, since_s, last_error: {at_s, text}, remote_asn, remote_id,
/// hold_s, flaps, told, withheld, pending, messages: {opens: {sent, received},
/// …, prefixes_received, …}, bfd: {profile, state, up, since_s, diagnostic,
/// remote_diagnostic, multihop, transmit_ms, detection_ms, sent, received, ups,
/// downs, error}}], prefixes: [{prefix, vips[], services[], told: [{peer,
/// local_pref, communities[], leaving}], not_told: [{peer, reason, text}]}],
/// untold: [{vip, service, reason, text}]}. Told, withheld, pending: numbers of
/// prefixes. Untold: addresses that this node tells nobody. Times are in
/// seconds since boot.
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
    #[serde(flatten)]
    told: Told,
}

impl Bgp {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let folder = self.place.run_folder();
        let mut answer = Answer {
            agent_runs: Report::read(&folder).is_some(),
            routers: Routers::read(&folder)?.unwrap_or_default(),
            told: Told::read(&folder)?.unwrap_or_default(),
        };
        if let Some(wanted) = &self.peer {
            let routers = &mut answer.routers.routers;
            routers.retain(|router| router.name == *wanted);
            anyhow::ensure!(
                !routers.is_empty(),
                "this node has no session with a peer {wanted}"
            );
            answer.told.only(wanted);
        }
        self.output.answer(&answer, |answer| {
            print(answer, self.peer.is_some());
        })
    }
}

impl Told {
    fn only(&mut self, peer: &str) {
        for row in &mut self.prefixes {
            row.told.retain(|told| told.peer == peer);
            row.not_told.retain(|not_told| not_told.peer == peer);
        }
    }
}

fn print(answer: &Answer, whole: bool) {
    if !answer.agent_runs {
        say!("No agent runs: routers know what they were told last, or have forgotten it.\n");
    }
    let routers = &answer.routers.routers;
    if routers.is_empty() {
        say!("This node has sessions with nobody: no BGPPeer selects it.");
        return;
    }
    let now_s = clock::now().seconds();
    print_routers(routers, now_s);
    if whole {
        let with_bfd = routers.iter().filter_map(|router| router.bfd.as_ref());
        with_bfd.for_each(|bfd| say!("{}", about(bfd, now_s)));
    }
    print_prefixes(&answer.told.prefixes, whole);
    print_untold(&answer.told.untold);
}

fn print_routers(routers: &[Router], now_s: u32) {
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
        let bfd = router.bfd.as_ref();
        table.add_row([
            router.name.clone(),
            router.endpoint(),
            asn,
            router.state.clone(),
            format!("{} s", now_s.saturating_sub(router.since_s)),
            routes(router),
            bfd.map_or("none", |bfd| &bfd.state).to_owned(),
            error.map_or(String::new(), |error| error.text.clone()),
        ]);
    }
    output::print(&table);
}

/// `with`: what is said of them to the only peer, too.
fn print_prefixes(rows: &[PrefixRow], with: bool) {
    if rows.is_empty() {
        return;
    }
    say!();
    let header = ["PREFIX", "SERVICES", "TOLD", "NOT TOLD"];
    let mut table = output::table(&header);
    let mut reasons = BTreeMap::new();
    for row in rows {
        let told = row.told.iter().map(|told| about_told(told, with));
        let not_told = row.not_told.iter().map(|row| {
            reasons.insert(&row.reason, &row.text);
            format!("{}: {}", row.peer, row.reason)
        });
        table.add_row([
            row.prefix.clone(),
            row.services.join(", "),
            told.collect::<Vec<_>>().join(", "),
            not_told.collect::<Vec<_>>().join(", "),
        ]);
    }
    output::print(&table);
    for (reason, text) in reasons {
        say!("{reason}: {text}");
    }
}

fn about_told(told: &ToldRow, with: bool) -> String {
    let mut text = told.peer.clone();
    if with {
        if let Some(pref) = told.local_pref {
            text += &format!(" local-pref {pref}");
        }
        for community in &told.communities {
            text += &format!(" {community}");
        }
    }
    if told.leaving {
        text += " (leaving)";
    }
    text
}

fn print_untold(rows: &[UntoldRow]) {
    if rows.is_empty() {
        return;
    }
    say!();
    let mut table = output::table(&["ADDRESS", "SERVICE", "WHY NOBODY IS TOLD"]);
    for row in rows {
        let why = format!("{}: {}", row.reason, row.text);
        table.add_row([row.vip.to_string(), row.service.clone(), why]);
    }
    output::print(&table);
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
        router.told.to_string()
    } else {
        format!("0 of {}", router.pending)
    }
}
