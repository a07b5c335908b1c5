//! Renders the PDF of each paid ticket.
//!
//! A title may be too long for the large layout, so there are three, each tighter than the previous
//! one. A failed attempt is an event, `ticket.generation.failed`, which the printer itself handles
//! with the next layout. After the last one it emits `ticket.generation.abandoned` and rejects that
//! event, so that it becomes a dead letter, which an operator can redrive once the cause is fixed.

mod canvas;
mod face;
mod layout;
mod number;
mod page;
mod qr;
mod when;

use tickets::{Confirmed, Generated, GenerationFailed, Ticket, event};
use usher_sdk::prelude::*;
use usher_sdk::{blobs, log};

use layout::{LAYOUTS, Layout};
use page::Unprintable;

struct Printer;

impl Listener for Printer {
    fn describe() -> Description {
        Description::new("printer", env!("CARGO_PKG_VERSION"), "Makes the PDF of each paid ticket")
            .subscribe("payments", Filter::event_type(event::PAYMENT_CONFIRMED))
            .subscribe("failures", Filter::event_type(event::GENERATION_FAILED))
            .subscribe("abandoned", Filter::event_type(event::GENERATION_ABANDONED))
            .wants(Capability::Blobs, "to keep the PDFs")
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        match delivery.event.ty.as_str() {
            event::PAYMENT_CONFIRMED => {
                let Confirmed { ticket, .. } = delivery.event.json()?;
                attempt(ticket, 1)
            }
            event::GENERATION_FAILED => {
                let failed: GenerationFailed = delivery.event.json()?;
                let next = failed.generation_attempt.saturating_add(1);
                if layout_of(next).is_some() {
                    return attempt(failed.ticket, next);
                }
                log::warn!("{} abandoned: {}", failed.ticket.order, failed.reason);
                let order = failed.ticket.order.clone();
                let abandoned = Emission::new(event::GENERATION_ABANDONED).subject(order);
                Ok(vec![abandoned.json(&failed)?])
            }
            event::GENERATION_ABANDONED if delivery.replay => {
                let GenerationFailed { ticket, .. } = delivery.event.json()?;
                let printed = LAYOUTS.iter().map(|layout| print(&ticket, layout));
                let last = printed.reduce(|before, next| before.or(next));
                let pdf = last.or_reject("there is no layout")?.or_reject("still unprintable")?;
                generated(ticket, &pdf)
            }
            event::GENERATION_ABANDONED => {
                let GenerationFailed { generation_attempt, reason, .. } = delivery.event.json()?;
                Err(Failure::reject(format!(
                    "not printed in {generation_attempt} attempts: {reason}; redrive this dead \
                     letter once the cause is mended"
                )))
            }
            other => Err(Failure::reject(format!("nothing to print for {other}"))),
        }
    }
}

/// Runs one attempt; emits the ticket, or the event that triggers the next attempt.
fn attempt(ticket: Ticket, generation_attempt: u32) -> Result<Vec<Emission>, Failure> {
    let layout = layout_of(generation_attempt).or_reject("there is no such attempt")?;
    match print(&ticket, layout) {
        Ok(pdf) => generated(ticket, &pdf),
        Err(unprintable) => {
            let (order, reason) = (ticket.order.clone(), unprintable.to_string());
            let failed = GenerationFailed { ticket, generation_attempt, reason };
            Ok(vec![Emission::new(event::GENERATION_FAILED).subject(order).json(&failed)?])
        }
    }
}

fn layout_of(generation_attempt: u32) -> Option<&'static Layout> {
    LAYOUTS.get(usize::try_from(generation_attempt).ok()?.checked_sub(1)?)
}

fn print(ticket: &Ticket, layout: &Layout) -> Result<Vec<u8>, Unprintable> {
    page::draw(ticket, &number::of(ticket), layout)
}

/// Stores the PDF and emits its digest.
fn generated(ticket: Ticket, pdf: &[u8]) -> Result<Vec<Emission>, Failure> {
    let order = ticket.order.clone();
    let generated = Generated {
        ticket_number: number::of(&ticket),
        ticket,
        pdf: blobs::put(pdf, "application/pdf")?,
        size_bytes: pdf.len() as u64,
    };
    Ok(vec![Emission::new(event::GENERATED).subject(order).json(&generated)?])
}

usher_sdk::export!(Printer);

#[cfg(test)]
mod tests;
