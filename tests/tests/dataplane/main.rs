//! Packets through the programs in the kernel: what goes in, the verdict, what
//! comes out, what was counted. Packets are built and checked by etherparse.

mod answer;
mod deliver;
mod egress;
mod fragment;
mod hand_over;
mod icmp;
mod model;
mod property;
mod reject;
mod untouched;

use lb_common::verdict::Reason;
use lb_tests::object::Ran;

/// What a row of a table expects: the verdict and the one reason.
#[track_caller]
fn expect(ran: &Ran, action: u32, reasons: &[Reason]) {
    let mut counted: Vec<Reason> = ran.counted.clone();
    counted.sort_unstable();
    let mut reasons = reasons.to_vec();
    reasons.sort_unstable();
    assert_eq!((ran.action, counted), (action, reasons));
}

/// The same, and the frame that comes out, bit for bit.
#[track_caller]
fn expect_frame(ran: &Ran, action: u32, reasons: &[Reason], frame: &[u8]) {
    expect(ran, action, reasons);
    assert_eq!(hex(&ran.frame), hex(frame));
}

/// For people: four bytes a group.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        if index % 4 == 2 {
            text.push(' ');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
