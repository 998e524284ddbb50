//! Many new flows, one exchange each: which pod takes them, and whose address
//! it sees.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::BufReader;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::talk::{ask, connect, exchange, socket};
use super::{Target, runtime};
use crate::lab::manifests::Protocol;
use crate::netns::Namespace;

/// Flows that are under way at one time.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);

/// Where new flows went.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    pub by_pod: BTreeMap<String, u32>,
    /// Flows whose pod saw another address than the client's.
    pub masked: u32,
    /// Flows that were reset or not answered, and the reason of one.
    pub lost: u32,
    pub reason: Option<String>,
}

impl Spread {
    #[must_use]
    pub fn answered(&self) -> u32 {
        self.by_pod.values().sum()
    }

    /// The busiest pod's part in shares of which each of `pods` pods should
    /// have one.
    #[must_use]
    pub fn largest_share(&self, pods: u32) -> f64 {
        let most = self.by_pod.values().max().copied().unwrap_or_default();
        f64::from(most) * f64::from(pods) / f64::from(self.answered().max(1))
    }

    fn note(&mut self, outcome: io::Result<(String, SocketAddr)>) {
        let (answer, own) = match outcome {
            Ok(answered) => answered,
            Err(error) => {
                self.lost += 1;
                self.reason = Some(error.to_string());
                return;
            }
        };
        let mut words = answer.split_whitespace();
        let pod = words.next().unwrap_or_default().to_owned();
        *self.by_pod.entry(pod).or_default() += 1;
        self.masked += u32::from(words.next().and_then(|seen| seen.parse().ok()) != Some(own));
    }
}

/// Opens `count` flows, each from a source port of its own.
pub fn spread(namespace: &Namespace, target: Target, count: u32) -> Result<Spread> {
    namespace.within(|| {
        let mut spread = Spread::default();
        runtime()?.block_on(async {
            let mut open = JoinSet::new();
            let mut left = count;
            loop {
                while left > 0 && open.len() < AT_ONCE {
                    left -= 1;
                    open.spawn(once(target));
                }
                let Some(done) = open.join_next().await else {
                    return Ok(spread);
                };
                spread.note(done.context("a flow's task panicked")?);
            }
        })
    })?
}

async fn once(target: Target) -> io::Result<(String, SocketAddr)> {
    timeout(PATIENCE, exchange_once(target)).await?
}

async fn exchange_once(target: Target) -> io::Result<(String, SocketAddr)> {
    match target.protocol {
        Protocol::Tcp => {
            let mut stream = BufReader::new(connect(target.address).await?);
            let own = stream.get_ref().local_addr()?;
            Ok((exchange(&mut stream).await?, own))
        }
        Protocol::Udp => {
            let (socket, own) = socket(target.address).await?;
            Ok((ask(&socket, 1).await?, own))
        }
    }
}
