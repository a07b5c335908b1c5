//! Responses without the data of their events, for callers that may not read it.

use super::{CloudEvent, DeadLetter, DeadLetters, DryRuns, Flow, Stored};

/// A response, or part of one, that has events in it.
pub trait HasEvents {
    /// Its events.
    fn events_mut(&mut self) -> Box<dyn Iterator<Item = &mut CloudEvent> + '_>;
}

impl HasEvents for Stored {
    fn events_mut(&mut self) -> Box<dyn Iterator<Item = &mut CloudEvent> + '_> {
        Box::new(std::iter::once(&mut self.event))
    }
}

impl HasEvents for Flow {
    fn events_mut(&mut self) -> Box<dyn Iterator<Item = &mut CloudEvent> + '_> {
        let events = self.events.iter_mut().map(|event| &mut event.stored.event);
        Box::new(events.chain(self.delayed.iter_mut().map(|delayed| &mut delayed.event)))
    }
}

impl HasEvents for DeadLetter {
    fn events_mut(&mut self) -> Box<dyn Iterator<Item = &mut CloudEvent> + '_> {
        self.event.events_mut()
    }
}

impl HasEvents for DeadLetters {
    fn events_mut(&mut self) -> Box<dyn Iterator<Item = &mut CloudEvent> + '_> {
        Box::new(self.dead_letters.iter_mut().flat_map(HasEvents::events_mut))
    }
}

impl HasEvents for DryRuns {
    fn events_mut(&mut self) -> Box<dyn Iterator<Item = &mut CloudEvent> + '_> {
        let emissions = self.deliveries.iter_mut().flat_map(|run| &mut run.emissions);
        Box::new(emissions.map(|emission| &mut emission.event))
    }
}
