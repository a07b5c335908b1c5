//! Random histories of the ledger on a store in memory, against a plain model: publishes, leases,
//! settlements of every kind, conflicts over state, redrives, discards, subscriptions that come,
//! change, let events expire and go, schedules, a jumping clock, and crashes that lose what was not
//! committed or nobody heard of.
//! Numbers in brackets are the invariants of the design.
//!
//! Each step of a history draws from random numbers of its own, so steps can be left out: a seed
//! that fails is minimised to the steps that matter. `cargo xtask simulate` says how to replay it.

mod model;
mod random;
mod schedules;
mod settling;
mod world;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use random::Random;
use world::World;

/// How many histories an ordinary test run plays.
const SEEDS: u64 = 24;

/// Steps of a history; at least 500 events and 10 faults come of them.
const STEPS: u32 = 600;

/// Runs over which a failing history is made shorter.
const MINIMISING_RUNS_MAX: usize = 400;

/// What a history had in it.
#[derive(Clone, Copy, Debug, Default)]
struct Played {
    events: usize,
    faults: usize,
    deliveries: usize,
    expired: usize,
    /// Deliveries that expired.
    expired_unsettled: usize,
    /// Batches that were not published, and deliveries that were held back.
    refused: usize,
    held_back: usize,
    /// Deliveries that would have passed the quota.
    over_quota: usize,
}

impl Played {
    const MOST: Self = Self {
        events: usize::MAX,
        faults: usize::MAX,
        deliveries: usize::MAX,
        expired: usize::MAX,
        expired_unsettled: 0,
        refused: 0,
        held_back: 0,
        over_quota: 0,
    };

    /// The least of both; of what happens in some histories only, the sum.
    fn with(self, other: &Self) -> Self {
        Self {
            events: self.events.min(other.events),
            faults: self.faults.min(other.faults),
            deliveries: self.deliveries.min(other.deliveries),
            expired: self.expired.min(other.expired),
            expired_unsettled: self.expired_unsettled + other.expired_unsettled,
            refused: self.refused + other.refused,
            held_back: self.held_back + other.held_back,
            over_quota: self.over_quota + other.over_quota,
        }
    }
}

/// Plays those steps of a seed's history, then waits for rest and checks the books.
fn play(seed: u64, steps: &BTreeSet<u32>) -> Played {
    let mut world = World::new(seed);
    for step in steps {
        world.step(Random::of_step(seed, *step));
    }
    world.come_to_rest();
    world.check_books();
    world.played()
}

/// A violation: what was told of it, and which line found it. The line is its kind: a history that
/// is made shorter must not fail for another reason than the one it was made shorter for.
#[derive(Debug)]
struct Violation {
    what: String,
    place: Option<(String, u32)>,
}

thread_local! {
    /// Where this thread panicked last.
    static PLACE: RefCell<Option<(String, u32)>> = const { RefCell::new(None) };
}

/// Has panics tell where they were.
fn note_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(|place| (place.file().to_owned(), place.line()));
            PLACE.with_borrow_mut(|noted| *noted = place);
            before(panic);
        }));
    });
}

/// What goes wrong, if anything does.
fn fails<T>(play: impl FnOnce() -> T) -> Result<T, Violation> {
    note_places();
    catch_unwind(AssertUnwindSafe(play)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Violation { what: text.unwrap_or_default(), place: PLACE.take() }
    })
}

/// Leaves out steps for as long as the history still fails.
fn minimise(mut steps: BTreeSet<u32>, fails: impl Fn(&BTreeSet<u32>) -> bool) -> BTreeSet<u32> {
    let mut runs = 0;
    let mut piece = steps.len().div_ceil(2);
    while piece > 0 && runs < MINIMISING_RUNS_MAX {
        let present: Vec<u32> = steps.iter().copied().collect();
        let mut is_shorter = false;
        for left_out in present.chunks(piece) {
            let kept = steps.iter().copied().filter(|step| !left_out.contains(step));
            let fewer: BTreeSet<u32> = kept.collect();
            runs += 1;
            if fewer.len() < steps.len() && fails(&fewer) {
                steps = fewer;
                is_shorter = true;
            }
        }
        if !is_shorter {
            piece /= 2;
        }
    }
    steps
}

/// The failure of a seed, with the shortest way to see it again.
fn explained(seed: u64, steps: &BTreeSet<u32>, violation: &Violation) -> String {
    let Violation { what, place } = violation;
    let fails_so = |steps: &BTreeSet<u32>| {
        fails(|| play(seed, steps)).is_err_and(|violation| violation.place == *place)
    };
    let steps = minimise(steps.clone(), fails_so);
    let words: Vec<String> = steps.iter().map(u32::to_string).collect();
    format!(
        "seed {seed}: {what}\n{} steps are enough; replay them with\n  \
         cargo xtask simulate --seed {seed} --seeds 1 --trace --steps {}",
        steps.len(),
        words.join(","),
    )
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// `USHER_SEEDS=n` plays so many seeds from `USHER_SEED` (1) on; `USHER_STEPS=a,b,…` those steps
/// of it alone, and `USHER_TRACE=1` tells what happens.
#[test]
fn random_histories_agree_with_the_model() {
    let all: BTreeSet<u32> = match std::env::var("USHER_STEPS") {
        Ok(steps) => steps.split(',').map(|step| step.parse().expect("a step")).collect(),
        Err(_) => (0..STEPS).collect(),
    };
    let first = number("USHER_SEED").unwrap_or(1);
    let count =
        number("USHER_SEEDS").unwrap_or(if number("USHER_SEED").is_some() { 1 } else { SEEDS });
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let (all, next) = (&all, &AtomicU64::new(first));
    let play_on = move || {
        let mut least = Played::MOST;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return least;
            }
            let played = fails(|| play(seed, all))
                .unwrap_or_else(|violation| panic!("{}", explained(seed, all, &violation)));
            least = least.with(&played);
        }
    };
    let least = std::thread::scope(|scope| {
        let playing: Vec<_> = (0..threads).map(|_| scope.spawn(play_on)).collect();
        let played = playing.into_iter().map(|one| match one.join() {
            Ok(played) => played,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        played.reduce(|one, other| one.with(&other)).expect("at least one thread")
    });
    println!(
        "seeds {first} to {}: no violation; at least {} events, {} deliveries, {} faults, \
         {} events expired each; {} deliveries expired, {} batches refused, {} deliveries held \
         back and {} over quota in all",
        first + count - 1,
        least.events,
        least.deliveries,
        least.faults,
        least.expired,
        least.expired_unsettled,
        least.refused,
        least.held_back,
        least.over_quota
    );
    if std::env::var("USHER_STEPS").is_err() {
        assert!(
            least.events >= 500
                && least.faults >= 10
                && least.expired > 0
                && least.expired_unsettled > 0
                && (count < SEEDS || least.over_quota > 0),
            "too little happens: {least:?}"
        );
    }
}

/// The simulator itself: a history that is made to fail is made short.
#[test]
fn minimising_keeps_what_matters() {
    let fails = |steps: &BTreeSet<u32>| steps.contains(&13) && steps.contains(&40);
    assert_eq!(minimise((0..64).collect(), fails), [13, 40].into());
}

/// Nor is one made short to steps that fail in another way.
#[test]
fn each_kind_of_violation_is_told_apart() {
    let at_odds = |number: u32| {
        assert_ne!(number, 1, "one kind");
        assert_ne!(number, 2, "another");
    };
    let place = |number| fails(|| at_odds(number)).unwrap_err().place;
    assert_eq!(place(1), place(1));
    assert_ne!(place(1), place(2));
    assert!(fails(|| at_odds(3)).is_ok());
}
