//! The kernel half: entry points, and nothing else.

#![no_std]
#![no_main]

mod answer;
mod count;
mod establish;
mod fragment;
mod header;
mod icmp;
mod ingress;
mod locate;
mod lookup;
mod maps;
mod packet;
mod parse;
mod reject;
mod select;
mod step;
mod translate;
mod tunnel;

use aya_ebpf::{macros::xdp, programs::XdpContext};

/// On every uplink: answers for VIPs, hands packets over to their pod's node,
/// and translates what is for a pod here.
#[xdp(frags)]
pub fn lb_ingress(ctx: XdpContext) -> u32 {
    ingress::run(ctx.ctx)
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
