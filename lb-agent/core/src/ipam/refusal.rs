//! Why a Service does not have the addresses that it asks for.
//!
//! The sentences are those of MetalLB 0.15, word by word, since people look for
//! them in events: its %q of Go included.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Both the annotation and `spec.loadBalancerIP` are set.
    AskedTwice,
    /// The annotation is not a list of addresses.
    AnnotationInvalid { text: String },
    /// `spec.loadBalancerIP` is no address.
    FieldInvalid { text: String },
    /// Two addresses are asked for, and both are of one family.
    SameFamily { addresses: Vec<IpAddr> },
    /// More than two are asked for.
    TooMany { addresses: Vec<IpAddr> },
}

impl Refusal {
    /// The name, as it stands in metrics and JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AskedTwice => "AskedTwice",
            Self::AnnotationInvalid { .. } => "AnnotationInvalid",
            Self::FieldInvalid { .. } => "FieldInvalid",
            Self::SameFamily { .. } => "SameFamily",
            Self::TooMany { .. } => "TooMany",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AskedTwice => f.write_str(
                "service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP",
            ),
            Self::AnnotationInvalid { text } => {
                write!(f, "invalid metallb.io/loadBalancerIPs: {text:?}")
            }
            Self::FieldInvalid { text } => write!(f, "invalid spec.loadBalancerIP {text:?}"),
            Self::SameFamily { addresses } => write!(
                f,
                "IPFamilyForAddresses: same address family {}",
                Quoted(addresses)
            ),
            Self::TooMany { addresses } => write!(
                f,
                "IPFamilyForAddresses: invalid ips length {} {}",
                addresses.len(),
                Quoted(addresses)
            ),
        }
    }
}

impl core::error::Error for Refusal {}

/// Addresses as Go's %q prints a list of them: `["192.0.2.1" "2001:db8::1"]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted<'a>(pub(super) &'a [IpAddr]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (place, address) in self.0.iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}\"{address}\"")?;
        }
        f.write_str("]")
    }
}
