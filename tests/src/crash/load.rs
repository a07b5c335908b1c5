//! Producers: publish a round's load concurrently and record every acknowledgement.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::plan::Planned;
use crate::http::{Client, Receipt};

/// How long a round may wait for an acknowledgement.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// An acknowledgement and its timing.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) receipt: Receipt,
    pub(super) asked: Instant,
    pub(super) answered: Instant,
}

/// All acknowledgements of a round so far.
#[derive(Debug, Default)]
pub(super) struct Answers {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    receipts: Vec<Answer>,
    requests: usize,
    ended: usize,
}

impl Answers {
    /// Waits until this many requests have been acknowledged or all producers have ended.
    pub(super) fn wait_for(&self, requests: usize, producers: usize) {
        let end = Instant::now() + ACKNOWLEDGED_MAX;
        let mut state = self.lock();
        while state.requests < requests && state.ended < producers {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The acknowledgements.
    pub(super) fn into_answers(self) -> Vec<Answer> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).receipts
    }

    /// Publishes these requests in order and stops at the first that isn't acknowledged: its events
    /// may or may not be in the log, and are resent after the restart.
    pub(super) fn produce(&self, client: &Client, requests: &[Vec<Planned>]) {
        for request in requests {
            let asked = Instant::now();
            match publish(client, request) {
                Ok(receipts) => {
                    let answered = Instant::now();
                    let answer = |receipt| Answer { receipt, asked, answered };
                    let mut state = self.lock();
                    state.receipts.extend(receipts.into_iter().map(answer));
                    state.requests += 1;
                }
                Err(_) => break,
            }
            self.changed.notify_all();
        }
        self.lock().ended += 1;
        self.changed.notify_all();
    }

    /// Like [`Answers::produce`], at whichever of these nodes answers; begins with the one of this number.
    pub(super) fn produce_at_any(
        &self,
        clients: &[Client],
        first: usize,
        requests: &[Vec<Planned>],
    ) {
        for (number, request) in requests.iter().enumerate() {
            let mut nodes = clients.iter().cycle().skip((first + number) % clients.len().max(1));
            let asked = Instant::now();
            let tries = nodes.by_ref().take(clients.len());
            let Some(receipts) = tries.into_iter().find_map(|client| publish(client, request).ok())
            else {
                break;
            };
            let answered = Instant::now();
            let answer = |receipt| Answer { receipt, asked, answered };
            let mut state = self.lock();
            state.receipts.extend(receipts.into_iter().map(answer));
            state.requests += 1;
            drop(state);
            self.changed.notify_all();
        }
        self.lock().ended += 1;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes a few events: one by itself, several as a batch.
pub(super) fn publish(client: &Client, planned: &[Planned]) -> Result<Vec<Receipt>> {
    let events: Vec<Value> = planned.iter().map(Planned::event).collect();
    match events.as_slice() {
        [event] => Ok(vec![client.publish(event)?]),
        events => client.publish_batch(events),
    }
}
