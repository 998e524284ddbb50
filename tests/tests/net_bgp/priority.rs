//! The thread of BFD runs before other work of the machine where it may, and
//! says once what follows where it may not.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lb_tests::lab::{Lab, Node};
use lb_tests::limited::Wrapper;
use lb_tests::{require, wait};

use super::{LIMIT, logs, spec, wait_bfd};

/// sched(7), and how /proc/PID/stat counts it (proc_pid_stat(5)).
const SCHED_FIFO: u32 = 1;
const SCHED_OTHER: u32 = 0;
/// Of the fields after the name, which is in parentheses.
const POLICY_FIELD: usize = 38;
const COMPLAINT: &str = "BFD has no real-time priority";

#[test]
fn the_thread_of_bfd_has_a_real_time_priority_where_it_may() {
    if !require::root("net") {
        return;
    }
    let mut spec = spec("bgpprio");
    (spec.nodes, spec.pods, spec.bfd) = (1, 1, true);
    let lab = Lab::up(spec.clone()).expect("the lab comes up");
    wait_bfd(&lab);
    wait_policy(&lab, SCHED_FIFO);
    assert_eq!(complaints(lab.node(1)), 0, "{}", logs(&lab));
    lab.down().expect("the lab goes");

    // As in the DaemonSet, which does not add SYS_NICE.
    let wrapper = Wrapper::new("nice");
    wrapper.write("-sys_nice").expect("written");
    spec.agent = Some(wrapper.path().to_owned());
    let lab = Lab::up(spec).expect("the lab comes up");
    wait_bfd(&lab);
    wait_policy(&lab, SCHED_OTHER);
    assert_eq!(complaints(lab.node(1)), 1, "{}", logs(&lab));
    lab.down().expect("the lab goes");
}

fn wait_policy(lab: &Lab, expected: u32) {
    let what = format!("the thread of BFD has the policy {expected}");
    let waited = wait::until_ok(LIMIT, &what, || {
        let found = policy(lab.node(1))?;
        ensure!(found == expected, "it has {found}");
        Ok(())
    });
    waited.unwrap_or_else(|error| panic!("{error:#}\n{}", logs(lab)));
}

/// Of the agent's thread with that name.
fn policy(node: Node<'_>) -> Result<u32> {
    let pid = node.agent_pid().context("no agent")?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let (name, fields) = stat.rsplit_once(") ").context("a name in parentheses")?;
        if name.ends_with("(bfd") {
            let policy = fields.split(' ').nth(POLICY_FIELD);
            return Ok(policy.context("a policy")?.parse()?);
        }
    }
    anyhow::bail!("there is no such thread")
}

fn complaints(node: Node<'_>) -> usize {
    let log = fs::read_to_string(node.agent_log()).unwrap_or_default();
    log.matches(COMPLAINT).count()
}
