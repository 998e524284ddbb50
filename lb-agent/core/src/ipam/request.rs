//! What a Service asks for, from its annotations and fields.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::Refusal;
use crate::model::{Family, FamilyPolicy, Origin, Request, Service};

/// The families that a Service is to have addresses of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Families {
    One(Family),
    Both,
}

impl Families {
    /// Of a list with one address, or with one of each.
    pub(super) fn of(addresses: &[IpAddr]) -> Option<Self> {
        match addresses {
            [one] => Some(Self::One(Family::of(*one))),
            [a, b] if Family::of(*a) != Family::of(*b) => Some(Self::Both),
            _ => None,
        }
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(family) => family.fmt(f),
            Self::Both => f.write_str("dual"),
        }
    }
}

/// The families of a Service: those of its cluster IPs (MetalLB,
/// internal/ipfamily), not of `ipFamilies`.
///
/// Manifests that no cluster has seen have none. For these it is what a cluster
/// would do: what the Service says, and one family, `default`, if it says
/// nothing.
///
/// # Errors
/// They cannot be told, or are fewer than it requires.
pub(super) fn families(
    origin: Origin,
    service: &Service,
    default: Family,
) -> Result<Families, Refusal> {
    let request = &service.request;
    let cluster_ips = &request.cluster_ips;
    if cluster_ips.is_empty() {
        return match origin {
            Origin::Cluster => Err(Refusal::NoClusterIp),
            Origin::Files => Ok(said(service, default)),
        };
    }
    if request.family_policy == FamilyPolicy::RequireDualStack && cluster_ips.len() < 2 {
        return Err(Refusal::NotDualStack {
            cluster_ips: cluster_ips.clone(),
        });
    }
    Families::of(cluster_ips).ok_or_else(|| Refusal::ClusterIps {
        addresses: cluster_ips.clone(),
    })
}

fn said(service: &Service, default: Family) -> Families {
    let request = &service.request;
    if let Some(families) = requested(request).ok().and_then(|a| Families::of(&a)) {
        return families;
    }
    if request.family_policy != FamilyPolicy::SingleStack {
        return Families::Both;
    }
    let of_status = service.status.first().map(|a| Family::of(a.to_canonical()));
    let primary = request.families.first().copied().or(of_status);
    Families::One(primary.unwrap_or(default))
}

/// The addresses that it asks for, at most one of each family and in its
/// order; none: any.
///
/// # Errors
/// What is asked for cannot be meant.
pub(super) fn requested(request: &Request) -> Result<Vec<IpAddr>, Refusal> {
    let set = |text: &Option<_>| {
        text.clone()
            .filter(|text: &alloc::string::String| !text.is_empty())
    };
    match (set(&request.addresses), set(&request.load_balancer_ip)) {
        (None, None) => Ok(Vec::new()),
        (Some(_), Some(_)) => Err(Refusal::AskedTwice),
        (None, Some(text)) => match parse(&text) {
            Some(address) => Ok([address].into()),
            None => Err(Refusal::FieldInvalid { text }),
        },
        (Some(text), None) => {
            let addresses = text.split(',').map(|text| parse(text.trim()));
            let Some(addresses) = addresses.collect::<Option<Vec<_>>>() else {
                return Err(Refusal::AnnotationInvalid { text });
            };
            match (Families::of(&addresses), addresses.len()) {
                (Some(_), _) => Ok(addresses),
                (None, 2) => Err(Refusal::SameFamily { addresses }),
                (None, _) => Err(Refusal::TooMany { addresses }),
            }
        }
    }
}

/// IPv4 inside IPv6 is IPv4, as for Go.
fn parse(text: &str) -> Option<IpAddr> {
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString as _};
    use alloc::vec;

    fn asked(annotation: &str, field: &str) -> Result<Vec<IpAddr>, String> {
        let request = Request {
            addresses: Some(annotation.to_string()),
            load_balancer_ip: Some(field.to_string()),
            ..Request::default()
        };
        requested(&request).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn addresses_are_asked_for_by_annotation_or_field() {
        let v4: IpAddr = "192.0.2.80".parse().unwrap();
        let v6: IpAddr = "2001:db8::80".parse().unwrap();
        assert_eq!(asked("", ""), Ok(vec![]));
        assert_eq!(asked("192.0.2.80", ""), Ok(vec![v4]));
        assert_eq!(asked("", "192.0.2.80"), Ok(vec![v4]));
        assert_eq!(asked("", "::ffff:192.0.2.80"), Ok(vec![v4]));
        assert_eq!(asked(" 2001:db8::80 ,192.0.2.80", ""), Ok(vec![v6, v4]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_in_metallbs_words() {
        for (annotation, field, expected) in [
            (
                "192.0.2.80",
                "192.0.2.80",
                "service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP",
            ),
            ("here", "", r#"invalid metallb.io/loadBalancerIPs: "here""#),
            (
                "192.0.2.80,",
                "",
                r#"invalid metallb.io/loadBalancerIPs: "192.0.2.80,""#,
            ),
            (
                "",
                "300.0.0.1",
                r#"invalid spec.loadBalancerIP "300.0.0.1""#,
            ),
            (
                "192.0.2.80,192.0.2.81",
                "",
                r#"IPFamilyForAddresses: same address family ["192.0.2.80" "192.0.2.81"]"#,
            ),
            (
                "192.0.2.80,2001:db8::80,192.0.2.81",
                "",
                r#"IPFamilyForAddresses: invalid ips length 3 ["192.0.2.80" "2001:db8::80" "192.0.2.81"]"#,
            ),
        ] {
            assert_eq!(asked(annotation, field).unwrap_err(), expected);
        }
    }
}
