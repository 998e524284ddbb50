//! What the DaemonSet lets the agent do is enough, and none of it too much.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use lb_tests::command::output;
use lb_tests::lab::{Lab, Node, Spec};
use lb_tests::limited::{Wrapper, limited};
use lb_tests::{object, require, wait};

const LIMIT: Duration = Duration::from_secs(30);

/// The capabilities that manifests/base/daemonset.yaml adds, such as
/// `NET_ADMIN`.
fn granted() -> Vec<String> {
    let manifest = include_str!("../../manifests/base/daemonset.yaml");
    let lines = manifest.lines().map(str::trim);
    let added = lines.skip_while(|line| *line != "add:").skip(1);
    let added = added.filter(|line| !line.starts_with('#'));
    added
        .map_while(|line| line.strip_prefix("- "))
        .take_while(|name| !name.contains(' '))
        .map(str::to_owned)
        .collect()
}

/// These and no others, as setpriv(1) has them.
fn bounds(capabilities: &[String]) -> String {
    let mut bounds = "-all".to_owned();
    for name in capabilities {
        bounds += &format!(",+{}", name.to_lowercase());
    }
    bounds
}

/// Runs a shell's words on a node with these capabilities.
fn try_on(node: Node<'_>, capabilities: &[String], words: &str) -> Result<String> {
    let mut command: Command = node.namespace().command("sh");
    let limited = limited(&bounds(capabilities));
    output(command.args(["-c", &format!("exec {limited} {words}")]))
}

/// The kernel takes all programs of the data plane.
fn load(node: Node<'_>, capabilities: &[String]) -> Result<()> {
    let pins = node.bpffs().join("probe");
    let words = format!(
        "bpftool prog loadall {} {}",
        object::path().display(),
        pins.display()
    );
    let loaded = try_on(node, capabilities, &words);
    if pins.exists() {
        fs::remove_dir_all(&pins).expect("removed");
    }
    loaded.map(drop)
}

#[test]
fn the_agent_needs_each_capability_of_the_daemonset_and_no_other() {
    if !require::root("net") {
        return;
    }
    let granted = granted();
    let wrapper = Wrapper::new("limited");
    wrapper.write(&bounds(&granted)).expect("written");
    let mut spec = Spec::for_test("labcaps").expect("programs are built");
    spec.agent = Some(wrapper.path().to_owned());
    (spec.nodes, spec.pods) = (1, 1);
    // Its agent programs the kernel and answers: they are enough.
    let lab = Lab::up(spec).expect("the lab comes up");
    lab.wait_applied().expect("the agent works");
    let node = lab.node(1);
    load(node, &granted).expect("the kernel takes the programs");

    for left_out in &granted {
        let fewer: Vec<String> = granted
            .iter()
            .filter(|name| *name != left_out)
            .cloned()
            .collect();
        let refused = match left_out.as_str() {
            "NET_RAW" => try_on(node, &fewer, "tcpdump --interface lo -c 1").map(drop),
            _ => load(node, &fewer),
        };
        refused.expect_err(&format!("the kernel asks for {left_out}"));

        node.stop_agent().expect("stopped");
        node.wipe_maps().expect("wiped");
        wrapper.write(&bounds(&fewer)).expect("written");
        let before = log(&node.agent_log()).len();
        node.start_agent().expect("started");
        wait::until(LIMIT, "the agent gives up", || node.agent_pid().is_none())
            .unwrap_or_else(|error| panic!("without {left_out}: {error:#}"));
        let said = log(&node.agent_log()).split_off(before);
        let names_it = format!("missing capabilities: {left_out}: ");
        assert!(said.contains(&names_it), "without {left_out}: {said}");
    }
}

fn log(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
