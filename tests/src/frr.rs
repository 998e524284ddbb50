//! FRR as a router in a namespace, from Debian's package. Everything that it
//! writes is in one folder.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::{output, run};
use crate::netns::Namespace;
use crate::wait;

const PROGRAMS: &str = "/usr/lib/frr";
/// In the order in which they need each other.
const DAEMONS: [&str; 3] = ["zebra", "bfdd", "bgpd"];
/// Of zebra: a route of IPv6 that changes is replaced, as those of IPv4 are.
/// Else it is deleted and made anew, and packets between the two are lost.
const REPLACE_IPV6: &str = "--v6-rr-semantics";
/// Whom the daemons run as.
const USER: &str = "frr";
const START_LIMIT: Duration = Duration::from_secs(10);

/// FRR in one namespace. Its daemons end with everything else that runs there.
#[derive(Clone, Debug)]
pub struct Frr {
    namespace: Namespace,
    folder: PathBuf,
}

impl Frr {
    /// One that runs, or is to be started.
    #[must_use]
    pub fn new(namespace: Namespace, folder: PathBuf) -> Self {
        Self { namespace, folder }
    }

    /// `config`: as `frr.conf` has it.
    pub fn start(&self, config: &str) -> Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let file = self.folder.join("frr.conf");
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let owner = format!("{USER}:{USER}");
        run("chown", &["-R", &owner, &self.folder.to_string_lossy()])
            .context("is FRR installed? Debian's package is frr")?;
        for daemon in DAEMONS {
            output(&mut self.daemon(daemon))?;
        }
        wait::until_ok(START_LIMIT, "FRR answers", || {
            self.ask("show ip bgp summary").map(drop)
        })
    }

    fn daemon(&self, name: &str) -> Command {
        let file = |end: &str| self.folder.join(format!("{name}{end}"));
        let mut command = self.namespace.command(format!("{PROGRAMS}/{name}"));
        command
            .args(["-d", "-A", "127.0.0.1", "-P", "0", "--vty_socket"])
            .arg(&self.folder)
            .arg("-z")
            .arg(self.folder.join("zserv.api"))
            .arg("-i")
            .arg(file(".pid"))
            .arg("-f")
            .arg(self.folder.join("frr.conf"))
            .arg("--log")
            .arg(format!("file:{}", file(".log").display()));
        if name == "zebra" {
            command.arg(REPLACE_IPV6);
        }
        command
    }

    /// What it answers to a command of its shell.
    pub fn ask(&self, command: &str) -> Result<String> {
        self.commands(&[command])
    }

    /// Several, such as a change of its configuration.
    pub fn commands(&self, commands: &[&str]) -> Result<String> {
        let mut shell = self.namespace.command("vtysh");
        shell.arg("--vty_socket").arg(&self.folder);
        for command in commands {
            shell.args(["-c", command]);
        }
        output(&mut shell)
    }

    /// What it answers in JSON.
    pub fn json(&self, command: &str) -> Result<Value> {
        let text = self.ask(&format!("{command} json"))?;
        serde_json::from_str(&text).with_context(|| format!("FRR prints no JSON: {text}"))
    }

    /// The next hops of a prefix that it installed, in order.
    pub fn next_hops(&self, prefix: &str) -> Result<Vec<String>> {
        self.installed(prefix, "ip")
    }

    /// The links of these next hops, in order.
    pub fn next_links(&self, prefix: &str) -> Result<Vec<String>> {
        self.installed(prefix, "interfaceName")
    }

    fn installed(&self, prefix: &str, field: &str) -> Result<Vec<String>> {
        let (family, _) = family_of(prefix);
        let routes = self.json(&format!("show {family} route {prefix}"))?;
        let routes = routes.as_object().into_iter().flatten();
        let entries = routes
            .filter_map(|(_, entries)| entries.as_array())
            .flatten();
        let hops = entries
            .filter_map(|entry| entry["nexthops"].as_array())
            .flatten();
        let active = hops.filter(|hop| hop["active"] == true && hop["fib"] == true);
        let mut said: Vec<String> = active
            .filter_map(|hop| hop[field].as_str().map(str::to_owned))
            .collect();
        said.sort();
        Ok(said)
    }

    /// The next hops of an address, in order: those that are installed. IPv6
    /// next hops are link-local there, so what BGP knows is asked.
    pub fn bgp_next_hops(&self, address: IpAddr) -> Result<Vec<String>> {
        let prefix = host_prefix(address);
        if address.is_ipv4() {
            return self.next_hops(&prefix);
        }
        let route = self.json(&format!("show bgp ipv6 unicast {prefix}"))?;
        let paths = route["paths"].as_array().into_iter().flatten();
        let used =
            paths.filter(|path| path["multipath"] == true || path["bestpath"]["overall"] == true);
        let hops = used.filter_map(|path| {
            let hops = path["nexthops"].as_array()?.iter();
            let global = hops.clone().find(|hop| hop["scope"] == "global");
            let hop = global.or_else(|| hops.clone().next())?;
            hop["ip"].as_str().map(str::to_owned)
        });
        let mut hops: Vec<String> = hops.collect();
        hops.sort();
        Ok(hops)
    }
}

/// A prefix of one address.
#[must_use]
pub fn host_prefix(address: IpAddr) -> String {
    let length = if address.is_ipv4() { 32 } else { 128 };
    format!("{address}/{length}")
}

/// How FRR names the family of a prefix: for routes, and for BGP.
#[must_use]
pub fn family_of(prefix: &str) -> (&'static str, &'static str) {
    if prefix.contains(':') {
        ("ipv6", "ipv6 unicast")
    } else {
        ("ip", "ipv4 unicast")
    }
}
