//! A copy of a store that may be opened and thrown away. Table files never change, so that links
//! stand for them; journals and lists of tables are copied, as far as they are whole.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::journal::Scan;
use super::tables;

/// The copy, in the system's folder for temporary files until dropped.
pub(crate) struct Shadow(TempDir);

impl Shadow {
    /// A copy of the store in this folder, whose journals were found to be like this.
    pub(crate) fn of(log: &Path, scan: &Scan) -> io::Result<Self> {
        let shadow = Self(tempfile::Builder::new().prefix("usher-store-").tempdir()?);
        shadow.copy_marker(log)?;
        for journal in &scan.journals {
            shadow.copy_journal(&journal.path, journal.end)?;
        }
        for keyspace in tables::keyspaces(log)? {
            if let Some(version) = keyspace.version()? {
                let folder = shadow.make_keyspace(keyspace.number)?;
                fs::copy(keyspace.path.join("current"), folder.join("current"))?;
                let name = version.path.file_name().unwrap_or_default();
                fs::copy(&version.path, folder.join(name))?;
                for table in version.tables {
                    shadow.link_table(&keyspace, table.number)?;
                }
            }
        }
        Ok(shadow)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn copy_marker(&self, log: &Path) -> io::Result<()> {
        match fs::copy(log.join(tables::MARKER), self.path().join(tables::MARKER)) {
            // Nothing was ever stored.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            copied => copied?,
        };
        File::create(self.path().join("lock"))?;
        Ok(())
    }

    /// Copies a journal up to here.
    fn copy_journal(&self, path: &Path, end: u64) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default();
        let mut copy = File::create(self.path().join(name))?;
        io::copy(&mut File::open(path)?.take(end), &mut copy)?;
        Ok(())
    }

    fn make_keyspace(&self, number: u64) -> io::Result<std::path::PathBuf> {
        let folder = self.path().join("keyspaces").join(number.to_string());
        fs::create_dir_all(folder.join("tables"))?;
        Ok(folder)
    }

    fn link_table(&self, keyspace: &tables::Keyspace, number: u64) -> io::Result<()> {
        let name = number.to_string();
        let table = fs::canonicalize(keyspace.path.join("tables").join(&name))?;
        let keyspace = self.path().join("keyspaces").join(keyspace.number.to_string());
        symlink(table, keyspace.join("tables").join(name))
    }
}
