//! The payment gateway. Its response depends on the card:
//!
//! | card | answer |
//! |---|---|
//! | `tok_ok` | 201 with a charge |
//! | `tok_declined` | 402 with a reason |
//! | `tok_flaky` | 503 to the first two calls of a key, then as `tok_ok` |
//! | `tok_slow` | as `tok_ok`, after a while |
//! | `tok_held` | as `tok_ok`, once the test says so |
//! | any other | 422 |
//!
//! A key (`Idempotency-Key`) is charged once, however often it is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::server::Server;

const CHARGES_MAX: usize = 100_000;
const FLAKY_FAILURES: u32 = 2;

/// A charge request, by idempotency key.
#[derive(Clone, Debug, Serialize)]
pub struct Charge {
    /// The idempotency key.
    pub key: String,
    /// The order to pay for.
    pub order: String,
    /// The card's token.
    pub card: String,
    /// The amount.
    pub amount_cents: i64,
    /// The currency.
    pub currency: String,
    /// Number of calls with this key.
    pub calls: u32,
    /// The charge's id, once charged.
    pub charge: Option<String>,
}

/// A running payment gateway.
#[derive(Debug)]
pub struct Gateway {
    server: Server,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    charges: Mutex<BTreeMap<String, Charge>>,
    slowness: Duration,
    released: watch::Sender<bool>,
}

#[derive(Debug, Deserialize)]
struct Request {
    order: String,
    amount_cents: i64,
    currency: String,
    card: String,
}

impl Gateway {
    /// Starts the gateway; `tok_slow` takes `slowness`.
    ///
    /// # Errors
    /// No port or thread is available.
    pub fn start(slowness: Duration) -> Result<Self> {
        let desk = Arc::new(Desk {
            charges: Mutex::default(),
            slowness,
            released: watch::Sender::new(false),
        });
        let app = axum::Router::new()
            .route("/charges", post(charge))
            .route("/charges", get(list))
            .with_state(Arc::clone(&desk));
        Ok(Self { server: Server::start("gateway", app)?, desk })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Releases all calls with `tok_held`, including future ones.
    pub fn release(&self) {
        self.desk.released.send_replace(true);
    }

    /// Holds future calls with `tok_held` until released.
    pub fn hold(&self) {
        self.desk.released.send_replace(false);
    }

    /// All requested charges, ordered by idempotency key.
    pub fn charges(&self) -> Vec<Charge> {
        self.desk.lock().values().cloned().collect()
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Charge>> {
        self.charges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the call; returns the number of calls with this key, or `None` if the limit is
    /// reached.
    fn book(&self, key: &str, request: &Request) -> Option<u32> {
        let mut charges = self.lock();
        if charges.len() >= CHARGES_MAX && !charges.contains_key(key) {
            return None;
        }
        let charge = charges.entry(key.to_owned()).or_insert_with(|| Charge {
            key: key.to_owned(),
            order: request.order.clone(),
            card: request.card.clone(),
            amount_cents: request.amount_cents,
            currency: request.currency.clone(),
            calls: 0,
            charge: None,
        });
        charge.calls += 1;
        Some(charge.calls)
    }

    /// Returns the charge of this key, creating it if needed.
    fn confirm(&self, key: &str) -> Option<String> {
        let mut charges = self.lock();
        let next = charges.values().filter(|charge| charge.charge.is_some()).count() + 1;
        let charge = charges.get_mut(key)?;
        Some(charge.charge.get_or_insert_with(|| format!("ch_{next:04}")).clone())
    }
}

async fn charge(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Response {
    let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
        return refusal(StatusCode::BAD_REQUEST, "an Idempotency-Key is needed");
    };
    if request.amount_cents <= 0 {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "the amount must be positive");
    }
    let Some(calls) = desk.book(key, &request) else {
        return refusal(StatusCode::INSUFFICIENT_STORAGE, "the book is full");
    };
    match request.card.as_str() {
        "tok_ok" => {}
        "tok_declined" => return refusal(StatusCode::PAYMENT_REQUIRED, "insufficient funds"),
        "tok_flaky" if calls <= FLAKY_FAILURES => {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "try again later");
        }
        "tok_flaky" => {}
        "tok_slow" => tokio::time::sleep(desk.slowness).await,
        "tok_held" => {
            // An error means that the gateway shuts down; the connection is closed with it.
            let _ = desk.released.subscribe().wait_for(|released| *released).await;
        }
        _ => return refusal(StatusCode::UNPROCESSABLE_ENTITY, "there is no such card"),
    }
    match desk.confirm(key) {
        Some(charge) => (StatusCode::CREATED, Json(json!({ "charge": charge }))).into_response(),
        None => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the charge is not in the book"),
    }
}

async fn list(State(desk): State<Arc<Desk>>) -> Json<serde_json::Value> {
    let charges: Vec<Charge> = desk.lock().values().cloned().collect();
    Json(json!({ "charges": charges }))
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "reason": reason }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Answer, Client};

    fn pay(client: &Client, key: &str, card: &str) -> Answer {
        let body = json!({ "order": "o-1", "amount_cents": 8500, "currency": "EUR", "card": card });
        let headers: [(&str, &[u8]); 2] =
            [("content-type", b"application/json"), ("idempotency-key", key.as_bytes())];
        client.request("POST", "/charges", &headers, body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn answers_by_card() {
        let gateway = Gateway::start(Duration::ZERO).unwrap();
        let client = Client::new(gateway.url());
        for (card, statuses) in [
            ("tok_ok", &[201, 201][..]),
            ("tok_declined", &[402, 402]),
            ("tok_flaky", &[503, 503, 201]),
            ("tok_slow", &[201]),
            ("tok_stolen", &[422]),
        ] {
            let answers: Vec<u16> =
                statuses.iter().map(|_| pay(&client, card, card).status).collect();
            assert_eq!(answers, statuses, "{card}");
        }
    }

    #[test]
    fn charges_a_key_once() {
        let gateway = Gateway::start(Duration::ZERO).unwrap();
        let client = Client::new(gateway.url());
        let first = pay(&client, "a", "tok_ok").json().unwrap();
        assert_eq!(pay(&client, "a", "tok_ok").json().unwrap(), first);
        assert_ne!(pay(&client, "b", "tok_ok").json().unwrap(), first);
        let calls: Vec<u32> = gateway.charges().iter().map(|charge| charge.calls).collect();
        assert_eq!(calls, [2, 1]);
    }

    #[test]
    fn holds_until_released() {
        let gateway = Gateway::start(Duration::ZERO).unwrap();
        let client = Client::new(gateway.url());
        std::thread::scope(|scope| {
            let held = scope.spawn(|| pay(&client, "a", "tok_held").status);
            crate::wait_for("the call", || Ok(gateway.charges().pop())).unwrap();
            assert_eq!(gateway.charges()[0].charge, None);
            gateway.release();
            assert_eq!(held.join().unwrap(), 201);
        });
    }
}
