//! The mail API. Stores each mail as a JSON file in a folder, with its attachments beside it.
//!
//! A key (`Idempotency-Key`) is one mail, however often it is sent. An address that begins with
//! `flaky` gets one 503 first; one that begins with `refused` always gets a 422.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::server::Server;

const MAILS_MAX: usize = 100_000;
const BODY_MAX_BYTES: usize = 32 * 1024 * 1024;

/// A sent mail.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    /// `m-1`, `m-2` and so on, in order of arrival.
    pub mail: String,
    /// The idempotency key.
    pub key: String,
    /// The address.
    pub to: String,
    /// The subject line.
    pub subject: String,
    /// The body.
    pub text: String,
    /// Paths of the attachments.
    pub attachments: Vec<PathBuf>,
    /// Number of calls with this key, including the first.
    pub calls: u32,
}

/// A running mail API.
#[derive(Debug)]
pub struct Mail {
    server: Server,
    office: Arc<Office>,
}

#[derive(Debug)]
struct Office {
    folder: PathBuf,
    post: Mutex<Post>,
}

#[derive(Debug, Default)]
struct Post {
    sent: BTreeMap<String, Sent>,
    /// Refused calls, by key.
    turned_away: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize)]
struct Request {
    to: String,
    subject: String,
    text: String,
    #[serde(default)]
    attachments: Vec<Attachment>,
}

#[derive(Debug, Deserialize)]
struct Attachment {
    filename: String,
    content_type: String,
    content_base64: String,
}

impl Mail {
    /// Starts the mail API; creates `folder` and stores mails there.
    ///
    /// # Errors
    /// The folder can't be created, or no port or thread is available.
    pub fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let office = Arc::new(Office { folder: folder.to_path_buf(), post: Mutex::default() });
        let app = axum::Router::new()
            .route("/mails", post(send))
            .route("/mails", get(list))
            .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
            .with_state(Arc::clone(&office));
        Ok(Self { server: Server::start("mail", app)?, office })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The folder with the mails.
    pub fn folder(&self) -> &Path {
        &self.office.folder
    }

    /// All sent mails, ordered by idempotency key.
    pub fn mails(&self) -> Vec<Sent> {
        self.office.lock().sent.values().cloned().collect()
    }
}

impl Office {
    fn lock(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the mail and its attachments to the folder.
    fn keep(&self, name: &str, key: &str, request: Request) -> Result<Sent> {
        let attachments = request.attachments.iter().map(|attachment| {
            let file = format!("{name}-{}", safe(&attachment.filename));
            let path = self.folder.join(file);
            let content = STANDARD
                .decode(&attachment.content_base64)
                .with_context(|| format!("{} is not base64", attachment.filename))?;
            if attachment.content_type == "application/pdf" && !content.starts_with(b"%PDF-") {
                anyhow::bail!("{} is not a PDF", attachment.filename);
            }
            fs::write(&path, content)?;
            Ok(path)
        });
        let sent = Sent {
            mail: name.to_owned(),
            key: key.to_owned(),
            attachments: attachments.collect::<Result<_>>()?,
            to: request.to,
            subject: request.subject,
            text: request.text,
            calls: 1,
        };
        let json = serde_json::to_vec_pretty(&sent)?;
        fs::write(self.folder.join(format!("{name}.json")), json)?;
        Ok(sent)
    }
}

async fn send(
    State(office): State<Arc<Office>>,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Response {
    let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
        return refusal(StatusCode::BAD_REQUEST, "an Idempotency-Key is needed");
    };
    if !request.to.contains('@') || request.to.starts_with("refused") {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "the address does not work");
    }
    // Held during the writes: they are small, and it prevents storing one key twice.
    let mut post = office.lock();
    if let Some(sent) = post.sent.get_mut(key) {
        sent.calls += 1;
        return created(&sent.mail);
    }
    if request.to.starts_with("flaky") {
        let turned_away = post.turned_away.entry(key.to_owned()).or_default();
        *turned_away += 1;
        if *turned_away == 1 {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "try again later");
        }
    }
    if post.sent.len() >= MAILS_MAX {
        return refusal(StatusCode::INSUFFICIENT_STORAGE, "the mailbox is full");
    }
    let name = format!("m-{}", post.sent.len() + 1);
    match office.keep(&name, key, request) {
        Ok(sent) => {
            post.sent.insert(key.to_owned(), sent);
            created(&name)
        }
        Err(error) => refusal(StatusCode::UNPROCESSABLE_ENTITY, &format!("{error:#}")),
    }
}

async fn list(State(office): State<Arc<Office>>) -> Json<serde_json::Value> {
    let mails: Vec<Sent> = office.lock().sent.values().cloned().collect();
    Json(json!({ "mails": mails }))
}

fn created(name: &str) -> Response {
    (StatusCode::CREATED, Json(json!({ "mail": name }))).into_response()
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "reason": reason }))).into_response()
}

/// A file name without path components.
fn safe(name: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || ".-_".contains(c) { c } else { '_' };
    name.chars().map(kept).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Answer, Client};

    fn mail(client: &Client, key: &str, to: &str, pdf: &[u8]) -> Answer {
        let body = json!({ "to": to, "subject": "s", "text": "t", "attachments": [{
            "filename": "../ticket.pdf",
            "content_type": "application/pdf",
            "content_base64": STANDARD.encode(pdf),
        }]});
        let headers: [(&str, &[u8]); 2] =
            [("content-type", b"application/json"), ("idempotency-key", key.as_bytes())];
        client.request("POST", "/mails", &headers, body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn keeps_a_key_once_with_its_attachment() {
        let folder = tempfile::tempdir().unwrap();
        let office = Mail::start(&folder.path().join("mails")).unwrap();
        let client = Client::new(office.url());
        for _ in 0..2 {
            let answer = mail(&client, "a", "anna@example.com", b"%PDF-1.7 ...");
            assert_eq!(answer.status, 201);
            assert_eq!(answer.json().unwrap(), json!({ "mail": "m-1" }));
        }
        let mails = office.mails();
        assert_eq!((mails.len(), mails[0].calls), (1, 2));
        assert_eq!(mails[0].attachments[0].parent(), Some(office.folder()));
        assert_eq!(fs::read(&mails[0].attachments[0]).unwrap(), b"%PDF-1.7 ...");
    }

    #[test]
    fn turns_away_what_it_should() {
        let folder = tempfile::tempdir().unwrap();
        let office = Mail::start(folder.path()).unwrap();
        let client = Client::new(office.url());
        let good = b"%PDF-1.7";
        assert_eq!(mail(&client, "a", "flaky@example.com", good).status, 503);
        assert_eq!(mail(&client, "a", "flaky@example.com", good).status, 201);
        assert_eq!(mail(&client, "b", "refused@example.com", good).status, 422);
        assert_eq!(mail(&client, "c", "anna", good).status, 422);
        assert_eq!(mail(&client, "d", "anna@example.com", b"<html>").status, 422);
        assert_eq!(office.mails().len(), 1);
    }
}
