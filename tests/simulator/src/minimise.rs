//! Minimises a failing history: leaves out steps while it still fails in the same place.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::play;

/// Maximum number of runs spent on minimising a failing history.
const MINIMISING_RUNS_MAX: usize = 400;

/// A violation: its message, and the line that detected it. The line identifies its kind, so that
/// minimising doesn't end in a history that fails for another reason.
#[derive(Debug)]
pub(crate) struct Violation {
    what: String,
    place: Option<(String, u32)>,
}

thread_local! {
    /// Where this thread last panicked.
    static PLACE: RefCell<Option<(String, u32)>> = const { RefCell::new(None) };
}

/// Installs a hook that records where panics happen.
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

/// Plays; a panic is a violation.
pub(crate) fn fails<T>(play: impl FnOnce() -> T) -> Result<T, Violation> {
    note_places();
    catch_unwind(AssertUnwindSafe(play)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Violation { what: text.unwrap_or_default(), place: PLACE.take() }
    })
}

/// Leaves out steps while the history still fails.
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

/// A seed's failure, with the shortest way to reproduce it.
pub(crate) fn explained(seed: u64, steps: &BTreeSet<u32>, violation: &Violation) -> String {
    let Violation { what, place } = violation;
    let fails_so = |steps: &BTreeSet<u32>| {
        fails(|| play(seed, steps, false)).is_err_and(|violation| violation.place == *place)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests the simulator itself: a history made to fail is minimised.
    #[test]
    fn minimising_keeps_what_matters() {
        let fails = |steps: &BTreeSet<u32>| steps.contains(&13) && steps.contains(&40);
        assert_eq!(minimise((0..64).collect(), fails), [13, 40].into());
    }

    /// Nor is a history minimised to steps that fail in another way.
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
}
