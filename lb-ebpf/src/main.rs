//! The kernel half: entry points, and nothing else.

#![no_std]
#![no_main]

mod answer;
mod count;
mod establish;
mod fragment;
mod header;
mod here;
mod icmp;
mod ingress;
mod known;
mod locate;
mod lookup;
mod maps;
mod packet;
mod parse;
mod reject;
mod reply;
mod reply_error;
mod select;
mod step;
mod translate;
mod tunnel;

use aya_ebpf::{
    helpers::generated as helpers,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

use crate::{packet::Frame, translate::Metadata};

/// On every uplink: answers for VIPs, hands packets over to their pod's node,
/// and translates what is for a pod here.
#[xdp(frags)]
pub fn lb_ingress(ctx: XdpContext) -> u32 {
    ingress::run(ctx.ctx)
}

/// On every uplink, for what leaves: answers of pods become their VIP's.
#[classifier]
pub fn lb_egress(ctx: TcContext) -> i32 {
    reply::egress(ctx.skb.skb)
}

/// On every uplink, for what `lb_ingress` has translated for a pod that is
/// reached past the stack.
#[classifier]
pub fn lb_deliver(ctx: TcContext) -> i32 {
    let note = Frame::of_skb_metadata(ctx.skb.skb);
    match note.header::<Metadata>(0) {
        Some(note) if note.magic == Metadata::MAGIC => {
            // SAFETY: a helper call without pointers.
            unsafe { helpers::bpf_redirect_peer(note.ifindex, 0) as i32 }
        }
        _ => reply::NEXT,
    }
}

/// On the host's side of pods that are reached past the stack.
#[classifier]
pub fn lb_return(ctx: TcContext) -> i32 {
    reply::return_directly(ctx.skb.skb)
}

/// Not attached anywhere: says how late it is in jiffies, so that the agent can
/// find out how long one is.
#[xdp]
pub fn lb_clock(_ctx: XdpContext) -> u32 {
    packet::jiffies()
}

/// Nothing here panics: the build refuses objects in which this is reachable.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel gives some helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
