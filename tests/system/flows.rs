//! The demo's flows, without interruption and with the router killed in between.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use usher_tests::stand_ins::{Gateway, Mail};
use usher_tests::{
    Client, Folder, Purchase, Router, Run, TICKET_PLUGINS, TicketConfig, check_flow, check_world,
    purchases, wait_for,
};

struct World {
    gateway: Gateway,
    mail: Mail,
    folder: Folder,
}

fn world() -> Result<World> {
    let folder = Folder::new()?;
    let gateway = Gateway::start(Duration::from_millis(50))?;
    let mail = Mail::start(&folder.root().join("mails"))?;
    let config = TicketConfig {
        gateway: gateway.url(),
        mail: mail.url(),
        first_delay: Duration::from_millis(20),
    };
    folder.configure("", &config.tables())?;
    folder.install_plugins(&TICKET_PLUGINS)?;
    Ok(World { gateway, mail, folder })
}

fn start(folder: &Folder) -> Result<Router> {
    let router = Router::start(folder)?;
    for plugin in TICKET_PLUGINS {
        router.client().wait_for_plugin(plugin, "serving")?;
    }
    Ok(router)
}

/// Waits for every flow; returns all problems found in any of them.
fn problems(
    client: &Client,
    world: &World,
    published: &[(Purchase, u64)],
    run: Run,
) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (purchase, sequence) in published {
        problems.extend(check_flow(purchase, &client.settled_flow(*sequence)?, run)?);
    }
    let bought: Vec<Purchase> = published.iter().map(|(purchase, _)| purchase.clone()).collect();
    problems.extend(check_world(&bought, &world.gateway, &world.mail)?);
    Ok(problems)
}

fn publish(client: &Client, purchases: Vec<Purchase>) -> Result<Vec<(Purchase, u64)>> {
    let events: Vec<Value> = purchases.iter().map(Purchase::event).collect();
    let receipts = client.publish_batch(&events)?;
    Ok(purchases.into_iter().zip(receipts.into_iter().map(|receipt| receipt.sequence)).collect())
}

#[test]
fn twelve_purchases_end_as_they_should() -> Result<()> {
    let world = world()?;
    let router = start(&world.folder)?;
    let published = publish(router.client(), purchases())?;
    let problems = problems(router.client(), &world, &published, Run::Smooth)?;
    assert!(problems.is_empty(), "{problems:#?}");

    let generated = router.client().events_of_type("ticket.generated")?;
    assert_eq!(generated.len(), 10);
    for stored in &generated {
        let digest = stored["event"]["data"]["pdf"].as_str().unwrap();
        let pdf = router.client().get(&format!("/blobs/{digest}"))?;
        assert_eq!(pdf.status, 200);
        assert_eq!(pdf.header("content-type"), Some("application/pdf"));
        assert_eq!(pdf.header("x-content-type-options"), Some("nosniff"));
        assert!(pdf.header("etag").is_some_and(|tag| tag.contains(digest)), "{:?}", pdf.headers);
        assert!(pdf.body.starts_with(b"%PDF-"));
        let size = stored["event"]["data"]["size_bytes"].as_u64();
        assert_eq!(size, Some(pdf.body.len() as u64));
    }
    router.stop()
}

#[test]
fn a_router_killed_on_the_way_ends_every_flow_once() -> Result<()> {
    let world = world()?;
    let router = start(&world.folder)?;
    let held = |purchase: Purchase| match purchase.expected {
        expected if expected.gateway_failures > 0 => purchase,
        _ if purchase.order == "o-1003" => purchase,
        _ => purchase.paid_with("tok_held"),
    };
    let published = publish(router.client(), purchases().into_iter().map(held).collect())?;

    // Killed while calls to the gateway are in flight, whose responses reach no client.
    wait_for("calls at the gateway", || {
        let held = world.gateway.charges().into_iter().find(|charge| charge.card == "tok_held");
        Ok(held)
    })?;
    router.kill()?;
    world.gateway.release();

    // Killed repeatedly as the flows advance.
    for events in [16, 24, 32, 40] {
        let router = start(&world.folder)?;
        wait_for(&format!("{events} events"), || {
            let last = router.client().get(&format!("/events/{events}"))?;
            Ok((last.status == 200).then_some(()))
        })?;
        router.kill()?;
    }

    let router = start(&world.folder)?;
    let problems = problems(router.client(), &world, &published, Run::Interrupted)?;
    assert!(problems.is_empty(), "{problems:#?}");

    let log = router.client().get_json("/events?from=1&max=1000")?;
    let log = log["events"].as_array().unwrap();
    let identities: BTreeSet<String> = log
        .iter()
        .map(|stored| format!("{} {}", stored["event"]["source"], stored["event"]["id"]))
        .collect();
    assert_eq!(identities.len(), log.len(), "an event is in the log twice");
    router.stop()
}
