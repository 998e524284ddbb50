//! How the sessions with routers are: a file of its own, read by `lb-agent
//! bgp`. What the last agent wrote stays when it has gone.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use lb_core::bfd::State;
use lb_core::bgp::connection::Both;
use lb_core::bgp::peer::{self, Status};
use lb_core::config::{BfdProfile, Peer, PeerEnd, RemoteAs};
use lb_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::file;
use crate::driver::bfd::Found;

const FILE: &str = "routers.json";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routers {
    /// In the order of their names.
    pub routers: Vec<Router>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// Of the BGPPeer.
    pub name: String,
    /// Its address, or the device that it is behind.
    pub address: String,
    pub port: u16,
    /// As configured: a number, `internal` or `external`.
    pub asn: String,
    pub vrf: Option<String>,
    /// RFC 4271's name.
    pub state: String,
    pub established: bool,
    /// In seconds since boot.
    pub since_s: u32,
    pub last_error: Option<LastError>,
    pub remote_asn: Option<u32>,
    pub remote_id: Option<Ipv4Addr>,
    pub hold_s: Option<u64>,
    /// Sessions that were lost.
    pub flaps: u64,
    /// Prefixes that it was told; [`super::routes`] has which.
    pub told: usize,
    /// Those that cannot be told in this session.
    pub withheld: usize,
    /// Those that wait for a session.
    pub pending: usize,
    pub messages: Messages,
    /// None: the peer has no profile.
    pub bfd: Option<BfdRow>,
}

/// How its session of BFD is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BfdRow {
    pub profile: String,
    /// RFC 5880's name.
    pub state: String,
    pub up: bool,
    /// In seconds since boot.
    pub since_s: u32,
    /// Why it went down last: what this side says, and the peer.
    pub diagnostic: String,
    pub remote_diagnostic: String,
    /// Over several hops.
    pub multihop: bool,
    /// Between packets to the peer, and until it counts as gone.
    pub transmit_ms: u64,
    pub detection_ms: u64,
    pub sent: u64,
    pub received: u64,
    pub ups: u64,
    pub downs: u64,
    /// Why it cannot be as it should.
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// In seconds since boot.
    pub at_s: u32,
    pub text: String,
}

/// Since the peer was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    pub opens: Count,
    pub updates: Count,
    pub notifications: Count,
    pub keepalives: Count,
    pub refreshes: Count,
    pub total: Count,
    pub prefixes_received: u64,
    pub prefixes_withdrawn: u64,
    pub treated_as_withdraw: u64,
    pub attributes_discarded: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub sent: u64,
    pub received: u64,
}

impl From<Both> for Count {
    fn from(Both { sent, received }: Both) -> Self {
        Self { sent, received }
    }
}

impl Routers {
    /// Whole, by rename.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        file::write(folder, FILE, self)
    }

    /// None if no agent has written any.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        file::read(folder, FILE)
    }
}

impl Router {
    #[must_use]
    pub fn new(peer: &Peer, status: &Status) -> Self {
        let counters = &status.counters;
        Self {
            name: peer.name.clone(),
            address: match &peer.end {
                PeerEnd::Address(address) => address.to_string(),
                PeerEnd::Interface(interface) => interface.clone(),
            },
            port: peer.port,
            asn: match peer.remote_as {
                RemoteAs::Number(number) => number.to_string(),
                RemoteAs::Internal => "internal".to_owned(),
                RemoteAs::External => "external".to_owned(),
            },
            vrf: peer.vrf.clone(),
            state: status.state.to_string(),
            established: status.state == peer::State::Established,
            since_s: seconds(status.since),
            last_error: status.last_error.as_ref().map(|error| LastError {
                at_s: seconds(error.at),
                text: error.text.clone(),
            }),
            remote_asn: status.remote.map(|(asn, _)| asn),
            remote_id: status.remote.map(|(_, id)| id),
            hold_s: status.hold.map(|hold| hold.as_secs()),
            flaps: status.flaps,
            told: status.rib.sent_count(),
            withheld: status.rib.withheld().len(),
            pending: status.pending,
            bfd: None,
            messages: Messages {
                opens: counters.opens.into(),
                updates: counters.updates.into(),
                notifications: counters.notifications.into(),
                keepalives: counters.keepalives.into(),
                refreshes: counters.refreshes.into(),
                total: counters.total().into(),
                prefixes_received: counters.prefixes_received,
                prefixes_withdrawn: counters.prefixes_withdrawn,
                treated_as_withdraw: counters.treated_as_withdraw,
                attributes_discarded: counters.attributes_discarded,
            },
        }
    }
}

impl Router {
    /// Address and port, as `metallb_bgp_session_up` labels peers.
    #[must_use]
    pub fn endpoint(&self) -> String {
        if self.address.contains(':') {
            format!("[{}]:{}", self.address, self.port)
        } else {
            format!("{}:{}", self.address, self.port)
        }
    }
}

impl BfdRow {
    #[must_use]
    pub fn new(profile: &BfdProfile, found: Option<&Found>) -> Self {
        let status = found.map(|found| found.status);
        let state = status.map_or(State::Down, |status| status.state);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let echo = "echoMode is not done: packets of the session alone show a failure";
        let echo = profile.echo_mode.then(|| echo.to_owned());
        Self {
            profile: profile.name.clone(),
            state: format!("{state:?}"),
            up: state == State::Up,
            since_s: status.map_or(0, |status| seconds(status.since)),
            diagnostic: status.map_or(String::new(), |s| s.diagnostic.to_string()),
            remote_diagnostic: status.map_or(String::new(), |s| s.remote_diagnostic.to_string()),
            multihop: found.is_some_and(|found| found.far),
            transmit_ms: status.map_or(0, |status| millis(status.transmit)),
            detection_ms: status.map_or(0, |status| millis(status.detection)),
            sent: status.map_or(0, |status| status.sent),
            received: status.map_or(0, |status| status.received),
            ups: status.map_or(0, |status| status.ups),
            downs: status.map_or(0, |status| status.downs),
            error: found.and_then(|found| found.error.clone()).or(echo),
        }
    }
}

fn seconds(at: Timestamp) -> u32 {
    at.seconds()
}
