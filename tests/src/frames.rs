//! Whole frames: sent by a device as they are, and captured at one.

use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike as _, SockaddrStorage,
    sendto, socket,
};

use crate::netns::Namespace;
use crate::wait;

/// How long tcpdump may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The longest frame in bytes, and the buffer in KiB: it has a place of that
/// size for each frame until tcpdump gets to read it.
const SNAPSHOT: &str = "16384";
const BUFFER: &str = "32768";

/// Of a capture file (pcap-savefile(5)): its header, and each frame's.
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;

/// Sends frames by one device.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
    device: SockaddrStorage,
    mac: [u8; 6],
}

impl Sender {
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        namespace.within(|| {
            let (device, link) = device(interface)?;
            // Without a protocol, nothing is delivered to it.
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                None,
            )
            .context("no packet socket")?;
            let mac = link.addr().context("a device of Ethernet has a MAC")?;
            Ok(Self {
                socket,
                device,
                mac,
            })
        })?
    }

    /// The MAC of the device.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = sendto(
            self.socket.as_raw_fd(),
            frame,
            &self.device,
            MsgFlags::empty(),
        )
        .with_context(|| format!("cannot send a frame of {} bytes", frame.len()))?;
        ensure!(sent == frame.len(), "{sent} of {} bytes", frame.len());
        Ok(())
    }
}

/// The address of a device of this namespace, as packet sockets want it.
fn device(interface: &str) -> Result<(SockaddrStorage, LinkAddr)> {
    let all = getifaddrs().context("cannot list devices")?;
    all.filter(|entry| entry.interface_name == interface)
        .filter_map(|entry| entry.address)
        .find(|address| address.family() == Some(AddressFamily::Packet))
        .and_then(|address| Some((address, *address.as_link_addr()?)))
        .with_context(|| format!("no device {interface}"))
}

/// tcpdump at one device: all that comes and all that leaves.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    /// Captures into `file` from when this returns until it is dropped.
    pub fn start(namespace: &Namespace, interface: &str, file: &Path) -> Result<Self> {
        Self::run(namespace, interface, file, "inout", "")
    }

    /// The same of what leaves by the device alone, and fits a pcap-filter(7).
    pub fn leaving(
        namespace: &Namespace,
        interface: &str,
        file: &Path,
        filter: &str,
    ) -> Result<Self> {
        Self::run(namespace, interface, file, "out", filter)
    }

    fn run(
        namespace: &Namespace,
        interface: &str,
        file: &Path,
        way: &str,
        filter: &str,
    ) -> Result<Self> {
        let said = file.with_extension("log");
        let log = File::create(&said).with_context(|| format!("cannot make {}", said.display()))?;
        let child = namespace
            .command("tcpdump")
            .args(["-n", "-U", "--immediate-mode", "-Z", "root"])
            .args(["-s", SNAPSHOT, "-B", BUFFER, "-Q", way])
            .args(["-i", interface, "-w"])
            .arg(file)
            .arg(filter)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot run tcpdump")?;
        let capture = Self {
            child,
            file: file.to_owned(),
        };
        let what = format!("tcpdump listens at {} {interface}", namespace.name());
        wait::until_ok(START_LIMIT, &what, || {
            let said = fs::read_to_string(&said)?;
            ensure!(said.contains("listening on"), "it says {said:?}");
            Ok(())
        })?;
        Ok(capture)
    }

    /// What was captured so far.
    pub fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let timed = self.timed_frames()?;
        Ok(timed.into_iter().map(|(_at, frame)| frame).collect())
    }

    /// The same with the moment of each, by the machine's clock.
    pub fn timed_frames(&self) -> Result<Vec<(SystemTime, Vec<u8>)>> {
        let bytes = fs::read(&self.file).with_context(|| format!("no {}", self.file.display()))?;
        frames(&bytes)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended by itself, which is no matter any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The frames of a capture file, without one that is not whole yet.
fn frames(file: &[u8]) -> Result<Vec<(SystemTime, Vec<u8>)>> {
    let mut rest = file.get(FILE_HEADER..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(FRAME_HEADER) {
        let number = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            u32::from_le_bytes(bytes)
        };
        let (captured, whole) = (number(8), number(12));
        ensure!(captured == whole, "{captured} of a frame's {whole} bytes");
        let Some((frame, after)) = after.split_at_checked(usize::try_from(captured)?) else {
            break;
        };
        let at = Duration::from_secs(number(0).into()) + Duration::from_micros(number(4).into());
        frames.push((SystemTime::UNIX_EPOCH + at, frame.to_vec()));
        rest = after;
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(frame: &[u8]) -> Vec<u8> {
        let len = u32::try_from(frame.len()).expect("short").to_le_bytes();
        let (seconds, micros) = (7_u32.to_le_bytes(), 9_u32.to_le_bytes());
        [&seconds[..], &micros, &len, &len, frame].concat()
    }

    #[test]
    fn a_capture_file_is_read_as_far_as_it_is_written() {
        let file = [&[0; 24][..], &record(b"one"), &record(b"three")].concat();
        let all: &[&[u8]] = &[b"one", b"three"];
        for (cut, whole) in [(0, 2), (1, 1), (21, 1), (22, 0), (50, 0), (file.len(), 0)] {
            let read = frames(&file[..file.len() - cut]).expect("well-formed");
            let at = SystemTime::UNIX_EPOCH + Duration::from_micros(7_000_009);
            let expected: Vec<_> = all[..whole].iter().map(|f| (at, f.to_vec())).collect();
            assert_eq!(read, expected, "without {cut} bytes");
        }
    }

    #[test]
    fn a_frame_that_was_cut_short_is_an_error() {
        let mut file = [&[0; 24][..], &record(b"one")].concat();
        file[24 + 12] = 9;
        assert!(frames(&file).is_err());
    }
}
