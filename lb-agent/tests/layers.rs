//! Which part of the agent may know which crate: the walls of the house.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// A name, and where it may appear.
const ALLOWED: &[(&str, &[&str])] = &[
    ("aya::", &["src/dataplane/"]),
    ("aya_log::", &["src/dataplane/"]),
    ("aya_obj::", &["src/dataplane/"]),
    (
        "lb_core::model::Service",
        &[
            "src/source/",
            "src/dataplane/apply.rs",
            "src/publish",
            "src/report/addresses.rs",
        ],
    ),
    ("k8s_openapi::", KUBERNETES),
    ("use kube::", KUBERNETES),
    ("use ::kube::", KUBERNETES),
    ("rtnetlink::", &["src/net.rs", "src/net/"]),
    ("netlink_packet_route::", &["src/net/"]),
    ("socket2::", &["src/net/"]),
    ("clock_gettime", &["src/clock.rs"]),
    ("Instant::now()", &["src/clock.rs"]),
    ("anyhow", &["src/cli.rs", "src/cli/"]),
    (
        "unsafe {",
        &[
            "src/dataplane/batch.rs",
            "src/net/bgp_socket.rs",
            "src/net/discovery_socket.rs",
            "src/net/packet_socket.rs",
        ],
    ),
];

/// Where types of the API may be known.
const KUBERNETES: &[&str] = &["src/source/kube", "src/publish", "src/crd"];

#[test]
fn every_crate_stays_in_its_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    assert!(files.len() > 20, "the sources are found");
    let mut broken = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        for (word, places) in ALLOWED {
            let allowed = places.iter().any(|place| name.starts_with(place));
            if !allowed && mentions(&text, word) {
                broken.push(format!("{name} mentions {word}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Whether a name is there, and not only as the beginning of a longer one.
fn mentions(text: &str, name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let whole = name.ends_with(|c: char| !c.is_alphanumeric());
    text.match_indices(name)
        .any(|(at, _)| whole || text.get(at + name.len()..).is_some_and(ends))
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
