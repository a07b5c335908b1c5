//! Tracks the states in which producers are refused or deliveries are held: which are active, and
//! which subscriptions or plugins each applies to.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use usher_api::{Breaker, Plugin, PluginState, Subscription, SubscriptionState};
use usher_broker::{BrokerError, BrokerStats, PARKED_MAX, RETRIES_MAX};
use usher_event::SubscriptionName;

use crate::running::{Busy, Running};
use crate::serving::Serving;
use usher_config::RouterState;

/// How often state changes are evaluated and logged.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Limit on names in one log line.
const NAMED_MAX: usize = 5;
/// The name listed for a state of the router as a whole.
const ROUTER: &str = "router";

/// Active states and what each applies to: subscriptions or plugins by name, or `router`.
pub(crate) type States = BTreeMap<RouterState, BTreeSet<String>>;

/// Returns the active states.
///
/// # Errors
/// The broker can't be read.
pub(crate) async fn now(running: &Running) -> Result<States, BrokerError> {
    let (stats, plugins) = (running.broker.stats(), running.plugins.status());
    if stats.is_journal_away {
        // How subscriptions stand is known again once it is back.
        return Ok(of(&running.busy, &stats, [], &plugins));
    }
    let statuses = running.broker.subscriptions().await?;
    let serving = Serving::now(running);
    let standings = statuses.iter().map(|status| {
        let name = &status.subscription.name;
        Standing {
            name,
            is_served: serving.paused_because(name).is_none(),
            holds_back: status.holds_back.is_some(),
            is_held_back: status.held_back_by.is_some(),
            retrying: status.retrying,
            parked: status.parked,
        }
    });
    Ok(of(&running.busy, &stats, standings, &plugins))
}

/// What decides which states apply to a subscription.
pub(crate) struct Standing<'a> {
    name: &'a SubscriptionName,
    is_served: bool,
    holds_back: bool,
    is_held_back: bool,
    retrying: u64,
    parked: u64,
}

impl<'a> From<&'a Subscription> for Standing<'a> {
    fn from(report: &'a Subscription) -> Self {
        Self {
            name: &report.name,
            is_served: report.state == SubscriptionState::Active,
            holds_back: report.holds_back.is_some(),
            is_held_back: report.held_back_by.is_some(),
            retrying: report.retrying,
            parked: report.parked,
        }
    }
}

/// Derives the active states from status reports.
pub(crate) fn of<'a>(
    busy: &Busy,
    broker: &BrokerStats,
    subscriptions: impl IntoIterator<Item = Standing<'a>>,
    plugins: &[Plugin],
) -> States {
    let mut states = States::new();
    let mut add = |state: RouterState, holds: bool, whom: &dyn ToString| {
        if holds {
            states.entry(state).or_default().insert(whom.to_string());
        }
    };
    add(RouterState::DiskFull, broker.is_disk_full, &ROUTER);
    add(RouterState::JournalAway, broker.is_journal_away, &ROUTER);
    add(RouterState::Busy, busy.is_recent(), &ROUTER);
    let mut held_plugins = BTreeSet::new();
    for plugin in plugins {
        let Some(name) = &plugin.name else { continue };
        let (is_paused, is_quarantined) =
            (plugin.state == PluginState::Paused, plugin.state == PluginState::Quarantined);
        add(RouterState::Paused, is_paused, name);
        add(RouterState::Quarantined, is_quarantined, name);
        add(RouterState::BreakerOpen, plugin.breaker == Breaker::Open, name);
        if is_paused || is_quarantined {
            held_plugins.insert(name.as_str());
        }
    }
    for one in subscriptions {
        let name = one.name;
        let is_served = one.is_served || held_plugins.contains(name.plugin());
        add(RouterState::NotServed, !is_served, name);
        add(RouterState::Backlog, one.holds_back, name);
        add(RouterState::HeldBack, one.is_held_back, name);
        add(RouterState::RetriesFull, one.retrying >= RETRIES_MAX as u64, name);
        add(RouterState::ParkedFull, one.parked >= PARKED_MAX as u64, name);
    }
    states
}

/// Logs each state when it starts to apply to a new name and when it ends, except for those that
/// are logged at their source.
pub(crate) async fn watch(running: &Running) -> Infallible {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut known = States::new();
    loop {
        looks.tick().await;
        // The broker reports its own read errors.
        let Ok(states) = now(running).await else { continue };
        for state in RouterState::ALL.into_iter().filter(|state| !is_logged_at_source(*state)) {
            log_change(state, known.get(&state), states.get(&state));
        }
        known = states;
    }
}

/// Whether the state is logged at its source, with a reason.
fn is_logged_at_source(state: RouterState) -> bool {
    matches!(
        state,
        RouterState::Backlog
            | RouterState::Paused
            | RouterState::Quarantined
            | RouterState::BreakerOpen
    )
}

fn log_change(
    state: RouterState,
    before: Option<&BTreeSet<String>>,
    now: Option<&BTreeSet<String>>,
) {
    let name = state.as_str();
    match (before, now) {
        (_, Some(now)) => {
            let added: Vec<_> =
                now.iter().filter(|whom| before.is_none_or(|b| !b.contains(*whom))).collect();
            if added.is_empty() {
                return;
            }
            let named: Vec<_> = added.iter().take(NAMED_MAX).map(|whom| whom.as_str()).collect();
            let more = if added.len() > NAMED_MAX { ", …" } else { "" };
            let (count, named) = (now.len(), format!("{}{more}", named.join(", ")));
            tracing::warn!(state = name, concerned = count, new = named, "{}", state.meaning());
        }
        (Some(_), None) => tracing::info!(state = name, "the state is over"),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::{plugin, subscription};
    use crate::running::BUSY_FOR;

    fn names(states: &States) -> Vec<(&'static str, String)> {
        states
            .iter()
            .map(|(state, whom)| (state.as_str(), Vec::from_iter(whom.clone()).join(" ")))
            .collect()
    }

    #[test]
    fn each_state_names_whom_it_concerns() {
        let busy = Busy::default();
        let nothing = of(&busy, &BrokerStats::default(), [], &[]);
        assert!(nothing.is_empty(), "{nothing:?}");

        busy.note();
        let broker =
            BrokerStats { is_disk_full: true, is_journal_away: true, ..BrokerStats::default() };
        let mut held = plugin("held");
        (held.state, held.breaker) = (PluginState::Paused, Breaker::Closed);
        let mut failing = plugin("failing");
        (failing.state, failing.breaker) = (PluginState::Quarantined, Breaker::Open);
        let report = |name: &str, state: SubscriptionState| {
            let mut report = subscription(1);
            report.name = name.parse().unwrap();
            (report.state, report.holds_back, report.held_back_by) = (state, None, None);
            report
        };
        let mut subscriptions = [
            report("held/all", SubscriptionState::Paused),
            report("gone/all", SubscriptionState::Paused),
            report("slow/all", SubscriptionState::Active),
            report("fast/all", SubscriptionState::Active),
        ];
        subscriptions[2].holds_back = Some(usher_api::Backpressure::Plugins);
        subscriptions[2].retrying = RETRIES_MAX as u64;
        subscriptions[3].held_back_by = Some("slow/all".parse().unwrap());
        subscriptions[3].parked = PARKED_MAX as u64;
        let standings = subscriptions.iter().map(Standing::from);
        let states = of(&busy, &broker, standings, &[held, failing]);
        let expected = [
            ("disk_full", "router"),
            ("journal_away", "router"),
            ("busy", "router"),
            ("backlog", "slow/all"),
            ("held_back", "fast/all"),
            ("not_served", "gone/all"),
            ("paused", "held"),
            ("quarantined", "failing"),
            ("breaker_open", "failing"),
            ("retries_full", "slow/all"),
            ("parked_full", "fast/all"),
        ];
        assert_eq!(names(&states), expected.map(|(state, whom)| (state, whom.to_owned())));
    }

    #[test]
    fn the_words_have_the_limits() {
        assert!(RouterState::RetriesFull.meaning().contains(&RETRIES_MAX.to_string()));
        assert!(RouterState::ParkedFull.meaning().contains(&PARKED_MAX.to_string()));
        assert!(RouterState::Busy.meaning().contains(&format!("{} s", BUSY_FOR.as_secs())));
    }
}
