//! A Service on its way to an allocation.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::Refusal;
use super::event::Event;
use super::pools::PoolId;
use super::request::Families;
use super::sharing::Claim;
use crate::model::{FamilyPolicy, Service};

/// How far a Service has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its status is yet to be looked at.
    New,
    /// It is to get addresses of these families.
    Waiting(Families),
    /// It has one, and would like one of the other family.
    Half,
    Done,
}

#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) service: &'a Service,
    pub(super) claim: Claim<'a>,
    /// What it has so far, IPv4 inside IPv6 as IPv4.
    pub(super) status: Vec<IpAddr>,
    pub(super) state: State,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) pool: Option<PoolId>,
    pub(super) refusal: Option<Refusal>,
    pub(super) events: Vec<Event>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(service: &'a Service) -> Self {
        let status = service.status.iter().map(IpAddr::to_canonical);
        Self {
            service,
            claim: Claim::of(service),
            status: status.collect(),
            state: State::New,
            addresses: Vec::new(),
            pool: None,
            refusal: None,
            events: Vec::new(),
        }
    }

    pub(super) fn policy(&self) -> FamilyPolicy {
        self.service.request.family_policy
    }

    /// The pool that it asks for.
    pub(super) fn wanted_pool(&self) -> Option<&'a str> {
        let pool = self.service.request.pool.as_deref();
        pool.filter(|pool| !pool.is_empty())
    }

    /// It does not get what it asks for; what it has is left.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let keeps = !self.addresses.is_empty();
        let event = Event::refused(&self.service.name, keeps, &refusal);
        self.events.extend(event);
        self.refusal = Some(refusal);
        self.state = State::Done;
    }
}
