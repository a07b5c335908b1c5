//! Where guests spend their time: their call stacks, sampled at each tick of the epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wasmtime::{AsContext, WasmBacktrace};

use crate::frames::function_name;
use crate::meter::TICK;

/// Distinct stacks that are kept; samples of others are only counted.
const STACKS_MAX: usize = 10_000;

/// Samples of the call stacks of one plugin's instances.
///
/// A guest is seen at the first loop or call after the tick, so a function without either is charged to
/// the one after it.
#[derive(Debug, Default)]
pub struct Profile(Mutex<Samples>);

#[derive(Debug, Default)]
struct Samples {
    /// Number of samples by stack, outermost function first.
    stacks: BTreeMap<Vec<String>, u64>,
    count: u64,
}

/// How often a function was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSamples {
    /// Its name, or its number in a component without names.
    pub name: String,
    /// Samples in which it was running.
    pub own: u64,
    /// Samples in which it or a function called by it was running.
    pub total: u64,
}

impl Profile {
    /// Milliseconds between samples.
    pub const INTERVAL_MS: u64 = TICK.as_millis() as u64;

    fn lock(&self) -> MutexGuard<'_, Samples> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sample of the running guest.
    pub(crate) fn sample(&self, store: impl AsContext) {
        let trace = WasmBacktrace::capture(store);
        self.add(trace.frames().iter().rev().map(function_name).collect());
    }

    fn add(&self, stack: Vec<String>) {
        // Between two functions.
        if stack.is_empty() {
            return;
        }
        let samples = &mut *self.lock();
        samples.count += 1;
        if let Some(count) = samples.stacks.get_mut(&stack) {
            *count += 1;
        } else if samples.stacks.len() < STACKS_MAX {
            samples.stacks.insert(stack, 1);
        }
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// The functions that were seen, those that ran most first.
    pub fn functions(&self) -> Vec<FunctionSamples> {
        let samples = self.lock();
        let mut seen: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (stack, count) in &samples.stacks {
            // One that calls itself counts once.
            for name in stack.iter().collect::<BTreeSet<_>>() {
                seen.entry(name).or_default().1 += count;
            }
            if let Some(innermost) = stack.last() {
                seen.entry(innermost).or_default().0 += count;
            }
        }
        let functions = seen.into_iter();
        let mut functions: Vec<_> = functions
            .map(|(name, (own, total))| FunctionSamples { name: name.to_owned(), own, total })
            .collect();
        functions.sort_by_key(|one| std::cmp::Reverse((one.own, one.total)));
        functions
    }

    /// The stacks as text: each line has the functions, outermost first and separated by semicolons,
    /// and the number of samples. The input of Brendan Gregg's `flamegraph.pl` and of speedscope.
    pub fn folded(&self) -> String {
        let samples = self.lock();
        let mut text = String::new();
        for (stack, count) in &samples.stacks {
            let stack: Vec<_> = stack.iter().map(|name| name.replace(';', ",")).collect();
            text.push_str(&format!("{} {count}\n", stack.join(";")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_told_by_how_long_they_ran() {
        let profile = Profile::default();
        let stack = |names: &str| names.split(' ').map(str::to_owned).collect();
        profile.add(stack("main a a b"));
        profile.add(stack("main a a b"));
        profile.add(stack("main c;d"));
        let told = |name: &str, own, total| FunctionSamples { name: name.to_owned(), own, total };
        assert_eq!(
            profile.functions(),
            [told("b", 2, 2), told("c;d", 1, 1), told("main", 0, 3), told("a", 0, 2)]
        );
        assert_eq!(profile.count(), 3);
        assert_eq!(profile.folded(), "main;a;a;b 2\nmain;c,d 1\n");
    }

    #[test]
    fn stacks_are_bounded() {
        let profile = Profile::default();
        for number in 0..STACKS_MAX + 10 {
            profile.add(vec![number.to_string()]);
        }
        assert_eq!(profile.count(), STACKS_MAX as u64 + 10);
        assert_eq!(profile.functions().len(), STACKS_MAX);
    }
}
