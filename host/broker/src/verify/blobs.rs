//! Each blob that is kept has its content, and the content its digest.

use std::fs;
use std::io;
use std::path::Path;

use usher_event::Digest;

use super::verified::Verified;
use crate::blobs::file;
use crate::store::{Space, View};

/// Reads the content of each blob once, however many plugins keep it.
pub(super) fn check(view: &dyn View, folder: &Path, report: &mut Verified) {
    let (mut count, mut bytes) = (0, 0);
    let mut last = None;
    // What can't be read as a row was told before.
    for (key, _) in view.range(Space::Blobs, &[], None).map_while(Result::ok) {
        let Some((digest, _)) = key.split_first_chunk::<32>() else { continue };
        let digest = Digest::from_bytes(*digest);
        if last.replace(digest) == Some(digest) {
            continue;
        }
        count += 1;
        let path = file(folder, &digest).1;
        match read(&path) {
            Ok((length, found)) => {
                bytes += length;
                if found != digest {
                    report.problem(format!("blob {digest}"), "its content has another digest");
                }
            }
            Err(error) => report.problem(format!("blob {digest}"), error.to_string()),
        }
    }
    report.count("blob files", count);
    report.count("bytes of blob files", bytes);
}

/// Length and digest of a file. A blob fits into memory: it came from there.
fn read(path: &Path) -> io::Result<(u64, Digest)> {
    let content = fs::read(path)?;
    Ok((content.len() as u64, Digest::of(&content)))
}
