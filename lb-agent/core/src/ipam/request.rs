//! What a Service asks for, from its annotations and fields.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::Refusal;
use crate::model::{Family, Request};

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
            match addresses.as_slice() {
                [_] => Ok(addresses),
                [a, b] if Family::of(*a) != Family::of(*b) => Ok(addresses),
                [_, _] => Err(Refusal::SameFamily { addresses }),
                _ => Err(Refusal::TooMany { addresses }),
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
    use alloc::string::ToString as _;
    use alloc::vec;

    fn asked(annotation: &str, field: &str) -> Result<Vec<IpAddr>, alloc::string::String> {
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
