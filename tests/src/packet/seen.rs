//! Frames that came out, taken apart.

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, SlicedPacket, TcpHeader, TransportSlice};

use super::icmp_checksum;

/// A frame, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub dst_mac: [u8; 6],
    pub src_mac: [u8; 6],
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub transport: Transport,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        src: u16,
        dst: u16,
        /// By the letters that tcpdump shows.
        flags: String,
        seq: u32,
        ack: u32,
        /// The MSS option; 0: there is none.
        mss: u16,
    },
    Udp {
        src: u16,
        dst: u16,
    },
    Icmp {
        kind: u8,
        code: u8,
        /// All after the checksum.
        rest: Vec<u8>,
    },
    Other,
}

impl Seen {
    /// Takes a frame apart and verifies all its checksums. `Err` says what is
    /// wrong with it.
    pub fn of(frame: &[u8]) -> Result<Self, String> {
        let sliced = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
        let (src, dst, ttl, payload) = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header().to_header();
                if header.header_checksum != header.calc_header_checksum() {
                    return Err("the IP header's checksum is wrong".into());
                }
                let (src, dst) = (header.source, header.destination);
                (
                    IpAddr::from(src),
                    IpAddr::from(dst),
                    header.time_to_live,
                    ip.payload().payload,
                )
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header().to_header();
                let (src, dst) = (header.source, header.destination);
                (
                    IpAddr::from(src),
                    IpAddr::from(dst),
                    header.hop_limit,
                    ip.payload().payload,
                )
            }
            _ => return Err("not IP".into()),
        };
        let transport = Transport::of(sliced.transport.as_ref(), src, dst, payload)?;
        Ok(Self {
            dst_mac: frame[..6].try_into().expect("six bytes"),
            src_mac: frame[6..12].try_into().expect("six bytes"),
            src,
            dst,
            ttl,
            transport,
        })
    }

    /// The source with its port.
    ///
    /// # Panics
    /// When the transport has none.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        match self.transport {
            Transport::Tcp { src, .. } | Transport::Udp { src, .. } => (self.src, src).into(),
            Transport::Icmp { .. } | Transport::Other => panic!("no ports: {self:?}"),
        }
    }

    /// The destination with its port.
    ///
    /// # Panics
    /// When the transport has none.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        match self.transport {
            Transport::Tcp { dst, .. } | Transport::Udp { dst, .. } => (self.dst, dst).into(),
            Transport::Icmp { .. } | Transport::Other => panic!("no ports: {self:?}"),
        }
    }
}

impl Transport {
    fn of(
        transport: Option<&TransportSlice<'_>>,
        src: IpAddr,
        dst: IpAddr,
        payload: &[u8],
    ) -> Result<Self, String> {
        match transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let header = tcp.to_header();
                let sum = match (src, dst) {
                    (IpAddr::V4(src), IpAddr::V4(dst)) => {
                        header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), tcp.payload())
                    }
                    (IpAddr::V6(src), IpAddr::V6(dst)) => {
                        header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), tcp.payload())
                    }
                    mixed => return Err(format!("two families: {mixed:?}")),
                };
                if sum.ok() != Some(header.checksum) {
                    return Err("the TCP checksum is wrong".into());
                }
                Ok(Self::of_tcp(&header))
            }
            Some(TransportSlice::Udp(udp)) => {
                let header = udp.to_header();
                let sum = match (src, dst) {
                    (IpAddr::V4(src), IpAddr::V4(dst)) => {
                        header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), udp.payload())
                    }
                    (IpAddr::V6(src), IpAddr::V6(dst)) => {
                        header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), udp.payload())
                    }
                    mixed => return Err(format!("two families: {mixed:?}")),
                };
                // 0: there is none.
                if header.checksum != 0 && sum.ok() != Some(header.checksum) {
                    return Err("the UDP checksum is wrong".into());
                }
                Ok(Self::Udp {
                    src: header.source_port,
                    dst: header.destination_port,
                })
            }
            Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_)) => {
                let mut zeroed = payload.to_vec();
                zeroed[2..4].fill(0);
                if icmp_checksum(src, dst, &zeroed).to_be_bytes() != payload[2..4] {
                    return Err("the ICMP checksum is wrong".into());
                }
                Ok(Self::Icmp {
                    kind: payload[0],
                    code: payload[1],
                    rest: payload[4..].to_vec(),
                })
            }
            Some(TransportSlice::Igmp(_)) | None => Ok(Self::Other),
        }
    }

    fn of_tcp(header: &TcpHeader) -> Self {
        let letters = [
            (header.syn, 'S'),
            (header.fin, 'F'),
            (header.rst, 'R'),
            (header.psh, 'P'),
            (header.ack, 'A'),
        ];
        let flags = letters.iter().filter(|(is, _)| *is).map(|(_, flag)| flag);
        let mss = header.options_iterator().find_map(|option| match option {
            Ok(etherparse::TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
            _ => None,
        });
        Self::Tcp {
            src: header.source_port,
            dst: header.destination_port,
            flags: flags.collect(),
            seq: header.sequence_number,
            ack: header.acknowledgment_number,
            mss: mss.unwrap_or(0),
        }
    }
}
