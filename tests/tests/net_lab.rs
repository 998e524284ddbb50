//! The lab itself, without agents: what every other network test stands on.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use lb_tests::command::run;
use lb_tests::lab::{ECHO_PORT, ECHO_UDP_PORT, Lab, Offload, Place, Spec, Wire};
use lb_tests::netns::Namespace;
use lb_tests::{program, require};

const PATIENCE: Duration = Duration::from_secs(2);

fn spec(prefix: &str) -> Spec {
    let echo = program("corten-echo").expect("the echo server is built");
    Spec::new(prefix, echo)
}

fn tcp_answer(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(b"hello\n").expect("sent");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .expect("answered");
    answer
}

fn udp_answer(address: SocketAddr) -> String {
    let any: IpAddr = match address.ip() {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    let socket = UdpSocket::bind((any, 0)).expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket.send_to(b"hello", address).expect("sent");
    let mut answer = [0; 200];
    let length = socket.recv(&mut answer).expect("answered");
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// Every pod answers the client, and sees the client's address.
fn check_every_pod(lab: &Lab) {
    lab.let_client_reach_pods().expect("routes");
    let client = lb_tests::lab::address::client().address;
    for pod in lab.pods() {
        for (own, seen) in pod.address().both().into_iter().zip(client.both()) {
            let seen = SocketAddr::new(seen, 0).to_string();
            let seen = seen.trim_end_matches('0');
            let wanted = format!("{} {seen}", pod.name());
            let (tcp, udp) = lab
                .client()
                .within(|| {
                    (
                        tcp_answer((own, ECHO_PORT).into()),
                        udp_answer((own, ECHO_UDP_PORT).into()),
                    )
                })
                .expect("the client is there");
            assert!(tcp.starts_with(&wanted), "{tcp:?} is not of {wanted:?}");
            assert!(udp.starts_with(&wanted), "{udp:?} is not of {wanted:?}");
        }
    }
}

#[test]
fn pods_answer_on_one_link() {
    if !require::root("net") {
        return;
    }
    let lab = Lab::up(spec("labone")).expect("the lab comes up");
    check_every_pod(&lab);
    lab.down().expect("and goes");
    assert_eq!(Namespace::list("labone-").expect("listed"), []);
}

#[test]
fn pods_answer_behind_a_router_without_offload() {
    if !require::root("net") {
        return;
    }
    let mut spec = spec("labrouted");
    spec.nodes = 2;
    spec.pods = 5;
    spec.wire = Wire::Routed;
    spec.offload = Offload::Off;
    let lab = Lab::up(spec).expect("the lab comes up");
    let last = lab.pods().last().expect("there are pods").place();
    assert_eq!(last, Place { node: 1, pod: 3 });
    check_every_pod(&lab);
}

#[test]
fn a_second_lab_of_the_same_name_replaces_the_first() {
    if !require::root("net") {
        return;
    }
    let mut first = Lab::up(spec("labtwice")).expect("the lab comes up");
    let old = first.pod(1, 1).pid().expect("its server runs");
    // As if it had crashed.
    first.stay();
    drop(first);
    let second = Lab::up(spec("labtwice")).expect("it comes up again");
    let new = second.pod(1, 1).pid().expect("its server runs");
    assert_ne!(old, new);
}

#[test]
fn a_pod_that_is_stopped_resets_its_connections() {
    if !require::root("net") {
        return;
    }
    let lab = Lab::up(spec("labstop")).expect("the lab comes up");
    lab.let_client_reach_pods().expect("routes");
    let pod = lab.pod(2, 1);
    let address = SocketAddr::new(pod.address().v4.into(), ECHO_PORT);
    let stream = lab
        .client()
        .within(|| TcpStream::connect_timeout(&address, PATIENCE))
        .expect("the client is there")
        .expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    (&stream).write_all(b"hello\n").expect("sent");
    let mut lines = BufReader::new(&stream);
    lines.read_line(&mut String::new()).expect("answered");
    pod.stop().expect("stopped");
    let error = lines
        .read_line(&mut String::new())
        .expect_err("a reset, not an end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    pod.start().expect("and started again");
}

/// Stands in for the agent: runs, and says that it is ready.
const STAND_IN: &str = "#!/bin/sh
[ \"$1\" = run ] && exec sleep 1000
echo '{\"ready\": true}'
";

#[test]
fn an_agent_is_killed_and_its_maps_are_wiped() {
    if !require::root("net") {
        return;
    }
    let agent = std::env::temp_dir().join(format!("corten-stand-in-{}", std::process::id()));
    fs::write(&agent, STAND_IN).expect("written");
    fs::set_permissions(&agent, Permissions::from_mode(0o755)).expect("set");
    let mut spec = spec("labagent");
    spec.agent = Some(agent.clone());
    let lab = Lab::up(spec).expect("the lab comes up");
    let node = lab.node(2);
    let map = node.bpffs().join("folder/map");
    fs::create_dir(node.bpffs().join("folder")).expect("a bpffs has folders");
    let map = map.to_string_lossy().into_owned();
    run(
        "bpftool",
        &[
            "map", "create", &map, "type", "array", "key", "4", "value", "4", "entries", "1",
            "name", "pinned",
        ],
    )
    .expect("pinned");
    node.wipe_maps().expect_err("the agent still runs");
    node.kill_agent().expect("killed");
    assert_eq!(node.agent_pid(), None);
    assert!(
        Path::new(&map).exists(),
        "what is pinned outlives the agent"
    );
    node.wipe_maps().expect("wiped");
    assert!(!Path::new(&map).exists());
    node.start_agent().expect("started");
    node.wait_ready().expect("ready");
    fs::remove_file(&agent).expect("removed");
}
