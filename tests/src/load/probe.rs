//! Probes, each with its own answer or none: so a lost one is one whose answer
//! never came, and the gap is the longest stretch of lost ones.
//!
//! One thread in a namespace sends and receives; others ask for a copy of what
//! is known. When it is late, it sends fewer probes, and loses none by that.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc as answers;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::runtime;
use super::talk::socket;
use crate::netns::Namespace;

/// Between two probes of one flow.
pub const PROBE_PACE: Duration = Duration::from_millis(5);

/// So many last ones may still be answered.
const UNDER_WAY: usize = 20;

/// All probes of one flow, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// The pod that answered first; none yet: empty.
    pub pod: String,
    probes: Vec<(Instant, bool)>,
}

impl Track {
    pub fn sent(&mut self, at: Instant) {
        self.probes.push((at, false));
    }

    pub fn answered(&mut self, number: usize) {
        if let Some((_, answered)) = self.probes.get_mut(number) {
            *answered = true;
        }
    }

    /// Of probes that were sent.
    pub fn number(&self) -> usize {
        self.probes.len()
    }

    pub fn lost(&self) -> u64 {
        self.probes.iter().map(|(_, had)| u64::from(!had)).sum()
    }

    /// From the first of the longest row of lost probes until the first one
    /// after it that was answered; zero if none was lost.
    pub fn gap(&self) -> Duration {
        let mut longest = Duration::ZERO;
        let mut since = None;
        for (at, answered) in &self.probes {
            let first = *since.get_or_insert(*at);
            longest = longest.max(at.duration_since(first));
            if *answered {
                since = None;
            }
        }
        longest
    }

    /// The probes from a number on, without the last ones, which had no time
    /// to be answered.
    pub fn after(&self, number: usize) -> Self {
        let end = self.probes.len().saturating_sub(UNDER_WAY);
        let probes = self.probes.get(number.min(end)..end);
        Self {
            pod: self.pod.clone(),
            probes: probes.unwrap_or_default().to_vec(),
        }
    }

    /// Whether the last probes that can have been answered by now all were.
    pub fn is_answered(&self) -> bool {
        const LAST: usize = 40;
        let seen = self.probes.iter().rev().skip(UNDER_WAY).take(LAST);
        self.probes.len() > LAST + UNDER_WAY && seen.into_iter().all(|(_, answered)| *answered)
    }
}

/// The longest gap of any of those that a pod of these answered first.
pub fn longest_gap(tracks: &[Track], pods: impl Fn(&str) -> bool) -> Duration {
    let tracks = tracks.iter().filter(|track| pods(&track.pod));
    let gaps = tracks.map(|track| track.after(0).gap());
    gaps.max().unwrap_or_default()
}

/// Shared by those that send and receive in the one thread.
pub type Tracks = Rc<RefCell<Vec<Track>>>;

/// Something that is asked again and again, until [`Self::finish`].
#[derive(Debug)]
pub struct Probes {
    asks: mpsc::UnboundedSender<answers::Sender<Vec<Track>>>,
    thread: JoinHandle<Result<Result<Vec<Track>>>>,
}

impl Probes {
    /// UDP flows to the pods' server, one to each target.
    pub fn udp(namespace: &Namespace, targets: Vec<SocketAddr>) -> Self {
        Self::start(namespace, async move |tracks: Tracks| {
            let mut sockets = Vec::new();
            for target in targets {
                let (socket, _) = socket(target).await?;
                let socket = Rc::new(socket);
                let index = sockets.len();
                tracks.borrow_mut().push(Track::default());
                let (receiver, known) = (Rc::clone(&socket), Rc::clone(&tracks));
                tokio::task::spawn_local(receive(receiver, index, known));
                sockets.push(socket);
            }
            send(&sockets, &tracks).await
        })
    }

    /// `work` fills the tracks, and does not end unless it fails.
    pub fn start<F>(namespace: &Namespace, work: impl FnOnce(Tracks) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        let (asks, asked) = mpsc::unbounded_channel();
        let thread = namespace.spawn(move || drive(work, asked));
        Self { asks, thread }
    }

    /// All tracks as they are now.
    pub fn look(&self) -> Result<Vec<Track>> {
        let (answer, answered) = answers::channel();
        let gone = || anyhow!("the probes have ended by themselves");
        self.asks.send(answer).ok().with_context(gone)?;
        answered.recv().ok().with_context(gone)
    }

    /// Ends them, and tells of all.
    pub fn finish(self) -> Result<Vec<Track>> {
        drop(self.asks);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
    }
}

fn drive<F: Future<Output = Result<()>> + 'static>(
    work: impl FnOnce(Tracks) -> F,
    mut asked: mpsc::UnboundedReceiver<answers::Sender<Vec<Track>>>,
) -> Result<Vec<Track>> {
    let tracks = Tracks::default();
    let work = work(Rc::clone(&tracks));
    let local = LocalSet::new();
    runtime()?.block_on(local.run_until(async {
        tokio::pin!(work);
        loop {
            tokio::select! {
                ended = &mut work => {
                    ended?;
                    anyhow::bail!("the probes ended");
                }
                answer = asked.recv() => match answer {
                    // Who asked may have given up.
                    Some(answer) => drop(answer.send(tracks.borrow().clone())),
                    None => return Ok(()),
                },
            }
        }
    }))?;
    let all = tracks.borrow().clone();
    Ok(all)
}

async fn send(sockets: &[Rc<UdpSocket>], tracks: &Tracks) -> Result<()> {
    let mut ticks = interval(PROBE_PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        for (index, socket) in sockets.iter().enumerate() {
            let number = {
                let track = &mut tracks.borrow_mut()[index];
                track.sent(Instant::now());
                track.number() - 1
            };
            // An ICMP error about an earlier one: this one was not sent, and
            // is sent now.
            let text = number.to_string();
            if socket.send(text.as_bytes()).await.is_err() {
                drop(socket.send(text.as_bytes()).await);
            }
        }
    }
}

async fn receive(socket: Rc<UdpSocket>, index: usize, tracks: Tracks) {
    let mut buffer = [0; 512];
    loop {
        // An error is of an earlier probe, which is lost by having no answer.
        let Ok(length) = socket.recv(&mut buffer).await else {
            continue;
        };
        let answer = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        let mut words = answer.split_whitespace();
        let pod = words.next().unwrap_or_default().to_owned();
        if let Some(number) = words.last().and_then(|word| word.parse().ok()) {
            let track = &mut tracks.borrow_mut()[index];
            track.answered(number);
            if track.pod.is_empty() {
                track.pod = pod;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(answered: &str) -> Track {
        let start = Instant::now();
        let mut track = Track::default();
        for (number, letter) in (0..).zip(answered.chars()) {
            track.sent(start + PROBE_PACE * number);
            if letter == '+' {
                track.answered(usize::try_from(number).expect("few"));
            }
        }
        track
    }

    #[test]
    fn the_gap_is_the_longest_row_of_lost_probes() {
        let cases = [
            ("++++", 0, 0),
            ("+-++", 1, 1),
            ("+-+--+", 3, 2),
            ("+---", 3, 2),
            ("--+", 2, 2),
        ];
        for (answers, lost, paces) in cases {
            let track = track(answers);
            assert_eq!(track.lost(), lost, "{answers}");
            assert_eq!(track.gap(), PROBE_PACE * paces, "{answers}");
        }
    }

    #[test]
    fn it_is_answered_when_the_last_ones_were() {
        assert!(track(&"+".repeat(61)).is_answered());
        assert!(!track(&"+".repeat(60)).is_answered());
        assert!(track(&format!("-{}{}", "+".repeat(40), "-".repeat(20))).is_answered());
        assert!(!track(&format!("{}-{}", "+".repeat(40), "+".repeat(20))).is_answered());
    }

    #[test]
    fn what_was_lost_before_and_what_is_under_way_is_not_counted() {
        let track = track(&format!("-+--+{}", "-".repeat(20)));
        assert_eq!(track.after(1).lost(), 2);
        assert_eq!(track.after(1).number(), 4);
        assert_eq!(track.after(9).number(), 0);
    }
}
