//! The router itself: which listener serves which subscriptions, and how that changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use usher_broker::{BrokerError, Deliveries, Subscription};
use usher_event::{Digest, Listener, PluginName, SubscriptionName, Tracing};

use crate::breaker::BreakerPolicy;
use crate::dispatch::Dispatch;
use crate::dispatcher::Dispatcher;
use crate::ladder::{Ladder, Quarantine, Standing};
use crate::recordings::Recordings;
use crate::run::SettleContext;
use crate::stats::{DispatchStatus, Stats};
use crate::swap::{Serving, Slot, SwapOutcome};
use crate::trial::{LastGood, Trial, TrialPolicy};
use crate::verdict::EmissionLimits;

/// Subscriptions that the broker is given at once.
const SUBSCRIBED_AT_ONCE: usize = 256;

/// Default drain timeout of a replaced or removed version.
const DRAIN_DEFAULT: Duration = Duration::from_secs(30);

/// A listener with its subscriptions and policies.
pub struct Installation {
    /// Handles the deliveries.
    pub listener: Arc<dyn Listener>,
    /// The subscriptions to serve; all must belong to the listener's plugin.
    pub subscriptions: Vec<Subscription>,
    /// Deliveries of one subscription handled concurrently on each machine; at least 1.
    pub instances: usize,
    /// Emission limits per delivery.
    pub emissions: EmissionLimits,
    /// When repeated failures stop deliveries.
    pub breaker: BreakerPolicy,
    /// When to roll back to the previous version, if there is one; `None` skips the trial.
    pub trial: Option<TrialPolicy>,
    /// Restrictions persisted from an earlier run; ignored if the plugin is being served.
    pub held: RestoredState,
}

/// Persisted state that a plugin starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredState {
    /// Whether an operator paused it.
    pub is_paused: bool,
    /// Digest of the newest component that has acked a delivery.
    pub acked: Option<Digest>,
    /// Why it is quarantined; ignored if the digest differs from the one to serve.
    pub quarantine: Option<Quarantine>,
}

/// Why a listener was not installed. The previous version keeps serving.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The broker refused a subscription.
    #[error("subscription {subscription} was not taken: {error}")]
    Broker {
        /// The refused subscription.
        subscription: SubscriptionName,
        /// The broker's error.
        error: BrokerError,
    },
    /// The same subscription is there twice.
    #[error("subscription {0} is there twice: give each a name of its own")]
    Twice(SubscriptionName),
    /// A subscription belongs to another plugin.
    #[error("subscription {subscription} does not belong to plugin {plugin}")]
    Foreign {
        /// The foreign subscription.
        subscription: SubscriptionName,
        /// The plugin that claimed it.
        plugin: PluginName,
    },
    /// The router is shut down.
    #[error("the router is shut down")]
    ShutDown,
}

/// Moves deliveries from the broker to listeners; each subscription has its own workers.
pub struct Router {
    broker: Arc<dyn Deliveries>,
    pub(crate) guests: Handle,
    drain: Duration,
    tracing: Tracing,
    recordings: Arc<Recordings>,
    /// One lock per plugin: a slow drain blocks changes to that plugin only.
    plugins: Mutex<BTreeMap<PluginName, Arc<tokio::sync::Mutex<Option<Installed>>>>>,
    /// What is being served, readable without the plugin locks.
    active: RwLock<Active>,
    /// Incremented when a standing changes that must be persisted.
    notices: watch::Sender<u64>,
    /// Replaced versions being drained.
    drains: Mutex<JoinSet<()>>,
    shut_down: AtomicBool,
}

/// A version to drain, and the signal to wait for first.
type Replaced = (Arc<Serving>, Option<oneshot::Receiver<()>>);

#[derive(Default)]
struct Active {
    dispatches: BTreeMap<SubscriptionName, (PluginName, Arc<Dispatch>)>,
    ladders: BTreeMap<PluginName, Arc<Ladder>>,
}

struct Installed {
    slot: Arc<Slot>,
    ladder: Arc<Ladder>,
    dispatchers: BTreeMap<SubscriptionName, Dispatcher>,
}

impl Router {
    /// A router that serves nothing yet. Workers run on `guests`.
    pub fn new(broker: Arc<dyn Deliveries>, guests: Handle) -> Self {
        Self {
            broker,
            guests,
            drain: DRAIN_DEFAULT,
            tracing: Tracing::default(),
            recordings: Arc::default(),
            plugins: Mutex::default(),
            active: RwLock::default(),
            notices: watch::Sender::new(0),
            drains: Mutex::default(),
            shut_down: AtomicBool::new(false),
        }
    }

    /// Sets how long a replaced or removed version may finish its deliveries before they are
    /// released and re-run.
    #[must_use]
    pub fn with_drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets where spans of deliveries go.
    #[must_use]
    pub fn with_tracing(mut self, tracing: Tracing) -> Self {
        self.tracing = tracing;
        self
    }

    /// What the newest deliveries were told that are worth running again.
    pub fn recordings(&self) -> &Recordings {
        &self.recordings
    }

    /// Installs the listener, replacing the serving version of the same plugin. Returns once the
    /// new version serves; the old one finishes its current deliveries in the background.
    ///
    /// Subscriptions that only the old version had are no longer served; the broker keeps them. A
    /// subscription whose specification changes is drained first, so the new version sees no
    /// delivery made under the old specification.
    ///
    /// Not cancel-safe: dropping the future midway leaves the plugin unserved.
    ///
    /// # Errors
    /// See [`InstallError`]; the old version then keeps serving.
    pub async fn install(&self, installation: Installation) -> Result<SwapOutcome, InstallError> {
        let Installation { listener, subscriptions, instances, emissions, breaker, trial, held } =
            installation;
        let name = listener.name().clone();
        let wanted = by_name(&name, subscriptions)?;
        let entry = self.entry(&name);
        let mut plugin = entry.lock().await;
        if self.shut_down.load(Ordering::Acquire) {
            return Err(InstallError::ShutDown);
        }
        let digest = listener.digest();
        let serving = Serving::new(listener, emissions);
        let from = plugin.as_ref().map(|plugin| plugin.slot.present());
        if let (Some(present), Some(plugin)) = (&from, &*plugin)
            && Arc::ptr_eq(present.listener(), serving.listener())
            && plugin.serves_exactly(&wanted, instances)
        {
            return Ok(SwapOutcome::Unchanged { digest });
        }
        let mut present = plugin.take().unwrap_or_else(|| Installed {
            slot: Arc::new(Slot::new(Arc::clone(&serving))),
            ladder: self.ladder(&name, breaker, held, digest),
            dispatchers: BTreeMap::new(),
        });
        let changed = self.change_subscriptions(&mut present, wanted, instances).await;
        let replaced = changed.map(|changed| {
            let before = present.ladder.take_trial();
            let replaced = present.slot.replace(serving);
            let trial = trial.filter(|_| from.is_some());
            let (trial, drained) = present.try_out(trial, digest, before, replaced);
            present.ladder.renew(digest, breaker, trial);
            for (subscription, stats) in changed {
                self.start(&mut present, subscription, instances, stats);
            }
            drained
        });
        // A first installation that failed leaves no entry behind.
        if replaced.is_ok() || from.is_some() {
            self.publish_active(&name, &present);
            *plugin = Some(present);
        }
        let replaced = replaced?;
        let Some(from) = from else {
            return Ok(SwapOutcome::Loaded { digest });
        };
        let from = from.listener().digest();
        self.drain_aside(name, replaced);
        Ok(SwapOutcome::Replaced { from, to: digest })
    }

    /// Stops serving a plugin after draining its deliveries. The broker keeps the subscriptions and
    /// their events. Returns whether the plugin was served.
    pub async fn remove(&self, name: &PluginName) -> bool {
        let entry = self.entry(name);
        // Held until the drain is done, so that a concurrent install of the same name waits for it.
        let mut entry = entry.lock().await;
        let Some(plugin) = entry.take() else {
            return false;
        };
        self.active_mut(|active| {
            active.dispatches.retain(|_, (plugin, _)| plugin != name);
            active.ladders.remove(name);
        });
        let stopped = plugin.dispatchers.values().map(|one| one.stop(self.drain));
        join_all(stopped).await;
        drop(plugin.ladder.take_trial());
        true
    }

    /// Status of each served subscription, ordered by name.
    pub fn status(&self) -> Vec<DispatchStatus> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.dispatches.values().map(|(plugin, dispatch)| dispatch.status(plugin)).collect()
    }

    /// Digest of the serving component, if it has acked a delivery.
    pub fn proven(&self, name: &PluginName) -> Option<Digest> {
        self.ladder_of(name)?.proven()
    }

    /// Standing of each installed plugin.
    pub fn standings(&self) -> BTreeMap<PluginName, Standing> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let standing =
            |(name, ladder): (&PluginName, &Arc<Ladder>)| (name.clone(), ladder.standing());
        active.ladders.iter().map(standing).collect()
    }

    /// Changes when [`Router::standings`] has something new to persist.
    pub fn notices(&self) -> watch::Receiver<u64> {
        self.notices.subscribe()
    }

    /// Pauses or resumes new deliveries to a plugin; deliveries in flight finish. Returns whether
    /// the plugin is installed.
    pub fn pause(&self, name: &PluginName, is_paused: bool) -> bool {
        self.ladder_of(name).inspect(|ladder| ladder.pause(is_paused)).is_some()
    }

    /// Lifts a plugin's quarantine and returns it.
    pub fn release(&self, name: &PluginName) -> Option<Quarantine> {
        self.ladder_of(name)?.release()
    }

    fn ladder_of(&self, name: &PluginName) -> Option<Arc<Ladder>> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.ladders.get(name).cloned()
    }

    /// Builds the ladder of a plugin that isn't served yet, with its persisted state.
    fn ladder(
        &self,
        name: &PluginName,
        policy: BreakerPolicy,
        held: RestoredState,
        digest: Digest,
    ) -> Arc<Ladder> {
        let ladder = Ladder::new(name.clone(), digest, policy, self.notices.clone());
        ladder.pause(held.is_paused);
        if held.acked == Some(digest) {
            ladder.has_acked_before();
        }
        if let Some(quarantine) = held.quarantine.filter(|held| held.digest == digest) {
            ladder.quarantine(quarantine);
        }
        ladder
    }

    /// The dispatch of a served subscription.
    pub(crate) fn dispatch(&self, name: &SubscriptionName) -> Option<Arc<Dispatch>> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.dispatches.get(name).map(|(_, dispatch)| Arc::clone(dispatch))
    }

    /// Names of the served subscriptions.
    pub fn active_subscriptions(&self) -> BTreeSet<SubscriptionName> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.dispatches.keys().cloned().collect()
    }

    /// Stops all plugins: takes no new deliveries, lets those in flight finish and releases the
    /// rest at `deadline`. Returns whether all finished in time.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        self.shut_down.store(true, Ordering::Release);
        let entries: Vec<_> =
            self.plugins.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let stopping = entries.iter().map(|entry| async {
            // A concurrent change may hold the lock while it drains; that is bounded too.
            let Some(plugin) = entry.lock().await.take() else { return true };
            let stopped = plugin.dispatchers.values().map(|one| one.stop(deadline));
            let ended = join_all(stopped).await.into_iter().all(|ended| ended);
            drop(plugin.ladder.take_trial());
            ended
        });
        let ended = join_all(stopping).await.into_iter().all(|ended| ended);
        self.active_mut(|active| *active = Active::default());
        let mut drains =
            std::mem::take(&mut *self.drains.lock().unwrap_or_else(PoisonError::into_inner));
        let drained = timeout(deadline, async { while drains.join_next().await.is_some() {} });
        drained.await.is_ok() && ended
    }

    /// Stops subscriptions that are removed or changed and registers the missing ones with the
    /// broker; restores everything on error. Returns the subscriptions to start.
    async fn change_subscriptions(
        &self,
        plugin: &mut Installed,
        wanted: BTreeMap<SubscriptionName, Subscription>,
        instances: usize,
    ) -> Result<Vec<(Subscription, Arc<Stats>)>, InstallError> {
        let stopped: BTreeMap<_, _> = plugin
            .dispatchers
            .extract_if(.., |name, present| {
                !wanted.get(name).is_some_and(|wanted| present.serves(wanted, instances))
            })
            .collect();
        join_all(stopped.values().map(|dispatcher| dispatcher.stop(self.drain))).await;

        let missing: Vec<_> = wanted
            .into_values()
            .filter(|wanted| !plugin.dispatchers.contains_key(&wanted.name))
            .collect();
        let known = if missing.is_empty() { None } else { self.known().await };
        let mut started: Vec<(Subscription, Arc<Stats>)> = Vec::with_capacity(missing.len());
        for some in missing.chunks(SUBSCRIBED_AT_ONCE) {
            // Together, so that they share commits.
            let subscribe = |one: &Subscription| self.broker.subscribe(one.clone());
            let outcomes = join_all(some.iter().map(subscribe)).await;
            let mut failed = None;
            for (subscription, outcome) in some.iter().zip(outcomes) {
                let name = &subscription.name;
                match outcome {
                    Ok(()) => {
                        let stats = stopped.get(name).map(Dispatcher::stats).unwrap_or_default();
                        started.push((subscription.clone(), stats));
                    }
                    Err(error) => {
                        let subscription = name.clone();
                        failed.get_or_insert(InstallError::Broker { subscription, error });
                    }
                }
            }
            if let Some(failed) = failed {
                for (made, _) in started {
                    if known.as_ref().is_some_and(|known| !known.contains(&made.name)) {
                        self.forget(&made.name).await;
                    }
                }
                self.restore(plugin, stopped).await;
                return Err(failed);
            }
        }
        Ok(started)
    }

    /// Names of all subscriptions the broker has, so that a failed installation removes only those
    /// it created. `None` if the broker can't tell.
    async fn known(&self) -> Option<BTreeSet<SubscriptionName>> {
        let known = self.broker.subscriptions().await.ok()?;
        Some(known.into_iter().map(|status| status.subscription.name.clone()).collect())
    }

    async fn forget(&self, name: &SubscriptionName) {
        if let Err(error) = self.broker.unsubscribe(name).await {
            tracing::warn!(subscription = %name, %error, "a subscription nobody serves stays");
        }
    }

    /// Restarts subscriptions stopped for a change that failed.
    async fn restore(
        &self,
        plugin: &mut Installed,
        stopped: BTreeMap<SubscriptionName, Dispatcher>,
    ) {
        for (name, dispatcher) in stopped {
            let subscription = dispatcher.subscription().clone();
            if let Err(error) = self.broker.subscribe(subscription.clone()).await {
                tracing::error!(subscription = %name, %error, "could not go back to the old form");
            }
            self.start(plugin, subscription, dispatcher.instances(), dispatcher.stats());
        }
    }

    fn start(
        &self,
        plugin: &mut Installed,
        subscription: Subscription,
        instances: usize,
        stats: Arc<Stats>,
    ) {
        let home = SettleContext {
            subscription: subscription.name.clone(),
            projection: subscription.projection.clone(),
            broker: Arc::clone(&self.broker),
            guests: self.guests.clone(),
            settling: TaskTracker::new(),
            tracing: self.tracing.clone(),
            recordings: Arc::clone(&self.recordings),
        };
        let name = subscription.name.clone();
        let shared = (Arc::clone(&plugin.slot), Arc::clone(&plugin.ladder));
        let dispatcher = Dispatcher::start(home, shared, subscription, instances, stats);
        plugin.dispatchers.insert(name, dispatcher);
    }

    fn entry(&self, name: &PluginName) -> Arc<tokio::sync::Mutex<Option<Installed>>> {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        // Drops unused names; a strong count above 1 means another caller holds the entry.
        plugins.retain(|_, entry| {
            Arc::strong_count(entry) > 1 || entry.try_lock().map_or(true, |entry| entry.is_some())
        });
        Arc::clone(plugins.entry(name.clone()).or_default())
    }

    fn publish_active(&self, name: &PluginName, plugin: &Installed) {
        self.active_mut(|active| {
            active.dispatches.retain(|_, (owner, _)| owner != name);
            for (subscription, dispatcher) in &plugin.dispatchers {
                let dispatch = Arc::clone(dispatcher.dispatch());
                active.dispatches.insert(subscription.clone(), (name.clone(), dispatch));
            }
            active.ladders.insert(name.clone(), Arc::clone(&plugin.ladder));
        });
    }

    fn active_mut(&self, change: impl FnOnce(&mut Active)) {
        change(&mut self.active.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Drains a replaced version in the background, once `is_free` resolves: until then the trial
    /// may need it as the fallback.
    fn drain_aside(&self, plugin: PluginName, (replaced, is_free): Replaced) {
        let deadline = self.drain;
        let mut drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner);
        while drains.try_join_next().is_some() {}
        let drain = async move {
            let digest = replaced.listener().digest();
            if let Some(is_free) = is_free {
                // Never sent to: resolves when the sender is dropped.
                let _ = is_free.await;
            }
            if replaced.drain(deadline).await {
                tracing::info!(%plugin, %digest, "replaced version drained");
            } else {
                tracing::warn!(
                    %plugin,
                    %digest,
                    "replaced version did not end in time; its deliveries run again"
                );
            }
        };
        drains.spawn_on(drain, &self.guests);
    }
}

impl Installed {
    /// Returns the trial for the new version, if any, and the version to drain with the signal to
    /// wait for. `before` is the trial of the version being replaced.
    fn try_out(
        &self,
        policy: Option<TrialPolicy>,
        digest: Digest,
        before: Option<Trial>,
        replaced: Arc<Serving>,
    ) -> (Option<Trial>, Replaced) {
        let unchanged: BTreeSet<_> = self.dispatchers.keys().cloned().collect();
        match (before, policy) {
            // Same digest, new settings: the trial continues.
            (Some(mut before), Some(_)) if before.digest() == digest => {
                before.kept.retain(|name| unchanged.contains(name));
                (Some(before), (replaced, None))
            }
            // A version that hasn't passed can't be the fallback; the one before it still can.
            (Some(before), Some(policy)) if before.good() != digest => {
                let kept = before.kept.intersection(&unchanged).cloned().collect();
                (Some(Trial::new(policy, digest, kept, before.last_good)), (replaced, None))
            }
            (None, Some(policy)) if replaced.listener().digest() != digest => {
                let has_acked = self.ladder.proven() == Some(replaced.listener().digest());
                let (last_good, is_free) = LastGood::new(Arc::clone(&replaced), has_acked);
                let trial = Trial::new(policy, digest, unchanged, last_good);
                (Some(trial), (replaced, Some(is_free)))
            }
            _ => (None, (replaced, None)),
        }
    }

    fn serves_exactly(
        &self,
        wanted: &BTreeMap<SubscriptionName, Subscription>,
        instances: usize,
    ) -> bool {
        self.dispatchers.len() == wanted.len()
            && self.dispatchers.iter().all(|(name, dispatcher)| {
                wanted.get(name).is_some_and(|wanted| dispatcher.serves(wanted, instances))
            })
    }
}

fn by_name(
    plugin: &PluginName,
    subscriptions: Vec<Subscription>,
) -> Result<BTreeMap<SubscriptionName, Subscription>, InstallError> {
    let mut named = BTreeMap::new();
    for subscription in subscriptions {
        let name = subscription.name.clone();
        if name.plugin() != plugin.as_str() {
            return Err(InstallError::Foreign { subscription: name, plugin: plugin.clone() });
        }
        if named.insert(name.clone(), subscription).is_some() {
            return Err(InstallError::Twice(name));
        }
    }
    Ok(named)
}
