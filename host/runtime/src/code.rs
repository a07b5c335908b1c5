//! A plugin's code: what was compiled first, and optimised code that takes its place.

use std::sync::OnceLock;

use crate::runtime::Prepared;

/// The linked code of one component.
pub(crate) struct Code {
    first: Prepared,
    optimised: OnceLock<Prepared>,
}

impl Code {
    pub(crate) fn new(first: Prepared) -> Self {
        Self { first, optimised: OnceLock::new() }
    }

    /// The best there is now.
    pub(crate) fn best(&self) -> &Prepared {
        self.optimised.get().unwrap_or(&self.first)
    }

    /// Replaces baseline code for instances made from now on.
    pub(crate) fn replace(&self, optimised: Prepared) {
        // Already replaced: the same code.
        let _ = self.optimised.set(optimised);
    }
}
