//! A client that asks nginx for its page.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::netns::Namespace;

/// A page, and who answered whom as nginx's headers say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub pod: String,
    pub client: IpAddr,
    pub text: String,
}

/// Asks for `/` once, on a new connection.
pub fn get(client: &Namespace, address: IpAddr, port: u16) -> Result<Page> {
    let mut command = client.command("curl");
    command.args(["--silent", "--show-error", "--fail", "--include"]);
    ask(command, address, port)
}

/// That connections are refused, which takes no time.
pub fn refused(client: &Namespace, address: IpAddr, port: u16) -> Result<()> {
    let answer = get(client, address, port);
    let error = answer.err().context("a pod answers")?;
    // curl ends with 7 when it is refused, with 28 when nobody answers.
    let text = format!("{error:#}");
    ensure!(text.contains("(exit status: 7)"), "{text}");
    Ok(())
}

fn ask(mut command: Command, address: IpAddr, port: u16) -> Result<Page> {
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    command.args(["--max-time", "5", &format!("http://{host}:{port}/")]);
    let answer = crate::command::output(&mut command)?;
    let (head, text) = answer.split_once("\r\n\r\n").context("no head")?;
    let headers: BTreeMap<String, &str> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let header = |name: &str| headers.get(name).copied().unwrap_or_default();
    ensure!(text.contains("Welcome to nginx!"), "another page: {text}");
    Ok(Page {
        pod: header("x-pod").to_owned(),
        client: header("x-client").parse().context("no client's address")?,
        text: text.to_owned(),
    })
}

/// How often each pod answers `times` connections; fails if one does not come
/// about, or if a pod sees another address than `own`.
pub fn spread(
    client: &Namespace,
    own: IpAddr,
    address: IpAddr,
    port: u16,
    times: u32,
) -> Result<BTreeMap<String, u32>> {
    let mut by_pod = BTreeMap::new();
    for _ in 0..times {
        let page = get(client, address, port)?;
        ensure!(page.client == own, "a pod saw {}, not {own}", page.client);
        *by_pod.entry(page.pod).or_default() += 1;
    }
    Ok(by_pod)
}
