//! From MetalLB to Corten and back, by the steps of README.md: no address
//! changes, and none is silent for longer than a failover takes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::kubernetes::readme::{self, Desk};
use lb_tests::kubernetes::{Cluster, images, metallb, workload};
use lb_tests::lab::{ECHO_UDP_PORT, KubeProxy, Spec};
use lb_tests::load::{Load, Target, spread};
use lb_tests::{require, wait};

const LIMIT: Duration = Duration::from_secs(120);
/// Services with a VIP of their own, and pairs that share one.
const ALONE: u16 = 16;
const PAIRS: u16 = 2;
/// Datagrams in a row without an answer, each waited for for two seconds.
/// MetalLB's own failover takes 5 to 6 seconds.
const LOST_MOST: u64 = 3;

const POOL: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: { name: default, namespace: metallb-system }
spec: { addresses: [192.0.2.110-192.0.2.199] }
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: { name: default, namespace: metallb-system }
";

struct Migration {
    cluster: Cluster,
    addresses: BTreeMap<String, IpAddr>,
}

impl Migration {
    fn start() -> Self {
        let spec = Spec::for_cluster("kcmigrate").expect("programs are built");
        let mut archives = images().expect("images are built");
        archives.extend(metallb::images().expect("images are built"));
        let cluster = Cluster::up(spec, KubeProxy::Nftables, &archives).expect("it comes up");
        let kubectl = cluster.kubectl();
        cluster.install_metallb().expect("MetalLB is installed");
        // Its webhook answers a moment after its pod is ready.
        wait::until_ok(LIMIT, "MetalLB takes a configuration", || {
            kubectl.apply(POOL)
        })
        .expect("taken");
        kubectl.apply(&workload::echo_pods()).expect("applied");
        for number in 0..ALONE {
            let name = format!("alone-{number}");
            kubectl.apply(&service(&name, 5353, "")).expect("applied");
        }
        for number in 0..PAIRS {
            for (side, port) in [("left", 5353), ("right", 5354)] {
                let name = format!("{side}-{number}");
                let share = format!("metallb.io/allow-shared-ip: pair-{number}");
                kubectl
                    .apply(&service(&name, port, &share))
                    .expect("applied");
            }
        }
        cluster
            .wait_rollout("default", "daemonset/echo")
            .expect("rolled out");
        let mut this = Self {
            cluster,
            addresses: BTreeMap::new(),
        };
        let all = usize::from(ALONE + 2 * PAIRS);
        this.addresses = wait::until_ok(LIMIT, "all have addresses", || {
            let found = this.look()?;
            ensure!(found.len() == all, "{found:?}");
            Ok(found)
        })
        .expect("all");
        this
    }

    fn look(&self) -> Result<BTreeMap<String, IpAddr>> {
        let services = self.cluster.kubectl().json(&["get", "services"])?;
        let mut found = BTreeMap::new();
        for service in services["items"].as_array().into_iter().flatten() {
            let name = service["metadata"]["name"].as_str().unwrap_or_default();
            let ip = &service["status"]["loadBalancer"]["ingress"][0]["ip"];
            if let Some(ip) = ip.as_str() {
                found.insert(name.to_owned(), ip.parse()?);
            }
        }
        Ok(found)
    }

    /// One flow of datagrams to every Service.
    fn load(&self) -> Load {
        let client = self.cluster.lab().client();
        let targets = self.addresses.iter().map(|(name, address)| {
            let port = match name.starts_with("right") {
                true => ECHO_UDP_PORT + 1,
                false => ECHO_UDP_PORT,
            };
            Target::udp(SocketAddr::new(*address, port))
        });
        let targets: Vec<Target> = targets.collect();
        for target in &targets {
            // With new flows each time: one that came before kube-proxy's
            // rules would never meet them.
            let what = format!("there are answers from {target:?}");
            wait::until_ok(LIMIT, &what, || {
                let found = spread(&client, *target, 1)?;
                ensure!(found.lost == 0, "{found:?}");
                Ok(())
            })
            .expect("kube-proxy has its rules");
        }
        Load::start(&client, targets).expect("all Services answer")
    }

    fn check(&self, load: &Load, step: &str) {
        assert_eq!(self.look().expect("listed"), self.addresses, "after {step}");
        load.wait_for_answers(3)
            .unwrap_or_else(|error| panic!("after {step}: {error:#}"));
        for flow in load.look().expect("traffic runs") {
            assert!(
                flow.broken.is_none() && flow.lost <= LOST_MOST,
                "after {step}: {flow:?}\n{}",
                self.cluster.agent_logs()
            );
        }
    }
}

#[test]
fn from_metallb_to_corten_and_back_no_address_changes() {
    if !require::root("cluster") {
        return;
    }
    let steps = readme::blocks("### Migrate from MetalLB").expect("steps");
    let migration = Migration::start();
    let manifest = metallb::folder().join(metallb::MANIFEST);
    let desk = Desk::new(&[&manifest]).expect("laid out");
    let load = migration.load();
    migration.check(&load, "the start");
    for step in steps {
        desk.run(migration.cluster.kubectl(), &step)
            .unwrap_or_else(|error| panic!("{step}{error:#}\n{}", migration.cluster.agent_logs()));
        migration.check(&load, &step);
    }
    drop(load.finish());
}

fn service(name: &str, port: u16, annotation: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Service\n\
         metadata:\n\
         \x20 name: {name}\n\
         \x20 annotations: {{ {annotation} }}\n\
         spec:\n\
         \x20 type: LoadBalancer\n\
         \x20 selector: {{ app: echo }}\n\
         \x20 ports:\n\
         \x20 - {{ port: {port}, targetPort: {ECHO_UDP_PORT}, protocol: UDP }}\n"
    )
}
