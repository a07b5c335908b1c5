//! Twelve ticket purchases: most are ordinary, each of the others is a special case.

use serde_json::{Value, json};

/// A purchase and its expected result.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// The order's number; also the event's subject.
    pub order: &'static str,
    /// What is special about it.
    pub story: &'static str,
    /// The expected result.
    pub expected: Expected,
    title: &'static str,
    venue: &'static str,
    concert: &'static str,
    seat: (&'static str, &'static str, u32),
    buyer: (&'static str, &'static str),
    amount_cents: i64,
    card: &'static str,
}

/// How a flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The ticket was mailed.
    Delivered,
    /// The card was declined.
    Declined,
    /// No ticket could be printed: a dead letter.
    Abandoned,
}

/// Expected result of a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How it ends.
    pub ending: Ending,
    /// Failed attempts to charge the card.
    pub gateway_failures: usize,
    /// Failed attempts to print; each is an event.
    pub print_failures: usize,
    /// Failed attempts to mail.
    pub mail_failures: usize,
}

impl Expected {
    const PLAIN: Self = Self {
        ending: Ending::Delivered,
        gateway_failures: 0,
        print_failures: 0,
        mail_failures: 0,
    };
}

impl Purchase {
    /// The event's id.
    pub fn id(&self) -> String {
        format!("purchase-{}", self.order)
    }

    /// The buyer's address.
    pub fn address(&self) -> &'static str {
        self.buyer.1
    }

    /// The same purchase, paid with another card.
    #[must_use]
    pub fn paid_with(mut self, card: &'static str) -> Self {
        self.card = card;
        self
    }

    /// The purchase as a CloudEvent.
    pub fn event(&self) -> Value {
        let (section, row, number) = self.seat;
        let (name, email) = self.buyer;
        json!({
            "specversion": "1.0",
            "id": self.id(),
            "source": "https://shop.example/box-office",
            "type": "ticket.purchased",
            "subject": self.order,
            "time": "2026-05-02T18:04:05.120Z",
            "datacontenttype": "application/json",
            "data": {
                "order": self.order,
                "concert": {
                    "id": self.concert,
                    "title": self.title,
                    "venue": self.venue,
                    "starts": "2026-06-20T19:30:00+02:00",
                },
                "seat": { "section": section, "row": row, "number": number },
                "buyer": { "name": name, "email": email },
                "price": { "amount_cents": self.amount_cents, "currency": "EUR" },
                "card": self.card,
            },
        })
    }
}

/// The twelve purchases.
pub fn purchases() -> Vec<Purchase> {
    let plain = Purchase {
        order: "",
        story: "an ordinary purchase",
        expected: Expected::PLAIN,
        title: "Winterreise",
        venue: "Konzerthaus, Kleiner Saal",
        concert: "c-7",
        seat: ("Parkett", "F", 12),
        buyer: ("Anna Magdalena Bach", "anna@example.com"),
        amount_cents: 8_500,
        card: "tok_ok",
    };
    let evening = Purchase {
        title: "An Evening of Film Music",
        venue: "Harbour Hall",
        concert: "c-8",
        seat: ("Balcony", "2", 4),
        amount_cents: 4_200,
        ..plain.clone()
    };
    vec![
        Purchase { order: "o-1001", ..plain.clone() },
        Purchase {
            order: "o-1002",
            seat: ("Parkett", "F", 13),
            buyer: ("Ernő Dohnányi", "erno@example.com"),
            ..plain.clone()
        },
        Purchase {
            order: "o-1003",
            story: "the card is declined",
            buyer: ("Clara Schumann", "clara@example.com"),
            card: "tok_declined",
            expected: Expected { ending: Ending::Declined, ..Expected::PLAIN },
            ..evening.clone()
        },
        Purchase {
            order: "o-1004",
            story: "the gateway answers 503 twice, then works",
            buyer: ("Dario Castello", "dario@example.com"),
            card: "tok_flaky",
            expected: Expected { gateway_failures: 2, ..Expected::PLAIN },
            ..evening.clone()
        },
        Purchase {
            order: "o-1005",
            story: "the title is too long for the large layout; the next one holds it",
            title: LONG_TITLE,
            concert: "c-9",
            buyer: ("Ethel Smyth", "ethel@example.com"),
            expected: Expected { print_failures: 1, ..Expected::PLAIN },
            ..plain.clone()
        },
        Purchase {
            order: "o-1006",
            story: "the title can't be printed in any layout: a dead letter",
            title: "\u{1d11e}\u{1d122} \u{13080}\u{132f9}",
            concert: "c-10",
            buyer: ("Fanny Hensel", "fanny@example.com"),
            expected: Expected { ending: Ending::Abandoned, print_failures: 3, ..Expected::PLAIN },
            ..plain.clone()
        },
        Purchase {
            order: "o-1007",
            story: "the gateway takes its time",
            buyer: ("Gustav Mahler", "gustav@example.com"),
            card: "tok_slow",
            ..evening.clone()
        },
        Purchase {
            order: "o-1008",
            story: "the mail API answers 503 once, then works",
            buyer: ("Hugo Wolf", "flaky.hugo@example.com"),
            expected: Expected { mail_failures: 1, ..Expected::PLAIN },
            ..evening.clone()
        },
        Purchase {
            order: "o-1009",
            seat: ("Balcony", "2", 5),
            buyer: ("Isaac Albéniz", "isaac@example.com"),
            ..evening.clone()
        },
        Purchase {
            order: "o-1010",
            seat: ("Stehplatz", "-", 118),
            amount_cents: 1_500,
            buyer: ("Joaquín Turina", "joaquin@example.com"),
            ..plain.clone()
        },
        Purchase {
            order: "o-1011",
            seat: ("Balcony", "2", 6),
            buyer: ("Stanisław Moniuszko", "stanislaw@example.com"),
            ..evening
        },
        Purchase {
            order: "o-1012",
            seat: ("Loge 3", "1", 2),
            amount_cents: 14_000,
            buyer: ("Leoš Janáček", "leos@example.com"),
            ..plain
        },
    ]
}

const LONG_TITLE: &str = "Das Wohltemperierte Klavier, erster und zweiter Teil: alle \
    achtundvierzig Präludien und Fugen an einem einzigen langen Abend";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn twelve_orders_each_its_own() {
        let purchases = purchases();
        let orders: BTreeSet<_> = purchases.iter().map(|purchase| purchase.order).collect();
        assert_eq!((purchases.len(), orders.len()), (12, 12));
    }
}
