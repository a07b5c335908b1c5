//! Reproducible choices: determined by seed and round.

/// A random number generator (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Choices(u64);

impl Choices {
    /// The generator of one round.
    pub(super) fn of(seed: u64, round: u32) -> Self {
        let mut choices = Self(seed ^ u64::from(round).wrapping_mul(0xa076_1d64_78bd_642f));
        choices.next();
        choices
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    /// `true` with a probability of `percent`.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Shuffles a slice.
    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(last);
            things.swap(last, other);
        }
    }
}

/// Incompressible text, determined by the seed.
pub(super) fn noise(seed: u64, len: usize) -> String {
    let mut choices = Choices(seed);
    let mut letters = String::with_capacity(len + 12);
    while letters.len() < len {
        let mut bits = choices.next();
        for _ in 0..10 {
            letters.push(char::from(b'0' + u8::try_from(bits & 0x3f).unwrap_or(0)));
            bits >>= 6;
        }
    }
    // JSON would escape `\` with two characters.
    letters.truncate(len);
    letters.replace('\\', "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_always_chooses_the_same() {
        let draw = |seed, round| {
            let mut choices = Choices::of(seed, round);
            (0..8).map(|_| choices.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, 3), draw(7, 3));
        assert_ne!(draw(7, 3), draw(7, 4));
        assert_ne!(draw(7, 3), draw(8, 3));
        assert_eq!(noise(1, 100).len(), 100);
    }
}
