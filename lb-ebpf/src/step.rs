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
    IcmpError = 6,
    /// The frame may be an outer header of ours: find the packet inside.
    Outer = 7,
    /// A new flow whose client has another flow here: see whether they collide.
    Collision = 8,
    IcmpToPod = 9,
    /// For a pod that is here, or may be: `PENDING` has the packet.
    Here = 10,
}

impl Step {
    /// Done, and `PENDING` has a flow to enter.
    const ENTER: u32 = 1 << 24;
    /// Done, and `PENDING` has a first fragment to remember.
    const REMEMBER: u32 = 1 << 25;

    /// Done, but for what lies around the packet: `PENDING` says what.
    const UNCOVER: u32 = 1 << 26;

    /// Done, and nothing is left to do.
    #[inline(always)]
    pub fn is_all(self) -> bool {
        self.0 >> 24 == 0
    }

    #[inline(always)]
    pub fn and_uncover(self, pending: bool) -> Self {
        Self(if pending {
            self.0 | Self::UNCOVER
        } else {
            self.0
        })
    }

    #[inline(always)]
    pub fn is_to_be_uncovered(self) -> bool {
        self.0 & Self::UNCOVER != 0
    }

    #[inline(always)]
    pub fn and_enter(self, pending: bool) -> Self {
        Self(if pending {
            self.0 | Self::ENTER
        } else {
            self.0
        })
    }

    #[inline(always)]
    pub fn and_remember(self, pending: bool) -> Self {
        Self(if pending {
            self.0 | Self::REMEMBER
        } else {
            self.0
        })
    }

    #[inline(always)]
    pub fn has_flow_to_enter(self) -> bool {
        self.0 & Self::ENTER != 0
    }

    #[inline(always)]
    pub fn has_fragment_to_remember(self) -> bool {
        self.0 & Self::REMEMBER != 0
    }

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

/// What a second run of the fast path is told by the first.
#[derive(Clone, Copy)]
pub struct Hint(pub u32);

impl Hint {
    pub const NONE: Self = Self(0);
    /// Beside the place of the inner packet: it is marked.
    pub const MARKED: u32 = 1 << 9;
    const BEGIN: u32 = 1 << 10;

    /// Where the packet is inside an outer header; 0: it is not in one.
    #[inline(always)]
    pub fn inner(self) -> usize {
        self.0 as usize & crate::parse::OFFSET_MAX
    }

    #[inline(always)]
    pub fn inner_marked(self) -> bool {
        self.0 & Self::MARKED != 0
    }

    /// Begin the flow in hand with this source port; 0: with its own.
    #[inline(always)]
    pub fn begin_with(self, port: u32) -> Self {
        Self(self.0 & 0x3ff | Self::BEGIN | port << 16)
    }

    #[inline(always)]
    pub fn begins(self) -> bool {
        self.0 & Self::BEGIN != 0
    }

    #[inline(always)]
    pub fn port(self) -> u16 {
        (self.0 >> 16) as u16
    }
}
