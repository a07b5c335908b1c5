//! Sandbox that the compiler process enters before it reads untrusted bytes.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Allowance for address space that is reserved but never used: the program itself, and what the C
/// library reserves per thread.
const RESERVED_BYTES: u64 = 1024 * 1024 * 1024;

/// Limits this process to `memory_bytes` of memory and disables core dumps and file writes. On
/// Linux it also can't open files, execute programs or use the network, and is killed when the
/// thread that started it exits.
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

    /// System calls that compiling doesn't need; they fail with `EPERM`.
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
        // Legacy calls that newer architectures don't have.
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

    /// On its own thread: the filter applies only to the thread that installs it.
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
    /// No-op: the system call filter is Linux only.
    pub(super) fn confine() -> std::io::Result<()> {
        Ok(())
    }
}
