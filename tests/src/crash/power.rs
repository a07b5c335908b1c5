//! A disk whose power can be cut: an ext4 file system in a file, mounted as a data folder.
//!
//! The cut is `EXT4_IOC_SHUTDOWN` without a journal flush: from then on nothing reaches the disk
//! and every write and fsync fails; after the next mount only what had been fsynced is there. Needs
//! root, a loop device and mkfs.ext4; [`missing_for_power`] reports what is missing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::process::wait_for;

/// Sparse: occupies only what is written.
const IMAGE_BYTES: u64 = 2 * 1_024 * 1_024 * 1_024;

/// Why the power can't be cut on this system; `None` if it can.
pub fn missing_for_power() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting needs root".to_owned());
    }
    for program in ["mkfs.ext4", "mount", "umount"] {
        let mut ask = Command::new(program);
        ask.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if ask.status().is_err() {
            return Some(format!("there is no {program}"));
        }
    }
    let missing = !Path::new("/dev/loop-control").exists();
    missing.then(|| "there is no loop device".to_owned())
}

/// A mounted file system. Unmounted when dropped.
#[derive(Debug)]
pub(super) struct Disk {
    mount: PathBuf,
    image: PathBuf,
    /// Whether it is mounted.
    mounted: bool,
}

impl Disk {
    /// Creates the file system in `image` and mounts it at `mount`.
    pub(super) fn image(image: PathBuf, mount: &Path) -> Result<Self> {
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        // Initialise everything now; background initialisation would add noise.
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
        run(make.arg(&image))?;
        let mut disk = Self { mount: mount.to_owned(), image, mounted: false };
        disk.mount()?;
        fs::remove_dir(mount.join("lost+found"))?;
        Ok(disk)
    }

    fn mount(&mut self) -> Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        // Busy until all files of the killed process are closed.
        wait_for("the disk to be unmounted", || {
            Ok(run(Command::new("umount").arg(&self.mount)).is_ok().then_some(()))
        })?;
        self.mounted = false;
        Ok(())
    }

    /// Flushes all writes to the disk.
    pub(super) fn sync(&self) -> Result<()> {
        run(Command::new("sync").arg("-f").arg(&self.mount))
    }

    /// Cuts the power.
    pub(super) fn cut(&self) -> Result<()> {
        shut_down(&File::open(&self.mount)?)
            .with_context(|| format!("cutting the power of {}", self.mount.display()))
    }

    /// Restores the power, once no process uses the disk.
    pub(super) fn restore(&mut self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // Lazy unmount: it must not outlive the run, even if it is busy.
            let _ = run(Command::new("umount").arg("-l").arg(&self.mount));
        }
    }
}

/// Unmounts leftovers of killed runs below this folder.
pub(super) fn clear_leftovers(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let Ok(inside) = Path::new(mount).strip_prefix(folder) else { continue };
        let run_of = inside.iter().next().and_then(|name| name.to_str()?.strip_prefix("run-"));
        let is_alive = run_of.is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if !is_alive {
            run(Command::new("umount").arg("-l").arg(mount))?;
        }
    }
    Ok(())
}

#[allow(unsafe_code, reason = "no crate has this ioctl")]
fn shut_down(file: &File) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;

    /// `EXT4_IOC_SHUTDOWN`: `_IOR('X', 125, __u32)`.
    const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
    /// `EXT4_GOING_FLAGS_NOLOGFLUSH`: not even the journal is written.
    const NO_LOG_FLUSH: u32 = 2;

    let flags = NO_LOG_FLUSH;
    // SAFETY: the descriptor is open while `file` is borrowed. The call reads one u32 through the
    // pointer, which is valid for the duration of the call, and retains nothing. On file systems
    // other than ext4 it fails with ENOTTY.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), EXT4_IOC_SHUTDOWN as _, &raw const flags) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Runs a command to completion; an error includes its stderr.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let finished = command.stdin(Stdio::null()).output().with_context(|| shown.clone())?;
    if !finished.status.success() {
        bail!("{shown}: {}", String::from_utf8_lossy(&finished.stderr).trim());
    }
    Ok(())
}
