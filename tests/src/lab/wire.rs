//! What makes one end of a veth pair behave as the end of a wire.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

use super::link::ethtool;
use crate::netns::Namespace;

/// Taken by the name to be one that can have frames of more than a page.
const SECTION: &str = "xdp.frags";

/// `r0 = XDP_PASS; exit`.
const PASS: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// Writes the object with the program that [`behave_as_wire`] attaches.
pub(super) fn write_pass_program(path: &Path) -> Result<()> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), SECTION.into(), SectionKind::Text);
    object.append_section_data(section, &PASS, 8);
    object.add_symbol(Symbol {
        name: b"pass".into(),
        value: 0,
        size: PASS.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    let bytes = object.write().context("two instructions make an object")?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes the switch's or router's end of a link behave as a wire.
///
/// A veth carries packets whose checksum and segmentation are still to be
/// done, which no wire does: with `tx`, `tso` and `gso` off they are finished
/// before the other end sees them.
///
/// And frames that an XDP program at the other end sends back (XDP_TX) are
/// only picked up by an end that has an XDP program itself. (`gro` alone makes
/// it poll, and suffices for redirected frames; but the kernel then forgets to
/// wake it for XDP_TX: the frames lie in its ring until some other packet
/// comes, or overflow it.)
pub(super) fn behave_as_wire(namespace: &Namespace, interface: &str, pass: &Path) -> Result<()> {
    let settings = ["tx", "off", "tso", "off", "gso", "off", "gro", "on"];
    ethtool(namespace, interface, &settings)?;
    namespace.ip(&format!(
        "link set dev {interface} xdpdrv obj {} sec {SECTION}",
        pass.display()
    ))
}
