//! The bytes of the versions of plugins that can be rolled back to, in the folder `plugins` of the data
//! folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use usher_broker::{make_folder, replace_file};
use usher_event::{Digest, PluginName};

/// A folder with components.
#[derive(Clone, Debug)]
pub struct KeptVersions {
    /// `None`: nothing is kept.
    folder: Option<PathBuf>,
}

impl KeptVersions {
    /// Those of a data folder.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join("plugins");
        make_folder(&folder)?;
        Ok(Self { folder: Some(folder) })
    }

    /// Keeps none, for tests.
    pub(crate) fn nowhere() -> Self {
        Self { folder: None }
    }

    /// Path of the bytes of a version, if they are kept.
    pub fn path(&self, name: &PluginName, digest: Digest) -> Option<PathBuf> {
        let path = self.folder.as_ref()?.join(file(name, digest));
        path.exists().then_some(path)
    }

    /// Keeps the bytes of a version. Blocks on the disk.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep(&self, name: &PluginName, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = file(name, digest);
        if folder.join(&file).exists() { Ok(()) } else { replace_file(folder, &file, bytes) }
    }

    /// Removes versions of a plugin that aren't wanted. Blocks on the disk.
    ///
    /// # Errors
    /// The folder can't be listed or written.
    pub fn sweep(&self, name: &PluginName, wanted: &[Digest]) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let wanted: Vec<String> = wanted.iter().map(|digest| file(name, *digest)).collect();
        let prefix = format!("{name}.");
        for entry in fs::read_dir(folder)? {
            let file = entry?.file_name();
            let Some(file) = file.to_str() else { continue };
            let is_own = file.starts_with(&prefix) && file.ends_with(".wasm");
            if is_own && !wanted.iter().any(|wanted| wanted == file) {
                fs::remove_file(folder.join(file))?;
            }
        }
        Ok(())
    }

    /// Copies a version to another data folder, if it is kept; returns the number of bytes.
    pub(crate) fn copy(&self, name: &PluginName, digest: Digest, to: &Self) -> io::Result<u64> {
        let Some(path) = self.path(name, digest) else { return Ok(0) };
        match fs::read(path) {
            Ok(bytes) => {
                to.keep(name, digest, &bytes)?;
                Ok(bytes.len() as u64)
            }
            // Swept meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }
}

fn file(name: &PluginName, digest: Digest) -> String {
    // Unambiguous: plugin names contain no dot.
    format!("{name}.{digest}.wasm")
}
