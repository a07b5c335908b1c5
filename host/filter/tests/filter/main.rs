//! Filters seen from outside: what they match, what is refused, and the index beside brute force.

// Lints know helpers of tests by the attribute alone.
#[cfg(test)]
mod explaining;
#[cfg(test)]
mod index;
#[cfg(test)]
mod matching;
#[cfg(test)]
mod reading;
