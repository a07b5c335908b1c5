//! A load generator for HTTP/1.1: clients with a connection each that send the next request once
//! the response to the last one is there. All of them on one thread, as `wrk -t1` has it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::latency;

/// The end of a response's header.
const HEADER_END: &[u8] = b"\r\n\r\n";

/// Room for a response.
const RESPONSE_BYTES: usize = 64 * 1024;

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) token: Option<String>,
}

/// What is requested.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// `GET /healthz`, which does nothing.
    Health,
    /// `POST /events`, one event each.
    Publish,
}

/// What a run has measured.
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// Latencies in order.
    latencies: Vec<Duration>,
}

impl Measured {
    /// The latency that `percent` of the requests stay below.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent / 100).min(self.latencies.len().max(1) - 1);
        self.latencies.get(rank).copied().unwrap_or_default()
    }
}

/// Sends requests for this time; `round` distinguishes the ids of its events.
pub(crate) fn run(
    target: &Target,
    wanted: Wanted,
    (clients, time): (usize, Duration),
    round: usize,
) -> anyhow::Result<Measured> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        let mut open = Vec::with_capacity(clients);
        for _ in 0..clients {
            open.push(connect(target).await?);
        }
        let began = Instant::now();
        let mut running = JoinSet::new();
        for (client, stream) in open.into_iter().enumerate() {
            let token = target.token.clone();
            let name = format!("{round}-{client}");
            running.spawn(requests(stream, wanted, token, name, began + time));
        }
        let mut latencies = Vec::new();
        while let Some(ended) = running.join_next().await {
            latencies.extend(ended??);
        }
        let per_second = latencies.len() as f64 / began.elapsed().as_secs_f64();
        latencies.sort_unstable();
        Ok(Measured { per_second, latencies })
    })
}

/// Requests that begin when they are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paced {
    pub(crate) clients: u64,
    pub(crate) requests_per_second: u64,
    pub(crate) events_per_request: u64,
    pub(crate) time: Duration,
}

/// Publishes batches at a steady rate, and returns how long it took. The id of each event begins with
/// when its request was due, in milliseconds since 1970.
pub(crate) fn paced(target: &Target, paced: Paced) -> anyhow::Result<Duration> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        let mut running = JoinSet::new();
        let began = Instant::now();
        for client in 0..paced.clients {
            let stream = connect(target).await?;
            running.spawn(batches(stream, paced, client, began));
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(began.elapsed())
    })
}

async fn batches(
    mut stream: Box<dyn Connected>,
    paced: Paced,
    client: u64,
    began: Instant,
) -> anyhow::Result<()> {
    let mut buffer = Vec::with_capacity(RESPONSE_BYTES);
    let each = Duration::from_secs(1) / u32::try_from(paced.requests_per_second)?;
    for number in 0.. {
        let after = each * u32::try_from(number * paced.clients + client)?;
        if after >= paced.time {
            break;
        }
        tokio::time::sleep_until((began + after).into()).await;
        let due_ms = latency::due_ms(began + after);
        let events: Vec<String> = (0..paced.events_per_request)
            .map(|event| EVENT.replace("ID", &format!("{due_ms:.3}-{client}-{number}-{event}")))
            .collect();
        let body = format!("[{}]", events.join(","));
        let head = format!(
            "POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
             application/cloudevents-batch+json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        response(&mut *stream, &mut buffer).await?;
    }
    Ok(())
}

/// What the guest `hop` handles.
const EVENT: &str = r#"{"specversion":"1.0","id":"ID","source":"/bench","type":"hop.go","subject":"o-1","data":{"order":"o-1","amount_cents":8500}}"#;

trait Connected: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connected for S {}

async fn connect(target: &Target) -> anyhow::Result<Box<dyn Connected>> {
    let stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    Ok(match &target.tls {
        None => Box::new(stream),
        Some(config) => {
            let name = ServerName::try_from("localhost")?;
            Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?)
        }
    })
}

async fn requests(
    mut stream: Box<dyn Connected>,
    wanted: Wanted,
    token: Option<String>,
    name: String,
    end: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let authorization =
        token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let mut latencies = Vec::new();
    let mut buffer = Vec::with_capacity(RESPONSE_BYTES);
    for number in 0.. {
        let began = Instant::now();
        if began >= end {
            break;
        }
        let request = request(wanted, &authorization, &format!("{name}-{number}"));
        stream.write_all(request.as_bytes()).await?;
        response(&mut *stream, &mut buffer).await?;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

fn request(wanted: Wanted, authorization: &str, id: &str) -> String {
    match wanted {
        Wanted::Health => {
            format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{authorization}\r\n")
        }
        Wanted::Publish => {
            let body = format!(
                r#"{{"specversion":"1.0","id":"{id}","source":"/shop","type":"ticket.purchased","data":{{"order":"o-1","seats":[1,2]}}}}"#
            );
            format!(
                "POST /events HTTP/1.1\r\nhost: localhost\r\n{authorization}content-type: \
                 application/cloudevents+json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        }
    }
}

/// Reads a response whole; fails unless it is a success.
async fn response(stream: &mut dyn Connected, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.clear();
    let mut whole_bytes = None;
    loop {
        ensure!(stream.read_buf(buffer).await? > 0, "the router closed the connection");
        if whole_bytes.is_none()
            && let Some(end) = buffer.windows(HEADER_END.len()).position(|part| part == HEADER_END)
        {
            let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
            if !head.starts_with("HTTP/1.1 20") {
                bail!("not a success: {head}");
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("no length")?.parse()?;
            whole_bytes = Some(end + HEADER_END.len() + length);
        }
        if whole_bytes.is_some_and(|bytes| buffer.len() >= bytes) {
            return Ok(());
        }
    }
}
