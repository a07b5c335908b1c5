//! A disk that fails on command: every call by which a thread, or one that it starts, changes files
//! of a folder is intercepted through seccomp user notification, so that everything above runs
//! unmodified: the journal's and the tables' files, the blobs, the format, the lock.
//!
//! Nothing is forced to a disk: fsync returns success without being done. What a failed one, or a power
//! cut, may lose is simulated instead ([`Fault::Lost`], [`Fault::Power`]): of files what was written
//! since their last fsync, of folders the names that were made, changed or removed since theirs. Real
//! file systems lose less, each in its own way.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Error};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use libc::{c_int, c_long};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails; the next one succeeds.
    Eio,
    /// It and all that follow fail.
    EioForGood,
    /// It fails for lack of space, and so do all that follow.
    Enospc,
    /// Half of the data is written, and then there is no space.
    Short,
    /// The fsync fails, and what was written to the file since the previous one is lost, as the
    /// page cache may drop it; the next one succeeds.
    Lost,
    /// The power is cut: the call and all that follow fail, and nothing that was not made durable is
    /// left.
    Power,
}

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Write,
    Sync,
    SyncFolder,
    Resize,
    Create,
    Rename,
    Remove,
}

impl Kind {
    /// The ways in which such a call can fail, worst first.
    pub(crate) fn faults(self) -> &'static [Fault] {
        use Fault::*;
        match self {
            Self::Write => &[Power, Short, Eio, EioForGood, Enospc],
            Self::Sync => &[Power, Lost, Eio, EioForGood, Enospc],
            Self::SyncFolder | Self::Resize | Self::Create | Self::Rename => &[Power, Eio, Enospc],
            Self::Remove => &[Power, Eio],
        }
    }
}

/// An intercepted call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    /// The file; empty where the call names it by path.
    pub(crate) file: PathBuf,
}

/// The intercepted calls, besides `openat`.
const CALLS: &[c_long] = &[
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_mkdirat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
];

/// Runs `work` on a thread of its own and injects the fault into the call with this number. Returns
/// the result of `work`, and all calls.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn run<T: Send>(
    folder: &Path,
    fault: Option<(usize, Fault)>,
    work: impl FnOnce() -> T + Send,
) -> io::Result<(thread::Result<T>, Vec<Call>)> {
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let working = scope.spawn(move || {
            let listener = intercept();
            let refused = listener.is_err();
            // The receiver waits for it.
            let _ = sender.send(listener);
            (!refused).then(work)
        });
        let listener = receiver.recv().map_err(Error::other)??;
        let mut disk = Disk {
            listener,
            folder: fs::canonicalize(folder)?,
            fault,
            lasting: None,
            calls: Vec::new(),
            unsynced: BTreeMap::new(),
            names: Vec::new(),
            saved: tempfile::tempdir_in(folder)?,
        };
        disk.serve()?;
        if disk.fault.is_some_and(|(_, fault)| fault == Fault::Power) && disk.lasting.is_some() {
            disk.lose_all();
        }
        let done = working.join().and_then(|done| done.ok_or_else(|| Box::new("refused") as _));
        Ok((done, disk.calls))
    })
}

/// From now on, calls of this thread and of those it starts are sent to the returned descriptor.
#[allow(unsafe_code, reason = "no crate that is here installs seccomp filters")]
fn intercept() -> io::Result<OwnedFd> {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let (jump, answer) = ((libc::BPF_JMP | libc::BPF_JEQ) as u16, libc::BPF_RET as u16);
    let test = (libc::BPF_JMP | libc::BPF_JSET) as u16;
    // Offsets in `seccomp_data`: the number of the call, and its third argument.
    let (number, third) = (0, 32);
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![step(load, 0, 0, number)];
    for (position, call) in CALLS.iter().enumerate() {
        let to_the_end = u8::try_from(CALLS.len() - position + 3).unwrap();
        program.push(step(jump, to_the_end, 0, *call as u32));
    }
    program.extend([
        // `openat` is intercepted only where it may create a file.
        step(jump, 0, 2, libc::SYS_openat as u32),
        step(load, 0, 0, third),
        step(test, 1, 0, libc::O_CREAT as u32),
        step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(answer, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
    ]);
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: prctl takes numbers here. seccomp reads `program` and what it points to, both of
    // which outlive the call, and returns a new descriptor that nothing else owns.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(Error::last_os_error());
        }
        let listener = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        );
        if listener < 0 {
            return Err(Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(listener as RawFd))
    }
}

/// What was written to a file since its last fsync.
struct Unsynced {
    file: File,
    /// The file's length before these writes.
    len: u64,
    /// Offset and length of each write.
    writes: Vec<(u64, u64)>,
}

/// A name that was made, changed or removed since the last fsync of its folder.
enum Name {
    Made(PathBuf),
    /// The file or folder that had the name before is kept aside.
    Removed {
        name: PathBuf,
        saved: PathBuf,
    },
    Moved {
        from: PathBuf,
        to: PathBuf,
    },
}

impl Name {
    fn path(&self) -> &Path {
        match self {
            Self::Made(name) | Self::Removed { name, .. } | Self::Moved { to: name, .. } => name,
        }
    }

    /// Makes it what it was. What was done to it since is undone already, or durable.
    fn undo(self) {
        match self {
            Self::Made(name) if name.is_dir() => fs::remove_dir_all(name).unwrap(),
            Self::Made(name) => drop(fs::remove_file(name)),
            Self::Removed { name, saved } => drop(fs::rename(saved, name)),
            Self::Moved { from, to } => drop(fs::rename(to, from)),
        }
    }
}

/// Handles the intercepted calls.
struct Disk {
    listener: OwnedFd,
    folder: PathBuf,
    fault: Option<(usize, Fault)>,
    /// The error of all further calls.
    lasting: Option<c_int>,
    calls: Vec<Call>,
    unsynced: BTreeMap<u64, Unsynced>,
    names: Vec<Name>,
    /// Files that had a name before.
    saved: tempfile::TempDir,
}

/// The result of a call; `None` lets the kernel execute it.
type Answer = Option<io::Result<i64>>;

impl Disk {
    /// Runs until no intercepted thread is left.
    #[allow(unsafe_code, reason = "no crate that is here speaks seccomp notification")]
    fn serve(&mut self) -> io::Result<()> {
        let listener = self.listener.as_raw_fd();
        loop {
            let mut poll = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd, which outlives the call.
            if unsafe { libc::poll(&raw mut poll, 1, -1) } < 0 {
                return Err(Error::last_os_error());
            }
            if poll.revents & libc::POLLIN == 0 {
                return Ok(());
            }
            // SAFETY: all zeroes is a valid value of the type, and what the kernel requires.
            let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the kernel writes to a `seccomp_notif` that outlives the call.
            let got =
                unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) };
            if got < 0 {
                // The calling thread has ended.
                continue;
            }
            let answer = self.answer(c_long::from(asked.data.nr), &asked.data.args);
            let (val, error, flags) = match answer {
                None => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
                Some(Ok(val)) => (val, 0, 0),
                Some(Err(error)) => (0, -error.raw_os_error().unwrap_or(libc::EIO), 0),
            };
            let answer = libc::seccomp_notif_resp { id: asked.id, val, error, flags };
            // SAFETY: the kernel reads a `seccomp_notif_resp` that outlives the call. It fails only
            // if the calling thread has ended.
            unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
        }
    }

    fn answer(&mut self, call: c_long, args: &[u64; 6]) -> Answer {
        let kind = match call {
            libc::SYS_write | libc::SYS_pwrite64 => Kind::Write,
            libc::SYS_fsync | libc::SYS_fdatasync => Kind::Sync,
            libc::SYS_ftruncate | libc::SYS_fallocate => Kind::Resize,
            _ => return self.rename(call, args),
        };
        let fd = args[0] as RawFd;
        let path = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        // Pipes, sockets and the test's log are left to the kernel.
        let file = path.strip_prefix(&self.folder).ok()?.to_owned();
        let metadata = fs::metadata(format!("/proc/self/fd/{fd}")).ok()?;
        let kind = if kind == Kind::Sync && metadata.is_dir() { Kind::SyncFolder } else { kind };
        let fault = self.fault(kind, file);
        match (kind, fault) {
            (Kind::Write, None) => Some(self.write(fd, call, args, args[2], &metadata)),
            (Kind::Write, Some(Fault::Short)) if args[2] > 1 => {
                self.lasting = Some(libc::ENOSPC);
                Some(self.write(fd, call, args, args[2] / 2, &metadata))
            }
            (Kind::Sync, None) => {
                self.unsynced.remove(&metadata.ino());
                Some(Ok(0))
            }
            (Kind::SyncFolder, None) => {
                self.names.retain(|name| name.path().parent() != Some(&path));
                Some(Ok(0))
            }
            (Kind::Sync, Some(Fault::Lost)) => {
                if let Some(unsynced) = self.unsynced.remove(&metadata.ino()) {
                    unsynced.lose();
                }
                Some(Err(self.errno(Fault::Lost)))
            }
            (_, Some(fault)) => Some(Err(self.errno(fault))),
            (_, None) => None,
        }
    }

    /// Calls that name files by path: only the code under test has such on these threads.
    fn rename(&mut self, call: c_long, args: &[u64; 6]) -> Answer {
        let at = |folder: u64, path: u64| resolved(folder as RawFd, path);
        let here = |path: u64| resolved(libc::AT_FDCWD, path);
        let (kind, name, target) = match call {
            libc::SYS_openat => (Kind::Create, at(args[0], args[1]), None),
            libc::SYS_mkdirat => (Kind::Create, at(args[0], args[1]), None),
            libc::SYS_unlinkat => (Kind::Remove, at(args[0], args[1]), None),
            libc::SYS_renameat | libc::SYS_renameat2 => {
                (Kind::Rename, at(args[0], args[1]), Some(at(args[2], args[3])))
            }
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mkdir => (Kind::Create, here(args[0]), None),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_unlink | libc::SYS_rmdir => (Kind::Remove, here(args[0]), None),
            _ => (Kind::Rename, here(args[0]), Some(here(args[1]))),
        };
        let file = name.strip_prefix(&self.folder).ok()?.to_owned();
        if let Some(fault) = self.fault(kind, file) {
            return Some(Err(self.errno(fault)));
        }
        let is_there = name.symlink_metadata().is_ok();
        match (kind, target) {
            (Kind::Create, _) if !is_there => self.names.push(Name::Made(name)),
            (Kind::Remove, _) if is_there => self.save(&name),
            (Kind::Rename, Some(to)) if is_there => {
                self.save(&to);
                self.names.push(Name::Moved { from: name, to });
            }
            _ => {}
        }
        None
    }

    /// Keeps what has a name that is about to be removed or given to another.
    fn save(&mut self, name: &Path) {
        let saved = self.saved.path().join(self.calls.len().to_string());
        let kept = match fs::metadata(name) {
            Ok(found) if found.is_dir() => fs::create_dir(&saved),
            Ok(_) => fs::hard_link(name, &saved),
            Err(_) => return,
        };
        kept.unwrap();
        self.names.push(Name::Removed { name: name.to_owned(), saved });
    }

    /// The power was cut: undoes all that was not made durable.
    fn lose_all(&mut self) {
        for unsynced in std::mem::take(&mut self.unsynced).into_values() {
            unsynced.lose();
        }
        while let Some(name) = self.names.pop() {
            name.undo();
        }
    }

    /// Counts the call; returns the fault to inject, if any.
    fn fault(&mut self, kind: Kind, file: PathBuf) -> Option<Fault> {
        let number = self.calls.len();
        self.calls.push(Call { kind, file });
        match self.lasting {
            Some(libc::ENOSPC) => Some(Fault::Enospc),
            Some(_) => Some(Fault::EioForGood),
            None => self.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault),
        }
    }

    fn errno(&mut self, fault: Fault) -> Error {
        let errno = match fault {
            Fault::Eio | Fault::EioForGood | Fault::Lost | Fault::Power => libc::EIO,
            Fault::Enospc | Fault::Short => libc::ENOSPC,
        };
        if matches!(fault, Fault::EioForGood | Fault::Enospc | Fault::Short | Fault::Power) {
            self.lasting = Some(errno);
        }
        Error::from_raw_os_error(errno)
    }

    /// Writes the first `len` bytes of the intercepted write.
    #[allow(unsafe_code, reason = "the bytes are named by address")]
    fn write(
        &mut self,
        fd: RawFd,
        call: c_long,
        args: &[u64; 6],
        len: u64,
        before: &fs::Metadata,
    ) -> io::Result<i64> {
        let (bytes, len) = (args[1] as *const libc::c_void, len as usize);
        // SAFETY: the calling thread lent these bytes and this descriptor to the call, which lasts
        // until it is answered; it is a thread of this process, so both are valid here.
        let (written, end) = unsafe {
            if call == libc::SYS_pwrite64 {
                let written = libc::pwrite(fd, bytes, len, args[3] as libc::off_t);
                (written, args[3] as i64 + written as i64)
            } else {
                (libc::write(fd, bytes, len), libc::lseek(fd, 0, libc::SEEK_CUR))
            }
        };
        if written < 0 {
            return Err(Error::last_os_error());
        }
        let unsynced = self.unsynced.entry(before.ino()).or_insert_with(|| {
            let file = File::options().write(true).open(format!("/proc/self/fd/{fd}"));
            Unsynced { file: file.unwrap(), len: before.len(), writes: Vec::new() }
        });
        unsynced.writes.push(((end - written as i64) as u64, written as u64));
        Ok(written as i64)
    }
}

impl Unsynced {
    /// Undoes what was written to the file since its last fsync. Files here only grow, or are
    /// written where they held zeroes, so zeroes restore the previous content.
    fn lose(self) {
        for (from, len) in self.writes {
            self.file.write_all_at(&vec![0; len as usize], from).unwrap();
        }
        self.file.set_len(self.len).unwrap();
    }
}

/// A path that a call names.
#[allow(unsafe_code, reason = "the path is named by address")]
fn resolved(folder: RawFd, path: u64) -> PathBuf {
    // SAFETY: the calling thread, which waits for the answer, is one of this process, and lent this
    // string to the call.
    let path = unsafe { std::ffi::CStr::from_ptr(path as *const libc::c_char) };
    let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    match fs::read_link(format!("/proc/self/fd/{folder}")) {
        // An absolute path replaces the folder.
        Ok(folder) => folder.join(path),
        Err(_) => path.to_owned(),
    }
}
