//! One fault under traffic: what clients noticed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::fault::Fault;
use super::question;
use super::system::System;
use crate::lab::{ECHO_UDP_PORT, NGINX_PORT};
use crate::load::{Flow, Load, Probes, Target, Track};
use crate::netns::Namespace;
use crate::wait;

const CONNECTIONS: usize = 90;
const UDP_FLOWS: usize = 12;
/// A client that was away for longer than this is not waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// Connections send again ever more rarely; a silent one gives up after 30 s.
const TCP_LIMIT: Duration = Duration::from_secs(32);

/// What clients noticed of one fault.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Noticed {
    /// Probes of UDP flows whose pod was not lost.
    pub sent: u64,
    pub lost: u64,
    pub gap: Duration,
    /// How long a new client would not have learned who has the VIP.
    pub asked_gap: Duration,
    /// Connections whose pod was not lost: all, those that were reset, those
    /// that got no more answers.
    pub connections: u64,
    pub reset: u64,
    pub silent: u64,
    /// Those whose pod was lost.
    pub with_the_node: u64,
}

/// `watch`: how long at least, as nothing may happen at first.
pub(super) fn run(
    system: &mut dyn System,
    watcher: &Namespace,
    fault: Fault,
    watch: Duration,
) -> Result<Noticed> {
    let owner = system.owner().context("before the fault")?;
    let vips = system.vips();
    let client = system.lab().client();
    for vip in &vips {
        // Of two that had it, the other one may have been heard last.
        system.lab().forget_neighbour(*vip)?;
    }
    let load = Load::start(&client, connections(&vips))?;
    for vip in &vips {
        system.lab().wait_client_sends_to(*vip, owner)?;
    }
    let probes = Probes::udp(&client, flows(&vips));
    let questions = question::ask(watcher, vips.clone())?;
    let all_well = |track: &Track| track.is_answered();
    wait::until(LIMIT, "all probes are answered", || {
        let tracks = probes.look().unwrap_or_default();
        !tracks.is_empty()
            && tracks.iter().all(all_well)
            && questions
                .look()
                .is_ok_and(|tracks| tracks.iter().all(all_well))
    })?;
    let before: Vec<usize> = probes.look()?.iter().map(Track::number).collect();
    let asked: Vec<usize> = questions.look()?.iter().map(Track::number).collect();
    let lost_with = |pod: &str| fault.takes(owner, pod);

    let happened = fault.happen(system, owner);
    happened.with_context(|| fault.name())?;
    wait::pass(watch);
    wait::until(LIMIT, "clients are served again", || {
        let flows = probes.look().unwrap_or_default();
        let mut left = flows.iter().filter(|track| !lost_with(&track.pod));
        left.all(all_well)
            && questions
                .look()
                .is_ok_and(|tracks| tracks.iter().all(all_well))
    })?;
    // Who is silent for long is counted so below.
    let left = |flow: &Flow| !lost_with(&flow.pod);
    drop(wait_connections(&load, left));

    let mut noticed = Noticed::default();
    for (track, before) in probes.finish()?.iter().zip(before) {
        if !lost_with(&track.pod) {
            let track = track.after(before);
            noticed.sent += u64::try_from(track.number())?;
            noticed.lost += track.lost();
            noticed.gap = noticed.gap.max(track.gap());
        }
    }
    for (track, asked) in questions.finish()?.iter().zip(asked) {
        noticed.asked_gap = noticed.asked_gap.max(track.after(asked).gap());
    }
    for flow in load.finish()? {
        if lost_with(&flow.pod) {
            noticed.with_the_node += 1;
            continue;
        }
        noticed.connections += 1;
        match flow.broken.as_deref() {
            None => {}
            Some(why) if is_silent(why) => noticed.silent += 1,
            Some(_) => noticed.reset += 1,
        }
    }
    let mended = fault.mend(system, owner);
    mended.with_context(|| format!("mending: {}", fault.name()))?;
    Ok(noticed)
}

/// Whether a connection broke because nothing came any more.
pub(super) fn is_silent(why: &str) -> bool {
    why.contains("elapsed") || why.contains("timed out")
}

/// Until every connection is answered again, or broken.
pub(super) fn wait_connections(load: &Load, left: impl Fn(&Flow) -> bool) -> Result<()> {
    let before = load.look()?;
    wait::until_ok(TCP_LIMIT, "all connections are answered", || {
        let now = load.look()?;
        let behind = now.iter().zip(&before).filter(|(now, before)| {
            left(now) && now.broken.is_none() && now.answered <= before.answered + 1
        });
        let behind = behind.count();
        ensure!(behind == 0, "{behind} are not");
        Ok(())
    })
}

/// As many of each family.
fn spread<T>(vips: &[IpAddr], number: usize, make: impl Fn(IpAddr) -> T) -> Vec<T> {
    vips.iter()
        .cycle()
        .take(number)
        .map(|vip| make(*vip))
        .collect()
}

pub(super) fn connections(vips: &[IpAddr]) -> Vec<Target> {
    spread(vips, CONNECTIONS, |vip| Target::tcp((vip, NGINX_PORT)))
}

fn flows(vips: &[IpAddr]) -> Vec<SocketAddr> {
    spread(vips, UDP_FLOWS, |vip| (vip, ECHO_UDP_PORT).into())
}
