//! One flow: a line, its answer, and again, until told to stop.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use super::{Flow, PACE, STALL};
use crate::datagrams;
use crate::lab::manifests::Protocol;

/// Below the kernel's own choice of ports.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 22_000;
static TURN: AtomicU16 = AtomicU16::new(0);

/// A flow that is silent for so long is broken.
const GIVE_UP: Duration = Duration::from_secs(30);

pub(super) async fn talk(
    flow: Rc<RefCell<Flow>>,
    offset: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let mut ticks = interval_at(Instant::now() + offset, PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let protocol = flow.borrow().target.protocol;
    let ended = match protocol {
        Protocol::Tcp => talk_tcp(&flow, &mut ticks, &mut stopped).await,
        Protocol::Udp => talk_udp(&flow, &mut ticks, &mut stopped).await,
    };
    if let Err(error) = ended {
        flow.borrow_mut().broken = Some(error.to_string());
    }
}

/// Waits for the next tick; false when it is time to stop.
async fn next(ticks: &mut Interval, stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        _told = stopped.changed() => false,
        _tick = ticks.tick() => true,
    }
}

async fn talk_tcp(
    flow: &RefCell<Flow>,
    ticks: &mut Interval,
    stopped: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    let address = flow.borrow().target.address;
    let mut stream = BufReader::new(connect(address).await?);
    let own = stream.get_ref().local_addr()?;
    while next(ticks, stopped).await {
        let start = Instant::now();
        let answer = exchange(&mut stream).await?;
        flow.borrow_mut().note(&answer, own, start.elapsed());
    }
    Ok(())
}

pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(GIVE_UP, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a line and gives the one that answers it.
pub(super) async fn exchange(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    stream.write_all(b"hello\n").await?;
    let mut answer = String::new();
    let read = timeout(GIVE_UP, stream.read_line(&mut answer)).await??;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

async fn talk_udp(
    flow: &RefCell<Flow>,
    ticks: &mut Interval,
    stopped: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    let address = flow.borrow().target.address;
    let (socket, own) = socket(address).await?;
    let mut number: u64 = 0;
    while next(ticks, stopped).await {
        let start = Instant::now();
        number += 1;
        match timeout(STALL, ask(&socket, number)).await {
            Ok(Ok(answer)) => flow.borrow_mut().note(&answer, own, start.elapsed()),
            Ok(Err(_)) | Err(_) => flow.borrow_mut().lost += 1,
        }
    }
    Ok(())
}

/// A socket for one flow, with the address that its packets come from.
pub(crate) async fn socket(address: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let any: IpAddr = match address.ip() {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    let socket = bind(any).await?;
    socket.connect(address).await?;
    let own = socket.local_addr()?;
    Ok((socket, own))
}

/// A source port that was not used lately, as a flow of UDP ends by time only:
/// the kernel's choice would now and then go on with an old one.
async fn bind(any: IpAddr) -> io::Result<UdpSocket> {
    loop {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        match datagrams::bind((any, FIRST_PORT + turn % PORTS).into()).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
}

/// Sends a datagram and gives what answers it; late answers to earlier ones
/// are passed over.
pub(super) async fn ask(socket: &UdpSocket, number: u64) -> io::Result<String> {
    let number = number.to_string();
    socket.send(number.as_bytes()).await?;
    let mut buffer = [0; 512];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        if answer.split_whitespace().last() == Some(&number) {
            return Ok(answer.into_owned());
        }
    }
}
