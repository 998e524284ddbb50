use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use super::*;

/// Starts a server on a free port and gives a client's connection to it.
fn connect(address: &str) -> (TcpStream, watch::Sender<bool>) {
    let (started, port) = std::sync::mpsc::channel();
    let (stop, stopped) = watch::channel(false);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = listen(0).expect("a free port");
            started
                .send(listener.local_addr().expect("it is bound").port())
                .expect("the test waits");
            serve_tcp("web".into(), listener, stopped).await;
        });
    });
    let port: u16 = port.recv().expect("the server starts");
    let stream = TcpStream::connect((address, port)).expect("it listens");
    (stream, stop)
}

#[test]
fn a_line_is_answered_with_pod_and_client() {
    for address in ["127.0.0.1", "::1"] {
        let (mut stream, _stop) = connect(address);
        let client = stream.local_addr().expect("connected");
        stream.write_all(b"hello\nagain\n").expect("sent");
        let lines: Vec<String> = BufReader::new(stream)
            .lines()
            .take(2)
            .map(|line| line.expect("answered"))
            .collect();
        assert_eq!(lines, vec![format!("web {client}"); 2]);
    }
}

#[test]
fn http_requests_share_a_connection_until_it_is_closed() {
    let (mut stream, _stop) = connect("127.0.0.1");
    let client = stream.local_addr().expect("connected");
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nhost: web\r\n\r\nGET /2 HTTP/1.1\r\nConnection: close\r\n\r\n",
        )
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("closed after");
    let body = format!("{{\"pod\":\"web\",\"client\":\"{client}\"}}\n");
    assert_eq!(answer.matches(&body).count(), 2, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2);
}

#[test]
fn stopping_resets_what_is_open() {
    let (mut stream, stop) = connect("127.0.0.1");
    stream.write_all(b"hello\n").expect("sent");
    let mut first = [0; 1];
    stream.read_exact(&mut first).expect("answered");
    stop.send(true).expect("the server listens");
    let mut rest = Vec::new();
    let error = stream
        .read_to_end(&mut rest)
        .expect_err("a reset, not an end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
