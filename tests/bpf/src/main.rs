//! What the bench needs in the kernel: `BPF_PROG_TEST_RUN` runs again and again
//! on one buffer, so a program that rewrites would see its own output from the
//! second time on. `bench_restore` puts the packet back, as the next one of
//! another flow, and goes on with the program under test.

#![no_std]
#![no_main]

mod flow;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT, xdp_action, xdp_md},
    btf_maps::{Array, LruHashMap, PerCpuArray, ProgramArray},
    helpers::generated as helpers,
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use lb_common::{addr::Addr, flow::FlowKey};

/// Bytes of every frame.
const LEN: usize = 128;

/// What is sent.
#[repr(C)]
pub struct Template {
    frame: [u64; LEN / 8],
    /// Flows, a power of two, less 1.
    flows: u32,
    /// VIPs, a power of two, less 1.
    vips: u32,
    /// Where the client's address and port are: 4 or 6 for a client's packets,
    /// 14 or 16 for answers, 0 for what has no flow.
    layout: u32,
    pad: u32,
}

#[btf_map]
static TEMPLATE: Array<Template, 1> = Array::new();
/// Packets so far.
#[btf_map]
static SENT: Array<u32, 1> = Array::new();
/// Lookups of the yardstick that found nothing: there must be none.
#[btf_map]
static MISSES: Array<u32, 1> = Array::new();
/// The program under test, of either kind.
#[btf_map]
static XDP_PROGRAM: ProgramArray<1> = ProgramArray::new();
#[btf_map]
static TC_PROGRAM: ProgramArray<1> = ProgramArray::new();
/// The yardstick: one lookup of a 40-byte key. The bench sets the size.
#[btf_map]
static YARDSTICK: LruHashMap<FlowKey, u64, 1024> = LruHashMap::new();

/// Packets that came to the end of their way.
#[btf_map]
static ARRIVED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Writes `value` at `at`, if it fits: it always does.
#[inline(always)]
fn write<T>(start: usize, end: usize, at: usize, value: T) {
    if start + at + size_of::<T>() <= end {
        // SAFETY: in bounds, as just checked; plain numbers.
        unsafe { core::ptr::write_unaligned((start + at) as *mut T, value) }
    }
}

/// The flow of the packet with this number: all of them, in an order that
/// neither caches nor hash tables know. `mask`: flows, a power of two, less 1.
#[inline(always)]
const fn flow_of_packet(number: u32, mask: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1).rotate_left(9) & mask
}

/// The next packet.
#[inline(always)]
fn restore(start: usize, end: usize) -> Option<()> {
    let template = TEMPLATE.get(0)?;
    let sent = SENT.get_ptr_mut(0)?;
    // SAFETY: an entry of an array; the bench runs alone.
    let number = unsafe { *sent };
    // SAFETY: as above.
    unsafe { *sent = number.wrapping_add(1) };
    if start + LEN > end {
        return None;
    }
    for (index, word) in template.frame.iter().enumerate() {
        write(start, end, index * 8, *word);
    }
    let flow = flow_of_packet(number, template.flows);
    let client = flow::client(flow).to_be();
    let port = flow::port(flow).to_be();
    match template.layout {
        4 => {
            write(start, end, 26, client);
            write(start, end, 34, port);
        }
        6 => {
            write(start, end, 34, client);
            write(start, end, 54, port);
        }
        14 => {
            write(start, end, 30, client);
            write(start, end, 36, port);
        }
        16 => {
            write(start, end, 50, client);
            write(start, end, 56, port);
        }
        _ => {}
    }
    if template.vips != 0 {
        let vip = (flow & template.vips) as u16;
        let at = if template.layout == 4 { 32 } else { 52 };
        write(start, end, at, vip.to_be());
    }
    Some(())
}

#[xdp(frags)]
pub fn bench_restore(ctx: XdpContext) -> u32 {
    let md: *mut xdp_md = ctx.ctx;
    // SAFETY: the kernel passes a valid context.
    let (start, end, meta) = unsafe { ((*md).data, (*md).data_end, (*md).data_meta) };
    // Also where there is nothing to undo: it costs something, which is not to
    // count for the programs that made it necessary.
    // SAFETY: a helper call with a valid context.
    unsafe { helpers::bpf_xdp_adjust_meta(md, (start - meta) as i32) };
    let grown = (end - start) as i32 - LEN as i32;
    // SAFETY: as above.
    unsafe { helpers::bpf_xdp_adjust_head(md, grown) };
    // SAFETY: the kernel passes a valid context.
    let (start, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    if restore(start, end).is_some() {
        // SAFETY: a tail call in the entry point; nothing is held.
        unsafe { XDP_PROGRAM.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

#[classifier]
pub fn bench_restore_tc(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.skb.skb;
    // SAFETY: the kernel passes a valid context.
    let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    if restore(start, end).is_some() {
        // SAFETY: a tail call in the entry point; nothing is held.
        unsafe { TC_PROGRAM.tail_call(&ctx, 0) };
    }
    -2
}

/// Sends the next packet by the device that it is said to have come by.
#[xdp]
pub fn bench_send(ctx: XdpContext) -> u32 {
    let md: *mut xdp_md = ctx.ctx;
    // SAFETY: the kernel passes a valid context.
    let (start, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    match restore(start, end).and_then(|()| correct_sums(start, end)) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_ABORTED,
    }
}

/// Makes the checksums of TCP over IPv4 fit the flow: those of the template are
/// of the template's client.
#[inline(always)]
fn correct_sums(start: usize, end: usize) -> Option<()> {
    const CLIENT: usize = 26;
    const PORT: usize = 34;
    const IP_SUM: usize = 24;
    const TCP_SUM: usize = 50;
    let template = TEMPLATE.get(0)?;
    let old = |at: usize| {
        let word = template.frame[at / 8] >> (at % 8 * 8);
        u32::from(word as u16)
    };
    if start + LEN > end {
        return None;
    }
    let new = |at: usize| {
        // SAFETY: in bounds, as just checked.
        u32::from(unsafe { core::ptr::read_unaligned((start + at) as *const u16) })
    };
    // RFC 1624: ~(~sum + ~old + new).
    let change = |at: usize| (0xffff ^ old(at)) + new(at);
    let addresses = change(CLIENT) + change(CLIENT + 2);
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let corrected = |at: usize, change: u32| {
        let sum = fold(fold((0xffff ^ old(at)) + change));
        !(sum as u16)
    };
    write(start, end, IP_SUM, corrected(IP_SUM, addresses));
    write(start, end, TCP_SUM, corrected(TCP_SUM, addresses + change(PORT)));
    Some(())
}

#[inline(always)]
fn arrived() {
    if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: this CPU's own entry.
        unsafe { *arrived += 1 };
    }
}

/// Where packets that were handed over end.
#[xdp(frags)]
pub fn bench_sink(_ctx: XdpContext) -> u32 {
    arrived();
    xdp_action::XDP_DROP
}

/// Where packets that were delivered end.
#[classifier]
pub fn bench_sink_tc(_ctx: TcContext) -> i32 {
    arrived();
    TC_ACT_SHOT as i32
}

/// What everything is measured against.
#[xdp(frags)]
pub fn bench_empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

#[classifier]
pub fn bench_empty_tc(_ctx: TcContext) -> i32 {
    TC_ACT_OK as i32
}

/// The yardstick: the flow of a TCP packet over IPv4, looked up once.
#[xdp(frags)]
pub fn bench_yardstick(ctx: XdpContext) -> u32 {
    let md: *mut xdp_md = ctx.ctx;
    // SAFETY: the kernel passes a valid context.
    let (start, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    if start + LEN > end {
        return xdp_action::XDP_ABORTED;
    }
    let word = |at: usize| {
        // SAFETY: in bounds, as just checked.
        unsafe { core::ptr::read_unaligned((start + at) as *const u32) }
    };
    let ports = word(34);
    let key = FlowKey {
        client: Addr::from_v4_word(word(26)),
        vip: Addr::from_v4_word(word(30)),
        client_port: u16::from_be(ports as u16),
        vip_port: u16::from_be((ports >> 16) as u16),
        protocol: 6,
    };
    if YARDSTICK.get_ptr_mut(&key).is_none()
        && let Some(misses) = MISSES.get_ptr_mut(0)
    {
        // SAFETY: an entry of an array; the bench runs alone.
        unsafe { *misses += 1 };
    }
    xdp_action::XDP_TX
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
