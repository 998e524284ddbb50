//! Other speakers of BGP, from Debian's packages: BIRD and GoBGP, each in a
//! namespace. FRR is [`crate::frr`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::child::Child;
use crate::command::output;
use crate::netns::Namespace;
use crate::wait;

const START_LIMIT: Duration = Duration::from_secs(10);

/// BIRD 2; it ends when this is dropped.
#[derive(Debug)]
pub struct Bird {
    namespace: Namespace,
    folder: PathBuf,
    _process: Child,
}

impl Bird {
    /// `config`: as `bird.conf` has it.
    pub fn start(namespace: Namespace, folder: PathBuf, config: &str) -> Result<Self> {
        write(&folder, "bird.conf", config)?;
        let mut command = namespace.command("bird");
        command.args(["-f", "-c"]).arg(folder.join("bird.conf"));
        command.arg("-s").arg(folder.join("bird.ctl"));
        command.arg("-P").arg(folder.join("bird.pid"));
        let process = Child::start(&command, &folder.join("bird.log"));
        let bird = Self {
            _process: process.context("is BIRD installed? Debian's package is bird2")?,
            namespace,
            folder,
        };
        wait::until_ok(START_LIMIT, "BIRD answers", || bird.ask("show status"))?;
        Ok(bird)
    }

    /// What it answers to a command of its shell.
    pub fn ask(&self, command: &str) -> Result<String> {
        let mut shell = self.namespace.command("birdc");
        shell.arg("-s").arg(self.folder.join("bird.ctl"));
        output(shell.args(command.split_whitespace()))
    }

    pub fn pid(&self) -> Result<u32> {
        let text = fs::read_to_string(self.folder.join("bird.pid"))?;
        text.trim().parse().context("bird.pid")
    }
}

/// GoBGP; it ends when this is dropped.
#[derive(Debug)]
pub struct Gobgp {
    namespace: Namespace,
    _process: Child,
}

impl Gobgp {
    /// `config`: as `gobgpd.toml` has it.
    pub fn start(namespace: Namespace, folder: &Path, config: &str) -> Result<Self> {
        write(folder, "gobgpd.toml", config)?;
        let mut command = namespace.command("gobgpd");
        command.arg("-f").arg(folder.join("gobgpd.toml"));
        command.args(["--api-hosts", "127.0.0.1:50051", "--pprof-disable"]);
        let process = Child::start(&command, &folder.join("gobgpd.log"));
        let gobgp = Self {
            _process: process.context("is GoBGP installed? Debian's package is gobgpd")?,
            namespace,
        };
        wait::until_ok(START_LIMIT, "GoBGP answers", || gobgp.ask("neighbor"))?;
        Ok(gobgp)
    }

    /// What it answers to a command, as JSON where there is anything.
    pub fn ask(&self, command: &str) -> Result<Value> {
        let mut client = self.namespace.command("gobgp");
        client.args(command.split_whitespace()).arg("--json");
        let text = output(&mut client)?;
        // No JSON for those that only do something.
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}
