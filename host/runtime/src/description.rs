//! A plugin's description of itself, validated because it is guest input.

use std::collections::BTreeSet;

use usher_event::{Digest, PluginName};
use usher_filter::Filter;

use crate::bindings::contract;
use crate::capabilities::capabilities;
use crate::text;

/// Longest version, in bytes.
pub(crate) const VERSION_MAX_BYTES: usize = 64;
/// Longest summary, in bytes.
pub(crate) const SUMMARY_MAX_BYTES: usize = 256;
/// Longest reason for a capability, in bytes.
pub(crate) const REASON_MAX_BYTES: usize = 256;
/// Maximum number of subscriptions.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 32;
/// Maximum number of capabilities.
pub(crate) const CAPABILITIES_MAX: usize = 16;
/// A plugin's validated description.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its name.
    pub name: PluginName,
    /// The author's version.
    pub version: String,
    /// One line for the operator.
    pub summary: String,
    /// Requested subscriptions.
    pub subscriptions: Vec<SubscriptionRequest>,
    /// Requested capabilities.
    pub capabilities: Vec<CapabilityRequest>,
}

/// A subscription requested by a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionRequest {
    /// Its name within the plugin.
    pub name: String,
    /// Selects the events to deliver.
    pub filter: Filter,
    /// Maximum concurrent deliveries; `None` uses the operator's default.
    pub max_in_flight: Option<u32>,
}

/// A capability requested by a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapabilityRequest {
    /// One of the names of [`capabilities`](crate::capabilities).
    pub name: String,
    /// Why it is needed, as stated by the author.
    pub reason: String,
}

/// Why a description is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DescriptionError(String);

fn broken(words: impl Into<String>) -> DescriptionError {
    DescriptionError(words.into())
}

impl Description {
    /// That of a component that doesn't describe itself: it is named like its file.
    pub(crate) fn of_file(
        file: &str,
        digest: &Digest,
        summary: &str,
    ) -> Result<Self, DescriptionError> {
        let stem = file.strip_suffix(".wasm").unwrap_or(file);
        let name = stem.parse().map_err(|error| {
            broken(format!("it is named like its file, and {error}: rename the file"))
        })?;
        Ok(Self {
            name,
            version: digest.short(),
            summary: summary.to_owned(),
            subscriptions: Vec::new(),
            capabilities: Vec::new(),
        })
    }

    /// Validates the description that the guest returned.
    pub(crate) fn check(said: contract::Description) -> Result<Self, DescriptionError> {
        let name: PluginName = said.name.parse().map_err(|error| broken(format!("{error}")))?;
        let version = line("version", said.version, VERSION_MAX_BYTES)?;
        if version.is_empty() {
            return Err(broken("the version is empty: give one, such as \"1.0.0\""));
        }
        let summary = line("summary", said.summary, SUMMARY_MAX_BYTES)?;
        at_most("subscriptions", said.subscriptions.len(), SUBSCRIPTIONS_MAX)?;
        at_most("capabilities", said.capabilities.len(), CAPABILITIES_MAX)?;

        let mut names = BTreeSet::new();
        let mut subscriptions = Vec::with_capacity(said.subscriptions.len());
        for asked in said.subscriptions {
            let subscription = subscription(&name, asked)?;
            if !names.insert(subscription.name.clone()) {
                return Err(broken(format!("two subscriptions are named {:?}", subscription.name)));
            }
            subscriptions.push(subscription);
        }
        let capabilities =
            said.capabilities.into_iter().map(capability).collect::<Result<_, _>>()?;
        Ok(Self { name, version, summary, subscriptions, capabilities })
    }
}

fn subscription(
    plugin: &PluginName,
    asked: contract::Subscription,
) -> Result<SubscriptionRequest, DescriptionError> {
    let name = usher_event::SubscriptionName::new(plugin, &asked.name)
        .map_err(|error| broken(error.to_string()))?
        .local()
        .to_owned();
    let filter = Filter::parse(&asked.filter)
        .map_err(|error| broken(format!("the filter of subscription {name:?}: {error}")))?;
    // More than a broker allows is not refused: installation lowers it with a warning.
    if asked.max_in_flight == Some(0) {
        return Err(broken(format!(
            "subscription {name:?} asks for max-in-flight 0: use 1 or more"
        )));
    }
    Ok(SubscriptionRequest { name, filter, max_in_flight: asked.max_in_flight })
}

fn capability(asked: contract::Capability) -> Result<CapabilityRequest, DescriptionError> {
    let known = || capabilities().filter_map(|about| about.name);
    if !known().any(|name| name == asked.name) {
        let name = text::escape(text::head(&asked.name, 64)).into_owned();
        let known = known().collect::<Vec<_>>().join(", ");
        return Err(broken(format!("there is no capability {name:?}: there are {known}")));
    }
    let reason = line("reason for a capability", asked.reason, REASON_MAX_BYTES)?;
    Ok(CapabilityRequest { name: asked.name, reason })
}

fn line(what: &str, text: String, max_bytes: usize) -> Result<String, DescriptionError> {
    if text.len() > max_bytes {
        let bytes = text.len();
        return Err(broken(format!("the {what} has {bytes} bytes, the limit is {max_bytes}")));
    }
    if text::escape(&text) != text {
        return Err(broken(format!("the {what} contains control characters")));
    }
    Ok(text)
}

fn at_most(what: &str, count: usize, max: usize) -> Result<(), DescriptionError> {
    if count > max {
        return Err(broken(format!("it asks for {count} {what}, the limit is {max}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> contract::Description {
        contract::Description {
            name: "printer".to_owned(),
            version: "1.0.0".to_owned(),
            summary: "prints".to_owned(),
            subscriptions: vec![asked("tickets")],
            capabilities: vec![contract::Capability {
                name: "blobs".to_owned(),
                reason: "to keep tickets".to_owned(),
            }],
        }
    }

    fn asked(name: &str) -> contract::Subscription {
        contract::Subscription {
            name: name.to_owned(),
            filter: r#"{"exact":{"type":"t"}}"#.to_owned(),
            max_in_flight: Some(1),
        }
    }

    #[test]
    fn a_good_description_is_taken() {
        let description = Description::check(said()).unwrap();
        assert_eq!(description.name.as_str(), "printer");
        assert_eq!(description.subscriptions[0].name, "tickets");
        assert_eq!(description.capabilities[0].name, "blobs");
    }

    #[test]
    fn each_broken_rule_is_named() {
        let check = |change: &dyn Fn(&mut contract::Description), word: &str| {
            let mut said = said();
            change(&mut said);
            let error = Description::check(said).unwrap_err().to_string();
            assert!(error.contains(word), "{error:?} should contain {word:?}");
        };
        check(&|d| d.name.clear(), "plugin name \"\"");
        check(&|d| d.name = "Printer".to_owned(), "plugin name");
        check(&|d| d.version.clear(), "version is empty");
        check(&|d| d.version = "1".repeat(65), "version has 65 bytes");
        check(&|d| d.summary = "a\nb".to_owned(), "summary contains control characters");
        check(&|d| d.subscriptions = (0..33).map(|_| asked("a")).collect(), "33 subscriptions");
        check(&|d| d.subscriptions.push(asked("tickets")), "two subscriptions");
        check(&|d| d.subscriptions[0].name = "a/b".to_owned(), "subscription name");
        check(&|d| d.subscriptions[0].filter = "{".to_owned(), "filter of subscription");
        check(&|d| d.subscriptions[0].max_in_flight = Some(0), "max-in-flight 0");
        check(&|d| d.capabilities[0].name = "root".to_owned(), "no capability \"root\"");
        check(&|d| d.capabilities[0].reason = "x".repeat(257), "reason for a capability");
    }
}
