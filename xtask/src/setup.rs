//! Installing what is missing, by name and with the reason; where nothing is
//! missing, nothing is called.

mod apt;
mod bpf;
mod go;
mod kubernetes;
mod metallb;
mod nginx;

pub(crate) use self::bpf::{BpfToolchain, bpf};
pub(crate) use self::kubernetes::kubernetes_tools;
pub(crate) use self::metallb::metallb;
pub(crate) use self::nginx::nginx_packages;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use lb_tests::kubernetes::{CLUSTER_TOOLS, cni_folder};

use self::apt::Need;

/// What the lab and the network tests call.
const LAB: &[Need] = &[
    Need {
        package: "iproute2",
        why: "network namespaces and links",
        present: || on_path("ip").is_some(),
    },
    Need {
        package: "ethtool",
        why: "checksum offload of links",
        present: || on_path("ethtool").is_some(),
    },
    Need {
        package: "util-linux",
        why: "programs inside namespaces",
        present: || on_path("nsenter").is_some() && on_path("setsid").is_some(),
    },
    Need {
        package: "mount",
        why: "a bpffs for every node",
        present: || on_path("mount").is_some() && on_path("umount").is_some(),
    },
    Need {
        package: "nftables",
        why: "packet loss, and DNAT to compare with",
        present: || on_path("nft").is_some(),
    },
    Need {
        package: "bpftool",
        why: "looking into maps",
        present: || on_path("bpftool").is_some(),
    },
    Need {
        package: "tcpdump",
        why: "captures of what must stay untouched",
        present: || on_path("tcpdump").is_some(),
    },
    Need {
        package: "curl",
        why: "asking pods inside the lab",
        present: || on_path("curl").is_some(),
    },
    Need {
        package: "iputils-ping",
        why: "ping inside the lab",
        present: || on_path("ping").is_some(),
    },
];

/// `cargo xtask setup`: everything that tests, lab and demo install otherwise
/// when they first need it.
pub(crate) fn run() -> Result<ExitCode> {
    bpf()?;
    cluster()?;
    routers()?;
    keepalived()?;
    nginx_packages()?;
    metallb()?;
    Ok(ExitCode::SUCCESS)
}

/// What a whole cluster calls besides.
const CLUSTER: &[Need] = &[
    Need {
        package: "containerd",
        why: "runs the pods of the lab's cluster",
        present: || on_path("containerd").is_some() && on_path("ctr").is_some(),
    },
    Need {
        package: "runc",
        why: "what containerd starts containers with",
        present: || on_path("runc").is_some(),
    },
    Need {
        package: "containernetworking-plugins",
        why: "pods' links and addresses (ptp, host-local)",
        present: || cni_folder().is_some(),
    },
    Need {
        package: "iptables",
        why: "kube-proxy's iptables mode, and pods' ports",
        present: || on_path("iptables").is_some(),
    },
    Need {
        package: "conntrack",
        why: "what kube-proxy clears with",
        present: || on_path("conntrack").is_some(),
    },
];

/// Makes sure that a cluster can be brought up in the lab.
pub(crate) fn cluster() -> Result<()> {
    lab()?;
    apt::install(CLUSTER)?;
    kubernetes_tools(CLUSTER_TOOLS)
}

/// What routers in the lab are.
const ROUTERS: &[Need] = &[
    Need {
        package: "frr",
        why: "a router that speaks BGP",
        present: || Path::new("/usr/lib/frr/bgpd").is_file() && on_path("vtysh").is_some(),
    },
    Need {
        package: "bird2",
        why: "another one",
        present: || on_path("bird").is_some() && on_path("birdc").is_some(),
    },
    Need {
        package: "gobgpd",
        why: "and another one",
        present: || on_path("gobgpd").is_some() && on_path("gobgp").is_some(),
    },
];

/// Makes sure that the lab can have a router that speaks BGP.
pub(crate) fn routers() -> Result<()> {
    apt::install(ROUTERS)
}

/// What failover is compared with.
const KEEPALIVED: &[Need] = &[Need {
    package: "keepalived",
    why: "failover to compare with",
    present: || on_path("keepalived").is_some(),
}];

/// Makes sure that failover can be compared with keepalived's.
pub(crate) fn keepalived() -> Result<()> {
    apt::install(KEEPALIVED)
}

/// Makes sure that the lab and the network tests have what they call.
pub(crate) fn lab() -> Result<()> {
    apt::install(LAB)
}

/// A program on the PATH, or where only root's PATH looks.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && on_path("apt-get").is_some()
}
