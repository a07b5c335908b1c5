//! Data folders and rows that earlier releases left.

use std::fs::File;
use std::path::{Path, PathBuf};

const FORMAT_3: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/format-3.tar.gz");

/// Unpacks the data folder that a router of format 3 left when it was killed, and beside it, as
/// text, what it answered before; returns the folder. No process does it: until a new process
/// executes its program it has the locks of all folders that other tests have open.
pub(crate) fn unpack_format_3(into: &Path) -> PathBuf {
    let archive = flate2::read::GzDecoder::new(File::open(FORMAT_3).unwrap());
    tar::Archive::new(archive).unpack(into).unwrap();
    into.join("interrupted")
}
