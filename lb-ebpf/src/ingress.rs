//! The way of a packet that comes in by an uplink.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use lb_common::{flow::ICMPV6, verdict::Reason};

use crate::{
    answer::lb_neighbour,
    count,
    establish::{lb_enter, lb_other_port},
    fragment::lb_remember,
    header::{Ipv6, ethertype},
    here::lb_here,
    icmp::{lb_icmp, lb_icmp_error, lb_icmp_to_pod},
    locate::{self, lb_outer},
    maps,
    packet::Frame,
    parse::{self, L2, has_ports, is_icmp},
    reject::{Answer, lb_answer},
    select::{lb_later_fragment, select},
    step::{Hint, Stage, Step, flatten},
    tunnel::{lb_hand_over, lb_uncover},
};

/// Decides, counts once, and says what the kernel is to do.
#[inline(always)]
pub fn run(ctx: *mut xdp_md) -> u32 {
    let mut step = Step(lb_fast(ctx, Hint::NONE.0));
    if step.is(Stage::Here) {
        step = Step(lb_here(ctx, Hint::NONE.0));
    }
    if !step.is_all() {
        step = rarer(ctx, step);
    }
    count::reason(step.reason());
    #[cfg(feature = "log")]
    lb_log(step.0);
    step.action()
}

/// Tells of a packet for a frontend, in the object that is built with logging.
/// The reason is told by its number: `lb-agent counters --all` has the list.
#[cfg(feature = "log")]
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_log(step: u32) -> u32 {
    let Some(pending) = maps::pending() else {
        return 0;
    };
    let flow = &mut pending.flow;
    if flow.protocol == 0 {
        return 0;
    }
    aya_log_ebpf::info!(
        // The macro wants a context, and does nothing with it.
        &aya_ebpf::programs::XdpContext::new(core::ptr::null_mut()),
        "protocol {} from {:i} port {} to {:i} port {}: reason {}",
        flow.protocol,
        flow.client.bytes,
        flow.client_port,
        flow.vip.bytes,
        flow.vip_port,
        Step(step).reason()
    );
    // What is not for a frontend leaves no flow here, and is not logged.
    flow.protocol = 0;
    0
}

/// The stages that are not on the fast path. Each is a function of the kernel's
/// own, checked by the verifier for itself, and called from here rather than
/// from one another: together they may use half a kilobyte of stack.
#[inline(always)]
fn rarer(ctx: *mut xdp_md, mut step: Step) -> Step {
    let mut hint = Hint::NONE;
    if step.is(Stage::Outer) {
        hint = Hint(lb_outer(ctx));
        if hint.inner() == 0 {
            return Reason::not_for_us.into();
        }
        step = Step(lb_fast(ctx, hint.0));
    }
    if step.is(Stage::Here) {
        step = Step(lb_here(ctx, hint.0));
    }
    if step.is(Stage::Collision) {
        let port = lb_other_port();
        step = Step(lb_here(ctx, hint.begin_with(port).0));
    }
    if step.is(Stage::LaterFragment) {
        step = Step(lb_later_fragment(ctx, hint.0));
    }
    if step.is(Stage::Icmp) {
        step = Step(lb_icmp(ctx, hint.0));
    }
    if step.is(Stage::IcmpError) {
        step = Step(lb_icmp_error(ctx, hint.0));
    }
    if step.is(Stage::IcmpToPod) {
        step = Step(lb_icmp_to_pod(ctx, hint.0));
    }
    if step.is(Stage::Neighbour) {
        step = Step(lb_neighbour(ctx));
    }
    if step.is(Stage::HandOver) {
        step = Step(lb_hand_over(ctx, step.0, hint.0));
    }
    if step.is(Stage::Answer) {
        step = Step(lb_answer(ctx, step.0, hint.0));
    }
    // What is asked for twice is not done.
    if !step.is(Stage::Done) {
        return Reason::stranded.into();
    }
    if step.is_to_be_uncovered() && lb_uncover(ctx) == 0 {
        step = Step::done(Reason::malformed_for_vip, xdp_action::XDP_DROP);
    }
    if step.has_flow_to_enter() {
        lb_enter();
    }
    if step.has_fragment_to_remember() {
        lb_remember();
    }
    step
}

/// The fast path: everything that a packet needs whose pod is elsewhere on the
/// same link.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_fast(ctx: *mut xdp_md, hint: u32) -> u32 {
    flatten(ingress(ctx, Hint(hint))).0
}

#[inline(always)]
fn ingress(ctx: *mut xdp_md, hint: Hint) -> Result<Step, Step> {
    let config = maps::config().ok_or(Reason::not_for_us)?;
    let frame = Frame::of_xdp(ctx, config);
    let l2 = parse::l2(&frame).ok_or(Reason::malformed)?;
    if l2.ethertype == ethertype::ARP || may_be_neighbour(&frame, l2) {
        return Err(Step::go_on(Stage::Neighbour));
    }
    let packet = &locate::packet(ctx, frame, l2, config, hint)?;
    if !locate::is_for_us(ctx, &frame, config).ok_or(Reason::not_for_us)? {
        return Err(Reason::other_mac.into());
    }
    let ip = &packet.ip;
    if ip.fragment.is_later() {
        return Err(Step::go_on(Stage::LaterFragment));
    }
    if has_ports(ip.protocol) {
        return select(packet, config);
    }
    // The filter may be wrong: look before anything is touched.
    if maps::vip(ip.dst).is_none() {
        return Err(Reason::not_for_us.into());
    }
    if is_icmp(ip) {
        return Err(Step::go_on(Stage::Icmp));
    }
    Err(Step::answer(Answer::NoProtocol))
}

/// ICMPv6 to a multicast group: a neighbour solicitation for a VIP goes to the
/// group of its last 24 bits (RFC 4861 §7.2.2), an announcement to all nodes.
#[inline(always)]
fn may_be_neighbour(frame: &Frame, l2: L2) -> bool {
    if l2.ethertype != ethertype::IPV6 {
        return false;
    }
    frame
        .header::<Ipv6>(l2.len)
        .is_some_and(|ip| ip.next_header == ICMPV6 && ip.dst[0].to_ne_bytes()[0] == 0xff)
}
