//! What a writer must know of a Service.

use crate::source::object::shape::{Metadata, ServiceBody};
use crate::source::{Handle, Ingress};

/// Of MetalLB, and of nobody else: which pool the addresses are from.
const FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";

impl Handle {
    pub(super) fn of(metadata: &Metadata, body: &ServiceBody) -> Self {
        let status = body.status.load_balancer.as_ref();
        let ingress = status.and_then(|status| status.ingress.as_ref());
        let ingress = ingress.into_iter().flatten().map(|entry| Ingress {
            ip: entry.ip,
            mode: entry.ip_mode.clone(),
        });
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
            ingress: ingress.collect(),
            pool: metadata.annotation(FROM_POOL).map(str::to_owned),
        }
    }
}
