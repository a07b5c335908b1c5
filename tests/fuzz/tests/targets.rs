//! Each target on its seeds, and on what random changes make of them. `USHER_FUZZ_SECONDS` says how
//! long each, `USHER_FUZZ_TARGET` which, and `USHER_FUZZ_SEED` where all chance comes from.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use usher_fuzz::{TARGETS, Target};
use wasm_mutate::WasmMutate;

/// Inputs tried without a word on time.
const INPUTS: u32 = 1_000;
/// Modules that are mutated into others, how many are tried of each, and in all where there is no
/// word on time.
const MODULES_KEPT: usize = 32;
const MUTANTS_OF_ONE: usize = 4;
const MUTANTS: usize = 500;
/// The longest input.
const INPUT_MAX_BYTES: usize = 64 * 1024;
/// Changes made of one seed, at most.
const CHANGES_MAX: u64 = 6;
/// What lies at the edges of numbers.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, u64::MAX / 2, u64::MAX];

#[test]
fn nothing_that_is_fed_makes_a_target_fail() {
    let seconds = variable("USHER_FUZZ_SECONDS");
    let seed = variable("USHER_FUZZ_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let only = std::env::var("USHER_FUZZ_TARGET").ok();
    println!("USHER_FUZZ_SEED={seed}");
    let mut run = 0;
    for target in &TARGETS {
        if only.as_ref().is_none_or(|only| only == target.name) {
            fuzz(target, seed, seconds.map(Duration::from_secs));
            run += 1;
        }
    }
    assert!(run > 0, "there is no target {only:?}");
}

/// What wasm-mutate makes of a plugin's module still is a module, whose exports may be gone, whose
/// functions do something else, and whose sections are of other sizes.
#[test]
fn what_is_mutated_of_a_plugin_makes_nothing_fail() {
    let target =
        Target { name: "mutated-modules", run: |module| usher_fuzz::load_module(module.to_vec()) };
    let only = std::env::var("USHER_FUZZ_TARGET").ok();
    if only.is_some_and(|only| only != target.name) {
        return;
    }
    let seed = variable("USHER_FUZZ_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("USHER_FUZZ_SEED={seed}");
    let time = variable("USHER_FUZZ_SECONDS").map(Duration::from_secs);
    let start = Instant::now();
    let mut modules = vec![usher_fuzz::contract()];
    let mut tried = 0;
    for seed in seed.. {
        if time.map_or(tried >= MUTANTS, |time| start.elapsed() >= time) {
            break;
        }
        let from = modules[seed as usize % modules.len()].clone();
        let mut mutate = WasmMutate::default();
        // Some modules leave nothing to change in the way that was chosen.
        let Ok(mutants) = mutate.seed(seed).preserve_semantics(false).run(&from) else { continue };
        for mutant in mutants.take(MUTANTS_OF_ONE).flatten() {
            feed(&target, &mutant);
            tried += 1;
            // Of these, others are made.
            let place = tried % MODULES_KEPT;
            if modules.len() <= place { modules.push(mutant) } else { modules[place] = mutant }
        }
    }
    println!("{}: {tried} in {:.1} s", target.name, start.elapsed().as_secs_f64());
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn fuzz(target: &Target, seed: u64, time: Option<Duration>) {
    let seeds = seeds(target.name);
    for bytes in &seeds {
        feed(target, bytes);
    }
    let mut random = Random::new(seed);
    let start = Instant::now();
    let mut inputs = 0;
    while time.map_or(inputs < INPUTS, |time| start.elapsed() < time) {
        let input = changed(&seeds, &mut random);
        feed(target, &input);
        inputs += 1;
    }
    let took = start.elapsed().as_secs_f64();
    println!("{}: {} seeds, {inputs} inputs in {took:.1} s", target.name, seeds.len());
}

/// Runs the target; keeps what makes it fail.
fn feed(target: &Target, input: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    if let Err(panic) = outcome {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("failed-{}", target.name));
        fs::write(&path, input).unwrap();
        println!("{} fails on {}", target.name, path.display());
        resume_unwind(panic);
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A seed with some changes.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.next() % CHANGES_MAX {
        let place = random.below(bytes.len() + 1);
        let length = random.below(16) + 1;
        let end = (place + length).min(bytes.len());
        match random.next() % 7 {
            0 if place < bytes.len() => bytes[place] ^= 1 << random.below(8),
            1 if place < bytes.len() => bytes[place] = random.next() as u8,
            2 => drop(bytes.drain(place..end)),
            3 => {
                let again = bytes[place..end].to_vec();
                bytes.splice(place..place, again);
            }
            4 => {
                let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][random.below(4)];
                let end = (place + width).min(bytes.len());
                bytes.splice(place..end, edge[..width].iter().copied());
            }
            5 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(place);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.insert(place, random.next() as u8),
        }
    }
    bytes.truncate(INPUT_MAX_BYTES);
    bytes
}

/// xorshift64*: enough for choices.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}
