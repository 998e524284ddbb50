//! The command lines of etcd and the API server, and the files they read.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::pki::Pki;
use super::tools::Tools;
use super::user::{User, write_kubeconfig};

/// Services' own addresses, of both families.
pub(super) const SERVICE_SUBNETS: &str = "10.96.0.0/16,fd00:10:96::/112";
/// The first of them: the API server as pods know it.
const API_SERVICE: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 1)),
];

/// The administrator, who may do everything.
pub(super) const ADMIN: &str = "admin";

/// Where a control plane listens and keeps its files.
#[derive(Clone, Debug)]
pub(super) struct ControlPlane {
    pub(super) tools: Tools,
    pub(super) folder: PathBuf,
    pub(super) api: SocketAddr,
    pub(super) etcd: SocketAddr,
    pub(super) etcd_peers: SocketAddr,
}

impl ControlPlane {
    /// Writes certificates, tokens, and a kubeconfig file for every user.
    pub(super) fn prepare(&self, users: &[User]) -> Result<()> {
        let mut addresses = vec![self.api.ip()];
        addresses.extend(API_SERVICE);
        self.pki().make(&addresses)?;
        let tokens: String = users.iter().map(User::token_line).collect();
        fs::write(self.tokens(), tokens).context("cannot write the users' tokens")?;
        for user in users {
            let path = self.kubeconfig(&user.name);
            write_kubeconfig(&path, &self.url(), &self.pki().authority(), &user.token)?;
        }
        Ok(())
    }

    /// The kubeconfig file of a user.
    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        let name = user.replace(':', "-");
        self.folder.join(format!("{name}.kubeconfig"))
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}", self.api)
    }

    pub(super) fn pki(&self) -> Pki {
        Pki::at(self.folder.join("pki"))
    }

    pub(super) fn etcd(&self) -> Command {
        let clients = format!("http://{}", self.etcd);
        let peers = format!("http://{}", self.etcd_peers);
        let mut command = Command::new(self.tools.program("etcd"));
        command
            .arg("--data-dir")
            .arg(self.folder.join("etcd"))
            .args(["--listen-client-urls", &clients])
            .args(["--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers])
            .args(["--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}")])
            // What it holds need not survive this machine.
            .arg("--unsafe-no-fsync")
            .args(["--log-level", "warn"]);
        command
    }

    /// Without what differs between an API server alone and a cluster.
    pub(super) fn api_server(&self) -> Command {
        let pki = self.pki();
        let mut command = Command::new(self.tools.program("kube-apiserver"));
        command
            .args(["--etcd-servers", &format!("http://{}", self.etcd)])
            .args(["--bind-address", &self.api.ip().to_string()])
            .args(["--advertise-address", &self.api.ip().to_string()])
            .args(["--secure-port", &self.api.port().to_string()])
            .args(["--service-cluster-ip-range", SERVICE_SUBNETS])
            .args(["--authorization-mode", "Node,RBAC"])
            .args(["--anonymous-auth=false"])
            .args(["--profiling=false"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"]);
        for (flag, file) in [
            ("--client-ca-file", pki.authority()),
            ("--tls-cert-file", pki.certificate("apiserver")),
            ("--tls-private-key-file", pki.key("apiserver")),
            (
                "--kubelet-client-certificate",
                pki.certificate("kubelet-client"),
            ),
            ("--kubelet-client-key", pki.key("kubelet-client")),
            (
                "--service-account-key-file",
                pki.service_account_public_key(),
            ),
            (
                "--service-account-signing-key-file",
                pki.service_account_key(),
            ),
            ("--token-auth-file", self.tokens()),
        ] {
            command.arg(flag).arg(file);
        }
        command
    }

    /// `controller-manager` or `scheduler`.
    pub(super) fn controller(&self, name: &str) -> Command {
        let program = format!("kube-{name}");
        let kubeconfig = self.kubeconfig(&format!("system:{program}"));
        let mut command = Command::new(self.tools.program(&program));
        for flag in [
            "--kubeconfig",
            "--authentication-kubeconfig",
            "--authorization-kubeconfig",
        ] {
            command.arg(flag).arg(&kubeconfig);
        }
        command
            .args(["--bind-address", "127.0.0.1"])
            .arg("--leader-elect=false");
        if name == "controller-manager" {
            let pki = self.pki();
            command
                .arg("--use-service-account-credentials")
                .arg("--root-ca-file")
                .arg(pki.authority())
                .arg("--service-account-private-key-file")
                .arg(pki.service_account_key());
        }
        command
    }

    fn tokens(&self) -> PathBuf {
        self.folder.join("tokens.csv")
    }
}
