//! Reading a whole map with few system calls, which aya does not do (yet).
#![expect(
    unsafe_code,
    reason = "aya has no BPF_MAP_LOOKUP_BATCH (aya#1124); this file is the one that calls bpf()"
)]

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::MapData;
use aya_obj::generated::{bpf_attr, bpf_attr__bindgen_ty_3, bpf_cmd};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Entries asked for at a time, at first: enough for any bucket but a freak.
const BATCH: usize = 4096;

/// All entries of a hash, LRU hash, LPM trie or array.
///
/// What others write meanwhile may be in it or not; what stays is in it.
pub(super) fn read_all<K, V>(map: &MapData) -> io::Result<Vec<(K, V)>>
where
    K: FromBytes + KnownLayout + Immutable,
    V: FromBytes + KnownLayout + Immutable,
{
    let mut entries = Vec::new();
    each(map, |key, value| entries.push((key, value)))?;
    Ok(entries)
}

/// The same, one at a time.
pub(super) fn each<K, V>(map: &MapData, mut visit: impl FnMut(K, V)) -> io::Result<()>
where
    K: FromBytes + KnownLayout + Immutable,
    V: FromBytes + KnownLayout + Immutable,
{
    let mut batch = Batch::new(BATCH, size_of::<K>(), size_of::<V>());
    loop {
        let (count, last) = batch.next(map)?;
        let keys = batch.keys.chunks_exact(size_of::<K>());
        let values = batch.values.chunks_exact(size_of::<V>());
        for (key, value) in keys.zip(values).take(count) {
            let key = K::read_from_bytes(key).map_err(|_size| io::ErrorKind::InvalidData)?;
            let value = V::read_from_bytes(value).map_err(|_size| io::ErrorKind::InvalidData)?;
            visit(key, value);
        }
        if last {
            return Ok(());
        }
    }
}

/// How many entries there are.
pub(super) fn count(map: &MapData, key_size: usize, value_size: usize) -> io::Result<usize> {
    let mut total = 0;
    let mut batch = Batch::new(BATCH, key_size, value_size);
    loop {
        let (count, last) = batch.next(map)?;
        total += count;
        if last {
            return Ok(total);
        }
    }
}

/// The buffers of `BPF_MAP_LOOKUP_BATCH`.
struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
    key_size: usize,
    value_size: usize,
    /// Where the kernel goes on: a number of a bucket or a key.
    position: Vec<u8>,
    next_position: Vec<u8>,
    begun: bool,
}

impl Batch {
    fn new(entries: usize, key_size: usize, value_size: usize) -> Self {
        Self {
            keys: vec![0; entries * key_size],
            values: vec![0; entries * value_size],
            key_size,
            value_size,
            position: vec![0; key_size.max(4)],
            next_position: vec![0; key_size.max(4)],
            begun: false,
        }
    }

    /// Reads on; says how many entries there are now, and whether that is all.
    fn next(&mut self, map: &MapData) -> io::Result<(usize, bool)> {
        loop {
            let entries = self.keys.len() / self.key_size;
            let in_batch = if self.begun {
                address(&mut self.position)
            } else {
                0
            };
            let mut attr = bpf_attr {
                batch: bpf_attr__bindgen_ty_3 {
                    in_batch,
                    out_batch: address(&mut self.next_position),
                    keys: address(&mut self.keys),
                    values: address(&mut self.values),
                    count: u32::try_from(entries).unwrap_or(u32::MAX),
                    map_fd: map.fd().as_fd().as_raw_fd().cast_unsigned(),
                    elem_flags: 0,
                    flags: 0,
                },
            };
            // SAFETY: the attributes of this command lie in `attr`, the rest
            // of which the kernel does not look at; the buffers have room for
            // `count` keys and values and for a position, and outlive the call.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_bpf,
                    bpf_cmd::BPF_MAP_LOOKUP_BATCH as libc::c_int,
                    &raw mut attr,
                    size_of::<bpf_attr__bindgen_ty_3>(),
                )
            };
            let failure = (result < 0).then(io::Error::last_os_error);
            // SAFETY: the member that was written above.
            let count = unsafe { attr.batch.count };
            let count = usize::try_from(count).unwrap_or(0);
            match failure.as_ref().and_then(io::Error::raw_os_error) {
                None if failure.is_none() => {
                    std::mem::swap(&mut self.position, &mut self.next_position);
                    self.begun = true;
                    return Ok((count, false));
                }
                Some(libc::ENOENT) => return Ok((count, true)),
                // A bucket holds more than there is room for.
                Some(libc::ENOSPC) => {
                    self.keys = vec![0; entries * 2 * self.key_size];
                    self.values = vec![0; entries * 2 * self.value_size];
                }
                Some(libc::EINTR) => {}
                _ => return Err(failure.unwrap_or_else(|| io::ErrorKind::Other.into())),
            }
        }
    }
}

fn address(buffer: &mut [u8]) -> u64 {
    buffer.as_mut_ptr().expose_provenance() as u64
}
