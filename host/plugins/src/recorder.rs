//! Persists what the router decides by itself, and publishes it as events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use usher_broker::{BrokerError, Deliveries};
use usher_event::PluginName;
use usher_router::{Quarantine, Router};

use super::records::{KeptQuarantine, PluginRecords, Record, Rollback};
use super::report;

/// Delay before a failed write is retried.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Persists quarantines and good versions; publishes quarantines and rollbacks. Cancel-safe: what
/// is not reported yet is reported after the next start.
pub(super) struct Recorder {
    pub(super) router: Arc<Router>,
    pub(super) broker: Arc<dyn Deliveries>,
    pub(super) records: Arc<PluginRecords>,
}

impl Recorder {
    /// Runs on every change in the router or the records. Never returns.
    pub(super) async fn run(self) -> Infallible {
        let (mut notices, mut changes) = (self.router.notices(), self.records.changes());
        loop {
            notices.mark_unchanged();
            changes.mark_unchanged();
            if let Err(error) = self.look().await {
                tracing::error!(%error, "what became of a plugin can't be kept; it will be tried again");
                sleep(AGAIN_AFTER).await;
                continue;
            }
            // Neither sender can be dropped: `self` holds both owners.
            tokio::select! {
                _ = notices.changed() => {}
                _ = changes.changed() => {}
            }
        }
    }

    async fn look(&self) -> Result<(), BrokerError> {
        let standings = self.router.standings();
        // Persist everything before publishing, which waits while the broker is full.
        for (name, standing) in &standings {
            let kept = self.records.record(name).quarantine;
            let kept = kept.as_ref();
            let is_kept = match &standing.quarantine {
                Some(quarantine) => kept.is_some_and(|kept| kept.is(quarantine)),
                None => kept.is_none(),
            };
            if let Some(digest) = self.router.proven(name) {
                self.records.change(name, |record| record.acked = Some(digest)).await?;
            }
            if let Some(digest) = standing.digest
                && standing.last_good.is_none()
                && standing.failed_trial.is_none()
            {
                self.records.change(name, |record| record.mark_good(digest)).await?;
            }
            if !is_kept {
                let now = standing.quarantine.as_ref().map(KeptQuarantine::new);
                self.records.change(name, |record| record.quarantine = now).await?;
            }
        }
        for (name, standing) in standings {
            if let Some(quarantine) = standing.quarantine {
                self.report(&name, &quarantine).await?;
            }
            if let Some(off) = self.records.record(&name).off.filter(|off| !off.is_reported) {
                self.report_rollback(&name, &off).await?;
            }
        }
        Ok(())
    }

    async fn report_rollback(
        &self,
        name: &PluginName,
        rollback: &Rollback,
    ) -> Result<(), BrokerError> {
        let Some(event) = report::rolled_back(name, rollback) else { return Ok(()) };
        if !report::publish(&*self.broker, event).await {
            return Ok(());
        }
        let reported = |record: &mut Record| {
            if let Some(off) = record.off.as_mut().filter(|off| *off == rollback) {
                off.is_reported = true;
            }
        };
        self.records.change(name, reported).await
    }

    async fn report(&self, name: &PluginName, quarantine: &Quarantine) -> Result<(), BrokerError> {
        let kept = self.records.record(name).quarantine;
        if kept.is_none_or(|kept| kept.is_reported || !kept.is(quarantine)) {
            return Ok(());
        }
        let Some(event) = report::quarantined(name, quarantine) else { return Ok(()) };
        if !report::publish(&*self.broker, event).await {
            return Ok(());
        }
        let reported = |record: &mut Record| {
            if let Some(kept) = record.quarantine.as_mut().filter(|kept| kept.is(quarantine)) {
                kept.is_reported = true;
            }
        };
        self.records.change(name, reported).await
    }
}
