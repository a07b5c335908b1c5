//! Charges the card of each purchase at the payment gateway.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tickets::{Confirmed, Declined, Purchase, event};
use usher_sdk::prelude::*;
use usher_sdk::{config, http, log};

const GATEWAY_TIMEOUT: Duration = Duration::from_secs(5);

/// The request to the gateway.
#[derive(Serialize)]
struct Charge<'a> {
    order: &'a str,
    amount_cents: u64,
    currency: &'a str,
    card: &'a str,
}

/// The response of a successful charge.
#[derive(Deserialize)]
struct Receipt {
    charge: String,
}

/// The response of a declined charge.
#[derive(Deserialize)]
struct Refusal {
    reason: String,
}

struct Payment;

impl Listener for Payment {
    fn describe() -> Description {
        Description::new("payment", env!("CARGO_PKG_VERSION"), "Charges the card of each purchase")
            .subscribe("purchases", Filter::event_type(event::PURCHASED))
            .wants(Capability::Config, "`gateway`: the payment gateway's base URL")
            .wants(Capability::Http, "to ask the payment gateway")
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let Purchase { ticket, card } = delivery.event.json()?;
        let charge = Charge {
            order: &ticket.order,
            amount_cents: ticket.price.amount_cents,
            currency: &ticket.price.currency,
            card: &card,
        };
        // The key is the same at every attempt, so the card is charged only once.
        let response = http::post(format!("{}/charges", config::require("gateway")?))
            .header("idempotency-key", delivery.idempotency_key())
            .timeout(GATEWAY_TIMEOUT)
            .json(&charge)?
            .send()?;

        let order = ticket.order.clone();
        let emission = if response.status == 402 {
            let Refusal { reason } = response.json()?;
            log::info!("{order} declined: {reason}");
            Emission::new(event::PAYMENT_DECLINED).json(&Declined { ticket, reason })?
        } else {
            let Receipt { charge } = response.success()?.json()?;
            log::info!("{order} charged {}: {charge}", ticket.price);
            Emission::new(event::PAYMENT_CONFIRMED).json(&Confirmed { ticket, charge })?
        };
        Ok(vec![emission.subject(order)])
    }
}

usher_sdk::export!(Payment);

#[cfg(test)]
mod tests;
