//! Filters through the public API: what they match, what is refused, and the index against brute
//! force.

// Lints recognise test helpers by this attribute alone.
#[cfg(test)]
mod docs;
#[cfg(test)]
mod explaining;
#[cfg(test)]
mod index;
#[cfg(test)]
mod matching;
#[cfg(test)]
mod projecting;
#[cfg(test)]
mod reading;
