//! Settlements in flight to the broker. Workers submit batches without waiting, until the bytes in
//! flight reach the limit.

use std::sync::Arc;

use tokio::sync::Semaphore;
use usher_broker::{BrokerError, Disposition, Settled, Settlement};
use usher_event::{Digest, Failure, FailureClass};

use crate::run::{Finished, SettleContext};
use crate::spans::SettlingSpan;
use crate::stats::Stats;

/// Maximum bytes per subscription awaiting the disk; beyond it, workers block.
const WAITING_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Minimum charge per batch.
const BATCH_MIN_BYTES: usize = WAITING_MAX_BYTES / 64;
/// Size of one semaphore permit.
const UNIT_BYTES: usize = 1024;

/// Submits batches of settlements to the broker.
pub(crate) struct Settling {
    home: Arc<SettleContext>,
    stats: Arc<Stats>,
    room: Arc<Semaphore>,
}

/// Permits for a batch; clamped so that a single batch always fits.
fn units(batch: &[Finished]) -> u32 {
    let bytes = batch.iter().map(|one| one.settlement.bytes()).sum::<usize>();
    let units = bytes.clamp(BATCH_MIN_BYTES, WAITING_MAX_BYTES) / UNIT_BYTES;
    u32::try_from(units).unwrap_or(u32::MAX)
}

impl Settling {
    pub(crate) fn new(home: Arc<SettleContext>, stats: Arc<Stats>) -> Self {
        let room = Arc::new(Semaphore::new(WAITING_MAX_BYTES / UNIT_BYTES));
        Self { home, stats, room }
    }

    /// Submits a batch; blocks only while too many bytes are in flight.
    pub(crate) async fn submit(&self, batch: Vec<Finished>) {
        if batch.is_empty() {
            return;
        }
        let units = units(&batch);
        let batch = Batch::new(&self.home, batch);
        // The semaphore is never closed; without a permit the batch would still be sent.
        let permit = Arc::clone(&self.room).acquire_many_owned(units).await.ok();
        let stats = Arc::clone(&self.stats);
        // A task of its own, so that the batch is settled even if the worker ends now.
        self.home.spawn(async move {
            batch.settle(&stats).await;
            drop(permit);
        });
    }

    /// Submits a batch without blocking, for a worker in the middle of a slow delivery; at most one
    /// per delivery.
    pub(crate) fn submit_aside(&self, batch: Vec<Finished>) {
        if batch.is_empty() {
            return;
        }
        let units = units(&batch);
        let batch = Batch::new(&self.home, batch);
        let (room, stats) = (Arc::clone(&self.room), Arc::clone(&self.stats));
        self.home.spawn(async move {
            let _permit = room.acquire_many_owned(units).await;
            batch.settle(&stats).await;
        });
    }

    /// Resolves once the broker has answered all submitted and released batches.
    pub(crate) async fn finished(&self) {
        self.home.settling.close();
        self.home.settling.wait().await;
    }
}

struct Batch {
    home: Arc<SettleContext>,
    finished: Vec<Finished>,
}

/// What is left of a settlement while the broker has it.
struct Sent {
    sequence: u64,
    token: u64,
    digest: Option<Digest>,
    is_ack: bool,
    span: Option<Box<SettlingSpan>>,
}

impl Batch {
    fn new(home: &Arc<SettleContext>, mut finished: Vec<Finished>) -> Self {
        finished.iter_mut().filter_map(|one| one.span.as_mut()).for_each(|span| span.submitted());
        Self { home: Arc::clone(home), finished }
    }

    async fn settle(mut self, stats: &Stats) {
        let finished = std::mem::take(&mut self.finished).into_iter();
        let sent = |Finished { settlement, span }| {
            let Settlement { sequence, token, digest, ref disposition, .. } = settlement;
            let is_ack = matches!(disposition, Disposition::Ack(_));
            (settlement, Sent { sequence, token, digest, is_ack, span })
        };
        let (settlements, sent): (Vec<_>, Vec<_>) = finished.map(sent).unzip();
        let error = match self.home.broker.settle(settlements).await {
            Ok(answers) => {
                for (sent, answer) in sent.into_iter().zip(&answers) {
                    self.answered(sent.sequence, sent.is_ack, answer, stats);
                    if let Some(span) = sent.span {
                        span.settled(answer);
                    }
                }
                return;
            }
            Err(error) => error,
        };
        let subscription = &self.home.subscription;
        if matches!(error, BrokerError::Poisoned(_) | BrokerError::Closed) {
            tracing::debug!(%subscription, %error, "settlements wait for the next start");
            return;
        }
        // The broker refused the batch as a whole. The deliveries must neither hang nor re-run
        // forever: fail them, so that the retry policy counts the attempt.
        tracing::error!(%subscription, %error, "the broker refused settlements");
        let failed = sent
            .into_iter()
            .map(|Sent { sequence, token, digest, .. }| Settlement {
                subscription: subscription.clone(),
                sequence,
                token,
                digest,
                version: None,
                took: std::time::Duration::ZERO,
                disposition: Disposition::Retry {
                    failure: Failure::new(
                        FailureClass::Host,
                        format!("the broker refused the settlement: {error}"),
                    ),
                    after: None,
                },
            })
            .collect();
        if let Err(error) = self.home.broker.settle(failed).await {
            tracing::error!(%subscription, %error, "deliveries hang until the next start");
        }
    }

    fn answered(&self, sequence: u64, is_ack: bool, answer: &Settled, stats: &Stats) {
        stats.settled(answer);
        let subscription = &self.home.subscription;
        match answer {
            Settled::Dead(id) => {
                tracing::warn!(%subscription, sequence, dead_letter = id, "event became a dead letter");
            }
            // Workers log all other failures; only the broker knows of this one.
            Settled::RetryAt(due_ms) if is_ack => {
                tracing::warn!(
                    %subscription, sequence, due_ms,
                    "the broker can't take what the delivery would change, another attempt is due; \
                     usher why tells the reason"
                );
            }
            Settled::RetryAt(due_ms) => {
                tracing::debug!(%subscription, sequence, due_ms, "another attempt is due");
            }
            Settled::Conflict => {
                tracing::debug!(%subscription, sequence, "state changed meanwhile, running again");
            }
            Settled::HeldBack => {
                tracing::debug!(%subscription, sequence, "its emissions have no room, running again");
            }
            Settled::Expired => {
                tracing::warn!(%subscription, sequence, "retention took the event: it expired");
            }
            Settled::Stale => {
                tracing::debug!(%subscription, sequence, "the lease no longer held");
            }
            Settled::Committed => {}
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // Dropped while waiting for a permit: settle from a separate task.
        let finished = std::mem::take(&mut self.finished).into_iter();
        let settlements: Vec<_> = finished.map(|one| one.settlement).collect();
        if settlements.is_empty() {
            return;
        }
        let home = Arc::clone(&self.home);
        self.home.spawn(async move {
            if let Err(error) = home.broker.settle(settlements).await {
                let subscription = &home.subscription;
                tracing::warn!(%subscription, %error, "settlements wait for the next start");
            }
        });
    }
}
