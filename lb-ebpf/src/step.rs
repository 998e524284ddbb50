//! What a stage says to the entry point, in one register: the kernel's
//! functions return numbers.

use aya_ebpf::bindings::xdp_action;
use lb_common::verdict::{Reason, Verdict};

use crate::reject::Answer;

/// Done, for this reason, with this action; or go on with another stage.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Step(pub u32);

/// Stages that live in functions of their own: they are rare, and the stack of
/// the fast path is small.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    Done = 0,
    Icmp = 1,
    Neighbour = 2,
    LaterFragment = 3,
    Answer = 4,
    HandOver = 5,
}

impl Step {
    #[inline(always)]
    pub fn done(reason: Reason, action: u32) -> Self {
        Self((reason as u32) << 8 | action)
    }

    #[inline(always)]
    pub fn go_on(stage: Stage) -> Self {
        Self((stage as u32) << 28)
    }

    /// Answer the sender. An MTU has 16 bits.
    #[inline(always)]
    pub fn answer(answer: Answer) -> Self {
        let (kind, mtu) = answer.encode();
        Self((Stage::Answer as u32) << 28 | kind << 16 | mtu & 0xffff)
    }

    /// Hand over with more than new MACs: marked, or in an outer header, or
    /// out of one.
    #[inline(always)]
    pub fn hand_over(node: u16, marked: bool) -> Self {
        let marked = if marked { 1 << 16 } else { 0 };
        Self((Stage::HandOver as u32) << 28 | marked | u32::from(node))
    }

    #[inline(always)]
    pub fn to_node(self) -> (u16, bool) {
        (self.0 as u16, self.0 >> 16 & 1 != 0)
    }

    #[inline(always)]
    pub fn is(self, stage: Stage) -> bool {
        self.0 >> 28 == stage as u32
    }

    #[inline(always)]
    pub fn to_answer(self) -> Answer {
        Answer::decode(self.0 >> 16 & 0xf, self.0 & 0xffff)
    }

    #[inline(always)]
    pub fn reason(self) -> u32 {
        self.0 >> 8 & 0xff
    }

    #[inline(always)]
    pub fn action(self) -> u32 {
        self.0 & 0xff
    }
}

/// A reason with its usual verdict.
impl From<Reason> for Step {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        let action = match reason.verdict() {
            Verdict::Drop => xdp_action::XDP_DROP,
            Verdict::Pass | Verdict::Forward | Verdict::Event => xdp_action::XDP_PASS,
        };
        Self::done(reason, action)
    }
}

/// Either way there is a next step.
#[inline(always)]
pub fn flatten(result: Result<Step, Step>) -> Step {
    match result {
        Ok(step) | Err(step) => step,
    }
}
