//! `usher subscriptions`: where each of them stands, and removing one.

use super::args::{ClientArgs, SubscriptionArgs};
use super::client::Client;
use super::error::CliError;
use super::output::{Output, style};
use super::table::{Align, Cell, Table};
use super::text::printable;
use crate::http::shapes::{Subscription, SubscriptionGone, SubscriptionState, Subscriptions};

/// Shows the subscriptions.
pub(super) fn list(args: &ClientArgs, out: &mut Output) -> Result<(), CliError> {
    let found: Subscriptions = Client::new(&args.url).get("/subscriptions", &[])?;
    if args.json { out.json(&found) } else { out.text(&render(&found.subscriptions)) }
}

/// Removes one.
pub(super) fn remove(args: &SubscriptionArgs, out: &mut Output) -> Result<(), CliError> {
    // Names are made of characters that stand for themselves in a path.
    let path = format!("/subscriptions/{}", args.name);
    let gone: SubscriptionGone = Client::new(&args.client.url).delete(&path)?;
    if args.client.json {
        return out.json(&gone);
    }
    out.text(&format!("subscription {} removed\n", gone.name))
}

fn render(subscriptions: &[Subscription]) -> String {
    if subscriptions.is_empty() {
        return "no subscriptions: plugins bring them\n".to_owned();
    }
    let mut table = Table::new(&[
        ("SUBSCRIPTION", Align::Left),
        ("STATE", Align::Left),
        ("CURSOR", Align::Right),
        ("LAG", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("RETRYING", Align::Right),
        ("ACKED", Align::Right),
        ("FAILED", Align::Right),
        ("DEAD", Align::Right),
        ("FILTER", Align::Left),
    ]);
    let plain = anstyle::Style::new();
    for subscription in subscriptions {
        let number = |count: u64, style| Cell::styled(count.to_string(), style);
        let unless_zero = |count: u64, style| number(count, if count == 0 { plain } else { style });
        table.row([
            Cell::styled(subscription.name.as_str(), style::NAME),
            match subscription.state {
                SubscriptionState::Active => Cell::styled("active", style::GOOD),
                SubscriptionState::Paused => Cell::styled("paused", style::OPEN),
            },
            number(subscription.cursor, plain),
            unless_zero(subscription.lag, style::OPEN),
            Cell::from(format!("{}/{}", subscription.in_flight, subscription.max_in_flight)),
            unless_zero(subscription.retrying, style::OPEN),
            number(subscription.acked, plain),
            unless_zero(subscription.failed, style::BAD),
            unless_zero(subscription.dead, style::BAD),
            Cell::styled(printable(&subscription.filter.to_string()), style::FAINT),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_a_table() {
        let subscriptions: Vec<Subscription> = serde_json::from_value(serde_json::json!([{
            "name": "payment/purchases", "plugin": "payment", "state": "paused",
            "filter": {"exact": {"type": "ticket.purchased"}}, "cursor": 18, "lag": 3,
            "in_flight": 2, "retrying": 1, "acked": 12, "failed": 4, "dead": 0, "max_in_flight": 16
        }]))
        .unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&render(&subscriptions)).to_string(),
            "\
SUBSCRIPTION       STATE   CURSOR  LAG  IN FLIGHT  RETRYING  ACKED  FAILED  DEAD  FILTER
payment/purchases  paused      18    3       2/16         1     12       4     0  \
{\"exact\":{\"type\":\"ticket.purchased\"}}
"
        );
        assert!(render(&[]).starts_with("no subscriptions"));
    }
}
