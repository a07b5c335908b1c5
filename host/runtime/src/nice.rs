//! Work that is to leave the processor to others: it takes what they leave, and they don't wait for
//! it when they have something to do.

use rustix::io;
use rustix::process::{Pid, getpriority_process, setpriority_pgrp, setpriority_process};

use crate::compiler::Attempt;

/// How much nicer than the router it is. The nicest there is: 19.
pub(crate) const NICER: i32 = 10;

/// The same for what may take minutes.
pub(crate) const NICEST: i32 = 19;

fn nicer(by: i32) -> io::Result<i32> {
    Ok(getpriority_process(None)?.saturating_add(by))
}

/// Makes this thread nicer, and those that it starts from now on.
pub(crate) fn this_thread() {
    // Elsewhere it would be all threads.
    if cfg!(target_os = "linux") {
        told(nicer(NICER).and_then(|nice| setpriority_process(None, nice)));
    }
}

/// Makes all threads of a process nicer that leads a group. One that is gone by now needs it no more.
pub(crate) fn process_group(id: u32, attempt: Attempt) {
    let by = match attempt {
        Attempt::Quick => NICER,
        Attempt::Patient => NICEST,
    };
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        told(nicer(by).and_then(|nice| setpriority_pgrp(Some(group), nice)));
    }
}

/// Without it everything goes on as well, only less politely.
fn told(made: io::Result<()>) {
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
