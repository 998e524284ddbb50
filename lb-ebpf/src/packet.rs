//! The only place that turns packet memory into references.

use core::mem::size_of;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::generated as helpers,
};
use lb_common::config::Config;

/// The linear part of a packet: where it begins and where it ends.
///
/// References made from it are void after any head or tail adjustment, so the
/// functions that adjust take the context and everything is derived anew.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
    zero: usize,
    /// The kernel's context that it was made from; null for the stack's.
    ctx: *mut xdp_md,
}

impl Frame {
    #[inline(always)]
    fn new(ctx: *mut xdp_md, start: u32, end: u32, zero: usize) -> Self {
        Self {
            start: start as usize,
            end: end as usize,
            zero,
            ctx,
        }
    }

    /// The linear part of a packet in the stack, and what was written in front
    /// of it.
    #[inline(always)]
    pub fn of_skb(skb: *mut __sk_buff, config: &Config) -> Self {
        // SAFETY: the kernel passes a valid context.
        let (start, end) = unsafe { ((*skb).data, (*skb).data_end) };
        Self::new(core::ptr::null_mut(), start, end, config.zero as usize)
    }

    #[inline(always)]
    pub fn of_skb_metadata(skb: *mut __sk_buff) -> Self {
        // SAFETY: the kernel passes a valid context.
        let (start, end) = unsafe { ((*skb).data_meta, (*skb).data) };
        Self::new(core::ptr::null_mut(), start, end, 0)
    }

    /// What `lb_ingress` may write in front of the packet.
    #[inline(always)]
    pub fn of_metadata(ctx: *mut xdp_md) -> Self {
        // SAFETY: the kernel passes a valid context.
        let (start, end) = unsafe { ((*ctx).data_meta, (*ctx).data) };
        Self::new(ctx, start, end, 0)
    }

    #[inline(always)]
    pub fn context(&self) -> *mut xdp_md {
        self.ctx
    }

    #[inline(always)]
    pub fn of_xdp(ctx: *mut xdp_md, config: &Config) -> Self {
        Self::with_zero(ctx, config.zero)
    }

    /// The same for who knows [`Config::zero`] from elsewhere.
    #[inline(always)]
    pub fn with_zero(ctx: *mut xdp_md, zero: u32) -> Self {
        // SAFETY: the kernel passes a valid context.
        let (start, end) = unsafe { ((*ctx).data, (*ctx).data_end) };
        Self::new(ctx, start, end, zero as usize)
    }

    /// See [`Config::zero`].
    #[inline(always)]
    pub fn zero(&self) -> u64 {
        self.zero as u64
    }

    /// The header of type `T` at `offset`, if the packet has that many bytes.
    ///
    /// Headers sit at odd places in a packet (an Ethernet header has 14
    /// bytes), so a reference may be less aligned than its type says. That is
    /// what every kernel program does: the verifier checks bounds, and the
    /// machines that this runs on load unaligned words.
    #[inline(always)]
    pub fn header<T>(&self, offset: usize) -> Option<&'static mut T> {
        // For the verifier, which cannot see that differences are not negative.
        let at = self.start + (offset & 0x7ff);
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: in bounds, as just checked; see above for alignment. Every
        // `T` here is plain data.
        Some(unsafe { &mut *(at as *mut T) })
    }

    /// The same length, of which the verifier knows no more than that it is at
    /// most `max` (a power of two, less one): it would otherwise check all that
    /// follows once for every length that a header may have.
    #[inline(always)]
    pub fn blur(&self, len: usize, max: usize) -> usize {
        (len + self.zero) & max
    }

    /// The same packet after its head or tail was adjusted.
    #[inline(always)]
    pub fn anew(&self) -> Self {
        let ctx = self.ctx;
        // SAFETY: the kernel passes a valid context.
        let (start, end) = unsafe { ((*ctx).data, (*ctx).data_end) };
        Self::new(ctx, start, end, self.zero)
    }

    /// Bytes in the linear part.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Makes room for (`by` < 0) or cuts off (`by` > 0) bytes at the front.
#[inline(always)]
pub fn adjust_head(frame: &Frame, by: i32) -> Option<Frame> {
    // SAFETY: a helper call with a valid context.
    let failed = unsafe { helpers::bpf_xdp_adjust_head(frame.ctx, by) };
    (failed == 0).then(|| frame.anew())
}

/// Cuts off (`by` < 0) bytes at the end.
#[inline(always)]
pub fn adjust_tail(frame: &Frame, by: i32) -> Option<Frame> {
    // SAFETY: a helper call with a valid context.
    let failed = unsafe { helpers::bpf_xdp_adjust_tail(frame.ctx, by) };
    (failed == 0).then(|| frame.anew())
}

/// Bytes of the whole packet, further buffers included.
#[inline(always)]
pub fn whole_len(frame: &Frame) -> usize {
    // SAFETY: a helper call with a valid context.
    unsafe { helpers::bpf_xdp_get_buff_len(frame.ctx) as usize }
}

#[inline(always)]
pub fn ifindex(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the kernel passes a valid context.
    unsafe { (*ctx).ingress_ifindex }
}

/// The kernel's coarse clock: the low half of jiffies.
#[inline(always)]
pub fn jiffies() -> u32 {
    // SAFETY: a helper call without arguments.
    unsafe { helpers::bpf_jiffies64() as u32 }
}

/// CLOCK_BOOTTIME in nanoseconds.
#[inline(always)]
pub fn boottime_ns() -> u64 {
    // SAFETY: a helper call without arguments.
    unsafe { helpers::bpf_ktime_get_boot_ns() }
}

/// Sends the packet out of `ifindex`.
#[inline(always)]
pub fn redirect(ifindex: u32) -> u32 {
    // SAFETY: a helper call without pointers.
    unsafe { helpers::bpf_redirect(ifindex, 0) as u32 }
}
