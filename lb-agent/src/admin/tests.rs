use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::source::Watch;

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: node1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

#[tokio::test]
async fn an_agent_is_healthy_before_it_is_ready_and_says_what_it_waits_for() {
    let (said, report) = watch::channel(Arc::<Report>::default());
    let (_decided, decided) = watch::channel(Decided::default());
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("known");
    let answers = Answers {
        // Nothing is pinned there.
        pins: Pins::new(Path::new("/nowhere")),
        report,
        decided,
        peers: watch::channel(Arc::default()).1,
        routers: watch::channel(Arc::default()).1,
        as_metallb: true,
    };
    let task = tokio::spawn(run(listener, answers));
    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let waits = ask(address, "/readyz").await;
    assert!(
        waits.starts_with("HTTP/1.1 503") && waits.contains("just started"),
        "{waits}"
    );

    let mut ready = Report {
        ready: true,
        version: "1".to_owned(),
        watches: vec![Watch::new("services")],
        ..Report::default()
    };
    said.send_replace(Arc::new(ready.clone()));
    assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = ask(address, "/metrics").await;
    for line in [
        "corten_ready 1",
        "corten_build_info{version=\"1\"} 1",
        "corten_watch_up{kind=\"services\"} 0",
        "corten_config_loaded 0",
        "metallb_k8s_client_config_loaded_bool 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}: {metrics}"
        );
    }
    ready.ready = false;
    ready.not_ready = vec!["the map is full".to_owned()];
    said.send_replace(Arc::new(ready));
    let why = ask(address, "/readyz").await;
    assert!(why.contains("the map is full"), "{why}");
    assert!(ask(address, "/else").await.starts_with("HTTP/1.1 404"));
    task.abort();
}
