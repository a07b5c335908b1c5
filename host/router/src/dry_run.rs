//! A dry run: what a plugin would do with an event, with nothing of it kept.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use usher_broker::{Disposition, StoredEvent};
use usher_event::{Delivery, Digest, SubscriptionName};

use crate::Router;
use crate::clock::Stamp;
use crate::verdict::disposition;
use crate::worker::call;

/// What a plugin would have done with an event.
#[derive(Debug)]
pub struct DryRun {
    /// Which bytes ran.
    pub digest: Digest,
    /// Their author's version.
    pub version: String,
    /// How long it took.
    pub took: Duration,
    /// What would be handed to the broker.
    pub disposition: Disposition,
}

impl Router {
    /// Hands an event to the plugin that serves a subscription now, as a first attempt, and drops
    /// its effects. Nothing leaves the sandbox: calls to the outside are refused.
    ///
    /// `None` where nothing serves the subscription, or the version was replaced and did not end in
    /// time. Dropping the future ends the call.
    pub async fn dry_run(&self, name: &SubscriptionName, stored: StoredEvent) -> Option<DryRun> {
        let dispatch = self.dispatch(name)?;
        let delivery = Delivery {
            sequence: stored.sequence,
            event: stored.event,
            subscription: name.clone(),
            attempt: 1,
            flow: stored.flow,
            depth: stored.depth,
            replay: Some(0),
            is_dry_run: true,
        };
        let run = async move {
            let (mut phase, mut hold) = (dispatch.phase(), dispatch.hold());
            let listener = std::sync::Arc::clone(hold.listener());
            let mut slow = Some(|| {});
            let outcome = call(&*listener, &delivery, &mut hold, &mut phase, &mut slow).await?;
            let (took, limits) = (outcome.took, hold.emissions());
            let mut stamp = Stamp::default();
            let disposition = disposition(outcome, &delivery, listener.name(), limits, stamp.now());
            let (digest, version) = (listener.digest(), listener.version().to_owned());
            Some(DryRun { digest, version, took, disposition })
        };
        // A panic is caught in there.
        AbortOnDropHandle::new(self.guests.spawn(run)).await.ok().flatten()
    }
}
