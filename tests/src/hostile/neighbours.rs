//! Three honest plugins under steady load, with the latency of each event: from before it is
//! published until its emission is read back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use usher_api::StreamQuery;

use crate::http::{Client, event};
use crate::router::Router;
use crate::stream::EventStream;
use crate::wait::wait_for;

/// The plugins, each with the types of its input and output.
pub(crate) const NEIGHBOURS: [(&str, &str, &str); 3] = [
    ("echo", "test.echo", "test.echoed"),
    ("hop", "hop.go", "hop.done"),
    ("state", "test.count", "test.counted"),
];

/// Their configuration.
pub(crate) const CONFIG: &str = "[plugin.state.grants]\nstate = true\n";

/// Interval of the load; one event for each plugin.
const PERIOD: Duration = Duration::from_millis(10);

/// The load generator; stops when dropped.
pub(crate) struct Neighbours {
    client: Client,
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    producer: Option<JoinHandle<()>>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Book {
    under_way: HashMap<String, Instant>,
    returned: u64,
    /// When each emission was read, and its latency; in order.
    took: Vec<(Instant, Duration)>,
    /// Why the load stopped prematurely.
    ended: Option<String>,
}

impl Neighbours {
    /// Starts the load; the plugins must be serving.
    pub(crate) fn start(router: &Router) -> Result<Self> {
        let client = router.client().clone();
        let made = NEIGHBOURS.map(|(_, _, made)| json!({ "exact": { "type": made } }));
        let filter = Some(json!({ "any": made }).to_string());
        let query = StreamQuery { filter, ..Default::default() };
        let mut stream = EventStream::open(&client, &query, None)?;
        let book = Arc::<Mutex<Book>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (noted, ended) = (Arc::clone(&book), Arc::clone(&stop));
        let reader = thread::Builder::new().name("neighbours-read".into()).spawn(move || {
            let done = read(&mut stream, &noted);
            if let Err(error) = done
                && !ended.load(Ordering::Relaxed)
            {
                lock(&noted).ended = Some(format!("{error:#}"));
            }
        })?;
        let (noted, ended) = (Arc::clone(&book), Arc::clone(&stop));
        let publishing = client.clone();
        let producer = thread::Builder::new().name("neighbours-write".into()).spawn(move || {
            if let Err(error) = publish(&publishing, &noted, &ended) {
                lock(&noted).ended = Some(format!("{error:#}"));
            }
        })?;
        Ok(Self { client, book, stop, producer: Some(producer), reader: Some(reader) })
    }

    /// Waits until every event published so far was handled, exactly once and at its first attempt.
    pub(crate) fn caught_up(&self) -> Result<()> {
        let asked = Instant::now();
        wait_for("the neighbours to go on", || {
            let book = lock(&self.book);
            if let Some(ended) = &book.ended {
                bail!("the load on the neighbours ended: {ended}");
            }
            Ok(book.under_way.values().all(|sent| *sent > asked).then_some(()))
        })?;
        for (name, ..) in NEIGHBOURS {
            let plugin = self.client.plugin(name)?.with_context(|| format!("no {name}"))?;
            let failed = plugin.pointer("/stats/failed").and_then(Value::as_object);
            let failed = failed.context("a plugin without stats")?;
            ensure!(failed.values().all(|n| n == 0), "the neighbour {name} failed: {plugin}");
        }
        Ok(())
    }

    /// The 99th percentile of latencies in this interval; `None` if there are none.
    pub(crate) fn p99(&self, from: Instant, to: Instant) -> Option<Duration> {
        let book = lock(&self.book);
        let mut took: Vec<Duration> = book
            .took
            .iter()
            .filter(|(came, _)| (from..=to).contains(came))
            .map(|(_, took)| *took)
            .collect();
        took.sort_unstable();
        let place = (took.len() * 99).div_ceil(100).saturating_sub(1);
        took.get(place).copied()
    }

    /// Stops the load; returns the number of events.
    pub(crate) fn stop(mut self) -> Result<u64> {
        self.end_publishing();
        self.caught_up()?;
        Ok(lock(&self.book).returned)
    }

    fn end_publishing(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(producer) = self.producer.take() {
            // Fails only if the thread panicked; the load has stopped then, too.
            let _ = producer.join();
        }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.end_publishing();
        // Not joined: the reader ends with the router's stream, once the caller stops the router.
        drop(self.reader.take());
    }
}

fn publish(client: &Client, book: &Mutex<Book>, stop: &AtomicBool) -> Result<()> {
    let mut next = Instant::now();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let events = NEIGHBOURS.map(|(name, ty, _)| {
            let data = json!({ "n": number, "name": "neighbour" });
            event(ty, &format!("neighbour-{name}-{number}"), &data)
        });
        {
            let mut book = lock(book);
            let now = Instant::now();
            for event in &events {
                let id = event.get("id").and_then(Value::as_str).unwrap_or_default();
                book.under_way.insert(id.to_owned(), now);
            }
        }
        client.publish_batch(&events)?;
        next += PERIOD;
        // Fixed rate, best effort: missed periods are skipped.
        next = next.max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn read(stream: &mut EventStream, book: &Mutex<Book>) -> Result<()> {
    loop {
        let streamed = stream.read()?;
        let cause = streamed.stored.pointer("/event/causationid").and_then(Value::as_str);
        let Some(cause) = cause.filter(|cause| cause.starts_with("neighbour-")) else { continue };
        let mut book = lock(book);
        let now = Instant::now();
        let Some(sent) = book.under_way.remove(cause) else {
            bail!("what came of {cause} came twice");
        };
        book.took.push((now, now - sent));
        book.returned += 1;
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
