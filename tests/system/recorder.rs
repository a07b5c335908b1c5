//! A server that stands at the other end of what the router sends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, StatusCode};
use usher_tests::wait_for;

/// A server that records requests and returns what it is told to; 204 otherwise.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    _runtime: tokio::runtime::Runtime,
}

type Reply = (u16, Vec<(&'static str, String)>, ReplyBody);

#[derive(Clone)]
pub(crate) enum ReplyBody {
    Text(String),
    /// 1 GiB.
    Endless,
    /// Never comes.
    Silence,
}

impl Server {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let (seen, replies) = (Arc::default(), Arc::default());
        let (noted, next) = (Arc::clone(&seen), Arc::clone(&replies));
        let handle = move |headers: HeaderMap, body: Bytes| {
            let noted: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::clone(&noted);
            let next: Arc<Mutex<VecDeque<Reply>>> = Arc::clone(&next);
            async move {
                noted.lock().unwrap().push((headers, body));
                let reply = next.lock().unwrap().pop_front();
                let (status, fields, body) =
                    reply.unwrap_or((204, Vec::new(), ReplyBody::Text(String::new())));
                let body = match body {
                    ReplyBody::Text(text) => Body::from(text),
                    ReplyBody::Endless => {
                        let chunk = Bytes::from(vec![b'x'; 1 << 20]);
                        let chunks = (0..1024).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
                        Body::from_stream(futures_util::stream::iter(chunks))
                    }
                    ReplyBody::Silence => std::future::pending().await,
                };
                let mut response = Response::new(body);
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                for (name, value) in fields {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                response
            }
        };
        let app = axum::Router::new().fallback(handle);
        runtime.spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, seen, replies, _runtime: runtime })
    }

    /// What it returns next.
    pub(crate) fn reply(&self, status: u16, fields: &[(&'static str, &str)], body: ReplyBody) {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.replies.lock().unwrap().push_back((status, fields, body));
    }

    /// The requests, once there are this many.
    pub(crate) fn requests(&self, count: usize) -> Result<Vec<(HeaderMap, Bytes)>> {
        wait_for("the requests", || {
            let seen = self.seen.lock().unwrap();
            Ok((seen.len() >= count).then(|| seen.clone()))
        })
    }
}

/// A body.
pub(crate) fn text(body: &str) -> ReplyBody {
    ReplyBody::Text(body.to_owned())
}
