//! Puts the data plane's objects inside the agent, if they have been built
//! (`cargo xtask build-ebpf`). Without them everything compiles all the same,
//! and the agent says at its start what is missing.

use std::path::Path;
use std::{env, fs};

fn main() {
    let package = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = Path::new(&package).join("../target/bpf");
    let mut source = String::new();
    for (name, file) in [("LB", "lb.o"), ("LB_LOG", "lb-log.o")] {
        let path = folder.join(file);
        println!("cargo:rerun-if-changed={}", path.display());
        let object = match path.canonicalize() {
            Ok(path) => format!("aya::include_bytes_aligned!({path:?})"),
            Err(_not_built) => "&[]".to_owned(),
        };
        source += &format!("pub(super) static {name}: &[u8] = {object};\n");
    }
    let out = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("objects.rs"), source).expect("its folder can be written");
}
