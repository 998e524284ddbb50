//! Two nodes of which one, or each, does not hear the other: who answers for
//! VIPs is what is promised, and open connections outlive it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::lab::{Cut, Lab, Loss, Spec, address};
use lb_tests::load::{Load, Tally};
use lb_tests::{require, wait};

/// A gateway that does not answer is found out after a while.
const LIMIT: Duration = Duration::from_secs(90);
/// Connections to each VIP of TCP.
const CONNECTIONS: usize = 30;

struct Pair {
    lab: Lab,
    /// Who owns what when all is well.
    owners: Vec<(IpAddr, u8)>,
}

impl Pair {
    fn up(prefix: &str) -> Result<Self> {
        let mut spec = Spec::for_test(prefix)?;
        (spec.nodes, spec.pods) = (2, 4);
        let lab = Lab::up(spec)?;
        lab.wait_applied()?;
        let mut owners = Vec::new();
        for vip in lab.vips() {
            owners.push((vip, lab.wait_owner(vip, |_| true)?.number()));
        }
        Ok(Self { lab, owners })
    }

    /// The nodes' default route leads to somebody who answers both of them.
    fn add_gateway(&self) -> Result<()> {
        let gateway = address::client().address;
        for node in self.lab.nodes() {
            node.namespace().ip(&format!(
                "route add default via {}\nroute add default via {}\n",
                gateway.v4, gateway.v6
            ))?;
        }
        Ok(())
    }

    /// Waits until each of these nodes answers for all VIPs, and no other for
    /// any.
    fn wait_answer(&self, nodes: &[u8]) -> Result<()> {
        let all = self.lab.vips().into_iter().collect();
        let what = format!("{nodes:?} answer for all VIPs, and nobody else");
        wait::until_ok(LIMIT, &what, || {
            for node in self.lab.nodes() {
                let owned = node.owned()?;
                let wanted = nodes.contains(&node.number());
                let fits = if wanted {
                    owned == all
                } else {
                    owned.is_empty()
                };
                ensure!(fits, "{} answers for {owned:?}", node.name());
            }
            Ok(())
        })
        .with_context(|| self.told())
    }

    fn wait_mended(&self, what: &str) -> Result<()> {
        for (vip, owner) in &self.owners {
            let owned = self.lab.wait_owner(*vip, |node| node == *owner);
            owned.with_context(|| format!("after {what}\n{}", self.told()))?;
        }
        Ok(())
    }

    /// Every VIP has its owner again, and no connection was reset or answered
    /// by another pod.
    fn check_mended(&self, load: &Load, what: &str) -> Result<()> {
        self.wait_mended(what)?;
        load.wait_for_answers(2).context(what.to_owned())?;
        let tally = Tally::of(load.look()?);
        ensure!(tally.reset + tally.moved == 0, "after {what}: {tally:?}");
        Ok(())
    }

    fn told(&self) -> String {
        let of = |node: lb_tests::lab::Node<'_>| {
            let status = node.ask(&["status"]).unwrap_or_default();
            format!("{}: {}\n", node.name(), status["problems"])
        };
        self.lab.nodes().map(of).collect()
    }

    fn both_ways(&self, cut: Cut) -> Result<()> {
        self.lab.cut(1, 2, cut)?;
        self.lab.cut(2, 1, cut)
    }

    fn mend(&self) -> Result<()> {
        self.lab.uncut(1, 2)?;
        self.lab.uncut(2, 1)
    }
}

#[test]
fn of_two_nodes_that_do_not_hear_each_other_one_or_both_go_on() -> Result<()> {
    if !require::root("net") {
        return Ok(());
    }
    let pair = Pair::up("lbparted")?;
    let load = Load::open(&pair.lab, CONNECTIONS, 0)?;

    // The wire works, so they hear what the other one announces.
    pair.both_ways(Cut::Agents)?;
    for (vip, _) in &pair.owners {
        pair.lab.wait_owner(*vip, |_| true)?;
    }
    pair.mend()?;
    pair.check_mended(&load, "agents do not hear each other")?;

    // Who is not heard must not answer, and who hears nobody goes on.
    for (mute, deaf) in [(1, 2), (2, 1)] {
        pair.lab.cut(mute, deaf, Cut::Everything)?;
        pair.wait_answer(&[deaf])?;
        pair.lab.uncut(mute, deaf)?;
        pair.check_mended(
            &load,
            &format!("nothing comes from node{mute} to node{deaf}"),
        )?;
    }

    // Either may be the survivor, as far as each can know.
    pair.both_ways(Cut::Everything)?;
    pair.wait_answer(&[1, 2])?;
    pair.mend()?;
    pair.check_mended(&load, "nothing goes between the nodes")?;
    pair.lab.down()
}

#[test]
fn two_nodes_with_a_gateway_know_which_of_them_is_cut_off() -> Result<()> {
    if !require::root("net") {
        return Ok(());
    }
    let pair = Pair::up("lbgateway")?;
    pair.add_gateway()?;

    for lost in [1, 2] {
        pair.lab.lose(lost, Loss::Silent)?;
        pair.wait_answer(&[3 - lost])?;
        pair.lab.find(lost, Loss::Silent)?;
        pair.wait_mended(&format!("node{lost} was silent"))?;
    }

    let load = Load::open(&pair.lab, CONNECTIONS, 0)?;
    // Both see the gateway, and each answers those in its own part.
    pair.both_ways(Cut::Everything)?;
    pair.wait_answer(&[1, 2])?;
    pair.mend()?;
    pair.check_mended(
        &load,
        "nothing goes between nodes that both see the gateway",
    )?;
    pair.lab.down()
}
