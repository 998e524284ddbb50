//! Services without an address get one from a pool in the same folder: every
//! node the same one, and clients reach pods at it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::lab::{Lab, Manifests, Node, Spec};
use lb_tests::load::{Target, spread};
use lb_tests::{require, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// A folder that goes when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("corten-addresses-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    /// Whole, by rename, as agents look on.
    fn write(&self, name: &str, text: &str) {
        let new = self.0.join(format!(".{name}"));
        fs::write(&new, text).expect("written");
        fs::rename(&new, self.0.join(name)).expect("renamed");
    }

    /// The lab's own objects, but nobody says what the Services' addresses are.
    fn write_without_status(&self, manifests: &Manifests) {
        for (name, text) in manifests.files() {
            let text = match name.strip_prefix("service-") {
                Some(_) => text.split("status:").next().unwrap_or_default(),
                None => &text,
            };
            self.write(&name, text);
        }
    }

    fn write_pool(&self, addresses: &[&str]) {
        let addresses: String = addresses.iter().map(|a| format!("    - {a}\n")).collect();
        let text = format!(
            "apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: lab
  namespace: metallb-system
spec:
  addresses:
{addresses}"
        );
        self.write("pool.yaml", &text);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the folder can be removed");
    }
}

/// What a node says of the Service nginx.
fn nginx(node: Node<'_>) -> Result<Value> {
    let services = node.ask(&["services", "nginx"])?;
    let rows = services.as_array().context("services are a list")?;
    ensure!(rows.len() == 1, "one Service: {services}");
    Ok(rows[0].clone())
}

/// Waits until all nodes forward for the Service at the same two addresses, and
/// these begin so.
fn wait_given(lab: &Lab, v4: &str, v6: &str) -> [IpAddr; 2] {
    let given = wait::until_ok(LIMIT, "all nodes give the same addresses", || {
        let mut given = Vec::new();
        for node in lab.nodes() {
            let service = nginx(node)?;
            let addresses: Vec<IpAddr> = serde_json::from_value(service["addresses"].clone())?;
            let frontends = service["frontends"].as_array().context("a list")?;
            let vips: Vec<_> = frontends.iter().filter_map(|f| f["vip"].as_str()).collect();
            let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            ensure!(vips == texts, "{texts:?} and it forwards {vips:?}");
            given.push(addresses);
        }
        given.dedup();
        match given.as_slice() {
            [addresses] => <[IpAddr; 2]>::try_from(addresses.as_slice()).context("two"),
            _ => anyhow::bail!("they say {given:?}"),
        }
        .and_then(|pair| {
            let [first, second] = pair.map(|address| address.to_string());
            ensure!(first.starts_with(v4) && second.starts_with(v6), "{pair:?}");
            Ok(pair)
        })
    });
    given.expect("given")
}

fn check_reached(lab: &Lab, addresses: [IpAddr; 2]) {
    for address in addresses {
        let target = Target::tcp((address, 80));
        let spread = spread(&lab.client(), target, 100).expect("traffic runs");
        assert_eq!((spread.lost, spread.by_pod.len()), (0, 3), "{spread:?}");
    }
}

fn lab_of(folder: &Path) -> Spec {
    let mut spec = Spec::for_test("addr").expect("programs are built");
    spec.manifests = Some(folder.to_owned());
    spec
}

#[test]
fn every_node_gives_a_service_the_same_addresses_of_a_pool() {
    if !require::root("net") {
        return;
    }
    let folder = Folder::new();
    let spec = lab_of(&folder.0);
    folder.write_without_status(&Manifests::new(&spec));
    folder.write_pool(&["192.0.2.96/29", "2001:db8:0:2::a00/120"]);
    let lab = Lab::up(spec).expect("the lab comes up");
    let first = wait_given(&lab, "192.0.2.", "2001:db8:0:2::a");
    check_reached(&lab, first);

    // Who has which is known, and the same everywhere.
    let pools: Vec<Value> = lab
        .nodes()
        .map(|node| node.ask(&["pools"]).expect("pools are known"))
        .collect();
    let pool = &pools[0]["pools"][0];
    assert_eq!(pool["assigned_ipv4"], 2, "nginx and echo-udp: {pool}");
    assert_eq!(pool["available_ipv4"], 6, "{pool}");
    assert_eq!(
        pool["addresses"].as_array().map(Vec::len),
        Some(4),
        "{pool}"
    );
    assert!(
        pools
            .iter()
            .all(|other| other["pools"] == pools[0]["pools"])
    );

    // The pool is another one by now.
    folder.write_pool(&["192.0.2.112/29", "2001:db8:0:2::b00/120"]);
    let second = wait_given(&lab, "192.0.2.1", "2001:db8:0:2::b");
    check_reached(&lab, second);

    // There is one family only, and the Services require both.
    folder.write_pool(&["192.0.2.96/29"]);
    wait::until_ok(LIMIT, "nobody has an address", || {
        for node in lab.nodes() {
            let service = nginx(node)?;
            let gone = service["refusal"]["name"] == "NoAddress"
                && service["frontends"].as_array().is_some_and(Vec::is_empty);
            ensure!(gone, "{service}");
        }
        Ok(())
    })
    .expect("it is refused");
    lab.down().expect("the lab goes down");
}
