//! BFD: single packets, and a session that hears a row of them.

use std::time::Duration;

use lb_core::bfd::wire::LEN;
use lb_core::bfd::{Config, Diagnostic, Output, Packet, Session, State};
use lb_core::time::Timestamp;

use crate::engine::Target;

pub(crate) const PACKET: Target = Target {
    name: "bfd-packet",
    seeds: || vec![packet(State::Up, 7), packet(State::Down, 0)],
    repair: |input| {
        if let Some(header) = input.get_mut(..4) {
            header[0] = 0x20 | header[0] & 0x1f;
            header[3] = 24;
        }
    },
    run: |bytes| match Packet::decode(bytes) {
        Err(malformed) => format!("{malformed:?}").chars().take(12).collect(),
        Ok(packet) => {
            assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
            format!("{:?} {:?}", packet.state, packet.diagnostic)
        }
    },
};

/// A row of packets, each after a byte that says how much later it comes.
pub(crate) const SESSION: Target = Target {
    name: "bfd-session",
    seeds: || {
        let row = [State::Down, State::Init, State::Up, State::Up, State::Down];
        let packets = row.map(|state| [vec![1], packet(state, OURS)].concat());
        vec![packets.concat(), packets[..3].concat()]
    },
    repair: |_| {},
    run: listen,
};

const OURS: u32 = 77;

fn packet(state: State, yours: u32) -> Vec<u8> {
    let packet = Packet {
        diagnostic: Diagnostic::None,
        state,
        poll: false,
        r#final: false,
        control_plane_independent: false,
        demand: false,
        multiplier: 3,
        my_discriminator: 9,
        your_discriminator: yours,
        desired_tx: Duration::from_millis(100),
        required_rx: Duration::from_millis(100),
        required_echo_rx: Duration::ZERO,
    };
    packet.encode().to_vec()
}

fn listen(bytes: &[u8]) -> String {
    let config = Config {
        desired_tx: Duration::from_millis(100),
        required_rx: Duration::from_millis(100),
        multiplier: 3,
        passive: false,
        resumes: bytes.len().is_multiple_of(2),
    };
    let mut now = Timestamp::since_boot(Duration::from_secs(1));
    let mut session = Session::new(config, OURS, 1, now);
    let mut kinds = String::new();
    drain(&mut session, &mut kinds);
    for part in bytes.chunks(1 + LEN) {
        let Some((later, packet)) = part.split_first() else {
            break;
        };
        let until = now + Duration::from_millis(u64::from(*later) * 8);
        // As many timers as there can be in that time, at the fastest.
        for _ in 0..4_096 {
            let Some(at) = session.deadline().filter(|at| *at <= until) else {
                break;
            };
            now = now.max(at);
            session.handle_timeout(now);
            drain(&mut session, &mut kinds);
            assert!(
                session.deadline().is_none_or(|next| next > at),
                "time goes on"
            );
        }
        now = until;
        let packet = Packet::decode(packet);
        if let Ok(packet) = packet {
            session.handle_packet(&packet, now);
            drain(&mut session, &mut kinds);
        }
    }
    kinds.truncate(24);
    format!("{kinds} {:?}", session.status().state)
}

fn drain(session: &mut Session, kinds: &mut String) {
    while let Some(output) = session.poll_output() {
        match output {
            Output::Send(bytes) => {
                let sent = Packet::decode(&bytes);
                // One that nobody has heard of yet may have no number to name.
                assert!(sent.is_ok(), "{sent:?} of {bytes:?}");
            }
            Output::Up => kinds.push('u'),
            Output::Down(why) => *kinds += &format!("d{why:?}"),
            Output::AdminDown => kinds.push('a'),
        }
    }
}
