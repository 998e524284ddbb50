//! Datagrams at a steady pace, whoever answers: how long a client is in the
//! dark.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::talk::socket;
use super::{Target, runtime};
use crate::netns::Namespace;

/// Between two datagrams of one flow.
const PACE: Duration = Duration::from_millis(10);
/// For the last answers.
const REST: Duration = Duration::from_millis(200);

/// What one flow saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The pod that answered first.
    pub pod: String,
    pub sent: u64,
    pub answered: u64,
    /// The longest time without an answer.
    pub dark: Duration,
    last: Option<Instant>,
}

impl Seen {
    fn answer(&mut self, text: &str, now: Instant) {
        if self.pod.is_empty() {
            let pod = text.split_whitespace().next();
            pod.unwrap_or_default().clone_into(&mut self.pod);
        }
        self.answered += 1;
        self.look(now);
        self.last = Some(now);
    }

    fn look(&mut self, now: Instant) {
        if let Some(last) = self.last {
            self.dark = self.dark.max(now - last);
        }
    }
}

/// Probes until [`Probe::finish`].
#[derive(Debug)]
pub struct Probe {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<Result<Vec<Seen>>>>,
}

impl Probe {
    /// So many flows to a target, which is to be asked by UDP.
    pub fn start(namespace: &Namespace, target: Target, flows: usize) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = namespace.spawn(move || drive(target, flows, stopped));
        Self { stop, thread }
    }

    /// What all flows saw.
    pub fn finish(self) -> Result<Vec<Seen>> {
        // One that has failed says why below.
        let _told = self.stop.send(());
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
    }
}

fn drive(target: Target, flows: usize, stopped: oneshot::Receiver<()>) -> Result<Vec<Seen>> {
    let all: Vec<_> = (0..flows).map(|_| Rc::default()).collect();
    let local = LocalSet::new();
    runtime()?.block_on(local.run_until(async {
        let mut sockets = Vec::new();
        for _ in &all {
            sockets.push(socket(target.address).await?.0);
        }
        for (socket, seen) in sockets.into_iter().zip(&all) {
            tokio::task::spawn_local(probe(socket, Rc::clone(seen)));
        }
        // Dropped: nobody waits for the answers any more.
        let _asked = stopped.await;
        let now = Instant::now();
        all.iter()
            .for_each(|seen: &Rc<RefCell<Seen>>| seen.borrow_mut().look(now));
        // What is on its way is counted, and its wait is not.
        tokio::time::sleep(REST).await;
        anyhow::Ok(())
    }))?;
    Ok(all.iter().map(|seen| seen.borrow().clone()).collect())
}

async fn probe(socket: UdpSocket, seen: Rc<RefCell<Seen>>) {
    let mut ticks = interval_at(Instant::now(), PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut buffer = [0; 512];
    let mut number: u64 = 0;
    loop {
        tokio::select! {
            biased;
            received = socket.recv(&mut buffer) => {
                // Nobody there, for now: an ICMP error.
                let Ok(length) = received else { continue };
                let answer = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                seen.borrow_mut().answer(&answer, Instant::now());
            }
            _ = ticks.tick() => {
                number += 1;
                seen.borrow_mut().sent += 1;
                // Not sent is not answered either.
                let _sent = socket.send(number.to_string().as_bytes()).await;
            }
        }
    }
}
