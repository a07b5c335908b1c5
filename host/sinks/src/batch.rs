//! Collects events that are delivered at the same time into one request, as the broker collects
//! commits: while one request is under way, the next batch gathers. On request it waits for more.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};
use usher_event::Verdict;

use crate::request::Outgoing;
use crate::target::BatchRule;

/// Limit on the size of the events of one request.
pub(crate) const BATCH_MAX_BYTES: usize = 1024 * 1024;

/// Events that wait for a request.
pub(crate) struct Batches {
    rule: BatchRule,
    waiting: Mutex<VecDeque<Waiting>>,
    /// Told of each event that waits.
    arrived: Notify,
    /// Held while a request is under way, or waits for more events.
    sending: tokio::sync::Mutex<()>,
}

struct Waiting {
    since: Instant,
    outgoing: Outgoing,
    verdict: oneshot::Sender<Verdict>,
}

impl Batches {
    pub(crate) fn new(rule: BatchRule) -> Self {
        let (waiting, arrived, sending) = Default::default();
        Self { rule, waiting, arrived, sending }
    }

    /// Sends an event with others; `send` sends a batch. `None` if the one who sent it was stopped
    /// before its end.
    pub(crate) async fn deliver<F>(
        &self,
        outgoing: Outgoing,
        send: impl Fn(Vec<Outgoing>) -> F,
    ) -> Option<Verdict>
    where
        F: Future<Output = Verdict>,
    {
        let (verdict, mut decided) = oneshot::channel();
        self.waiting().push_back(Waiting { since: Instant::now(), outgoing, verdict });
        self.arrived.notify_one();
        loop {
            tokio::select! {
                biased;
                verdict = &mut decided => return verdict.ok(),
                _sending = self.sending.lock() => {
                    // Another may have sent it while this one waited for its turn.
                    if let Ok(verdict) = decided.try_recv() {
                        return Some(verdict);
                    }
                    self.gathered().await;
                    let (batch, verdicts) = self.next();
                    let verdict = send(batch).await;
                    for waiting in verdicts {
                        // Fails if its delivery was stopped.
                        let _ = waiting.send(verdict.clone());
                    }
                }
            }
        }
    }

    /// Waits until a batch is full, or its first event has waited long enough.
    async fn gathered(&self) {
        if self.rule.wait.is_zero() {
            return;
        }
        loop {
            let first = {
                let waiting = self.waiting();
                let bytes = waiting.iter().map(|one| one.outgoing.event.encoded().len());
                let is_full = waiting.len() >= self.rule.max_events
                    || bytes.sum::<usize>() >= BATCH_MAX_BYTES;
                waiting.front().filter(|_| !is_full).map(|first| first.since)
            };
            let Some(first) = first else { return };
            if timeout_at(first + self.rule.wait, self.arrived.notified()).await.is_err() {
                return;
            }
        }
    }

    /// The next batch: at least one event if any waits.
    fn next(&self) -> (Vec<Outgoing>, Vec<oneshot::Sender<Verdict>>) {
        let mut waiting = self.waiting();
        let (mut batch, mut verdicts, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(next) = waiting.pop_front() {
            bytes += next.outgoing.event.encoded().len();
            let is_full = batch.len() >= self.rule.max_events || bytes > BATCH_MAX_BYTES;
            if is_full && !batch.is_empty() {
                waiting.push_front(next);
                break;
            }
            // Of a delivery that was stopped nothing is sent.
            if !next.verdict.is_closed() {
                batch.push(next.outgoing);
                verdicts.push(next.verdict);
            }
        }
        (batch, verdicts)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use usher_event::Event;

    use super::*;

    fn outgoing(n: usize, bytes: usize) -> Outgoing {
        let event = Event::builder(n.to_string(), "/s", "t").data(vec![b'x'; bytes]);
        let event = event.datacontenttype("text/plain").build().unwrap();
        Outgoing { event, key: n.to_string(), span: None }
    }

    /// How many events each request had.
    async fn requests(events: usize, bytes: usize, rule: BatchRule) -> Vec<usize> {
        let batches = Arc::new(Batches::new(rule));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..events {
            let (batches, sent) = (Arc::clone(&batches), Arc::clone(&sent));
            tasks.spawn(async move {
                let send = |batch: Vec<Outgoing>| {
                    sent.lock().unwrap().push(batch.len());
                    async {
                        tokio::task::yield_now().await;
                        Verdict::Ack
                    }
                };
                batches.deliver(outgoing(n, bytes), send).await
            });
        }
        while let Some(verdict) = tasks.join_next().await {
            assert_eq!(verdict.unwrap(), Some(Verdict::Ack));
        }
        Arc::into_inner(sent).unwrap().into_inner().unwrap()
    }

    #[tokio::test]
    async fn what_waits_goes_together_and_within_the_limits() {
        let rule = BatchRule::default();
        let sent = requests(1_200, 10, rule).await;
        assert_eq!(sent.iter().sum::<usize>(), 1_200);
        assert!(sent.len() <= 5 && sent.iter().all(|n| *n <= rule.max_events), "{sent:?}");
        let sent = requests(20, 200_000, rule).await;
        assert_eq!(sent.iter().sum::<usize>(), 20);
        assert!(sent.iter().all(|n| *n <= 5), "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_until_it_is_full_or_its_time_has_come() {
        let wait = Duration::from_secs(2);
        let began = Instant::now();
        let sent = requests(25, 10, BatchRule { max_events: 10, wait }).await;
        assert_eq!(sent, [10, 10, 5]);
        assert_eq!(began.elapsed(), wait);
        let began = Instant::now();
        let sent = requests(11, 100_000, BatchRule { max_events: 500, wait }).await;
        assert_eq!((sent.iter().sum::<usize>(), began.elapsed()), (11, wait), "{sent:?}");
        assert!(sent[0] > 5, "{sent:?}");
    }

    #[tokio::test]
    async fn a_sender_that_is_stopped_holds_up_none() {
        let batches = Arc::new(Batches::new(BatchRule::default()));
        let calls = Arc::new(AtomicUsize::new(0));
        let stuck = {
            let batches = Arc::clone(&batches);
            tokio::spawn(async move {
                batches.deliver(outgoing(1, 1), |_| std::future::pending::<Verdict>()).await
            })
        };
        tokio::task::yield_now().await;
        stuck.abort();
        assert!(stuck.await.unwrap_err().is_cancelled());
        let send = |batch: Vec<Outgoing>| {
            calls.fetch_add(batch.len(), Ordering::Relaxed);
            async { Verdict::Ack }
        };
        assert_eq!(batches.deliver(outgoing(2, 1), send).await, Some(Verdict::Ack));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
