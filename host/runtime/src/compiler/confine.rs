//! What a process that compiles gives up before it reads a stranger's bytes.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Address space that is reserved and never used: that of the program itself, and what the C
/// library reserves for each thread.
const RESERVED_BYTES: u64 = 1024 * 1024 * 1024;

/// From here on this process has no more than so many bytes of memory, writes no file, opens none,
/// starts no program and reaches no network. It leaves no core behind, and ends with the thread
/// that started it.
pub(super) fn confine(memory_bytes: u64) -> io::Result<()> {
    let limit = |resource, most: u64| {
        let most = Some(most);
        setrlimit(resource, Rlimit { current: most, maximum: most })
    };
    limit(Resource::Data, memory_bytes)?;
    limit(Resource::As, memory_bytes.saturating_add(RESERVED_BYTES))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    system::confine()
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;

    use rustix::process::{Signal, set_parent_process_death_signal};
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    /// What compiling has no use for; it fails as if it were not permitted.
    const REFUSED: &[i64] = &[
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept4,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_mkdirat,
        libc::SYS_truncate,
        libc::SYS_kill,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_open,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_chroot,
        // The forms that newer systems no longer have.
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_accept,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
    ];

    pub(super) fn confine() -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        apply_filter(&filter().map_err(io::Error::other)?).map_err(io::Error::other)
    }

    pub(super) fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
        let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
        let arch = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::process::Command;

    use super::system;

    /// On a thread of its own, which alone the filter holds.
    #[test]
    fn neither_network_nor_files_nor_programs_are_left() {
        let tried = || {
            seccompiler::apply_filter(&system::filter().unwrap()).unwrap();
            [
                TcpListener::bind("127.0.0.1:0").map(drop),
                TcpStream::connect("127.0.0.1:1").map(drop),
                UdpSocket::bind("127.0.0.1:0").map(drop),
                File::open("/proc/self/exe").map(drop),
                File::create("/tmp/usher-not-made").map(drop),
                std::fs::remove_file("/tmp/usher-not-there"),
                Command::new("/bin/true").status().map(drop),
            ]
            .map(|tried| tried.map_err(|error| error.kind()))
        };
        let kinds = std::thread::spawn(tried).join().unwrap();
        assert_eq!(kinds, [Err(ErrorKind::PermissionDenied); 7]);
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    /// Other systems have no filter of system calls that a program can put on itself.
    pub(super) fn confine() -> std::io::Result<()> {
        Ok(())
    }
}
