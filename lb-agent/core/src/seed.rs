//! The seed of a frontend's pick hash and table.
//!
//! All nodes must have the same one, and nobody else: who knows it can aim
//! flows at one pod, or probe which pods there are.

use lb_common::addr::Addr;
use sha2::{Digest as _, Sha256};

use crate::model::FrontendAddress;

#[must_use]
pub fn seed(secret: &[u8], frontend: FrontendAddress) -> u64 {
    let digest = Sha256::new()
        .chain_update("corten frontend seed v1")
        .chain_update(secret)
        .chain_update(Addr::from(frontend.vip).bytes)
        .chain_update(frontend.port.to_be_bytes())
        .chain_update([frontend.protocol.number()])
        .finalize();
    let (first, _) = digest.split_first_chunk().expect("32 bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn frontend(vip: &str, port: u16, protocol: Protocol) -> FrontendAddress {
        FrontendAddress {
            vip: vip.parse().unwrap(),
            port,
            protocol,
        }
    }

    #[test]
    fn the_seed_depends_on_all_that_makes_a_frontend() {
        let base = frontend("192.0.2.80", 80, Protocol::Tcp);
        let of = |frontend| seed(b"secret", frontend);
        assert_eq!(of(base), of(base));
        assert_ne!(of(base), seed(b"another", base));
        assert_ne!(of(base), of(frontend("192.0.2.81", 80, Protocol::Tcp)));
        assert_ne!(of(base), of(frontend("192.0.2.80", 81, Protocol::Tcp)));
        assert_ne!(of(base), of(frontend("192.0.2.80", 80, Protocol::Udp)));
    }

    /// By `sha256sum`. Nodes of two versions work together in an upgrade.
    #[test]
    fn the_seed_is_the_same_in_every_version() {
        let base = frontend("192.0.2.80", 80, Protocol::Tcp);
        assert_eq!(seed(b"secret", base), 0x00b6_4772_41f3_70d8);
    }
}
