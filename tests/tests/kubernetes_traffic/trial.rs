//! What traffic goes to, and what must become of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::kubernetes::corten::wait_addresses;
use lb_tests::kubernetes::{Cluster, images, workload};
use lb_tests::lab::{ECHO_UDP_PORT, KubeProxy, NGINX_PORT, Spec};
use lb_tests::load::{Load, Tally, Target, spread};
use lb_tests::wait;
use serde_json::Value;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Of each address.
const CONNECTIONS: usize = 50;
const UDP_FLOWS: usize = 5;
const ANSWERS: u64 = 6;
pub(crate) const NEW_FLOWS: u32 = 90;

const POOL: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: { name: default, namespace: metallb-system }
spec: { addresses: [192.0.2.80-192.0.2.99, '2001:db8:0:2::80-2001:db8:0:2::99'] }
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: { name: default, namespace: metallb-system }
";

/// A cluster with Corten, and a Service with a VIP of each family in front of a
/// pod on each node.
pub(crate) struct Trial {
    pub(crate) cluster: Cluster,
    pub(crate) vips: Vec<IpAddr>,
}

impl Trial {
    pub(crate) fn start(prefix: &str, kube_proxy: KubeProxy) -> Self {
        let spec = Spec::for_cluster(prefix).expect("programs are built");
        let images = images().expect("images are built");
        let cluster = Cluster::up(spec, kube_proxy, &images).expect("it comes up");
        cluster.install().expect("Corten is installed");
        let kubectl = cluster.kubectl();
        kubectl.apply(POOL).expect("applied");
        kubectl.apply(&workload::echo_pods()).expect("applied");
        kubectl
            .apply(&workload::echo_service("echo", ""))
            .expect("applied");
        cluster
            .wait_rollout("default", "daemonset/echo")
            .expect("rolled out");
        // As another load balancer has left them: they are kept.
        let status = "{\"status\":{\"loadBalancer\":{\"ingress\":[\
             {\"ip\":\"192.0.2.80\",\"ipMode\":\"VIP\"},\
             {\"ip\":\"2001:db8:0:2::80\",\"ipMode\":\"VIP\"}]}}}";
        let patch = ["patch", "service", "echo", "--subresource=status"];
        let how = ["--type=merge", "--patch", status];
        kubectl.run(&[&patch[..], &how].concat()).expect("patched");
        let vips = wait_addresses(&cluster, "echo").expect("addresses");
        assert_eq!(vips.len(), 2, "one of each family: {vips:?}");
        let trial = Self { cluster, vips };
        trial.wait_all_pods();
        trial
    }

    pub(crate) fn service(&self) -> Value {
        let kubectl = self.cluster.kubectl();
        kubectl.json(&["get", "service", "echo"]).expect("there")
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for vip in &self.vips {
            let tcp = Target::tcp(SocketAddr::new(*vip, NGINX_PORT));
            let udp = Target::udp(SocketAddr::new(*vip, ECHO_UDP_PORT));
            targets.extend(std::iter::repeat_n(tcp, CONNECTIONS));
            targets.extend(std::iter::repeat_n(udp, UDP_FLOWS));
        }
        targets
    }

    /// Waits until every pod gets new flows, TCP and UDP, of both families,
    /// and sees the client's address.
    pub(crate) fn wait_all_pods(&self) {
        let client = self.cluster.lab().client();
        for vip in &self.vips {
            for target in [
                Target::tcp(SocketAddr::new(*vip, NGINX_PORT)),
                Target::udp(SocketAddr::new(*vip, ECHO_UDP_PORT)),
            ] {
                let what = format!("all pods answer at {target:?}");
                let waited = wait::until_ok(LIMIT, &what, || -> Result<()> {
                    let found = spread(&client, target, NEW_FLOWS)?;
                    ensure!(found.lost + found.masked == 0, "{found:?}");
                    ensure!(found.by_pod.len() == 3, "{found:?}");
                    Ok(())
                });
                waited.unwrap_or_else(|error| {
                    panic!("{error:#}\n{}", self.cluster.agent_logs());
                });
            }
        }
    }

    pub(crate) fn load(&self) -> Load {
        let client = self.cluster.lab().client();
        Load::start(&client, self.targets()).expect("traffic")
    }

    /// Every flow lives, was never silent, and kept its pod.
    pub(crate) fn check(&self, load: &Load, change: &str) {
        load.wait_for_answers(ANSWERS)
            .unwrap_or_else(|error| panic!("after {change}: {error:#}"));
        let tally = Tally::of(load.look().expect("traffic runs"));
        assert!(
            tally.is_clean(),
            "after {change}: {tally:?}\n{}",
            self.cluster.agent_logs()
        );
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl().run(arguments).expect("kubectl")
    }
}
