//! Dry runs: what a plugin would do with an event, without keeping any effect.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use usher_broker::{Disposition, StoredEvent};
use usher_event::{Delivery, Digest, SubscriptionName};

use crate::Router;
use crate::clock::CachedClock;
use crate::verdict::disposition;
use crate::worker::call;

/// Outcome of a dry run.
#[derive(Debug)]
pub struct DryRun {
    /// Digest of the component that ran.
    pub digest: Digest,
    /// Its version, as declared by the author.
    pub version: String,
    /// How long it took.
    pub took: Duration,
    /// What would be settled.
    pub disposition: Disposition,
}

impl Router {
    /// Calls the plugin that serves a subscription as on a first attempt, and drops the effects.
    /// Outbound calls are refused.
    ///
    /// Returns `None` if the subscription isn't served, or if the call was abandoned because its
    /// version was replaced or removed. Dropping the future aborts the call.
    pub async fn dry_run(&self, name: &SubscriptionName, stored: StoredEvent) -> Option<DryRun> {
        let dispatch = self.dispatch(name)?;
        let mut event = stored.event;
        dispatch.project(&mut event);
        let delivery = Delivery {
            sequence: stored.sequence,
            event,
            subscription: name.clone(),
            attempt: 1,
            flow: stored.flow,
            depth: stored.depth,
            replay: Some(0),
            is_dry_run: true,
            span: None,
        };
        let run = async move {
            let (mut phase, mut hold) = (dispatch.phase(), dispatch.hold());
            let listener = std::sync::Arc::clone(hold.listener());
            let mut slow = Some(|| {});
            let outcome =
                call(listener.handle(&delivery), &mut hold, &mut phase, &mut slow).await?;
            let (took, limits) = (outcome.took, hold.emissions());
            let mut stamp = CachedClock::default();
            let disposition = disposition(outcome, &delivery, listener.name(), limits, stamp.now());
            let (digest, version) = (listener.digest(), listener.version().to_owned());
            Some(DryRun { digest, version, took, disposition })
        };
        // `call` catches panics of the listener.
        AbortOnDropHandle::new(self.guests.spawn(run)).await.ok().flatten()
    }
}
