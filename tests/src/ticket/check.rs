//! Checks of a purchase's flow and of the outside services, once everything is settled.
//!
//! Each check returns a list of all problems; an empty list is success.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::purchase::{Ending, Purchase};
use crate::stand_ins::{Gateway, Mail};

/// Whether the router was killed during the run. A killed router forgets an attempt in flight, so
/// fewer failures may be recorded; nothing else may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Not killed.
    Smooth,
    /// Killed and restarted.
    Interrupted,
}

#[derive(Debug, Deserialize)]
struct Flow {
    flow: u64,
    settled: bool,
    truncated: bool,
    events: Vec<FlowEvent>,
    delayed: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct FlowEvent {
    sequence: u64,
    cause: Option<Cause>,
    event: Event,
    deliveries: Vec<Delivery>,
}

#[derive(Debug, Deserialize)]
struct Cause {
    parent: u64,
    subscription: String,
}

#[derive(Debug, Deserialize)]
struct Event {
    id: String,
    source: String,
    #[serde(rename = "type")]
    ty: String,
    correlationid: Option<String>,
    causationid: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Delivery {
    subscription: String,
    plugin: String,
    state: String,
    failures: Vec<Failure>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    class: String,
    reason: String,
}

/// Checks a purchase's flow as returned by `/flows/{id}`.
///
/// # Errors
/// The flow isn't of the documented form.
pub fn check_flow(purchase: &Purchase, flow: &serde_json::Value, run: Run) -> Result<Vec<String>> {
    let flow: Flow = Flow::deserialize(flow).with_context(|| format!("not a flow: {flow}"))?;
    let mut problems = Vec::new();
    let mut check = |holds: bool, problem: String| {
        if !holds {
            problems.push(format!("{}: {problem}", purchase.order));
        }
    };
    check(flow.settled, "the flow is not settled".into());
    check(!flow.truncated, "the flow is cut off".into());
    check(flow.delayed.is_empty(), "emissions still wait".into());

    let types: Vec<&str> = flow.events.iter().map(|event| event.event.ty.as_str()).collect();
    let wanted = expected_types(purchase);
    check(types == wanted, format!("events are {types:?} instead of {wanted:?}"));

    for event in &flow.events {
        let problem = lineage(&flow, event);
        check(problem.is_none(), problem.unwrap_or_default());
    }

    let expected = &purchase.expected;
    for (plugin, wanted) in
        [("payment", expected.gateway_failures), ("courier", expected.mail_failures)]
    {
        let found: Vec<&Failure> = deliveries(&flow, plugin).flat_map(|d| &d.failures).collect();
        let right = match run {
            Run::Smooth => found.len() == wanted,
            Run::Interrupted => found.len() <= wanted,
        };
        check(right, format!("{plugin} failed {} times instead of {wanted}", found.len()));
        for failure in found {
            let told = failure.class == "retry" && !failure.reason.is_empty();
            check(told, format!("{plugin} failed with {failure:?} instead of a reasoned retry"));
        }
    }

    for delivery in flow.events.iter().flat_map(|event| &event.deliveries) {
        let wanted = if is_given_up(&flow, delivery) { "dead" } else { "done" };
        check(
            delivery.state == wanted,
            format!("{} is {} instead of {wanted}", delivery.subscription, delivery.state),
        );
    }
    let given_up = flow.events.iter().flat_map(|e| &e.deliveries).filter(|d| d.state == "dead");
    let wanted = usize::from(expected.ending == Ending::Abandoned);
    let found = given_up.count();
    check(found == wanted, format!("{found} dead letters instead of {wanted}"));
    let counted = deliveries(&flow, "sales").count();
    let sold = types.iter().filter(|ty| **ty != REPORT).count();
    check(counted == sold, format!("sales saw {counted} of {sold} events"));
    Ok(problems)
}

/// The system event about a dead letter.
const REPORT: &str = "dev.usher.delivery.dead";

fn expected_types(purchase: &Purchase) -> Vec<&'static str> {
    let expected = &purchase.expected;
    let mut types = vec!["ticket.purchased"];
    if expected.ending == Ending::Declined {
        types.push("ticket.payment.declined");
        return types;
    }
    types.push("ticket.payment.confirmed");
    types.extend(std::iter::repeat_n("ticket.generation.failed", expected.print_failures));
    match expected.ending {
        Ending::Abandoned => types.extend(["ticket.generation.abandoned", REPORT]),
        Ending::Delivered | Ending::Declined => {
            types.extend(["ticket.generated", "ticket.delivered"]);
        }
    }
    types
}

fn deliveries<'f>(flow: &'f Flow, plugin: &str) -> impl Iterator<Item = &'f Delivery> {
    let all = flow.events.iter().flat_map(|event| &event.deliveries);
    all.filter(move |delivery| delivery.plugin == plugin)
}

/// The printer rejects abandoned tickets, as dead letters for an operator.
fn is_given_up(flow: &Flow, delivery: &Delivery) -> bool {
    delivery.plugin == "printer"
        && flow.events.iter().any(|event| {
            event.event.ty == "ticket.generation.abandoned"
                && event.deliveries.iter().any(|other| std::ptr::eq(other, delivery))
        })
}

/// Checks an event's cause and source.
fn lineage(flow: &Flow, event: &FlowEvent) -> Option<String> {
    let Some(cause) = &event.cause else {
        return (event.sequence != flow.flow)
            .then(|| format!("event {} has no cause but is not the first", event.sequence));
    };
    let Some(parent) = flow.events.iter().find(|other| other.sequence == cause.parent) else {
        return Some(format!("the parent of event {} is not in the flow", event.sequence));
    };
    let plugin = cause.subscription.split('/').next().unwrap_or_default();
    let source = match event.event.ty.as_str() {
        REPORT => "/usher".to_owned(),
        _ => format!("/plugins/{plugin}"),
    };
    let right = event.event.source == source
        && event.event.correlationid.as_deref() == Some(flow.flow.to_string().as_str())
        && event.event.causationid.as_ref() == Some(&parent.event.id)
        && event.sequence > parent.sequence;
    (!right).then(|| format!("event {} has a wrong lineage: {event:?}", event.sequence))
}

/// Checks the requests to gateway and mail API: every card charged once, if and only if expected,
/// every ticket mailed once with one PDF.
///
/// # Errors
/// An attachment can't be read.
pub fn check_world(purchases: &[Purchase], gateway: &Gateway, mail: &Mail) -> Result<Vec<String>> {
    let charges = gateway.charges();
    let mails = mail.mails();
    let mut problems = Vec::new();
    for purchase in purchases {
        let order = purchase.order;
        let of_order: Vec<_> = charges.iter().filter(|charge| charge.order == order).collect();
        if let [charge] = of_order.as_slice() {
            let charged = charge.charge.is_some();
            if charged == (purchase.expected.ending == Ending::Declined) {
                problems.push(format!("{order}: charged is {charged}"));
            }
            if !charge.key.starts_with("payment.purchases.") {
                problems.push(format!("{order}: the idempotency key is {}", charge.key));
            }
        } else {
            problems.push(format!("{order}: {} idempotency keys at the gateway", of_order.len()));
        }

        let delivered = purchase.expected.ending == Ending::Delivered;
        let to_buyer: Vec<_> = mails.iter().filter(|sent| sent.to == purchase.address()).collect();
        if to_buyer.len() != usize::from(delivered) {
            problems.push(format!("{order}: {} mails instead of one or none", to_buyer.len()));
        }
        for sent in to_buyer {
            let [attachment] = sent.attachments.as_slice() else {
                problems.push(format!("{order}: {} attachments", sent.attachments.len()));
                continue;
            };
            if !fs::read(attachment)?.starts_with(b"%PDF-") {
                problems.push(format!("{order}: {} is not a PDF", attachment.display()));
            }
        }
    }
    if charges.len() != purchases.len() {
        problems.push(format!("{} keys at the gateway in all", charges.len()));
    }
    Ok(problems)
}
