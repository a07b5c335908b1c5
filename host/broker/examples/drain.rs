//! Publishes a backlog and drains it: each event is leased and settled with one emission, from
//! one thread. Prints events per second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use usher_broker::*;
use usher_event::{Digest, Event};
use usher_filter::Filter;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let count: u64 = std::env::args().nth(1).map_or(300_000, |n| n.parse().unwrap());
    let size: usize = std::env::args().nth(2).map_or(256, |n| n.parse().unwrap());
    let folder = std::env::args().nth(3).unwrap_or("/work/t/drain".into());
    if count == 0 {
        let started = Instant::now();
        let broker = EmbeddedBroker::open(Options::new(&folder)).unwrap();
        println!("reopen with {} events: {:?}", broker.stats().last_sequence, started.elapsed());
        std::process::exit(0);
    }
    let _ = std::fs::remove_dir_all(&folder);
    let broker = EmbeddedBroker::open(Options::new(&folder)).unwrap();
    let name: usher_event::SubscriptionName = "hop/hop".parse().unwrap();
    let subscription = Subscription {
        name: name.clone(),
        filter: Filter::parse(r#"{"exact":{"type":"hop.go"}}"#).unwrap(),
        start: Start::Latest,
        retry: RetryPolicy::default(),
        max_in_flight: 2_048,
    };
    broker.subscribe(subscription).await.unwrap();

    let data = "x".repeat(size);
    let batches: Vec<Vec<Event>> = (0..count / 512)
        .map(|batch| {
            (0..512)
                .map(|id| {
                    Event::builder((batch * 512 + id).to_string(), "/bench", "hop.go")
                        .datacontenttype("application/json")
                        .data(data.clone())
                        .build()
                        .unwrap()
                })
                .collect()
        })
        .collect();
    let count = batches.len() as u64 * 512;
    let started = Instant::now();
    let mut pending = Vec::new();
    for batch in batches {
        let broker = Arc::clone(&broker);
        pending.push(tokio::spawn(async move { broker.publish(batch).await.unwrap() }));
        if pending.len() == 8 {
            pending.remove(0).await.unwrap();
        }
    }
    for publish in pending {
        publish.await.unwrap();
    }
    report("publish", count, started.elapsed(), &broker);

    let emissions: Vec<Event> = (0..count)
        .map(|id| {
            Event::builder(format!("{id}/hop/hop/0"), "/plugins/hop", "hop.done")
                .datacontenttype("application/json")
                .extension("correlationid", usher_event::Value::String(id.to_string()))
                .extension("causationid", usher_event::Value::String(id.to_string()))
                .data(data.clone())
                .build()
                .unwrap()
        })
        .collect();
    let mut emissions = emissions.into_iter();
    let digest = Some(Digest::of(b"x"));
    let commits = broker.stats().commits;
    let started = Instant::now();
    let (mut done, mut settling) = (0, std::collections::VecDeque::new());
    while done < count {
        let leases = broker.lease(&name, 256).await.unwrap();
        done += leases.len() as u64;
        let batch = leases
            .into_iter()
            .map(|lease| Settlement {
                subscription: lease.delivery.subscription,
                sequence: lease.delivery.sequence,
                token: lease.token,
                digest,
                took: Duration::from_micros(3),
                disposition: Disposition::Ack(Changes {
                    emissions: vec![NewEvent { event: emissions.next().unwrap(), delay: None }],
                    ..Changes::default()
                }),
            })
            .collect();
        let settle = Arc::clone(&broker);
        settling.push_back(tokio::spawn(async move { settle.settle(batch).await.unwrap() }));
        if settling.len() == 8 {
            settling.pop_front().unwrap().await.unwrap();
        }
    }
    for settle in settling {
        assert!(settle.await.unwrap().iter().all(|settled| *settled == Settled::Committed));
    }
    let commits = broker.stats().commits - commits;
    report("drain", count, started.elapsed(), &broker);
    println!("  {commits} commits, {} hops each", count / commits);
    broker.close().await.unwrap();
    drop(broker);
    let started = Instant::now();
    let broker = EmbeddedBroker::open(Options::new(&folder)).unwrap();
    println!("reopen with {} events: {:?}", broker.stats().last_sequence, started.elapsed());
    println!("{:?}", broker.stats());
}

fn report(what: &str, count: u64, took: Duration, broker: &EmbeddedBroker) {
    let rate = count as f64 / took.as_secs_f64();
    println!("{what}: {count} in {took:?}, {rate:.0}/s, {} commits", broker.stats().commits);
}
