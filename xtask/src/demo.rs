//! `cargo xtask demo`: what the product does, in about a minute, in words and
//! numbers; and whether it is as promised.

mod bgp;
mod changes;
mod forwarding;
mod story;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;
use lb_tests::interrupt;
use lb_tests::lab::{Lab, NGINX_PORT, Spec, Wire};
use lb_tests::require::is_root;
use serde_json::json;

use self::story::Story;
use crate::workspace::release_folder;
use crate::{build, report, setup};

/// The demo stands beside a lab that is up.
const PREFIX: &str = "cortendemo";

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Print one JSON document instead of words; keys that count failures have
    /// `reset` or `lost` in their names
    #[arg(long)]
    json: bool,
    /// Put the nodes on subnets of their own, behind a router
    #[arg(long)]
    routed: bool,
    /// As --routed, and the router learns by BGP where the addresses are; a
    /// node is lost, and comes back
    #[arg(long)]
    bgp: bool,
}

impl Demo {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        ensure!(is_root(), "the demo makes network namespaces: run as root");
        setup::lab()?;
        if self.bgp {
            setup::routers()?;
        }
        build::release(true)?;
        interrupt::arm()?;
        report::step("bringing up a client, three nodes with agents, and three pods");
        let mut lab = Lab::up(self.spec())?;
        let mut story = Story::new(!self.json);
        let told = if self.bgp {
            introduce(&lab, &mut story);
            bgp::tell(&mut lab, &mut story)
        } else {
            tell(&mut lab, &mut story)
        };
        report::step("taking the demo's network down");
        lab.down()?;
        interrupt::check()?;
        if let Err(error) = told {
            story.promise(false, &format!("{error:#}"));
        }
        story.end()
    }

    fn spec(&self) -> Spec {
        let programs = release_folder();
        let mut spec = Spec::new(PREFIX, programs.join("corten-echo"));
        spec.agent = Some(programs.join("lb-agent"));
        (spec.bgp, spec.bfd) = (self.bgp, self.bgp);
        if self.routed || self.bgp {
            spec.wire = Wire::Routed;
        }
        spec
    }
}

fn tell(lab: &mut Lab, story: &mut Story) -> Result<()> {
    lab.wait_applied()?;
    introduce(lab, story);
    forwarding::who_answers(lab, story)?;
    forwarding::new_connections(lab, story)?;
    forwarding::what_the_kernel_holds(lab, story)?;
    changes::under_traffic(lab, story)
}

fn introduce(lab: &Lab, story: &mut Story) {
    let routed = lab.spec().wire == Wire::Routed;
    story.chapter("The network");
    story.say(if routed {
        "A client and three nodes, each on a subnet of its own behind a router."
    } else {
        "A client and three nodes on one link."
    });
    story.say("Each node runs an agent and one pod, which answers with its name and the");
    story.say("client's address that it saw. No kube-proxy, no NAT of clients.");
    for service in &lab.manifests.services {
        story.say(&format!(
            "Service {}: {} port {} at {} and {}",
            service.name,
            service.protocol.name(),
            service.port,
            service.vip.v4,
            service.vip.v6
        ));
    }
    story.note("wire", json!(if routed { "routed" } else { "same-link" }));
    story.note("nodes", json!(lab.spec().nodes));
    story.note("pods", json!(lab.spec().pods));
    story.note("port", json!(NGINX_PORT));
}
