//! Every call by which a broker changes its files fails once, in every way it can, in a scripted
//! history; and what must then be true of that broker, and of the next.
//!
//! A round plays the history up to the fault. Then the broker refuses everything and reports why,
//! or the fault had no consequence. What the next broker finds is compared in full with what one
//! finds after the same steps without a fault: exactly what was acknowledged, with or without the
//! step that failed. From there, everything comes to rest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by failing what went wrong"
)]

mod disk;
#[path = "../golden/mod.rs"]
mod golden;
mod history;
mod view;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use disk::{Call, Fault, Kind};
use history::{Failed, Player, START_MS, Step, growing_steps, soon, steps};
use tempfile::TempDir;
use usher_broker::traits::*;
use usher_broker::{Clock as _, EmbeddedBroker};

/// Of the calls that create a new data folder, which are the same for each table, one in this many
/// fails, unless all are requested.
const MAKING_SAMPLE: usize = 16;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// How far a history got.
struct Played {
    player: Player,
    /// Steps that succeeded, all before the first that failed.
    done: usize,
    /// What became of the broker.
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Every step was done.
    NothingFailed,
    /// The broker did not open.
    NotOpened,
    /// The broker refuses everything.
    Poisoned,
    /// A blob could not be written; everything else works.
    BlobRefused,
    /// The history made fewer calls this time.
    NotReached,
}

/// Plays these steps, to the end or to the first failure.
fn play(folder: &TempDir, steps: &[(u64, Step)]) -> Played {
    let mut player = Player::new(folder.path().join("data"));
    let played = block_on(async {
        for (number, step) in steps.iter().enumerate() {
            let failed = match player.step(step).await {
                Ok(()) => continue,
                Err(failed) => failed,
            };
            let broker = player.broker.clone();
            assert!(!failed.to_string().is_empty());
            let outcome = match (failed, broker) {
                (Failed::Open(_), _) => Outcome::NotOpened,
                (Failed::Blob(_), Some(broker)) if broker.poisoned().borrow().is_none() => {
                    broker.subscriptions().await.unwrap();
                    Outcome::BlobRefused
                }
                (_, broker) => {
                    let broker = broker.unwrap();
                    // If it failed behind a commit, a read may have seen it first.
                    soon(async {
                        while broker.poisoned().borrow().is_none() {
                            let _ = broker.subscriptions().await;
                        }
                    })
                    .await;
                    view::refuses_everything(&broker).await;
                    Outcome::Poisoned
                }
            };
            return (number, outcome);
        }
        (steps.len(), Outcome::NothingFailed)
    });
    player.broker = None;
    Played { player, done: played.0, outcome: played.1 }
}

/// What a folder holds before the first step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A data folder that a router of format 3 left when it was killed.
    Format3,
}

impl Before {
    fn folder(self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        if self == Self::Format3 {
            let left = golden::unpack_format_3(folder.path());
            fs::rename(left, folder.path().join("data")).unwrap();
        }
        folder
    }
}

/// Runs `work` on a disk without faults, where fsync takes no time either.
fn unharmed<T: Send>(folder: &TempDir, work: impl FnOnce() -> T + Send) -> T {
    let (done, _) = disk::run(folder.path(), None, work).unwrap();
    done.unwrap_or_else(|panic| resume_unwind(panic))
}

/// What the next broker finds, before the clock advances.
fn found(player: &mut Player) -> (Arc<EmbeddedBroker>, String) {
    let now_ms = player.clock.now_ms();
    player.clock.set(START_MS);
    let broker = player.open().unwrap();
    let seen = block_on(view::seen(&broker));
    player.clock.set(now_ms);
    (broker, seen)
}

/// What is found after each number of steps, none of which failed.
fn found_without_fault(before: Before, steps: &[(u64, Step)]) -> Vec<String> {
    let after = |done: usize| {
        let folder = before.folder();
        unharmed(&folder, || {
            let Played { mut player, outcome, .. } = play(&folder, &steps[..done]);
            assert_eq!(outcome, Outcome::NothingFailed);
            found(&mut player).1
        })
    };
    (0..=steps.len()).map(after).collect()
}

/// Plays one round; returns what became of the broker, and whether the failed step took effect
/// anyway.
fn round(
    before: Before,
    steps: &[(u64, Step)],
    expected: &[String],
    (at, fault): (usize, Fault),
) -> (Outcome, bool) {
    let folder = before.folder();
    let work = || play(&folder, steps);
    let (played, calls) = disk::run(folder.path(), Some((at, fault)), work).unwrap();
    let Played { mut player, done, outcome } = played.unwrap_or_else(|panic| resume_unwind(panic));
    if calls.len() <= at {
        // Background work may make more calls or fewer.
        assert_eq!(outcome, Outcome::NothingFailed);
        return (Outcome::NotReached, false);
    }
    let (without, with) = (&expected[done], expected.get(done + 1));
    unharmed(&folder, move || {
        let (broker, seen) = found(&mut player);
        let is_with = with.is_some_and(|with| seen == *with);
        assert!(
            is_with || seen == *without,
            "after {done} steps it found\n{seen}\ninstead of\n{without}\nor\n{}",
            with.map_or("", String::as_str),
        );
        if before == Before::Nothing {
            block_on(view::goes_on(&player, &broker));
        }
        (outcome, is_with && seen != *without)
    })
}

/// Invariants 1, 3, 4, 6, 7, 9 and 13, for every call and every way in which it can fail.
#[test]
fn every_call_fails_in_its_turn() {
    let making = calls_of(&steps()[..1]);
    campaign(Before::Nothing, &steps(), |calls| {
        let calls = calls.iter().enumerate();
        calls
            .filter(|(at, _)| is_all() || *at >= making || at.is_multiple_of(MAKING_SAMPLE))
            .flat_map(|(at, call)| faults(call.kind).iter().map(move |fault| (at, *fault)))
            .collect()
    });
}

/// The same where the power is cut around each change to the names of files: while segments are begun,
/// rewritten and removed, and while tables are checkpointed.
#[test]
fn the_power_is_cut_while_the_journal_grows() {
    campaign(Before::Nothing, &growing_steps(), |calls| {
        let rewritten = |call: &Call| call.file.ends_with("journal/rewritten.new");
        assert!(calls.iter().any(|call| call.kind == Kind::Rename && rewritten(call)));
        let trimmed = |call: &Call| call.file.extension().is_some_and(|it| it == "segment");
        assert!(calls.iter().any(|call| call.kind == Kind::Remove && trimmed(call)));
        let is_plain = |call: &Call| matches!(call.kind, Kind::Write | Kind::Sync);
        let around = |at: &usize| {
            let calls = calls[at.saturating_sub(1)..].iter().take(3);
            is_all() || !calls.into_iter().all(is_plain)
        };
        let faults = |at: usize| if is_all() { calls[at].kind.faults() } else { &[Fault::Power] };
        let chosen = (0..calls.len()).filter(around);
        chosen.flat_map(|at| faults(at).iter().map(move |fault| (at, *fault))).collect()
    });
}

/// The same during an upgrade, at every call.
#[test]
fn the_power_is_cut_during_an_upgrade() {
    campaign(Before::Format3, &[(0, Step::Open)], |calls| {
        let renamed = |call: &Call| call.kind == Kind::Rename && call.file.ends_with("log");
        assert!(calls.iter().any(renamed));
        (0..calls.len()).map(|at| (at, Fault::Power)).collect()
    });
}

/// Plays a history once for each of the chosen rounds.
fn campaign(
    before: Before,
    steps: &[(u64, Step)],
    rounds: impl FnOnce(&[Call]) -> Vec<(usize, Fault)>,
) {
    let folder = before.folder();
    let (played, calls) = match disk::run(folder.path(), None, || play(&folder, steps)) {
        Ok(done) => done,
        Err(error) => {
            println!("skipped: this kernel lets nobody answer calls in its place: {error}");
            return;
        }
    };
    assert_eq!(played.unwrap().outcome, Outcome::NothingFailed);
    let expected = found_without_fault(before, steps);
    let mut rounds = rounds(&calls);
    rounds.retain(|(at, _)| only().is_none_or(|only| only == *at));
    let (next, tally, failures) =
        (AtomicUsize::new(0), Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&chosen) = rounds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = || round(before, steps, &expected, chosen);
                    match catch_unwind(AssertUnwindSafe(played)) {
                        Ok(became) => *tally.lock().unwrap().entry(became).or_insert(0) += 1,
                        Err(panic) => failures.lock().unwrap().push((chosen, words(&*panic))),
                    }
                }
            });
        }
    });
    report(steps, &calls, &rounds, &tally.into_inner().unwrap());
    let failures = failures.into_inner().unwrap();
    for ((at, fault), words) in &failures {
        println!(
            "call {at} ({:?} {}), {fault:?}: {words}",
            calls[*at].kind,
            calls[*at].file.display()
        );
    }
    assert!(
        failures.is_empty(),
        "{} rounds failed; USHER_IO_CALL=N plays one call",
        failures.len()
    );
}

/// The faults to inject: all if requested, otherwise those that leave the most and the least behind.
fn faults(kind: Kind) -> &'static [Fault] {
    let all = kind.faults();
    if is_all() { all } else { &all[..2] }
}

/// Number of calls that these steps make.
fn calls_of(steps: &[(u64, Step)]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let (_, calls) = disk::run(folder.path(), None, || play(&folder, steps)).unwrap();
    calls.len()
}

/// Whether every call is to fail in every way (`cargo xtask crash --io`).
fn is_all() -> bool {
    std::env::var_os("USHER_IO_FAULTS").is_some()
}

/// The only call to fail, if one is requested.
fn only() -> Option<usize> {
    std::env::var("USHER_IO_CALL").ok().map(|number| number.parse().expect("a number"))
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn report(
    steps: &[(u64, Step)],
    calls: &[Call],
    rounds: &[(usize, Fault)],
    tally: &BTreeMap<(Outcome, bool), usize>,
) {
    let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
    for call in calls {
        *kinds.entry(call.kind).or_default() += 1;
    }
    println!("{} steps make {} calls: {kinds:?}", steps.len(), calls.len());
    println!("{} rounds, each with one call that fails in one way:", rounds.len());
    for ((outcome, is_with), count) in tally {
        let rest =
            if *is_with { "what was under way is there" } else { "nothing more than acknowledged" };
        println!("  {count:>5}  {outcome:?}, {rest}");
    }
}
