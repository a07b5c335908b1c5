//! Merges the subscriptions that a plugin requests with the operator's configuration.

use usher_broker::{IN_FLIGHT_MAX, RetryPolicy, Subscription};
use usher_event::{PluginName, SubscriptionName};
use usher_runtime::SubscriptionRequest;

use usher_config::{PluginConfig, SubscriptionConfig};

/// Default limit on deliveries in flight. High, because deliveries that wait for their commit count
/// too.
const IN_FLIGHT_DEFAULT: u32 = 1_024;

/// The subscriptions to serve, and warnings for the operator.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// To be served.
    pub subscriptions: Vec<Subscription>,
    /// Settings without effect for this version of the plugin, and values that were clamped.
    pub warnings: Vec<String>,
}

/// Merges requests and configuration; `retry` applies to subscriptions without their own policy.
///
/// # Errors
/// A name is invalid; the text includes it.
pub(crate) fn merge(
    plugin: &PluginName,
    requests: &[SubscriptionRequest],
    config: &PluginConfig,
    retry: &RetryPolicy,
) -> Result<Merged, String> {
    let mut merged = Merged::default();
    for request in requests {
        let changes = config.subscriptions.get(&request.name);
        if changes.is_some_and(|changes| !changes.enabled) {
            continue;
        }
        let changes = changes.cloned().unwrap_or_default();
        let filter = changes.filter.clone().unwrap_or_else(|| request.filter.clone());
        let asked = changes.max_in_flight.or(request.max_in_flight);
        if let Some(asked) = asked.filter(|asked| *asked > IN_FLIGHT_MAX) {
            merged.warnings.push(format!(
                "subscription {plugin}/{} asks for {asked} deliveries under way at once and gets \
                 {IN_FLIGHT_MAX}, the most there can be; max_in_flight in the configuration sets it",
                request.name
            ));
        }
        let name = SubscriptionName::new(plugin, &request.name).map_err(|e| e.to_string())?;
        let changes = projected(changes, config)?;
        merged.subscriptions.push(complete(name, filter, asked, changes, retry));
    }
    let asked_for = |name: &String| requests.iter().any(|request| request.name == *name);
    for (local, added) in config.subscriptions.iter().filter(|(name, _)| !asked_for(name)) {
        match added.filter.clone() {
            Some(_) if !added.enabled => {}
            Some(filter) => {
                let name = SubscriptionName::new(plugin, local).map_err(|e| e.to_string())?;
                let asked = added.max_in_flight;
                let added = projected(added.clone(), config)?;
                merged.subscriptions.push(complete(name, filter, asked, added, retry));
            }
            None => merged.warnings.push(format!(
                "[plugin.{plugin}.subscription.{local}] has no effect: this version does not ask \
                 for that subscription; remove the table, or give it a filter to add it"
            )),
        }
    }
    if merged.subscriptions.is_empty() && requests.is_empty() {
        merged.warnings.push(format!(
            "it asks for no events and gets none: add [plugin.{plugin}.subscription.NAME] with a filter"
        ));
    }
    Ok(merged)
}

/// What holds for the whole plugin holds for each subscription, whatever a version of it calls it.
fn projected(own: SubscriptionConfig, config: &PluginConfig) -> Result<SubscriptionConfig, String> {
    let projection = own.projection.clone().within(&config.projection);
    Ok(SubscriptionConfig { projection: projection.map_err(|error| error.to_string())?, ..own })
}

fn complete(
    name: SubscriptionName,
    filter: usher_filter::Filter,
    max_in_flight: Option<u32>,
    changes: SubscriptionConfig,
    retry: &RetryPolicy,
) -> Subscription {
    Subscription {
        name,
        filter,
        start: changes.start,
        order: changes.order,
        retry: changes.retry.unwrap_or_else(|| retry.clone()),
        max_in_flight: max_in_flight.unwrap_or(IN_FLIGHT_DEFAULT).clamp(1, IN_FLIGHT_MAX),
        pace: changes.pace,
        projection: changes.projection,
        expires: changes.expires,
    }
}

#[cfg(test)]
mod tests {
    use usher_broker::Start;
    use usher_filter::{Filter, Projection};

    use super::*;

    fn request(name: &str, max_in_flight: Option<u32>) -> SubscriptionRequest {
        let filter = Filter::parse(r#"{"exact":{"type":"asked.for"}}"#).unwrap();
        SubscriptionRequest { name: name.to_owned(), filter, max_in_flight }
    }

    fn merge_with(
        requests: &[SubscriptionRequest],
        changes: &[(&str, SubscriptionConfig)],
    ) -> Merged {
        let config = PluginConfig {
            subscriptions: changes
                .iter()
                .map(|(name, change)| ((*name).to_owned(), change.clone()))
                .collect(),
            ..PluginConfig::default()
        };
        let plugin = "echo".parse().unwrap();
        merge(&plugin, requests, &config, &RetryPolicy::default()).unwrap()
    }

    #[test]
    fn what_a_plugin_must_not_see_it_sees_under_no_name() {
        let projection = |redact: &str| Projection::new(None, &[redact]).unwrap();
        let own = SubscriptionConfig { projection: projection("/b"), ..enabled() };
        let config = PluginConfig {
            projection: projection("/card"),
            subscriptions: [("a".to_owned(), own)].into(),
            ..PluginConfig::default()
        };
        let requests = [request("a", None), request("renamed", None)];
        let plugin = "echo".parse().unwrap();
        let merged = merge(&plugin, &requests, &config, &RetryPolicy::default()).unwrap();
        let redacted: Vec<_> =
            merged.subscriptions.iter().map(|one| one.projection.redact()).collect();
        assert_eq!(redacted, [vec!["/b", "/card"], vec!["/card"]]);
    }

    fn enabled() -> SubscriptionConfig {
        SubscriptionConfig { enabled: true, ..SubscriptionConfig::default() }
    }

    #[test]
    fn requests_are_taken_as_they_are_without_configuration() {
        let merged = merge_with(&[request("a", None), request("b", Some(1_000_000))], &[]);
        let seen: Vec<_> = merged
            .subscriptions
            .iter()
            .map(|one| (one.name.as_str(), one.max_in_flight, one.start))
            .collect();
        assert_eq!(
            seen,
            [
                ("echo/a", IN_FLIGHT_DEFAULT, Start::Latest),
                ("echo/b", IN_FLIGHT_MAX, Start::Latest)
            ]
        );
        assert_eq!(merged.warnings.len(), 1);
        assert!(merged.warnings[0].starts_with("subscription echo/b asks for 1000000 "));
    }

    #[test]
    fn the_operator_changes_adds_and_drops() {
        let other = Filter::parse(r#"{"prefix":{"type":"other."}}"#).unwrap();
        let changed = SubscriptionConfig {
            filter: Some(other.clone()),
            max_in_flight: Some(2),
            start: Start::Earliest,
            ..enabled()
        };
        let dropped = SubscriptionConfig { enabled: false, ..enabled() };
        let added = SubscriptionConfig { filter: Some(other.clone()), ..enabled() };
        let merged = merge_with(
            &[request("a", Some(9)), request("b", None)],
            &[("a", changed), ("b", dropped), ("c", added), ("d", enabled())],
        );
        let seen: Vec<_> = merged
            .subscriptions
            .iter()
            .map(|one| (one.name.as_str(), one.max_in_flight, one.start, &one.filter))
            .collect();
        assert_eq!(
            seen,
            [
                ("echo/a", 2, Start::Earliest, &other),
                ("echo/c", IN_FLIGHT_DEFAULT, Start::Latest, &other)
            ]
        );
        assert_eq!(merged.warnings.len(), 1);
        assert!(merged.warnings[0].contains("[plugin.echo.subscription.d]"));
    }
}
