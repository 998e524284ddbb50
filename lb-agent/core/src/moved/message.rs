//! What agents say to each other about flows, and how it is written.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use alloc::vec::Vec;

use lb_common::addr::Addr;
use lb_common::flow::FlowKey;
use lb_common::frontend::FrontendKey;

/// One thing said. `idle_ms`: how long ago the client last sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// This flow lives here, and by my table its packets come to you.
    Moved { flow: FlowKey, idle_ms: u32 },
    /// That is over.
    Withdrawn { flow: FlowKey },
    /// All that moved to you has been said since the session began.
    Complete,
    /// All that moved by the change to this set has been said.
    Told { frontend: FrontendKey, hash: u64 },
    /// For which set have you told?
    Ask { frontend: FrontendKey },
    /// You said that this flow is yours, and it lives here.
    Disputed { flow: FlowKey, idle_ms: u32 },
}

mod kind {
    pub(super) const MOVED: u8 = 1;
    pub(super) const WITHDRAWN: u8 = 2;
    pub(super) const COMPLETE: u8 = 3;
    pub(super) const TOLD: u8 = 4;
    pub(super) const ASK: u8 = 5;
    pub(super) const DISPUTED: u8 = 6;
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48);
        match self {
            Self::Moved { flow, idle_ms } => {
                bytes.push(kind::MOVED);
                put_flow(&mut bytes, flow);
                bytes.extend_from_slice(&idle_ms.to_be_bytes());
            }
            Self::Withdrawn { flow } => {
                bytes.push(kind::WITHDRAWN);
                put_flow(&mut bytes, flow);
            }
            Self::Complete => bytes.push(kind::COMPLETE),
            Self::Told { frontend, hash } => {
                bytes.push(kind::TOLD);
                put_frontend(&mut bytes, frontend);
                bytes.extend_from_slice(&hash.to_be_bytes());
            }
            Self::Ask { frontend } => {
                bytes.push(kind::ASK);
                put_frontend(&mut bytes, frontend);
            }
            Self::Disputed { flow, idle_ms } => {
                bytes.push(kind::DISPUTED);
                put_flow(&mut bytes, flow);
                bytes.extend_from_slice(&idle_ms.to_be_bytes());
            }
        }
        bytes
    }

    /// None: it is none of these, whole and nothing more.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let message = match reader.byte()? {
            kind::MOVED => Self::Moved {
                flow: reader.flow()?,
                idle_ms: reader.u32()?,
            },
            kind::WITHDRAWN => Self::Withdrawn {
                flow: reader.flow()?,
            },
            kind::COMPLETE => Self::Complete,
            kind::TOLD => Self::Told {
                frontend: reader.frontend()?,
                hash: reader.u64()?,
            },
            kind::ASK => Self::Ask {
                frontend: reader.frontend()?,
            },
            kind::DISPUTED => Self::Disputed {
                flow: reader.flow()?,
                idle_ms: reader.u32()?,
            },
            _ => return None,
        };
        reader.0.is_empty().then_some(message)
    }
}

/// The family of both addresses, in front of them.
const V4: u8 = 4;
const V6: u8 = 6;
/// Where the IPv4 address begins in a v4-mapped one.
const V4_AT: usize = 12;

fn put_flow(bytes: &mut Vec<u8>, flow: &FlowKey) {
    let v4 = flow.client.is_v4() && flow.vip.is_v4();
    put_addresses(bytes, v4, &[flow.client, flow.vip]);
    bytes.extend_from_slice(&flow.client_port.to_be_bytes());
    bytes.extend_from_slice(&flow.vip_port.to_be_bytes());
    // An IANA protocol number.
    bytes.push(u8::try_from(flow.protocol).unwrap_or(0));
}

fn put_frontend(bytes: &mut Vec<u8>, frontend: &FrontendKey) {
    put_addresses(bytes, frontend.vip.is_v4(), &[frontend.vip]);
    bytes.extend_from_slice(&frontend.port.to_be_bytes());
    bytes.push(frontend.protocol);
}

fn put_addresses(bytes: &mut Vec<u8>, v4: bool, addresses: &[Addr]) {
    bytes.push(if v4 { V4 } else { V6 });
    for address in addresses {
        let first = if v4 { V4_AT } else { 0 };
        bytes.extend(address.bytes.iter().skip(first));
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn address(&mut self, family: u8) -> Option<Addr> {
        match family {
            V4 => {
                let word = self.take().map(u32::from_ne_bytes)?;
                Some(Addr::from_v4_word(word))
            }
            V6 => self.take().map(|bytes| Addr { bytes }),
            _ => None,
        }
    }

    fn flow(&mut self) -> Option<FlowKey> {
        let family = self.byte()?;
        Some(FlowKey {
            client: self.address(family)?,
            vip: self.address(family)?,
            client_port: self.u16()?,
            vip_port: self.u16()?,
            protocol: self.byte()?.into(),
        })
    }

    fn frontend(&mut self) -> Option<FrontendKey> {
        let family = self.byte()?;
        let vip = self.address(family)?;
        Some(FrontendKey::new(vip, self.u16()?, self.byte()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address() -> impl Strategy<Value = Addr> {
        prop_oneof![
            any::<u32>().prop_map(Addr::from_v4_word),
            any::<[u8; 16]>().prop_map(|bytes| Addr { bytes }),
        ]
    }

    fn flow() -> impl Strategy<Value = FlowKey> {
        let rest = (any::<u16>(), any::<u16>(), any::<u8>());
        (address(), address(), rest).prop_map(|(client, vip, rest)| FlowKey {
            client,
            vip,
            client_port: rest.0,
            vip_port: rest.1,
            protocol: rest.2.into(),
        })
    }

    fn message() -> impl Strategy<Value = Message> {
        let frontend = (address(), any::<u16>(), any::<u8>())
            .prop_map(|(vip, port, protocol)| FrontendKey::new(vip, port, protocol));
        (0..6, flow(), frontend, any::<u32>(), any::<u64>()).prop_map(
            |(kind, flow, frontend, idle_ms, hash)| match kind {
                0 => Message::Moved { flow, idle_ms },
                1 => Message::Withdrawn { flow },
                2 => Message::Complete,
                3 => Message::Told { frontend, hash },
                4 => Message::Ask { frontend },
                _ => Message::Disputed { flow, idle_ms },
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard(message in message()) {
            let bytes = message.encode();
            prop_assert!(bytes.len() <= 48);
            prop_assert_eq!(Message::decode(&bytes), Some(message));
            let (_, shorter) = bytes.split_last().unwrap();
            prop_assert_eq!(Message::decode(shorter), None);
            let longer = [&bytes[..], &[0]].concat();
            prop_assert_eq!(Message::decode(&longer), None);
        }

        #[test]
        fn any_bytes_are_a_message_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(message) = Message::decode(&bytes) {
                prop_assert!(message.encode().len() <= bytes.len());
            }
        }
    }
}
