//! What `usher shadow` asks the router for: the events of a plugin, its state, and what its newest
//! deliveries heard from other servers.

use std::collections::BTreeMap;

use usher_api::{
    CloudEvent, PluginSettings, RecordedDelivery, Recordings, StateQuery, StateValue, StateValues,
    Stored, Subscriptions, routes,
};
use usher_cli::Log;
use usher_cli::ui::CliError;
use usher_client::Client;
use usher_event::{Content, Event, Given, GivenAnswer, PluginName};
use usher_filter::{Filter, Projection};

/// Values of state in one response.
const PAGE_VALUES: usize = 1_000;

/// A router, asked about one plugin.
pub(super) struct Source {
    client: Client,
    plugin: PluginName,
    /// What its deliveries are given whatever the event.
    settings: Given,
    /// The plugin's part of their names, and their filters.
    subscriptions: Vec<Own>,
    /// Answers to HTTP requests that the caller has.
    answers: Vec<GivenAnswer>,
}

/// One of the plugin's subscriptions.
struct Own {
    local: String,
    filter: Filter,
    projection: Projection,
}

/// An event of one of the plugin's subscriptions.
pub(super) struct Delivered {
    pub(super) sequence: u64,
    /// The plugin's part of the subscription's name.
    pub(super) subscription: String,
    pub(super) event: Event,
}

/// What deliveries are given at one moment.
pub(super) struct Moment {
    given: Given,
    /// Numbers of recordings, by event and subscription.
    recorded: BTreeMap<(u64, String), u64>,
}

impl Source {
    /// A source about a plugin, or one of its subscriptions.
    pub(super) fn new(
        client: Client,
        plugin: &PluginName,
        subscription: Option<&str>,
        answers: Vec<GivenAnswer>,
    ) -> Result<Self, CliError> {
        let settings: PluginSettings =
            client.call(routes::PLUGIN_SETTINGS, &[plugin.as_str()]).fetch()?;
        let all: Subscriptions = client.call(routes::SUBSCRIPTIONS, &[]).fetch()?;
        let own = all.subscriptions.into_iter().filter(|one| {
            let local = one.name.local();
            one.plugin == plugin.as_str() && subscription.is_none_or(|only| only == local)
        });
        let subscriptions = own.map(|one| {
            let filter = Filter::from_json(&one.filter)
                .map_err(|error| CliError::new(format!("{}: {error}", one.name)))?;
            let projection = usher_cli::projection(&one)?;
            Ok(Own { local: one.name.local().to_owned(), filter, projection })
        });
        let subscriptions = subscriptions.collect::<Result<Vec<_>, CliError>>()?;
        if subscriptions.is_empty() {
            let what = match subscription {
                Some(name) => format!("{plugin} has no subscription {name}"),
                None => format!("{plugin} has no subscription"),
            };
            return Err(CliError::new(what));
        }
        Ok(Self {
            client,
            plugin: plugin.clone(),
            settings: settings.given,
            subscriptions,
            answers,
        })
    }

    /// The component that serves.
    pub(super) fn component(&self) -> Result<Vec<u8>, CliError> {
        Ok(self.client.call(routes::PLUGIN_COMPONENT, &[self.plugin.as_str()]).bytes()?)
    }

    /// Whether its deliveries may ask other servers.
    pub(super) fn is_granted_http(&self) -> bool {
        self.settings.grants.iter().flatten().any(|name| name == "http")
    }

    /// The log, or of it what a filter selects.
    fn log(&self, filter: Option<String>) -> Log {
        Log { client: self.client.clone(), type_prefix: None, filter }
    }

    /// The newest events that the subscriptions take, oldest first.
    pub(super) fn newest(&self, count: usize) -> Result<Vec<Delivered>, CliError> {
        let mut found = Vec::new();
        for own in &self.subscriptions {
            let (taken, _) = self.log(Some(own.filter.to_json().to_string())).newest(count)?;
            found.extend(taken.into_iter().filter_map(|stored| own.delivered(stored)));
        }
        found.sort_by_key(|delivered| std::cmp::Reverse(delivered.sequence));
        found.truncate(count);
        found.reverse();
        Ok(found)
    }

    /// The events that come, as log; [`Source::deliveries`] are what the subscriptions take of one.
    pub(super) fn coming(&self) -> Log {
        let mut filters = self.subscriptions.iter().map(|own| &own.filter);
        let takes_all = filters.clone().any(Filter::is_everything);
        let any =
            serde_json::json!({ "any": filters.by_ref().map(Filter::to_json).collect::<Vec<_>>() });
        // Together they may be more than one filter may have.
        let is_fit = !takes_all && Filter::from_json(&any).is_ok();
        self.log(is_fit.then(|| any.to_string()))
    }

    /// An event as each subscription that takes it gets it.
    pub(super) fn deliveries(&self, stored: &Stored) -> Vec<Delivered> {
        let CloudEvent::Event(event) = &stored.event else { return Vec::new() };
        let taking = self.subscriptions.iter().filter(|own| own.filter.matches(event));
        taking.filter_map(|own| own.delivered(stored.clone())).collect()
    }

    /// What deliveries are given now.
    pub(super) fn moment(&self) -> Result<Moment, CliError> {
        let name = self.plugin.as_str();
        let found: Recordings = self.client.call(routes::PLUGIN_RECORDINGS, &[name]).fetch()?;
        let mut recorded = BTreeMap::new();
        for one in found.recordings {
            // The newest comes first.
            recorded
                .entry((one.sequence, one.subscription.local().to_owned()))
                .or_insert(one.number);
        }
        Ok(Moment { given: Given { state: self.state()?, ..self.settings.clone() }, recorded })
    }

    /// What one delivery is given: answers that the caller has, then those that were recorded.
    pub(super) fn given(&self, moment: &Moment, to: &Delivered) -> Result<Given, CliError> {
        let mut http = self.answers.clone();
        if let Some(number) = moment.recorded.get(&(to.sequence, to.subscription.clone())) {
            let path = [self.plugin.as_str(), &number.to_string()];
            // It may have given way to a newer one.
            let found =
                self.client.call(routes::PLUGIN_RECORDING, &path).find::<RecordedDelivery>()?;
            let recording = found.and_then(|found| found.recording);
            let given = recording.and_then(|recording| recording.given);
            http.extend(given.into_iter().flat_map(|given| given.http));
        }
        Ok(Given {
            subscription: Some(to.subscription.clone()),
            sequence: Some(to.sequence),
            http,
            ..moment.given.clone()
        })
    }

    /// All that the plugin keeps.
    fn state(&self) -> Result<BTreeMap<String, BTreeMap<String, Content>>, CliError> {
        let name = self.plugin.as_str();
        let mut state: BTreeMap<String, BTreeMap<String, Content>> = BTreeMap::new();
        let mut query = StateQuery { max: Some(PAGE_VALUES), ..StateQuery::default() };
        loop {
            let call = self.client.call(routes::PLUGIN_STATE, &[name]);
            let page: StateValues = call.query(&query).fetch()?;
            let Some(last) = page.values.last() else { return Ok(state) };
            query.after_bucket = Some(last.bucket.clone());
            query.after_key = Some(last.key.clone());
            for StateValue { bucket, key, value, value_base64, .. } in page.values {
                let content = match (value, value_base64) {
                    (Some(text), _) => Content::Text(text),
                    (None, base64) => Content::Base64 { base64: base64.unwrap_or_default() },
                };
                state.entry(bucket).or_default().insert(key, content);
            }
        }
    }
}

impl Own {
    /// An event as the plugin gets it.
    fn delivered(&self, stored: Stored) -> Option<Delivered> {
        let CloudEvent::Event(event) = stored.event else { return None };
        let (sequence, subscription) = (stored.sequence, self.local.clone());
        let event = self.projection.apply(&event);
        Some(Delivered { sequence, subscription, event })
    }
}
