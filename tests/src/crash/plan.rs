//! The events of a round and their expected effects.

use serde_json::{Value, json};

use super::seed::{Choices, noise};

/// The source of all events published by the harness.
pub(super) const SOURCE: &str = "/crash";

/// One event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Its id; unique over all rounds.
    pub(super) id: String,
    /// Kind of event.
    pub(super) kind: Kind,
}

/// Kinds of events; each determines the expected effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A ticket is bought: four plugins, two outside services.
    Purchase(Order),
    /// Counted in state, concurrently with others of its key.
    Count {
        /// The counter.
        key: String,
        /// Whether the plugin uses get and set instead of the host's increment.
        by_reading: bool,
    },
    /// Counted in state in log order, one at a time per key.
    Ordered {
        /// The counter; also the subject, which is the ordering key.
        key: String,
    },
    /// Echoed, in log order per subject.
    Echo {
        /// The ordering key.
        subject: String,
    },
    /// Matches no subscription; fills the disk.
    Fill {
        /// Seed of its data.
        seed: u64,
        /// Length of its data.
        len: usize,
    },
}

/// A purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The buyer; the subject, which is the ordering key of payments.
    pub(super) buyer: String,
    /// The concert.
    pub(super) concert: String,
    /// The price.
    pub(super) amount_cents: u64,
    /// The gateway stand-in's token.
    pub(super) card: &'static str,
    /// Whether the mail API refuses the first attempt.
    pub(super) mail_is_flaky: bool,
    /// Whether the title fits no layout.
    pub(super) unprintable: bool,
}

/// The types of a purchase's flow, by outcome.
const DELIVERED: &[&str] =
    &["ticket.purchased", "ticket.payment.confirmed", "ticket.generated", "ticket.delivered"];
const DECLINED: &[&str] = &["ticket.purchased", "ticket.payment.declined"];
const ABANDONED: &[&str] = &[
    "ticket.purchased",
    "ticket.payment.confirmed",
    "ticket.generation.failed",
    "ticket.generation.failed",
    "ticket.generation.failed",
    "ticket.generation.abandoned",
    "dev.usher.delivery.dead",
];

impl Order {
    /// Whether the card is charged.
    pub(super) fn is_paid(&self) -> bool {
        self.card != "tok_declined"
    }

    /// Whether a mail is sent.
    pub(super) fn is_mailed(&self) -> bool {
        self.is_paid() && !self.unprintable
    }

    /// The buyer's address; unique per order.
    pub(super) fn address(&self, id: &str) -> String {
        let flaky = if self.mail_is_flaky { "flaky." } else { "" };
        format!("{flaky}{id}@example.com")
    }
}

impl Planned {
    /// The expected event types of its flow, in order, starting with its own.
    pub(super) fn flow(&self) -> &'static [&'static str] {
        match &self.kind {
            Kind::Purchase(order) if !order.is_paid() => DECLINED,
            Kind::Purchase(order) if order.unprintable => ABANDONED,
            Kind::Purchase(_) => DELIVERED,
            Kind::Count { .. } => &["test.count", "test.counted"],
            Kind::Ordered { .. } => &["test.ordered", "test.counted"],
            Kind::Echo { .. } => &["test.echo", "test.echoed"],
            Kind::Fill { .. } => &["test.fill"],
        }
    }

    /// Subscription and lane that order the first delivery of its flow.
    pub(super) fn lane(&self) -> Option<(&'static str, &str)> {
        match &self.kind {
            Kind::Purchase(order) => Some(("payment/purchases", &order.buyer)),
            Kind::Ordered { key } => Some(("state/ordered", key)),
            Kind::Echo { subject } => Some(("echo/echo", subject)),
            Kind::Count { .. } | Kind::Fill { .. } => None,
        }
    }

    /// The CloudEvent.
    pub(super) fn event(&self) -> Value {
        let data = match &self.kind {
            Kind::Purchase(order) => purchase(&self.id, order),
            Kind::Count { key, by_reading: true } | Kind::Ordered { key } => {
                json!({ "key": key, "by": "reading" })
            }
            Kind::Count { key, by_reading: false } => json!({ "key": key }),
            Kind::Echo { .. } => json!({ "echo": self.id }),
            Kind::Fill { seed, len } => json!({ "noise": noise(*seed, *len) }),
        };
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id,
            "source": SOURCE,
            "type": self.flow().first(),
            "datacontenttype": "application/json",
            "data": data,
        });
        if let (Some((_, lane)), Some(event)) = (self.lane(), event.as_object_mut()) {
            event.insert("subject".to_owned(), json!(lane));
        }
        event
    }
}

fn purchase(id: &str, order: &Order) -> Value {
    let title = if order.unprintable { "\u{1d11e}\u{1d122} \u{13080}" } else { "Winterreise" };
    json!({
        "order": id,
        "concert": {
            "id": order.concert,
            "title": title,
            "venue": "Konzerthaus",
            "starts": "2026-06-20T19:30:00+02:00",
        },
        "seat": { "section": "Parkett", "row": "F", "number": 12 },
        "buyer": { "name": "Anna Magdalena Bach", "email": order.address(id) },
        "price": { "amount_cents": order.amount_cents, "currency": "EUR" },
        "card": order.card,
    })
}

/// The load of a round; with `hold`, the gateway holds one purchase's payment.
pub(super) fn of_round(choices: &mut Choices, round: u32, hold: bool) -> Vec<Planned> {
    let mut kinds: Vec<Kind> = Vec::new();
    // The first is always delivered, so that each round has a mail.
    let card = if hold { "tok_held" } else { "tok_ok" };
    kinds.push(Kind::Purchase(order(choices, card, false)));
    for _ in 0..4 {
        let card = match choices.below(10) {
            0..5 => "tok_ok",
            5..8 => "tok_flaky",
            _ => "tok_declined",
        };
        let unprintable = choices.percent(15);
        kinds.push(Kind::Purchase(order(choices, card, unprintable)));
    }
    for _ in 0..12 {
        let key = format!("count-{}", choices.below(2));
        kinds.push(Kind::Count { key, by_reading: choices.percent(70) });
    }
    for _ in 0..12 {
        kinds.push(Kind::Ordered { key: format!("ordered-{}", choices.below(3)) });
    }
    for _ in 0..8 {
        kinds.push(Kind::Echo { subject: format!("echo-{}", choices.below(2)) });
    }
    // Large enough to flush memtables and rotate journals now and then.
    if choices.percent(30) {
        for _ in 0..=choices.below(8) {
            let len = usize::try_from(choices.below(200_000)).unwrap_or(0);
            kinds.push(Kind::Fill { seed: choices.next(), len });
        }
    }
    choices.shuffle(&mut kinds);
    let numbered = |(number, kind)| Planned { id: format!("r{round}-{number}"), kind };
    kinds.into_iter().enumerate().map(numbered).collect()
}

fn order(choices: &mut Choices, card: &'static str, unprintable: bool) -> Order {
    Order {
        buyer: format!("buyer-{}", choices.below(2)),
        concert: format!("c-{}", choices.below(2)),
        amount_cents: 1 + choices.below(10_000),
        card,
        mail_is_flaky: choices.percent(30),
        unprintable,
    }
}

/// The load, cut into requests: single events and small batches.
pub(super) fn requests(choices: &mut Choices, mut planned: Vec<Planned>) -> Vec<Vec<Planned>> {
    let mut requests = Vec::new();
    while !planned.is_empty() {
        let size = if choices.percent(60) { 1 } else { 2 + choices.below(4) };
        let size = usize::try_from(size).unwrap_or(1).min(planned.len());
        requests.push(planned.drain(..size).collect());
    }
    requests
}
