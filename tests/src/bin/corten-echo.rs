//! The server that the lab's pods run; see `lb_tests::echo`.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use lb_tests::echo;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// In a pod, the pod's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// Answer every line, HTTP request and datagram with this pod's name and the
/// client address it came from.
#[derive(Debug, Parser)]
struct Arguments {
    /// The pod's name; that of the host, where none is given.
    #[arg(long)]
    name: Option<Arc<str>>,
    /// A TCP port to listen on; may be repeated.
    #[arg(long)]
    port: Vec<u16>,
    /// A UDP port to listen on; may be repeated.
    #[arg(long)]
    udp_port: Vec<u16>,
    /// Serve nothing; ask another such server once, and print its answer.
    #[arg(long, value_name = "ADDRESS:PORT")]
    ask: Option<SocketAddr>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(server) = arguments.ask {
        return ask(server);
    }
    let name = match arguments.name {
        Some(name) => name,
        None => fs::read_to_string(HOST_NAME)
            .context(HOST_NAME)?
            .trim()
            .into(),
    };
    let (stop, stopped) = watch::channel(false);
    for port in arguments.port {
        let listener = echo::listen(port).with_context(|| format!("TCP port {port}"))?;
        let serving = echo::serve_tcp(Arc::clone(&name), listener, stopped.clone());
        tokio::spawn(serving);
    }
    for port in arguments.udp_port {
        let socket = echo::bind(port)
            .await
            .with_context(|| format!("UDP port {port}"))?;
        tokio::spawn(echo::serve_udp(Arc::clone(&name), socket));
    }
    signal(SignalKind::terminate())?.recv().await;
    stop.send_replace(true);
    // One turn of the runtime lets every connection see it and reset.
    tokio::time::sleep(Duration::from_millis(10)).await;
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(5);

/// One line there and back.
fn ask(server: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hello\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    io::stdout().write_all(answer.as_bytes())?;
    Ok(())
}
