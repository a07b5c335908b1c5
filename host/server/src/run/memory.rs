//! Memory that is free but still the process's.

/// Gives free memory back to the system. Reading a large configuration, or installing many subscriptions, leaves
/// free pages behind in each thread's part of the heap, where glibc's allocator would keep them for good: with
/// 30,000 subscriptions nearly half of what the process has.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "there is no safe way to call malloc_trim")]
pub(crate) fn give_back() {
    // SAFETY: any thread may call malloc_trim(3) at any time; it touches free memory only.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give it back by themselves, or not at all.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
