//! The node that answers for VIPs is lost in every way there is, and comes back,
//! under 200 open connections with traffic: none is reset or answered by another
//! pod, unless its pod was on the lost node.

use lb_tests::lab::{Lab, Loss, Spec};
use lb_tests::load::{Load, Tally};
use lb_tests::require;

/// Of each family.
const CONNECTIONS: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The agent is asked to end, and starts again.
    Ended,
    /// The same with `kill -9`.
    Killed,
    Lost(Loss),
    /// Its agent dies as well.
    Gone,
}

impl Fault {
    const ALL: [Self; 5] = [
        Self::Ended,
        Self::Killed,
        Self::Lost(Loss::LinkDown),
        Self::Lost(Loss::Silent),
        Self::Gone,
    ];

    fn strike(self, lab: &Lab, node: u8) {
        match self {
            Self::Ended => lab.node(node).stop_agent(),
            Self::Killed => lab.node(node).kill_agent(),
            Self::Lost(loss) => lab.lose(node, loss),
            Self::Gone => lab
                .lose(node, Loss::Silent)
                .and_then(|()| lab.node(node).kill_agent()),
        }
        .expect("it strikes");
    }

    fn mend(self, lab: &Lab, node: u8) {
        match self {
            Self::Lost(loss) => return lab.find(node, loss).expect("it is back"),
            Self::Gone => lab.find(node, Loss::Silent).expect("it is back"),
            Self::Ended | Self::Killed => {}
        }
        lab.node(node).start_agent().expect("started");
        lab.node(node).wait_ready().expect("ready");
    }

    /// Whether the node's pods are out of reach with it.
    fn takes_pods(self) -> bool {
        matches!(self, Self::Lost(_) | Self::Gone)
    }
}

/// Flows are opened anew for each, since those of a lost node may end in it.
fn strike_and_mend(lab: &Lab, fault: Fault) {
    let load = Load::open(lab, CONNECTIONS, 0).expect("flows open");
    // Of connections: both families' VIPs may have owners of their own.
    let vip = lab.manifests.services[0].vip.both()[0];
    let owner = lab.wait_owner(vip, |_| true).expect("somebody owns it");
    let lost = owner.number();
    let its_pods = format!("node{lost}-");
    let counts = |pod: &str| !fault.takes_pods() || !pod.starts_with(&its_pods);
    let check = |when: &str| {
        let well = load.wait_well(|flow| counts(&flow.pod));
        well.unwrap_or_else(|error| panic!("{fault:?}, {when}: {error:#}\n{}", lab.counters()));
    };
    check("before");
    fault.strike(lab, lost);
    let other = lab.wait_owner(vip, |node| node != lost);
    other.unwrap_or_else(|error| panic!("{fault:?}: {error:#}"));
    check("while it is away");
    fault.mend(lab, lost);
    let back = lab.wait_owner(vip, |node| node == lost);
    back.unwrap_or_else(|error| panic!("{fault:?}: {error:#}"));
    check("when it is back");
    let flows = load.finish().expect("traffic ends");
    let counted = Tally::of(flows.iter().filter(|flow| counts(&flow.pod)));
    assert_eq!(
        (counted.reset, counted.moved, counted.masked),
        (0, 0, 0),
        "{fault:?}: {counted:?}"
    );
}

#[test]
fn connections_outlive_the_owner_of_their_vip() {
    if !require::root("net") {
        return;
    }
    let spec = Spec::for_test("lost").expect("programs are built");
    let lab = Lab::up(spec).expect("the lab comes up");
    lab.wait_applied().expect("the agents know the endpoints");
    for fault in Fault::ALL {
        strike_and_mend(&lab, fault);
    }
    lab.down().expect("the lab goes down");
}
