//! The configuration files of a node's programs.

use std::path::Path;

use super::POD_IMAGE;
use crate::lab::address;

/// Of containerd. All of its files are in `folder`.
pub(super) fn containerd(folder: &Path, cni_plugins: &Path) -> String {
    let folder = folder.display();
    let cni_plugins = cni_plugins.display();
    // restrict_oom_score_adj: without CAP_SYS_RESOURCE, runc could not lower
    // the score of a pod's first process.
    format!(
        r#"version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{folder}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{POD_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni_plugins}"
  conf_dir = "{folder}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{folder}/containerd/runc"
"#
    )
}

/// A kubelet's, whose pods are in the control group of that name.
pub(super) fn kubelet(folder: &Path, cgroup: &str, authority: &Path) -> String {
    let folder = folder.display();
    let authority = authority.display();
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: false
  x509:
    clientCAFile: {authority}
authorization:
  mode: AlwaysAllow
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
containerRuntimeEndpoint: unix://{folder}/containerd.sock
podLogsDir: {folder}/logs
resolvConf: ""
# The machine's disk and memory are not the lab's to judge.
evictionHard:
  memory.available: "0%"
  nodefs.available: "0%"
  nodefs.inodesFree: "0%"
  imagefs.available: "0%"
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 5s
registerNode: true
"#
    )
}

/// A CNI configuration: a link to each pod, addresses of the node's subnets.
pub(super) fn cni(folder: &Path, node: u8) -> String {
    let [v4, v6] = address::pod_subnets(node);
    let folder = folder.display();
    format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "lab",
  "plugins": [
    {{
      "type": "ptp",
      "ipam": {{
        "type": "host-local",
        "dataDir": "{folder}/addresses",
        "ranges": [[{{ "subnet": "{v4}" }}], [{{ "subnet": "{v6}" }}]],
        "routes": [{{ "dst": "0.0.0.0/0" }}, {{ "dst": "::/0" }}]
      }}
    }},
    {{ "type": "portmap", "capabilities": {{ "portMappings": true }} }}
  ]
}}
"#
    )
}

/// What most CNIs have: pods reach the outside with their node's address.
pub(super) fn masquerade() -> String {
    let [v4, v6] = address::POD_SUBNETS;
    format!(
        "table inet lab-cni {{\n\
         \x20 chain postrouting {{\n\
         \x20   type nat hook postrouting priority srcnat; policy accept;\n\
         \x20   ip saddr {v4} ip daddr != {v4} masquerade\n\
         \x20   ip6 saddr {v6} ip6 daddr != {v6} masquerade\n\
         \x20 }}\n\
         }}\n"
    )
}

/// The Node object, before its kubelet adds what it knows.
pub(super) fn node(name: &str, number: u8) -> String {
    let [v4, v6] = address::pod_subnets(number);
    format!(
        "apiVersion: v1\n\
         kind: Node\n\
         metadata:\n\
         \x20 name: {name}\n\
         spec:\n\
         \x20 podCIDR: {v4}\n\
         \x20 podCIDRs: [\"{v4}\", \"{v6}\"]\n"
    )
}

/// What a node's programs would change for the whole machine; it gets copies.
const KNOBS: &[&str] = &[
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Of device plugins, whatever the root folder of a kubelet is: of two that start
/// at once, one finds the socket of the other there, and gives up.
const KUBELET_SOCKETS: &str = "/var/lib/kubelet/device-plugins";

/// The shell script that makes a node's mounts and then keeps them: a bpffs, and
/// places for network namespaces and for sockets of its own.
pub(super) fn mounts(folder: &Path) -> String {
    let folder = folder.display();
    let mut script = format!(
        "set -e\n\
         mount -t bpf bpf /sys/fs/bpf\n\
         mount -t tmpfs tmpfs /run/netns\n\
         mkdir -p {KUBELET_SOCKETS}\n\
         mount -t tmpfs tmpfs {KUBELET_SOCKETS}\n\
         mkdir -p {folder}/knobs\n"
    );
    for knob in KNOBS {
        let copy = format!("{folder}/knobs/{}", knob.replace('/', "."));
        script += &format!(
            "if [ -e /proc/sys/{knob} ]; then\n\
             \x20 cat /proc/sys/{knob} > {copy}\n\
             \x20 mount --bind {copy} /proc/sys/{knob}\n\
             fi\n"
        );
    }
    script += &format!("touch {folder}/mounted\nexec sleep infinity\n");
    script
}
