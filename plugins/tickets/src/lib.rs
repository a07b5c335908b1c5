//! Payloads and type names of all ticket events. `schemas/` has their JSON Schemas, for authors in
//! other languages; a test keeps them in sync.
//!
//! Every payload includes the ticket's fields, so that handling an event needs no other.

use serde::{Deserialize, Serialize};

/// The values of the attribute `type`.
pub mod event {
    /// A ticket was bought: [`Purchase`](crate::Purchase). Emitted by the shop.
    pub const PURCHASED: &str = "ticket.purchased";
    /// The card was charged: [`Confirmed`](crate::Confirmed). Emitted by payment.
    pub const PAYMENT_CONFIRMED: &str = "ticket.payment.confirmed";
    /// The card was declined: [`Declined`](crate::Declined). Emitted by payment.
    pub const PAYMENT_DECLINED: &str = "ticket.payment.declined";
    /// The PDF was rendered: [`Generated`](crate::Generated). Emitted by the printer.
    pub const GENERATED: &str = "ticket.generated";
    /// An attempt to render the PDF failed: [`GenerationFailed`](crate::GenerationFailed). Emitted
    /// by the printer.
    pub const GENERATION_FAILED: &str = "ticket.generation.failed";
    /// All attempts to render the PDF failed: [`GenerationFailed`](crate::GenerationFailed), the
    /// last one. Emitted by the printer.
    pub const GENERATION_ABANDONED: &str = "ticket.generation.abandoned";
    /// The ticket was mailed to the buyer: [`Delivered`](crate::Delivered). Emitted by the courier.
    pub const DELIVERED: &str = "ticket.delivered";
    /// Prefix of all ticket event types.
    pub const PREFIX: &str = "ticket.";
    /// All of them.
    pub const ALL: [&str; 7] = [
        PURCHASED,
        PAYMENT_CONFIRMED,
        PAYMENT_DECLINED,
        GENERATED,
        GENERATION_FAILED,
        GENERATION_ABANDONED,
        DELIVERED,
    ];
}

/// One seat at one concert for one buyer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ticket {
    /// The order's number; also the events' `subject`.
    pub order: String,
    /// What is played, where and when.
    pub concert: Concert,
    /// Where the buyer sits.
    pub seat: Seat,
    /// Who bought it.
    pub buyer: Buyer,
    /// What it costs.
    pub price: Price,
}

/// What is played, where and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Concert {
    /// Tells concerts apart.
    pub id: String,
    /// As on the poster.
    pub title: String,
    /// House and hall.
    pub venue: String,
    /// RFC 3339, in the venue's time zone.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub starts: String,
}

/// A seat in a hall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Seat {
    /// Such as `Parkett`.
    pub section: String,
    /// A letter or number; `-` where there are no rows.
    pub row: String,
    /// Within the row.
    pub number: u32,
}

/// Who bought a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Buyer {
    /// In full.
    pub name: String,
    /// Where the ticket goes.
    #[cfg_attr(test, schemars(extend("format" = "email")))]
    pub email: String,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Price {
    /// In hundredths of the currency's unit.
    pub amount_cents: u64,
    /// ISO 4217, such as `EUR`.
    pub currency: String,
}

impl std::fmt::Display for Price {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, cents) = (self.amount_cents / 100, self.amount_cents % 100);
        write!(f, "{whole}.{cents:02} {}", self.currency)
    }
}

/// The payload of [`event::PURCHASED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Purchase {
    /// What was bought.
    #[serde(flatten)]
    pub ticket: Ticket,
    /// The payment gateway's token for the buyer's card. Whoever is given this event sees it; only
    /// payment uses it, and no later event repeats it.
    pub card: String,
}

/// The payload of [`event::PAYMENT_CONFIRMED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Confirmed {
    /// What was paid for.
    #[serde(flatten)]
    pub ticket: Ticket,
    /// The payment gateway's number for the charge.
    pub charge: String,
}

/// The payload of [`event::PAYMENT_DECLINED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Declined {
    /// What was not paid for.
    #[serde(flatten)]
    pub ticket: Ticket,
    /// The payment gateway's words.
    pub reason: String,
}

/// The payload of [`event::GENERATED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Generated {
    /// What was printed.
    #[serde(flatten)]
    pub ticket: Ticket,
    /// What the ticket's QR code says.
    pub ticket_number: String,
    /// The blob that holds the PDF, by its digest.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub pdf: String,
    /// The PDF's size.
    pub size_bytes: u64,
}

/// The payload of [`event::GENERATION_FAILED`] and [`event::GENERATION_ABANDONED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GenerationFailed {
    /// What was not printed.
    #[serde(flatten)]
    pub ticket: Ticket,
    /// Which attempt failed; the first is 1.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub generation_attempt: u32,
    /// Why.
    pub reason: String,
}

/// The payload of [`event::DELIVERED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Delivered {
    /// What was mailed.
    #[serde(flatten)]
    pub ticket: Ticket,
    /// What the ticket's QR code says.
    pub ticket_number: String,
    /// The mail API's number for the mail.
    pub mail: String,
}

#[cfg(test)]
mod tests;
