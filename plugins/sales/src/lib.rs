//! Counts events and revenue of each concert. Emits nothing: its state is the result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tickets::{Ticket, event};
use usher_sdk::prelude::*;
use usher_sdk::{log, state};

/// Catch-all key: types and currencies come from producers, but state is limited.
const OTHER: &str = "other";
/// Maximum number of currencies counted separately.
const CURRENCIES_MAX: usize = 20;

/// Sales of a concert: the value of its id in the bucket `concerts`.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Sales {
    title: String,
    /// Number of events by type, without `ticket.`; `other` for types unknown to the ticket
    /// plugins.
    events: BTreeMap<String, u64>,
    /// Confirmed payments by currency; `other` for currencies after the first 20.
    revenue_cents: BTreeMap<String, u64>,
}

impl Sales {
    fn events(&mut self, ty: &str) -> &mut u64 {
        let known = event::ALL.contains(&ty).then(|| ty.trim_start_matches(event::PREFIX));
        self.events.entry(known.unwrap_or(OTHER).to_owned()).or_default()
    }

    fn revenue(&mut self, currency: String) -> &mut u64 {
        let is_new = !self.revenue_cents.contains_key(&currency);
        let is_code = currency.len() == 3;
        let kept = if is_new && (!is_code || self.revenue_cents.len() >= CURRENCIES_MAX) {
            OTHER.to_owned()
        } else {
            currency
        };
        self.revenue_cents.entry(kept).or_default()
    }
}

struct Counter;

impl Listener for Counter {
    fn describe() -> Description {
        // One delivery at a time: all of them update the same few keys.
        Description::new("sales", env!("CARGO_PKG_VERSION"), "Counts tickets and revenue")
            .subscription(Subscription {
                name: "all".into(),
                filter: Filter::type_prefix(event::PREFIX),
                max_in_flight: Some(1),
            })
            .wants(Capability::State, "to keep the counts of each concert")
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let Ticket { concert, price, .. } = delivery.event.json()?;
        let ty = delivery.event.ty.as_str();
        let concerts = state::bucket("concerts")?;
        let mut sales: Sales = concerts.get_json(&concert.id)?.unwrap_or_default();
        sales.title = concert.title;
        *sales.events(ty) += 1;
        if ty == event::PAYMENT_CONFIRMED {
            let revenue = sales.revenue(price.currency);
            *revenue = revenue.saturating_add(price.amount_cents);
            log::info!("{}: {:?} cents so far", concert.id, sales.revenue_cents);
        }
        concerts.set_json(&concert.id, &sales)?;
        Ok(Vec::new())
    }
}

usher_sdk::export!(Counter);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use usher_sdk::testing::{self, TestHost};

    use super::*;

    fn ticket(ty: &str, concert: &str, amount_cents: u64) -> Event {
        let ticket = json!({
            "order": "o-1001",
            "concert": { "id": concert, "title": "Winterreise", "venue": "v", "starts": "s" },
            "seat": { "section": "Parkett", "row": "F", "number": 12 },
            "buyer": { "name": "Anna Magdalena Bach", "email": "anna@example.com" },
            "price": { "amount_cents": amount_cents, "currency": "EUR" },
        });
        testing::event(ty, &ticket)
    }

    #[test]
    fn counts_each_concert_and_adds_up_what_was_paid() {
        let host = TestHost::new();
        for (ty, concert, amount_cents) in [
            (event::PURCHASED, "c-7", 8500),
            (event::PAYMENT_CONFIRMED, "c-7", 8500),
            (event::PURCHASED, "c-7", 1500),
            (event::PAYMENT_CONFIRMED, "c-7", 1500),
            (event::PURCHASED, "c-8", 4200),
            (event::PAYMENT_DECLINED, "c-8", 4200),
        ] {
            let emitted = host.deliver::<Counter>(ticket(ty, concert, amount_cents));
            assert_eq!(emitted, Ok(Vec::new()));
        }
        let sales = |concert| -> Sales {
            serde_json::from_slice(&host.state("concerts", concert).unwrap()).unwrap()
        };
        assert_eq!(
            sales("c-7"),
            Sales {
                title: "Winterreise".into(),
                events: [("payment.confirmed".into(), 2), ("purchased".into(), 2)].into(),
                revenue_cents: [("EUR".into(), 10_000)].into(),
            }
        );
        assert_eq!(sales("c-8").revenue_cents, BTreeMap::new());
        assert_eq!(sales("c-8").events["payment.declined"], 1);
    }

    #[test]
    fn what_producers_make_up_counts_together() {
        let host = TestHost::new();
        let count = 500;
        for number in 0..count {
            let ty = format!("ticket.{number}{}", "x".repeat(1000));
            host.deliver::<Counter>(ticket(&ty, "c-7", 1)).unwrap();
            let mut paid: serde_json::Value =
                ticket(event::PAYMENT_CONFIRMED, "c-7", 1).json().unwrap();
            paid["price"]["currency"] = format!("{number:03}").into();
            host.deliver::<Counter>(testing::event(event::PAYMENT_CONFIRMED, &paid)).unwrap();
        }
        let sales: Sales = serde_json::from_slice(&host.state("concerts", "c-7").unwrap()).unwrap();
        let events = [("other".to_owned(), count), ("payment.confirmed".to_owned(), count)];
        assert_eq!(sales.events, events.into());
        assert_eq!(sales.revenue_cents.len(), CURRENCIES_MAX + 1);
        assert_eq!(sales.revenue_cents.values().sum::<u64>(), count);
    }

    #[test]
    fn rejects_what_is_no_ticket() {
        let host = TestHost::new();
        let odd = testing::event("ticket.lost", &json!({ "umbrella": true }));
        assert!(!host.deliver::<Counter>(odd).unwrap_err().is_retry());
        assert_eq!(host.state("concerts", ""), None);
    }
}
