//! nginx as its users know it from its image, made of Debian's packages.

use std::path::Path;

use anyhow::Result;

use super::{Image, Layer};

/// What the official image's configuration does, and two headers more: which
/// pod answered, and the client's address that it saw.
const CONFIG: &str = "\
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    access_log /dev/stdout;
    server {
        listen 80;
        listen [::]:80;
        root /usr/share/nginx/html;
        index index.html;
        add_header X-Pod $hostname always;
        add_header X-Client $remote_addr always;
    }
}
";

/// Users as Debian's `base-passwd` has them.
const USERS: &str = "root:x:0:0:root:/root:/bin/false\n\
                     nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\n";

/// An image of these names out of a folder with Debian's packages unpacked:
/// nginx and the libraries it is linked to.
pub fn nginx(packages: &Path, names: &[&str]) -> Result<Image> {
    let mut layer = Layer::default();
    let documents = ["usr/share/doc", "usr/share/man", "usr/share/lintian"];
    layer.tree(packages, &documents)?;
    layer.file("etc/nginx/nginx.conf", 0o644, CONFIG);
    layer.file("etc/passwd", 0o644, USERS);
    layer.file("etc/group", 0o644, GROUPS);
    for folder in [
        "run",
        "tmp",
        "var/log/nginx",
        "var/lib/nginx",
        "dev",
        "proc",
        "sys",
    ] {
        layer.folder(folder);
    }
    Ok(Image {
        names: names.iter().map(ToString::to_string).collect(),
        layer,
        entrypoint: ["/usr/sbin/nginx", "-g", "daemon off; user root nogroup;"]
            .map(String::from)
            .to_vec(),
        labels: Vec::new(),
    })
}
