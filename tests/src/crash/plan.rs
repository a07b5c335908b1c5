//! What is published in one round, and what must come of each event.

use serde_json::{Value, json};

use super::seed::{Choices, noise};

/// The source of everything the harness publishes.
pub(super) const SOURCE: &str = "/crash";

/// One event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Its id; unique over all rounds.
    pub(super) id: String,
    /// What it is.
    pub(super) kind: Kind,
}

/// What an event is, and thereby what must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A ticket is bought: four plugins, two outside services.
    Purchase(Order),
    /// Counted in state, side by side with others of its key.
    Count {
        /// What is counted.
        key: String,
        /// Whether the plugin reads, adds and writes, in place of the host's increment.
        by_reading: bool,
    },
    /// Counted in state in the order of the log, one after another for each key.
    Ordered {
        /// What is counted; also the subject, by which it is ordered.
        key: String,
    },
    /// Answered with itself, in the order of the log for each subject.
    Echo {
        /// By which it is ordered.
        subject: String,
    },
    /// Wanted by nobody; fills the disk.
    Fill {
        /// Where its data comes from.
        seed: u64,
        /// How much of it there is.
        len: usize,
    },
}

/// A purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Who buys: the subject, by which payments are ordered.
    pub(super) buyer: String,
    /// For what.
    pub(super) concert: String,
    /// The price.
    pub(super) amount_cents: u64,
    /// The gateway stand-in's token.
    pub(super) card: &'static str,
    /// Whether the mail API turns the first mail away.
    pub(super) mail_is_flaky: bool,
    /// Whether no layout can hold the title.
    pub(super) unprintable: bool,
}

/// The types of a purchase's flow.
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

    /// The buyer's address, which only this order has.
    pub(super) fn address(&self, id: &str) -> String {
        let flaky = if self.mail_is_flaky { "flaky." } else { "" };
        format!("{flaky}{id}@example.com")
    }
}

impl Planned {
    /// The types of the events of its flow, in order, its own first.
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

    /// By what the first delivery of its flow is ordered: the subscription and the lane.
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

/// The load of a round; `hold` has one purchase whose payment the gateway holds back.
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
    // Enough that memory tables are written out and journals emptied now and then.
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
