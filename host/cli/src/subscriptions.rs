//! `usher subscriptions`: lists subscriptions with their progress, and removes one.

use super::args::{ClientArgs, SubscriptionArgs};
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table};
use usher_api::{
    Backpressure, Order, Subscription, SubscriptionGone, SubscriptionState, Subscriptions,
    Timestamp, routes,
};
use usher_wording::{elapsed, now, printable, until};

/// Placeholder in empty cells.
const NOTHING: &str = "-";

/// Shows the subscriptions.
pub(crate) fn list(args: &ClientArgs, out: &mut Output) -> Result<(), CliError> {
    let found: Subscriptions = args.client()?.call(routes::SUBSCRIPTIONS, &[]).fetch()?;
    if args.json { out.json(&found) } else { out.text(&render(&found.subscriptions, now())) }
}

/// Removes one subscription.
pub(crate) fn remove(args: &SubscriptionArgs, out: &mut Output) -> Result<(), CliError> {
    let name = [args.name.plugin(), args.name.local()];
    let client = args.client.client()?;
    let gone: SubscriptionGone = client.call(routes::UNSUBSCRIBE, &name).fetch()?;
    if args.client.json {
        return out.json(&gone);
    }
    out.text(&format!("subscription {} removed\n", gone.name))
}

fn render(subscriptions: &[Subscription], now: Timestamp) -> String {
    if subscriptions.is_empty() {
        return "no subscriptions: plugins bring them\n".to_owned();
    }
    let mut table = Table::new(&[
        ("SUBSCRIPTION", Align::Left),
        ("STATE", Align::Left),
        ("ORDER", Align::Left),
        ("LAG", Align::Right),
        ("OLDEST", Align::Right),
        ("AGE", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("RETRYING", Align::Right),
        ("NEXT RETRY", Align::Right),
        ("PARKED", Align::Right),
        ("STALLED LANES", Align::Right),
        ("ACKED", Align::Right),
        ("FAILED", Align::Right),
        ("DEAD", Align::Right),
        ("EXPIRED", Align::Right),
        ("FILTER", Align::Left),
    ]);
    let plain = anstyle::Style::new();
    for subscription in subscriptions {
        let number = |count: u64, style| Cell::styled(count.to_string(), style);
        let unless_zero = |count: u64, style| number(count, if count == 0 { plain } else { style });
        let oldest = subscription.oldest_unsettled;
        let age = oldest.and_then(|oldest| oldest.recorded).map(|since| elapsed(since, now));
        let next_retry = subscription.next_retry.map(|due| until(now, due));
        table.row([
            Cell::styled(subscription.name.as_str(), style::NAME),
            match subscription.state {
                SubscriptionState::Active => Cell::styled("active", style::GOOD),
                SubscriptionState::Paused => Cell::styled("paused", style::OPEN),
            },
            match &subscription.order {
                Order::None => "none".into(),
                Order::Key(attribute) => format!("by {}", printable(attribute)).into(),
                Order::Total => "total".into(),
            },
            unless_zero(subscription.lag, style::OPEN),
            oldest.map_or(NOTHING.into(), |oldest| oldest.sequence.to_string().into()),
            age.map_or(NOTHING.into(), Cell::from),
            Cell::from(format!("{}/{}", subscription.in_flight, subscription.max_in_flight)),
            unless_zero(subscription.retrying, style::OPEN),
            next_retry.map_or(NOTHING.into(), Cell::from),
            unless_zero(subscription.parked, style::OPEN),
            unless_zero(subscription.stalled_lanes, style::OPEN),
            number(subscription.acked, plain),
            unless_zero(subscription.failed, style::BAD),
            unless_zero(subscription.dead, style::BAD),
            match subscription.expired {
                0 if !subscription.expires => NOTHING.into(),
                expired => unless_zero(expired, style::BAD),
            },
            Cell::styled(printable(&subscription.filter.to_string()), style::FAINT),
        ]);
    }
    let mut text = table.render();
    for subscription in subscriptions {
        if let Some(reason) = &subscription.paused_because {
            text.push_str(&format!("{} is paused: {}\n", subscription.name, printable(reason)));
        }
        if let Some(whom) = subscription.holds_back {
            let whom = match whom {
                Backpressure::Producers => "producers are refused until it has caught up",
                Backpressure::Plugins => {
                    "producers are refused, and plugins that emit what it takes wait, until it has \
                     caught up"
                }
            };
            text.push_str(&format!("{} is too far behind: {whom}\n", subscription.name));
        }
        if subscription.superseded > 0 {
            text.push_str(&format!(
                "{} left out {} for a newer event (debounce_ms)\n",
                subscription.name, subscription.superseded
            ));
        }
        if let Some(by) = &subscription.held_back_by {
            text.push_str(&format!("{} waits until {by} has caught up\n", subscription.name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_a_table() {
        let retry = serde_json::json!({
            "first_delay_ms": 1, "factor": 2.0, "max_delay_ms": 9, "jitter": 0.2,
            "max_attempts": 3, "max_age_ms": 9, "classes": {}
        });
        let subscriptions: Vec<Subscription> = serde_json::from_value(serde_json::json!([
            {
                "name": "payment/purchases", "plugin": "payment", "state": "paused",
                "paused_because": "no file is plugin payment",
                "filter": {"exact": {"type": "ticket.purchased"}}, "order": {"key": "subject"},
                "start": "latest", "retry": retry,
                "cursor": 18, "lag": 3, "holds_back": "producers", "held_back_by": "sales/all",
                "oldest_unsettled": {"sequence": 16, "recorded": "2026-01-31T12:00:00.000Z"},
                "in_flight": 2, "retrying": 1, "next_retry": "2026-01-31T12:00:05.250Z",
                "delayed": 0, "parked": 40, "stalled_lanes": 1, "acked": 12, "failed": 4, "dead": 0,
                "expires": true, "expired": 7, "max_in_flight": 16
            },
            {
                "name": "sales/all", "plugin": "sales", "state": "active", "filter": {},
                "order": "none", "start": "latest", "retry": retry, "cursor": 21, "lag": 0, "in_flight": 0, "retrying": 0,
                "delayed": 0, "parked": 0, "stalled_lanes": 0, "acked": 20, "failed": 0, "dead": 0,
                "expires": false, "expired": 0, "max_in_flight": 1024
            }
        ]))
        .unwrap();
        let now = Timestamp::from_ms(1_769_860_801_000);
        assert_eq!(
            anstream::adapter::strip_str(&render(&subscriptions, now)).to_string(),
            "\
SUBSCRIPTION       STATE   ORDER       LAG  OLDEST      AGE  IN FLIGHT  RETRYING  NEXT RETRY  \
PARKED  STALLED LANES  ACKED  FAILED  DEAD  EXPIRED  FILTER
payment/purchases  paused  by subject    3      16  1.000 s       2/16         1  in 4.250 s      \
40              1     12       4     0        7  {\"exact\":{\"type\":\"ticket.purchased\"}}
sales/all          active  none          0       -        -     0/1024         0           -       \
0              0     20       0     0        -  {}
payment/purchases is paused: no file is plugin payment
payment/purchases is too far behind: producers are refused until it has caught up
payment/purchases waits until sales/all has caught up
"
        );
        assert!(render(&[], now).starts_with("no subscriptions"));
    }
}
