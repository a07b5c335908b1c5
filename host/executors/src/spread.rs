//! [`Spread`]: a plugin's listener whose deliveries other nodes may handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use usher_config::PluginConfig;
use usher_event::{Delivery, Digest, Listener, Outcome, PluginName};

use crate::nodes::{Nodes, Unanswered};
use crate::turns::Turns;
use crate::wire::{PluginVersion, Refused};

/// Deliveries that take less on average stay here: handing one over costs the owner about a tenth of this.
const WORTHWHILE: Duration = Duration::from_millis(1);

/// A node gets one delivery in so many more than it handles at the same time, so that it needn't wait for
/// the next.
const AHEAD_OF: usize = 2;

/// One part in so many of the average is the newest delivery.
const AVERAGE_OF: u64 = 4;

/// A listener of the owner's, and the same on other nodes.
pub struct Spread {
    here: Arc<dyn Listener>,
    nodes: Arc<Nodes>,
    version: PluginVersion,
    deadline: Duration,
    /// Deliveries of a subscription that a node handles at the same time.
    instances: usize,
    running_here: AtomicU64,
    turns: Turns,
    /// Whether other nodes had some.
    is_spread: AtomicBool,
    /// How long deliveries took, on average.
    took_us: AtomicU64,
    /// Whether what it returns is too large to be handed back.
    is_too_large: AtomicBool,
}

/// How many deliveries a node gets beyond what it handles at the same time.
fn ahead(instances: usize) -> usize {
    instances.div_ceil(AHEAD_OF)
}

/// A delivery handled here.
struct Running<'a>(&'a AtomicU64);

impl<'a> Running<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Spread {
    /// The listener `here` has this configuration; other nodes serve if theirs is the same.
    pub fn new(here: Arc<dyn Listener>, config: &PluginConfig, nodes: Arc<Nodes>) -> Self {
        Self {
            version: PluginVersion::new(here.name(), here.digest(), config),
            deadline: Duration::from_millis(config.limits.wall_ms),
            instances: config.instances,
            turns: Turns::new(config.instances),
            is_spread: AtomicBool::new(false),
            here,
            nodes,
            running_here: AtomicU64::new(0),
            took_us: AtomicU64::new(0),
            is_too_large: AtomicBool::new(false),
        }
    }

    fn is_worthwhile(&self) -> bool {
        self.took_us.load(Ordering::Relaxed) >= usher_event::micros(WORTHWHILE)
            && !self.is_too_large.load(Ordering::Relaxed)
    }

    fn learn(&self, took: Duration) {
        // Two at the same time may lose one: it is an average.
        let average = self.took_us.load(Ordering::Relaxed);
        let took_us = usher_event::micros(took);
        let average = average - average / AVERAGE_OF + took_us / AVERAGE_OF;
        self.took_us.store(average, Ordering::Relaxed);
    }

    async fn handle_there(&self, delivery: &Delivery) -> Option<Outcome> {
        if delivery.is_dry_run || !self.is_worthwhile() || !self.nodes.fits(delivery) {
            return None;
        }
        let (running_here, instances) =
            (self.running_here.load(Ordering::Relaxed), self.instances as u64);
        let ahead = if running_here >= instances { ahead(self.instances) as u64 } else { 0 };
        let max = running_here.min(instances) + ahead;
        let handover = self.nodes.choose(&self.version, max)?;
        match self.nodes.handle(&handover, delivery, self.deadline).await {
            Ok(outcome) => Some(outcome),
            Err(error) => {
                let node = &handover.node;
                let (plugin, sequence) = (self.name().as_str(), delivery.sequence);
                if let Unanswered::Refused(Refused::TooLarge { .. }) = &error
                    && !self.is_too_large.swap(true, Ordering::Relaxed)
                {
                    tracing::warn!(
                        plugin, sequence, node, %error,
                        "this version stays on the owner: raise max_payload of the NATS servers"
                    );
                } else {
                    // As many as that node had: too many for a line each.
                    tracing::debug!(
                        plugin, sequence, node, %error,
                        "a node didn't handle a delivery; it is handled here"
                    );
                }
                None
            }
        }
    }
}

#[async_trait]
impl Listener for Spread {
    fn name(&self) -> &PluginName {
        self.here.name()
    }

    fn version(&self) -> &str {
        self.here.version()
    }

    fn digest(&self) -> Digest {
        self.here.digest()
    }

    fn at_once(&self, instances: usize) -> usize {
        let there = if self.is_worthwhile() { self.nodes.ready(&self.version) } else { 0 };
        if there > 0 {
            self.is_spread.store(true, Ordering::Relaxed);
        }
        instances + there * (instances + ahead(instances))
    }

    async fn handle(&self, delivery: &Delivery) -> Outcome {
        let outcome = match self.handle_there(delivery).await {
            Some(outcome) => outcome,
            None => {
                // There may be more deliveries than this node is to handle.
                let _turn = match self.is_spread.load(Ordering::Relaxed) {
                    true => self.turns.take(&delivery.subscription).await,
                    false => None,
                };
                let _running = Running::new(&self.running_here);
                self.here.handle(delivery).await
            }
        };
        self.learn(outcome.took);
        outcome
    }

    async fn record(&self, delivery: &Delivery) -> Option<Outcome> {
        self.here.record(delivery).await
    }
}

impl std::fmt::Debug for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spread").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
