//! Mails each ticket to its buyer, with the PDF attached.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use tickets::{Delivered, Generated, Ticket, event};
use usher_sdk::prelude::*;
use usher_sdk::{blobs, config, http, log};

const MAIL_TIMEOUT: Duration = Duration::from_secs(5);

/// The request to the mail API.
#[derive(Serialize)]
struct Mail<'a> {
    to: &'a str,
    subject: String,
    text: String,
    attachments: [Attachment; 1],
}

#[derive(Serialize)]
struct Attachment {
    filename: String,
    content_type: String,
    content_base64: String,
}

/// Its response.
#[derive(Deserialize)]
struct Accepted {
    mail: String,
}

struct Courier;

impl Listener for Courier {
    fn describe() -> Description {
        Description::new("courier", env!("CARGO_PKG_VERSION"), "Mails each ticket to its buyer")
            .subscribe("tickets", Filter::event_type(event::GENERATED))
            .wants(Capability::Config, "`mail`: the mail API's base URL")
            .wants(Capability::Http, "to send mail")
            .wants(Capability::Blobs, "to read the PDF of a ticket")
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let Generated { ticket, ticket_number, pdf, .. } = delivery.event.json()?;
        let pdf = blobs::get(&pdf)?.or_reject(format!("there is no blob {pdf}"))?;
        let mail = Mail {
            to: &ticket.buyer.email,
            subject: format!("Your ticket for {}", ticket.concert.title),
            text: letter(&ticket, &ticket_number),
            attachments: [Attachment {
                filename: format!("ticket-{}.pdf", ticket.order),
                content_type: pdf.info.content_type,
                content_base64: BASE64.encode(&pdf.content),
            }],
        };
        // The key is the same at every attempt, so the mail is sent only once.
        let Accepted { mail } = http::post(format!("{}/mails", config::require("mail")?))
            .header("idempotency-key", delivery.idempotency_key())
            .timeout(MAIL_TIMEOUT)
            .json(&mail)?
            .send()?
            .success()?
            .json()?;
        log::info!("{} mailed: {mail}", ticket.order);

        let order = ticket.order.clone();
        let delivered = Delivered { ticket, ticket_number, mail };
        Ok(vec![Emission::new(event::DELIVERED).subject(order).json(&delivered)?])
    }
}

fn letter(ticket: &Ticket, ticket_number: &str) -> String {
    let Ticket { concert, seat, buyer, .. } = ticket;
    format!(
        "Dear {},\n\nhere is your ticket for {}, {}.\nSection {}, row {}, seat {}.\n\n\
         Bring the PDF, printed or on your phone: its code ({ticket_number}) lets you in.\n",
        buyer.name, concert.title, concert.venue, seat.section, seat.row, seat.number
    )
}

usher_sdk::export!(Courier);

#[cfg(test)]
mod tests;
