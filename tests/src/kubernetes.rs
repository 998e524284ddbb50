//! Real Kubernetes for tests: an API server alone ([`ApiServer`]), or a whole
//! cluster in the lab.
//!
//! The programs are Kubernetes's own, pinned as Go tools in tests/kubernetes
//! and built once by `cargo xtask`; see [`Tools`].

mod api_server;
mod control_plane;
mod kubectl;
mod pki;
mod tools;
mod user;

pub use self::api_server::ApiServer;
pub use self::kubectl::Kubectl;
pub use self::tools::{API_TOOLS, CLUSTER_TOOLS, Tools, VERSION, tools_folder};
