//! The proof that map types are plain data. The only unsafe code of this crate.

/// Declares each type as plain data for aya. The bounds are the proof that the
/// `unsafe impl` needs: no padding (`IntoBytes`), any bit pattern is a value
/// (`FromBytes`), no interior mutability (`Immutable`).
macro_rules! plain {
    ($($type:ty),+ $(,)?) => {
        $(
            const _: () = {
                const fn plain_data<T>()
                where
                    T: Copy
                        + zerocopy::FromBytes
                        + zerocopy::IntoBytes
                        + zerocopy::Immutable
                        + 'static,
                {
                }
                plain_data::<$type>();
            };
            #[cfg(feature = "user")]
            #[expect(unsafe_code, reason = "aya::Pod is an unsafe marker trait")]
            // SAFETY: the type is Copy and 'static, has no padding and accepts
            // any bit pattern, as the bounds above prove.
            unsafe impl aya::Pod for $type {}
        )+
    };
}
pub(crate) use plain;
