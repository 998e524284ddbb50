//! The times of a BGP session.

use alloc::string::{String, ToString as _};
use core::time::Duration;

use super::declared::PeerSpec;
use super::refused::Refusals;
use super::{Place, Reason, duration};

/// In whole seconds, as they travel (RFC 4271).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// 0: the session is never given up.
    pub hold_s: u16,
    /// At most `hold_s`.
    pub keepalive_s: u16,
}

/// Both from one, where only one is given: a third, three times. Parts of a
/// second are cut off.
pub(super) fn of(place: &Place, spec: &PeerSpec, refusals: &mut Refusals) -> Option<Timers> {
    let (hold, keepalive) = ("holdTime", "keepaliveTime");
    let hold_time = read(place, hold, spec.hold_time.as_deref(), refusals);
    let keepalive_time = read(place, keepalive, spec.keepalive_time.as_deref(), refusals);
    let (hold_time, keepalive_time) = match (hold_time, keepalive_time) {
        (None, None) => return None,
        (Some(hold), None) => (hold, hold / 3),
        (None, Some(keepalive)) => (keepalive.saturating_mul(3), keepalive),
        (Some(hold), Some(keepalive)) => (hold, keepalive),
    };
    let hold_s = u16::try_from(hold_time.as_secs()).ok();
    let hold_s = hold_s.filter(|seconds| *seconds == 0 || *seconds >= 3);
    let hold_s = hold_s.ok_or_else(|| Reason::HoldTime {
        value: text(spec.hold_time.as_ref().or(spec.keepalive_time.as_ref())),
    });
    let field = if spec.hold_time.is_some() {
        hold
    } else {
        keepalive
    };
    let hold_s = refusals.keep(place, field, hold_s)?;
    if keepalive_time > hold_time {
        let reason = Reason::KeepaliveTime {
            value: text(spec.keepalive_time.as_ref()),
            hold_s: hold_time.as_secs(),
        };
        refusals.refuse(place, keepalive, reason);
    }
    let keepalive_s = keepalive_time.as_secs();
    Some(Timers {
        hold_s,
        keepalive_s: u16::try_from(keepalive_s).unwrap_or(u16::MAX).min(hold_s),
    })
}

pub(super) fn connect_s(place: &Place, spec: &PeerSpec, refusals: &mut Refusals) -> Option<u16> {
    let field = "connectTime";
    let time = read(place, field, spec.connect_time.as_deref(), refusals)?;
    let seconds = u16::try_from(time.as_secs()).ok();
    let seconds = seconds.filter(|seconds| *seconds > 0 && time.subsec_nanos() == 0);
    let seconds = seconds.ok_or_else(|| Reason::ConnectTime {
        value: text(spec.connect_time.as_ref()),
    });
    refusals.keep(place, field, seconds)
}

fn read(
    place: &Place,
    field: &str,
    text: Option<&str>,
    refusals: &mut Refusals,
) -> Option<Duration> {
    let text = text?;
    let read = duration::parse(text).ok_or_else(|| Reason::Duration {
        value: text.to_string(),
    });
    refusals.keep(place, field, read)
}

fn text(given: Option<&String>) -> String {
    given.cloned().unwrap_or_default()
}
