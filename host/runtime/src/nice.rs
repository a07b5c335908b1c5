//! Lowers the priority of background work, so that it uses only CPU time that nothing else needs.

use rustix::io;
use rustix::process::{Pid, getpriority_process, setpriority_pgrp, setpriority_process};

/// Added to the router's own niceness; the kernel caps the result at 19.
pub(crate) const NICER: i32 = 10;

/// The same, for work that may take minutes.
pub(crate) const NICEST: i32 = 19;

fn nicer(by: i32) -> io::Result<i32> {
    Ok(getpriority_process(None)?.saturating_add(by))
}

/// Raises the niceness of this thread and of threads it spawns later.
pub(crate) fn this_thread() {
    // On other systems this would affect the whole process.
    if cfg!(target_os = "linux") {
        log_failure(nicer(NICER).and_then(|nice| setpriority_process(None, nice)));
    }
}

/// Raises a process group's niceness; no-op if it has exited.
pub(crate) fn process_group(id: u32, by: i32) {
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        log_failure(nicer(by).and_then(|nice| setpriority_pgrp(Some(group), nice)));
    }
}

/// Best effort: failure only costs scheduling priority.
fn log_failure(made: io::Result<()>) {
    if let Err(error) = made {
        tracing::debug!(%error, "background work competes with all other for the processor");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_nicer_and_no_other() {
        let before = getpriority_process(None).unwrap();
        let nicer = std::thread::spawn(|| {
            this_thread();
            let started = std::thread::spawn(|| getpriority_process(None).unwrap());
            (getpriority_process(None).unwrap(), started.join().unwrap())
        });
        let expected = (before + NICER).min(19);
        assert_eq!(nicer.join().unwrap(), (expected, expected));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
