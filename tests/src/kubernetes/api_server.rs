//! etcd and an API server, on loopback, for tests that need no more.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::control_plane::{ADMIN, ControlPlane};
use super::kubectl::Kubectl;
use super::tools::{API_TOOLS, Tools};
use super::user::{User, write_kubeconfig};
use crate::child::Child;
use crate::wait;

const READY_LIMIT: Duration = Duration::from_secs(60);

/// Numbers the servers of this process.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// An API server with TLS, tokens and RBAC, and nothing behind it: no
/// controllers, no nodes. It ends when this is dropped.
#[derive(Debug)]
pub struct ApiServer {
    plane: ControlPlane,
    kubectl: Kubectl,
    server: Option<Child>,
    _etcd: Child,
}

impl ApiServer {
    /// Starts one on free ports of the loopback address, and waits until it
    /// is ready. Needs no root.
    pub fn start() -> Result<Self> {
        let tools = Tools::find(API_TOOLS)?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("corten-api-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let [api, etcd, etcd_peers] = free_ports()?;
        let plane = ControlPlane {
            tools,
            folder,
            api,
            etcd,
            etcd_peers,
        };
        plane.prepare(&[User::new(ADMIN, Some("system:masters"))?])?;
        let kubectl = Kubectl {
            program: plane.tools.program("kubectl"),
            kubeconfig: plane.kubeconfig(ADMIN),
            namespace: None,
        };
        let etcd = Child::start(&plane.etcd(), &plane.folder.join("etcd.log"))?;
        let mut this = Self {
            plane,
            kubectl,
            server: None,
            _etcd: etcd,
        };
        this.resume()?;
        Ok(this)
    }

    /// Ends the API server at once, as a crash would; etcd keeps what it knows.
    pub fn kill(&mut self) -> Result<()> {
        match self.server.take() {
            Some(server) => server.end(Signal::SIGKILL),
            None => Ok(()),
        }
    }

    /// Starts the API server again, on the same port, and waits until it is
    /// ready.
    pub fn resume(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the API server runs");
        let mut command = self.plane.api_server();
        command
            // Pods are made without controllers that give accounts their tokens.
            .args(["--disable-admission-plugins", "ServiceAccount"])
            // It would refuse to publish a loopback address.
            .args(["--endpoint-reconciler-type", "none"]);
        let server = Child::start(&command, &self.plane.folder.join("kube-apiserver.log"))?;
        let mut ended = None;
        let ready = wait::until_ok(READY_LIMIT, "the API server is ready", || {
            if let Err(error) = server.check() {
                ended = Some(error);
                return Ok(());
            }
            self.kubectl.run(&["get", "--raw", "/readyz"]).map(drop)?;
            // Made soon after, and what most objects are put into.
            self.kubectl.run(&["get", "namespace", "default"]).map(drop)
        });
        if let Some(error) = ended {
            return Err(error);
        }
        ready.with_context(|| server.log_tail())?;
        self.server = Some(server);
        Ok(())
    }

    /// Makes etcd forget all that was before now, for good.
    pub fn compact(&self) -> Result<()> {
        // A write of nobody's, so that there is a "now" after all others.
        // "/corten" in base64, as the gateway wants it.
        let key = "L2NvcnRlbg==";
        let answer = self.ask_etcd("put", &json!({"key": key, "value": key}))?;
        let revision = &answer["header"]["revision"];
        let compact = json!({"revision": revision, "physical": true});
        self.ask_etcd("compaction", &compact).map(drop)
    }

    /// Over its JSON gateway.
    fn ask_etcd(&self, what: &str, question: &Value) -> Result<Value> {
        let (body, etcd) = (question.to_string(), self.plane.etcd);
        let mut stream = TcpStream::connect(etcd).context("cannot reach etcd")?;
        write!(
            stream,
            "POST /v3/kv/{what} HTTP/1.0\r\nHost: {etcd}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let good = head
            .lines()
            .next()
            .is_some_and(|line| line.contains(" 200 "));
        ensure!(good, "etcd refuses: {answer}");
        serde_json::from_str(body).with_context(|| format!("not JSON: {answer}"))
    }

    /// kubectl of an administrator.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The administrator's kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubectl.kubeconfig
    }

    /// A kubeconfig file of a service account, which must exist.
    pub fn service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self
            .kubectl
            .run(&["create", "token", name, "--namespace", namespace])?;
        let path = self.plane.kubeconfig(&format!("{namespace}:{name}"));
        let authority = self.plane.pki().authority();
        write_kubeconfig(&path, &self.plane.url(), &authority, token.trim())?;
        Ok(path)
    }

    /// `https://…`, for clients that take no kubeconfig file.
    #[must_use]
    pub fn url(&self) -> String {
        self.plane.url()
    }

    /// Its files and logs, which go with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.plane.folder
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // The server first, so that it does not complain of etcd's end.
        drop(self.kill());
        // What is left in a folder for temporary files does no harm.
        drop(fs::remove_dir_all(&self.plane.folder));
    }
}

/// Three ports that nobody listens on, all different.
fn free_ports() -> Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
    let listeners = [bind()?, bind()?, bind()?];
    let mut ports = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?;
    }
    Ok(ports)
}
