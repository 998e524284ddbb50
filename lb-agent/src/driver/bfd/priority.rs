//! A thread that runs as soon as it has something to do, whatever else the
//! machine has (sched(7)).

use thread_priority::{
    Error, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// This thread from now on, or one line in the log that says why not and what
/// follows. Everything else is the same.
pub(super) fn raise_or_say() {
    if let Err(error) = raise() {
        let reason = match error {
            Error::OS(number) => std::io::Error::from_raw_os_error(number).to_string(),
            other => format!("{other:?}"),
        };
        tracing::warn!(
            "BFD has no real-time priority: {reason}; while this node is busy its packets may be \
             some ten milliseconds late, and routers miss it if detectMultiplier times the \
             interval is less than that; the capability SYS_NICE allows the priority"
        );
    }
}

/// The lowest of the real-time priorities, which is before all ordinary
/// threads and after what else has one, such as the kernel's watchdogs.
fn raise() -> Result<(), Error> {
    set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Min,
        ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo),
    )
}
