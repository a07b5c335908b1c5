//! Bytes changed in, and cut off, the files of a closed store.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use usher_broker::traits::*;

use crate::{contents, scene};

/// Number of positions that an ordinary run damages.
const POSITIONS: u64 = 60;

#[derive(Debug)]
enum Damage {
    /// The byte at this offset is changed.
    Changed { at: u64, by: u8 },
    /// The file is truncated here.
    Cut { at: u64 },
}

impl Damage {
    fn choose(random: &mut Random, length: u64) -> Self {
        let at = random.below(length);
        match random.below(5) {
            0 => Self::Cut { at },
            _ => Self::Changed { at, by: 1 + random.below(255) as u8 },
        }
    }

    fn apply(&self, path: &Path) {
        let file = File::options().read(true).write(true).open(path).unwrap();
        match *self {
            Self::Changed { at, by } => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ by], at).unwrap();
            }
            Self::Cut { at } => file.set_len(at).unwrap(),
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// When the damage was noticed.
#[derive(Debug, PartialEq, Eq)]
enum Noticed {
    AtStart,
    WhenRead,
    ByVerify,
    NotAtAll,
}

/// Invariant 9: damage is reported, never skipped silently. Opening refuses, reading or verifying
/// reports it, or all contents are intact.
#[test]
fn no_damage_goes_unnoticed() {
    let number = |name, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |number| number.parse().unwrap())
    };
    let chance = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("USHER_DAMAGE_SEED", chance);
    let positions = number("USHER_DAMAGE_POSITIONS", POSITIONS);
    println!("USHER_DAMAGE_SEED={seed} USHER_DAMAGE_POSITIONS={positions}");

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let work = tempfile::tempdir().unwrap();
    let whole = work.path().join("whole");
    runtime.block_on(scene::make(&whole));
    let verified = usher_broker::verify(&whole).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
    let expected = {
        // A copy, since opening a store modifies it.
        let copy = work.path().join("expected");
        scene::copy(&whole, &copy);
        runtime.block_on(contents::read(&scene::open(&copy).unwrap())).unwrap()
    };
    assert!(expected.len() > 200, "{}", expected.len());

    let groups = groups(&whole);
    let mut random = Random(seed);
    let mut counts = [0; 4];
    for position in 0..positions {
        // Two fifths in journal segments, two fifths in files of tables, the rest in all other files.
        let group = &groups[[0, 0, 1, 1, 2][(position % 5) as usize]];
        let total = group.iter().map(|(_, length)| length).sum();
        // A file is hit in proportion to its length: every byte is equally likely.
        let mut place = random.below(total);
        let (path, length) = group
            .iter()
            .find(|(_, length)| place.checked_sub(*length).map(|rest| place = rest).is_none())
            .unwrap();
        let damage = Damage::choose(&mut random, *length);
        let what = format!("seed {seed}, position {position}: {} {damage:?}", path.display());

        let folder = work.path().join("damaged");
        scene::copy(&whole, &folder);
        damage.apply(&folder.join(path));
        let noticed = runtime.block_on(look(&folder, &expected, &what));
        counts[noticed as usize] += 1;
        fs::remove_dir_all(&folder).unwrap();
    }
    let [at_start, when_read, by_verify, not_at_all] = counts;
    println!(
        "noticed at start {at_start}, when read {when_read}, by verify only {by_verify}; harmless \
         {not_at_all}"
    );
    assert!(at_start > 0 && when_read > 0, "the damage isn't where it should be");
}

async fn look(folder: &Path, expected: &[String], what: &str) -> Noticed {
    let told = |words: &str| assert!(!words.contains("panic"), "{what}: {words}");
    let is_sound = match usher_broker::verify(folder) {
        Ok(verified) => {
            verified.problems.iter().for_each(|problem| told(&problem.what));
            verified.is_sound()
        }
        Err(error) => {
            told(&error.to_string());
            false
        }
    };
    let broker = match scene::open(folder) {
        Ok(broker) => broker,
        Err(error) => {
            told(&error.to_string());
            assert!(!is_sound, "{what}: verify saw nothing, but {error}");
            rescue(folder, expected, what).await;
            return Noticed::AtStart;
        }
    };
    match contents::read(&broker).await {
        Err(error) => {
            told(&error.to_string());
            assert!(!is_sound, "{what}: verify saw nothing, but {error}");
            drop(broker);
            // Damage in tables lasts until the next start. That of anything else is found again.
            if what.contains(": tables/") {
                let found = contents::read(&scene::open(folder).unwrap()).await.unwrap();
                assert_eq!(found, expected, "{what}: after another start");
            }
            Noticed::WhenRead
        }
        Ok(lines) => {
            for (found, expected) in lines.iter().zip(expected) {
                assert_eq!(found, expected, "{what}");
            }
            assert_eq!(lines.len(), expected.len(), "{what}");
            if is_sound { Noticed::NotAtAll } else { Noticed::ByVerify }
        }
    }
}

/// Invariant 6: what is salvaged from a refused store is consistent and correct, and continues
/// after everything that was there.
async fn rescue(folder: &Path, expected: &[String], what: &str) {
    let new = folder.with_extension("rescued");
    let before = scene::contents_of_files(folder);
    let made = match usher_broker::salvage(folder, &new) {
        Ok(made) => made,
        Err(error) => panic!("{what}: {error}"),
    };
    assert_eq!(scene::contents_of_files(folder), before, "{what}: the damaged folder has changed");
    let verified = usher_broker::verify(&new).unwrap();
    assert!(verified.is_sound(), "{what}: {verified:#?} {made:#?}");
    let broker = scene::open(&new).unwrap_or_else(|error| panic!("{what}: {error} {made:#?}"));
    let found = contents::read(&broker).await.unwrap();
    let is_event = |line: &&String| line.starts_with("StoredEvent");
    for kind in ["StoredEvent", "DeadLetter", "AuditRecord"] {
        for line in found.iter().filter(|line| line.starts_with(kind)) {
            assert!(expected.contains(line), "{what}: {line} was never there");
        }
    }
    let (rescued, all) =
        (found.iter().filter(is_event).count(), expected.iter().filter(is_event).count());
    println!("{what}: {rescued} of {all} events rescued, {} losses", made.losses.len());
    let next = broker.publish(scene::events("after", 1)).await.unwrap()[0].sequence;
    assert!(next > all as u64 && next == made.last_sequence + 1, "{what}: {next} {made:#?}");
    drop(broker);
    fs::remove_dir_all(&new).unwrap();
}

/// Journal segments, files of tables, and all others, with their lengths.
fn groups(folder: &Path) -> [Vec<(PathBuf, u64)>; 3] {
    let mut groups = [const { Vec::new() }; 3];
    for path in scene::files(folder) {
        let length = fs::metadata(&path).unwrap().len();
        let is_journal = path.extension().is_some_and(|extension| extension == "segment");
        let is_table = path.strip_prefix(folder).unwrap().starts_with("tables");
        let group = if is_journal { 0 } else { 2 - usize::from(is_table) };
        if length > 0 {
            groups[group].push((path.strip_prefix(folder).unwrap().to_owned(), length));
        }
    }
    assert!(groups.iter().all(|group| !group.is_empty()), "{groups:?}");
    groups
}
