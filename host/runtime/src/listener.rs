//! [`WasmListener`]: one configured plugin that handles deliveries. [`WasmListener::run`] is the
//! path of one delivery through the sandbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::Serialize;
use tokio::time::Instant;
use usher_event::{
    BlobStore, Delivery, Digest, Effects, FailureClass, Given, Listener, Outcome, PluginName,
    Recording, StateReader, Verdict,
};

use crate::capabilities::capabilities;
use crate::code::Code;
use crate::exported::Answer;
use crate::guest::{Configured, Guest};
use crate::limits::size;
use crate::observed::{Observed, Script};
use crate::peaks::{LimitUse, Peaks, Used};
use crate::plugin::Plugin;
use crate::pool::{Instance, Pool};
use crate::redaction::Redactor;
use crate::runtime::Inner;
use crate::verdict::CallFailure;
use crate::{Grants, Isolation, LimitErrors, Limits, convert, meter};

/// The operator's settings for a plugin, and its state and blob stores.
#[derive(Clone)]
pub struct Settings {
    /// Resource limits.
    pub limits: Limits,
    /// Granted capabilities.
    pub grants: Grants,
    /// Lifetime of its instances.
    pub isolation: Isolation,
    /// Committed state; used only if state is granted.
    pub state: Arc<dyn StateReader>,
    /// Blob store; used only if blobs are granted.
    pub blobs: Arc<dyn BlobStore>,
    /// In place of the host's clocks, random numbers and network; makes the listener's deliveries
    /// observable.
    pub script: Option<Script>,
}

/// Settings that can't be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Some of the limits are out of range.
    #[error(transparent)]
    Limits(#[from] LimitErrors),
    /// The secrets are too large to be searched for in what the plugin writes.
    #[error("the secrets can't be redacted: {0}")]
    Secrets(String),
}

/// A configured plugin as a [`Listener`].
pub struct WasmListener {
    name: PluginName,
    version: String,
    runtime: Arc<Inner>,
    code: Arc<Code>,
    configured: Arc<Configured>,
    /// What its deliveries are told whatever the event.
    given: Given,
    settings: Settings,
    pool: Arc<Pool>,
    counters: Counters,
}

/// A call that did not end in an acknowledgement.
struct CallError {
    verdict: Verdict,
    /// Whether earlier deliveries to the same instance may be the cause.
    is_cumulative: bool,
}

/// What is kept of a call besides its outcome; boxed, since most calls have nothing of it.
#[derive(Default)]
struct Notes {
    /// Whether it is recorded even if nothing comes of it.
    is_for_recording: bool,
    /// What the host told the guest, if the delivery is recorded.
    recording: Option<Box<Given>>,
    observed: Option<Box<Observed>>,
}

#[derive(Default)]
struct Counters {
    peaks: Peaks,
    handled: AtomicU64,
    failed: [AtomicU64; FailureClass::ALL.len()],
    instances_made: AtomicU64,
}

/// Counters since the listener was created, and current numbers of instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ListenerStats {
    /// Acknowledged deliveries.
    pub handled: u64,
    /// Failed deliveries by failure class; every class is present.
    pub failed: BTreeMap<&'static str, u64>,
    /// Denied requests by the grant they lacked; every grant is present.
    pub denied: BTreeMap<&'static str, u64>,
    /// Current instances, idle or busy.
    pub instances: u64,
    /// Linear memory of the current instances; what they never wrote to is shared by all.
    pub memory_bytes: u64,
    /// Instances created.
    pub instances_made: u64,
    /// Current idle instances.
    pub instances_idle: u64,
}

impl WasmListener {
    pub(crate) fn new(
        runtime: Arc<Inner>,
        code: Arc<Code>,
        name: PluginName,
        version: String,
        settings: Settings,
        is_silent: bool,
    ) -> Result<Self, SettingsError> {
        let kept = settings.clone();
        let Settings { limits, grants, state, blobs, script, .. } = settings;
        let redactor = Redactor::new(grants.secrets()).map_err(SettingsError::Secrets)?;
        let mut plugin = Plugin::new(name.as_str(), limits, redactor);
        plugin.is_observed = script.is_some();
        plugin.is_silent = is_silent;
        plugin.profile = script.as_ref().and_then(|script| script.profile.clone());
        let names = capabilities().filter_map(|about| about.name);
        let names = names.filter(|name| grants.contains(name)).map(str::to_owned);
        let mut given = Given {
            grants: Some(names.collect()),
            limits: plugin.limits.given(),
            ..grants.given()
        };
        plugin.redactor.redact_given(&mut given);
        let (state, blobs) = ((name.clone(), state), (name.clone(), blobs));
        let services = runtime.services(Some(state), Some(blobs), script.as_ref());
        let configured = Arc::new(Configured::new(plugin, &grants, services));
        let (pool, counters) = (runtime.pools.add(), Counters::default());
        code.serve_from(&pool);
        Ok(Self { name, version, pool, runtime, code, configured, given, settings: kept, counters })
    }

    pub(crate) fn code(&self) -> &Arc<Code> {
        &self.code
    }

    /// Whether its code is optimised.
    pub fn is_optimised(&self) -> bool {
        self.code.is_optimised()
    }

    fn plugin(&self) -> &Plugin {
        &self.configured.plugin
    }

    /// A snapshot of the counters.
    pub fn stats(&self) -> ListenerStats {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let failed = FailureClass::ALL.iter().zip(&self.counters.failed);
        ListenerStats {
            handled: load(&self.counters.handled),
            failed: failed.map(|(class, count)| (class.as_str(), load(count))).collect(),
            denied: {
                let counts = self.plugin().denials.counts();
                let names = capabilities().filter_map(|about| about.name);
                names.map(|name| (name, counts.get(name).copied().unwrap_or_default())).collect()
            },
            instances: load(&self.plugin().instances),
            memory_bytes: load(&self.plugin().memory_bytes),
            instances_made: load(&self.counters.instances_made),
            instances_idle: self.pool.len() as u64,
        }
    }

    /// What its deliveries are told whatever the event: grants, settings, and stand-ins for secrets.
    pub fn given(&self) -> &Given {
        &self.given
    }

    /// How close its deliveries have come to their limits.
    pub fn limits(&self) -> Vec<LimitUse> {
        self.counters.peaks.against(&self.plugin().limits)
    }

    /// Drops the instances of a plugin that is no longer in use: idle ones now, busy ones when
    /// their delivery ends. Counters are kept. Later deliveries still work, each in a new instance.
    pub fn retire(&self) {
        self.pool.retire();
    }

    /// Handles one delivery: takes an instance, calls it, collects its effects and returns it to
    /// the pool. Cancel-safe: dropping the future drops the instance.
    async fn run(
        &self,
        delivery: &Delivery,
        started: Instant,
        notes: &mut Notes,
    ) -> Result<Effects, Verdict> {
        let deadline = started + Duration::from_millis(self.plugin().limits.wall_ms);
        let instance = match self.pool.take() {
            Some(instance) => instance,
            // Boxed: rarely needed, and would enlarge the future of every delivery.
            None => Box::pin(self.make(deadline)).await?,
        };
        let has_served = instance.calls > 0;
        match self.call(instance, delivery, started, deadline, notes).await {
            // Earlier deliveries may be the cause. This one had no effects yet, so retry it once in
            // a new instance.
            Err(CallError { is_cumulative: true, .. }) if has_served => {
                // Of a call that is made anew.
                notes.recording = None;
                let again = async {
                    let instance = self.make(deadline).await?;
                    let called = self.call(instance, delivery, started, deadline, notes).await;
                    called.map_err(|stopped| stopped.verdict)
                };
                Box::pin(again).await
            }
            called => called.map_err(|stopped| stopped.verdict),
        }
    }

    async fn make(&self, deadline: Instant) -> Result<Instance, Verdict> {
        self.counters.instances_made.fetch_add(1, Ordering::Relaxed);
        let made = self.runtime.instantiate(&self.code.best(), &self.configured, deadline).await;
        made.map_err(|failed| self.verdict(failed.into()))
    }

    /// Calls an instance, and returns it to the pool if it may be reused.
    async fn call(
        &self,
        mut instance: Instance,
        delivery: &Delivery,
        started: Instant,
        deadline: Instant,
        notes: &mut Notes,
    ) -> Result<Effects, CallError> {
        let limits = &self.plugin().limits;
        let Instance { store, exported, clock, calls, .. } = &mut instance;
        *calls += 1;
        let guest = store.data_mut();
        guest.begin(delivery);
        guest.cpu.begin(limits.cpu_ms);
        store.set_epoch_deadline(1);

        let deadline_ms = match &self.settings.script {
            Some(script) => script.deadline_ms(limits.wall_ms),
            None => self.runtime.now_ms().saturating_add(limits.wall_ms),
        };
        let call = exported.handle(&mut *store, delivery, deadline_ms, limits);
        let answer = meter::drive(clock, deadline, call).await;

        // Only an instance whose call returned is pooled: any other is in an unknown state.
        let guest = store.data_mut();
        guest.capabilities.log.flush();
        let emitted = match &answer {
            Ok(Ok(Answer::Listener(Ok(emitted)))) => emitted.len() as u64,
            _ => 0,
        };
        let used = Used { emissions: emitted, ..guest.used() };
        self.counters.peaks.add(&used);
        let record = |guest: &mut Guest| self.record(guest, delivery, deadline_ms);
        if self.plugin().is_observed {
            let peaks = Peaks::default();
            peaks.add(&used);
            notes.observed = Some(Box::new(Observed {
                given: record(guest),
                calls: guest.capabilities.http.requests(),
                log: guest.capabilities.log.take_lines(),
                used: peaks.against(limits),
            }));
        }
        let is_recorded = self.plugin().is_recorded()
            && (!delivery.is_dry_run || notes.is_for_recording)
            && !self.plugin().is_observed;
        let ending = match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(CallFailure::of(&error, guest)),
            Err(_) => Err(CallFailure::deadline(limits.wall_ms)),
        };
        // HTTP answers can't be had again.
        let is_worth_it = notes.is_for_recording || guest.capabilities.http.calls() > 0;
        if is_recorded && (ending.is_err() || is_worth_it) {
            notes.recording = Some(Box::new(record(guest)));
        }
        let answer = ending.map_err(|ending| {
            // HTTP requests already sent are repeated only by the next attempt, which is counted.
            let is_cumulative = ending.is_cumulative && guest.capabilities.http.calls() == 0;
            CallError { is_cumulative, verdict: self.verdict(ending) }
        })?;
        let outcome = self.judge(guest, answer);
        // Nothing was taken of a delivery that failed.
        if outcome.is_err() && is_recorded && !is_worth_it {
            notes.recording = Some(Box::new(record(guest)));
        }
        guest.capabilities.end();
        if self.may_reuse(&mut instance) {
            let max = size(limits.idle_instances);
            // The start of the call is close enough for the idle time, and saves a clock read.
            self.pool.put(instance, max, started.into_std());
        }
        outcome.map_err(|verdict| CallError { verdict, is_cumulative: false })
    }

    /// What the host told the guest in this delivery, without its secrets.
    fn record(&self, guest: &mut Guest, delivery: &Delivery, deadline_ms: u64) -> Given {
        let mut given = Given {
            subscription: Some(delivery.subscription.local().to_owned()),
            attempt: Some(delivery.attempt),
            sequence: Some(delivery.sequence),
            replay: delivery.replay.is_some(),
            deadline_ms: Some(deadline_ms),
            ..self.given.clone()
        };
        guest.capabilities.record(&mut given);
        self.plugin().redactor.redact_given(&mut given);
        given
    }

    /// Handles one delivery of a listener that has a [`Script`], and tells all about it.
    pub async fn observe(&self, delivery: &Delivery) -> (Outcome, Observed) {
        let mut notes = Notes::default();
        let outcome = self.handled(delivery, &mut notes).await;
        (outcome, notes.observed.map(|observed| *observed).unwrap_or_default())
    }

    async fn handled(&self, delivery: &Delivery, notes: &mut Notes) -> Outcome {
        let started = Instant::now();
        let outcome = self.outcome(delivery, started, notes).await;
        self.count(&outcome.verdict);
        let wall_ms = usher_event::millis(outcome.took);
        self.counters.peaks.add(&Used { wall_ms, ..Used::default() });
        outcome
    }

    async fn outcome(&self, delivery: &Delivery, started: Instant, notes: &mut Notes) -> Outcome {
        let (verdict, effects) = match self.run(delivery, started, notes).await {
            Ok(effects) => (Verdict::Ack, effects),
            Err(verdict) => (verdict, Effects::default()),
        };
        let max_bytes = self.plugin().limits.recording_bytes;
        let recording = notes.recording.take();
        let recording = recording
            .map(|given| Recording::write(self.code.digest, &self.version, *given, max_bytes));
        Outcome { verdict, effects, took: started.elapsed(), recording }
    }

    /// Whether an instance whose call returned may be reused; updates its `held`.
    fn may_reuse(&self, instance: &mut Instance) -> bool {
        let held = instance.store.data_mut().held();
        let before = std::mem::replace(&mut instance.held, held);
        let limits = &self.plugin().limits;
        self.settings.isolation == Isolation::Warm
            && instance.is_optimised == self.code.is_optimised()
            && instance.calls < limits.calls_per_instance
            && !held.should_recycle(before, limits)
    }

    /// Turns the guest's result into effects or a verdict.
    fn judge(&self, guest: &mut Guest, answer: Answer) -> Result<Effects, Verdict> {
        let redact = |words| self.plugin().redactor.redact(words);
        let mut emissions = match answer {
            Answer::Listener(Err(failure)) => return Err(convert::failure(failure, redact)),
            Answer::Messages(Err(reason)) => return Err(convert::retry(reason, redact)),
            Answer::Listener(Ok(emitted)) => {
                self.check_limits(guest)?;
                convert::emissions(emitted, &self.plugin().limits)?
            }
            Answer::Messages(Ok(())) => {
                self.check_limits(guest)?;
                Vec::new()
            }
            Answer::IncomingHttp(reply) => {
                let emissions = convert::reply(reply, SystemTime::now(), redact)?;
                self.check_limits(guest)?;
                emissions
            }
        };
        let plugin = self.plugin();
        emissions.iter_mut().for_each(|emission| plugin.redactor.redact_emission(emission));
        let quota = plugin.limits.quota();
        let mut effects = Effects { emissions, quota, ..Effects::default() };
        guest.capabilities.take(&mut effects);
        Ok(effects)
    }

    /// A guest that ignored a refused write has incomplete effects.
    fn check_limits(&self, guest: &mut Guest) -> Result<(), Verdict> {
        match guest.capabilities.limit_reached() {
            Some(reached) => Err(self.verdict(CallFailure::limit(reached))),
            None => Ok(()),
        }
    }

    fn verdict(&self, ending: CallFailure) -> Verdict {
        ending.into_verdict(|words| self.plugin().redactor.redact(words))
    }

    fn count(&self, verdict: &Verdict) {
        let class = match verdict {
            Verdict::Ack => {
                self.counters.handled.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Verdict::Retry { failure, .. } | Verdict::Reject { failure } => failure.class,
        };
        let mut failed = FailureClass::ALL.iter().zip(&self.counters.failed);
        if let Some((_, count)) = failed.find(|(other, _)| **other == class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Listener for WasmListener {
    fn name(&self) -> &PluginName {
        &self.name
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn digest(&self) -> Digest {
        self.code.digest
    }

    async fn handle(&self, delivery: &Delivery) -> Outcome {
        self.handled(delivery, &mut Notes::default()).await
    }

    async fn record(&self, delivery: &Delivery) -> Option<Outcome> {
        if !self.plugin().is_recorded() {
            return None;
        }
        // Apart: it counts nowhere, logs nothing, and no instance remembers it.
        let settings = Settings { isolation: Isolation::Fresh, ..self.settings.clone() };
        let (name, version) = (self.name.clone(), self.version.clone());
        let (runtime, code) = (self.runtime.clone(), self.code.clone());
        let apart = Self::new(runtime, code, name, version, settings, true).ok()?;
        let delivery = Delivery { is_dry_run: true, ..delivery.clone() };
        let mut notes = Notes { is_for_recording: true, ..Notes::default() };
        Some(apart.outcome(&delivery, Instant::now(), &mut notes).await)
    }
}

impl std::fmt::Debug for WasmListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmListener")
            .field("name", &self.name)
            .field("digest", &self.code.digest)
            .finish_non_exhaustive()
    }
}
