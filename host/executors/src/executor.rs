//! The side of the node that handles deliveries for the owner.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::runtime::Handle as Guests;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use usher_broker::StandbyStores;
use usher_config::LiveConfig;
use usher_event::{Listener as _, Outcome, Tracing};
use usher_jetstream::{Inbox, LinkError};
use usher_runtime::Runtime;

use crate::VERSION;
use crate::link::Asks;
use crate::loading::{Kept, Plugins};
use crate::report::{EVERY, Introduction, Report};
use crate::wire::{Answered, Asked, Handle, Refused, decode, encode};

/// Maximum deliveries under way.
const RUNNING_MAX: usize = 1_024;

/// How long the end of what is under way is waited for.
const END_MAX: Duration = Duration::from_secs(1);

/// How long a delivery waits for the tables to have what its owner had.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// Handles deliveries for the owner of the journal.
pub struct Executor {
    link: Arc<dyn Asks>,
    introduction: Introduction,
    stores: StandbyStores,
    tracing: Tracing,
    guests: Guests,
    plugins: Plugins,
    is_drained: Arc<AtomicBool>,
    running: Mutex<BTreeSet<u64>>,
    work: TaskTracker,
    over: CancellationToken,
    /// Rings when there is something new to tell.
    changed: Arc<Notify>,
}

/// A delivery under way.
struct Running<'a> {
    all: &'a Mutex<BTreeSet<u64>>,
    number: u64,
}

impl<'a> Running<'a> {
    /// `None` if there are too many.
    fn begin(all: &'a Mutex<BTreeSet<u64>>, number: u64) -> Option<Self> {
        let mut numbers = lock(all);
        (numbers.len() < RUNNING_MAX).then(|| numbers.insert(number))?;
        Some(Self { all, number })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(self.all).remove(&self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Executor {
    /// Runs plugins with `runtime` on `guests`, as `config` says; state and blobs are those of `stores`.
    /// `is_drained` outlives it: whether an operator wants it to take no deliveries.
    #[allow(clippy::too_many_arguments, reason = "each is another part of the node")]
    pub fn new(
        link: Arc<dyn Asks>,
        introduction: Introduction,
        runtime: Arc<Runtime>,
        config: Arc<LiveConfig>,
        stores: StandbyStores,
        tracing: Tracing,
        guests: Guests,
        is_drained: Arc<AtomicBool>,
    ) -> Arc<Self> {
        let changed = Arc::new(Notify::new());
        let plugins = Plugins::new(runtime, config, stores.clone(), Arc::clone(&changed));
        Arc::new(Self {
            link,
            introduction,
            stores,
            tracing,
            guests,
            plugins,
            is_drained,
            running: Mutex::default(),
            work: TaskTracker::new(),
            over: CancellationToken::new(),
            changed,
        })
    }

    /// Answers questions, and tells what there is. Cancel-safe; what is under way goes on until
    /// [`Executor::end`].
    pub async fn run(self: Arc<Self>, mut inbox: Inbox) -> Infallible {
        let mut is_warned = false;
        // The sender can't be dropped: the plugins hold the configuration.
        let mut config_changes = self.plugins.config_changes();
        let mut next = Box::pin(sleep(Duration::ZERO));
        loop {
            tokio::select! {
                question = inbox.next() => {
                    // The connection is closed for good only when the journal is.
                    let Some(question) = question else { return pending().await };
                    let this = Arc::clone(&self);
                    self.spawn(async move {
                        let answer = this.answer(&question.asked).await;
                        let sent = question.answer(answer).await;
                        if let Err(LinkError::TooLarge { bytes, max_bytes }) = sent {
                            let (bytes, max_bytes) = (bytes as u64, max_bytes as u64);
                            let refused = Refused::TooLarge { bytes, max_bytes };
                            let refused = encode(&Answered::Refused(refused)).unwrap_or_default();
                            // If it isn't sent either, the asker's timeout ends its wait.
                            let _ = question.answer(refused).await;
                        }
                    });
                }
                changed = config_changes.changed() => {
                    if changed.is_ok() {
                        self.plugins.forget();
                    }
                }
                () = self.changed.notified() => next = Box::pin(sleep(Duration::ZERO)),
                () = &mut next => {
                    next = Box::pin(sleep(EVERY));
                    let told = self.link.tell(self.report().write()).await;
                    if let Err(error) = told
                        && !std::mem::replace(&mut is_warned, true)
                    {
                        tracing::warn!(%error, "this node can't tell the owner what it has");
                    }
                }
            }
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let over = self.over.clone();
        let work = async move { over.run_until_cancelled_owned(work).await };
        self.work.spawn_on(work.map(drop), &self.guests);
    }

    /// Ends what is under way, so that nothing reads the node's stores any more. Waits at most a second: a
    /// guest gives way within a tick.
    pub async fn end(&self) {
        self.over.cancel();
        self.work.close();
        if timeout(END_MAX, self.work.wait()).await.is_err() {
            tracing::warn!("deliveries for another owner did not end in time");
        }
    }

    /// What this node tells of itself.
    fn report(&self) -> Report {
        Report {
            node: self.link.node().to_owned(),
            version: VERSION.to_owned(),
            introduction: self.introduction.clone(),
            position: self.stores.position(),
            is_drained: self.is_drained.load(Ordering::Relaxed),
            running: lock(&self.running).iter().copied().collect(),
            plugins: self.plugins.told(),
        }
    }

    /// Answers a question of another node.
    async fn answer(&self, question: &[u8]) -> Bytes {
        let answered = match decode(question) {
            Ok(Asked::Handle(handle)) => {
                // Listeners don't panic; if one does, only this delivery fails.
                let handled = AssertUnwindSafe(self.handle(&handle)).catch_unwind().await;
                let panicked = |_| Err(Refused::Failed("handling it panicked".to_owned()));
                handled.unwrap_or_else(panicked)
            }
            Ok(Asked::Prepare { version, from }) => {
                if let Some(work) = self.plugins.prepare(version, from, Arc::clone(&self.link)) {
                    self.spawn(work);
                }
                Ok(Answered::Done)
            }
            Ok(Asked::Drain(is_drained)) => {
                if self.is_drained.swap(is_drained, Ordering::Relaxed) != is_drained {
                    tracing::info!(
                        is_drained,
                        "an operator changed whether this node takes deliveries"
                    );
                }
                self.changed.notify_one();
                Ok(Answered::Done)
            }
            Ok(Asked::Component { .. }) => Err(Refused::Failed("it isn't the owner".to_owned())),
            Err(reason) => Err(Refused::Failed(reason)),
        };
        let encoded = encode(&answered.unwrap_or_else(Answered::Refused));
        encoded.unwrap_or_default()
    }

    async fn handle(&self, handle: &Handle) -> Result<Answered, Refused> {
        if self.is_drained.load(Ordering::Relaxed) {
            return Err(Refused::Drained);
        }
        let _running = Running::begin(&self.running, handle.number).ok_or(Refused::Busy)?;
        let Kept::Ready { listener, turns, reads_stores } = self.plugins.get(&handle.version)
        else {
            return Err(Refused::NotReady);
        };
        if reads_stores {
            let until = timeout(BEHIND_MAX, self.stores.until(handle.owner()));
            match until.await {
                Ok(true) => {}
                Ok(false) => return Err(Refused::Overtaken),
                Err(_) => return Err(Refused::Behind),
            }
        }
        let delivery = handle.delivery(&self.tracing);
        let delivery = delivery.ok_or_else(|| Refused::Failed("it is no delivery".to_owned()))?;
        // Others wait here, so that there is always a next one.
        let _turn = turns.take(&delivery.subscription).await;
        let outcome = listener.handle(&delivery).await;
        Ok(Answered::Outcome { staged: self.staged(&outcome)?, outcome: Box::new(outcome) })
    }

    /// The content of blobs that a delivery put.
    fn staged(&self, outcome: &Outcome) -> Result<Vec<Bytes>, Refused> {
        let content = outcome.effects.staged.iter().map(|staged| {
            let lost =
                || Refused::Failed(format!("the content of blob {} is lost", staged.digest()));
            self.stores.staged(&staged.digest()).ok_or_else(lost)
        });
        content.collect()
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("node", &self.link.node()).finish_non_exhaustive()
    }
}
