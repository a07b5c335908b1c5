//! The list of a table's files, as a copy that can be opened by itself: as it is where it is whole,
//! without the files that can't be opened, or made anew of all there are.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;

use lsm_tree::{AnyTree, Config, SequenceNumberCounter};
use xxhash_rust::xxh3::xxh3_128;

use super::salvaged::Salvaged;
use crate::store::tables::{self, Keyspace};

/// lsm-tree's format, and how many levels it always has.
const FORMAT: u8 = 3;
const LEVELS: u8 = 7;

/// One file, as a list has it.
#[derive(Clone, Copy, Debug)]
struct Listed {
    number: u64,
    checksum: u128,
    /// What is added to the numbers of its rows.
    seqno: u64,
}

/// Levels, runs in each, files in each.
type Levels = Vec<Vec<Vec<Listed>>>;

/// Opens what can be opened of a table, by links in the empty folder `aside`.
pub(super) fn open(
    keyspace: &Keyspace,
    name: &str,
    aside: &Path,
    report: &mut Salvaged,
) -> io::Result<Option<AnyTree>> {
    let mut levels = match keyspace.version() {
        Ok(None) => {
            let files = all_files(keyspace)?;
            if files.iter().all(Vec::is_empty) {
                return Ok(None);
            }
            report.lose(format!("the list of files of {name}; made anew of all there are"));
            files
        }
        Ok(Some(version)) => read(&version.path)?,
        Err(failure) => {
            let failure = io::Error::from(failure);
            report.lose(format!(
                "the list of files of {name} ({failure}); made anew of all there are"
            ));
            all_files(keyspace)?
        }
    };
    let files = keyspace.path.join("tables");
    let mut is_tried_whole = false;
    loop {
        link(&files, &levels, aside)?;
        if let Ok(tree) = try_open(aside) {
            return Ok(Some(tree));
        }
        if std::mem::replace(&mut is_tried_whole, true) {
            report.lose(format!("{name}: none of its files can be opened"));
            return Ok(None);
        }
        // Which of them is to blame shows when each is opened alone.
        for file in levels.iter_mut().flatten() {
            file.retain(|listed| {
                let alone = vec![vec![vec![*listed]]];
                let opens = link(&files, &alone, aside).is_ok() && try_open(aside).is_ok();
                if !opens {
                    let path = files.join(listed.number.to_string());
                    let bytes = fs::metadata(&path).map_or(0, |found| found.len());
                    let place = tables::place(&path);
                    report.lose(format!("{name}: {place} can't be opened ({bytes} bytes)"));
                }
                opens
            });
        }
        levels.iter_mut().for_each(|runs| runs.retain(|run| !run.is_empty()));
    }
}

fn try_open(folder: &Path) -> Result<AnyTree, ()> {
    let counter = SequenceNumberCounter::default;
    let open = || Config::new(folder, counter(), counter()).open();
    // Some of what is read is asserted.
    let opened = std::panic::catch_unwind(open);
    opened.map_err(drop)?.map_err(drop)
}

/// All files there are, each in a run of its own, the newest first.
fn all_files(keyspace: &Keyspace) -> io::Result<Levels> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(keyspace.path.join("tables")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![Vec::new()]),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.is_file()) {
            files.push(Listed { number, checksum: xxh3_128(&fs::read(&path)?), seqno: 0 });
        }
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.number));
    Ok(vec![files.into_iter().take(usize::from(u8::MAX)).map(|file| vec![file]).collect()])
}

/// Reads a list whose checksum is right.
fn read(path: &Path) -> io::Result<Levels> {
    let invalid = |error| io::Error::other(format!("{error:?}"));
    let archive = sfa::Reader::new(path).map_err(invalid)?;
    let section = archive.toc().section(b"tables").ok_or(io::ErrorKind::InvalidData)?;
    let mut section = section.buf_reader(path)?;
    let mut levels = Vec::new();
    for _level in 0..u8::from_le_bytes(array(&mut section)?) {
        let mut runs = Vec::new();
        for _run in 0..u8::from_le_bytes(array(&mut section)?) {
            let mut run = Vec::new();
            for _file in 0..u32::from_le_bytes(array(&mut section)?) {
                let number = u64::from_le_bytes(array(&mut section)?);
                let [_kind] = array(&mut section)?;
                let checksum = u128::from_le_bytes(array(&mut section)?);
                let seqno = u64::from_le_bytes(array(&mut section)?);
                run.push(Listed { number, checksum, seqno });
            }
            runs.push(run);
        }
        levels.push(runs);
    }
    Ok(levels)
}

fn array<const N: usize>(reader: &mut impl io::Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Makes a folder that holds these files.
fn link(files: &Path, levels: &Levels, aside: &Path) -> io::Result<()> {
    fs::remove_dir_all(aside)?;
    let links = aside.join("tables");
    fs::create_dir_all(&links)?;
    for listed in levels.iter().flatten().flatten() {
        let name = listed.number.to_string();
        // One that is not there is found out when it is opened.
        if let Ok(file) = fs::canonicalize(files.join(&name)) {
            symlink(file, links.join(name))?;
        }
    }
    write(levels, aside)
}

/// Writes a list, and which list is the present one.
fn write(levels: &Levels, folder: &Path) -> io::Result<()> {
    let path = folder.join("v0");
    let mut list = sfa::Writer::from_writer(io::BufWriter::new(File::create(&path)?));
    list.start("format_version")?;
    list.write_all(&[FORMAT])?;
    list.start("crate_version")?;
    list.write_all(b"salvage")?;
    list.start("tree_type")?;
    list.write_all(&[0])?;
    list.start("level_count")?;
    list.write_all(&[LEVELS])?;
    list.start("filter_hash_type")?;
    list.write_all(&[0])?;
    list.start("tables")?;
    list.write_all(&[LEVELS])?;
    for level in 0..usize::from(LEVELS) {
        let runs = levels.get(level).map_or(&[][..], Vec::as_slice);
        list.write_all(&[u8::try_from(runs.len()).unwrap_or(u8::MAX)])?;
        for run in runs.iter().take(usize::from(u8::MAX)) {
            list.write_all(&u32::try_from(run.len()).unwrap_or(u32::MAX).to_le_bytes())?;
            for Listed { number, checksum, seqno } in run {
                list.write_all(&number.to_le_bytes())?;
                list.write_all(&[0])?;
                list.write_all(&checksum.to_le_bytes())?;
                list.write_all(&seqno.to_le_bytes())?;
            }
        }
    }
    list.start("blob_files")?;
    list.write_all(&0u32.to_le_bytes())?;
    list.start("blob_gc_stats")?;
    list.write_all(&0u32.to_le_bytes())?;
    list.finish().map_err(|error| io::Error::other(format!("{error:?}")))?;
    let mut content = Vec::new();
    File::open(&path)?.read_to_end(&mut content)?;
    let present = [&0u64.to_le_bytes()[..], &xxh3_128(&content).to_le_bytes(), &[0]].concat();
    fs::write(folder.join("current"), present)
}
