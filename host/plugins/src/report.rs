//! System events about plugins, for listeners that subscribe to them.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use usher_broker::{BrokerError, Deliveries};
use usher_event::{
    Event, PLUGIN_QUARANTINED_TYPE, PLUGIN_ROLLED_BACK_TYPE, PluginName, SystemEvent,
};
use usher_router::Quarantine;

use super::records::Rollback;

/// Delay before a failed publish is retried.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The event for a quarantine. Its id is deterministic, so that publishing it is idempotent.
pub(super) fn quarantined(plugin: &PluginName, quarantine: &Quarantine) -> Option<Event> {
    let Quarantine { time_ms, digest, failures, window, class, reason } = quarantine;
    let data = json!({
        "plugin": plugin,
        "digest": digest,
        "failures": failures,
        "window_ms": usher_event::millis(*window),
        "class": class.as_str(),
        "reason": reason,
    });
    let event = SystemEvent {
        id: &format!("quarantine/{plugin}/{time_ms}"),
        ty: PLUGIN_QUARANTINED_TYPE,
        subject: plugin.as_str(),
        time_ms: *time_ms,
        data: &data,
    };
    // Every part is bounded, so this can't fail.
    event.alone().ok()
}

/// The event for a rollback; its id is deterministic, too.
pub(super) fn rolled_back(plugin: &PluginName, rollback: &Rollback) -> Option<Event> {
    let Rollback { time_ms, digest, good, failures, reason, .. } = rollback;
    let data = json!({
        "plugin": plugin,
        "digest": digest,
        "good": good,
        "failures": failures,
        "reason": reason,
    });
    let event = SystemEvent {
        id: &format!("rolled-back/{plugin}/{time_ms}"),
        ty: PLUGIN_ROLLED_BACK_TYPE,
        subject: plugin.as_str(),
        time_ms: *time_ms,
        data: &data,
    };
    event.alone().ok()
}

/// Publishes an event and retries until it is in the log. Returns false once the broker is poisoned
/// or closed.
pub(super) async fn publish(broker: &dyn Deliveries, event: Event) -> bool {
    loop {
        let error = match broker.publish(vec![event.clone()]).await {
            Ok(_) => return true,
            Err(error) => error,
        };
        match error {
            BrokerError::Poisoned(_) | BrokerError::Closed => return false,
            BrokerError::Busy { retry_after }
            | BrokerError::Away { retry_after }
            | BrokerError::Full { retry_after, .. } => {
                sleep(retry_after).await;
            }
            error => {
                tracing::error!(%error, id = event.id(), "an event of the router's own is not taken");
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}
