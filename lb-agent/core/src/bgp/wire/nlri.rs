//! Prefixes: a length in bits, and as many bytes as that needs.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Family;
use super::reader::Reader;

pub(super) fn put(out: &mut Vec<u8>, prefix: &IpNet) {
    let bytes = usize::from(prefix.prefix_len().div_ceil(8));
    out.push(prefix.prefix_len());
    match prefix {
        IpNet::V4(v4) => out.extend(v4.network().octets().iter().take(bytes)),
        IpNet::V6(v6) => out.extend(v6.network().octets().iter().take(bytes)),
    }
}

/// All prefixes; bits beyond a prefix do not count (RFC 4271 section 4.3).
/// None if one is too long, or ends too early.
pub(super) fn read(reader: Reader<'_>, family: Family) -> Option<Vec<IpNet>> {
    match family {
        Family::IPV4 => {
            let net = |(length, octets)| Ipv4Net::new(Ipv4Addr::from(octets), length).ok();
            read_all::<4>(reader, |prefix| net(prefix).map(|net| net.trunc().into()))
        }
        Family::IPV6 => {
            let net = |(length, octets)| Ipv6Net::new(Ipv6Addr::from(octets), length).ok();
            read_all::<16>(reader, |prefix| net(prefix).map(|net| net.trunc().into()))
        }
        _ => None,
    }
}

fn read_all<const N: usize>(
    mut reader: Reader<'_>,
    prefix: impl Fn((u8, [u8; N])) -> Option<IpNet>,
) -> Option<Vec<IpNet>> {
    let mut all = Vec::new();
    while let Some(length) = reader.u8() {
        let bytes = reader.part(usize::from(length.div_ceil(8)))?.rest();
        let mut octets = [0; N];
        octets.get_mut(..bytes.len())?.copy_from_slice(bytes);
        all.push(prefix((length, octets))?);
    }
    Some(all)
}
