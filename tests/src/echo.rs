//! The lab pods' server: says which pod answers and which client it saw.
//!
//! TCP, by line: a line that ends in `HTTP/1.x` begins a request and is
//! answered with JSON; any other is answered with `<pod> <client>`. UDP: every
//! datagram comes back as `<pod> <client> <payload>`.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::watch;

use crate::datagrams;

/// The longest line that is read; a client with a longer one is hung up on.
const LINE_MAX: u64 = 8 * 1024;
const BACKLOG: u32 = 4096;

/// Listens for both families on one port.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG)
}

/// Serves connections until `stop` changes, then resets the open ones.
pub async fn serve_tcp(pod: Arc<str>, listener: TcpListener, stop: watch::Receiver<bool>) {
    loop {
        // Errors here are of one connection that died early, or a shortage
        // that passes; the listener itself stays good.
        let Ok((stream, client)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let pod = Arc::clone(&pod);
        let mut stop = stop.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let stopped = tokio::select! {
                // An error ends the connection, and that is all it can mean.
                _ended = answer_lines(&pod, &mut stream, client) => false,
                _changed = stop.changed() => true,
            };
            if stopped {
                drop(stream.get_ref().set_zero_linger());
            }
        });
    }
}

/// Receives datagrams of both families on one port.
pub async fn bind(port: u16) -> io::Result<UdpSocket> {
    datagrams::bind((Ipv6Addr::UNSPECIFIED, port).into()).await
}

/// Answers datagrams for ever.
pub async fn serve_udp(pod: Arc<str>, socket: UdpSocket) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // An ICMP error about an earlier answer may be returned here.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let mut answer = format!("{pod} {} ", plain(client)).into_bytes();
        answer.extend(buffer.iter().take(length));
        // As on any network, an answer may be lost.
        drop(socket.send_to(&answer, client).await);
    }
}

async fn answer_lines(
    pod: &str,
    stream: &mut BufReader<TcpStream>,
    client: SocketAddr,
) -> io::Result<()> {
    stream.get_ref().set_nodelay(true)?;
    let client = plain(client);
    while let Some(line) = read_line(stream).await? {
        let Some((_, version)) = line.trim_end().rsplit_once(" HTTP/1.") else {
            let answer = format!("{pod} {client}\n");
            stream.write_all(answer.as_bytes()).await?;
            continue;
        };
        let head_only = line.starts_with("HEAD ");
        let mut keep = version != "0";
        while let Some(header) = read_line(stream).await? {
            if header.trim_end().is_empty() {
                break;
            }
            let header = header.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("connection:") {
                keep = value.trim() == "keep-alive";
            }
        }
        let response = http_response(pod, client, keep, head_only);
        stream.write_all(response.as_bytes()).await?;
        if !keep {
            break;
        }
    }
    stream.shutdown().await
}

fn http_response(pod: &str, client: SocketAddr, keep: bool, head_only: bool) -> String {
    let body = format!("{{\"pod\":\"{pod}\",\"client\":\"{client}\"}}\n");
    let connection = if keep { "keep-alive" } else { "close" };
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: {connection}\r\n\r\n{}",
        body.len(),
        if head_only { "" } else { &body },
    )
}

/// The next line with its end, or nothing at the end of the stream.
async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    stream.take(LINE_MAX).read_until(b'\n', &mut line).await?;
    match line.last() {
        Some(b'\n') => Ok(Some(String::from_utf8_lossy(&line).into_owned())),
        Some(_) if line.len() as u64 >= LINE_MAX => Err(io::ErrorKind::InvalidData.into()),
        // An unfinished last line gets no answer.
        Some(_) | None => Ok(None),
    }
}

/// An IPv4 client of a socket for both families, shown as IPv4.
fn plain(client: SocketAddr) -> SocketAddr {
    SocketAddr::new(client.ip().to_canonical(), client.port())
}

#[cfg(test)]
mod tests;
