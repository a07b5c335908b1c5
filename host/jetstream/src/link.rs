//! Messages between the nodes of a router, beside the journal. They may be lost; nothing is decided by them
//! that the journal doesn't decide again.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Message, Request, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;

/// Bytes of a message besides what is said in it.
const ENVELOPE_MAX_BYTES: usize = 4 * 1_024;

/// A node's link to the others. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Link {
    client: Client,
    stream: String,
    node: String,
}

/// Why a node gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It isn't there, as far as the servers know.
    #[error("it isn't there")]
    Away,
    /// It may have heard the question or not.
    #[error("it gave no answer in time")]
    Silent,
    /// The servers don't take messages of this size.
    #[error("{bytes} bytes are more than the servers' max_payload of {max_bytes}")]
    TooLarge {
        /// The message's size.
        bytes: usize,
        /// The largest that they take.
        max_bytes: usize,
    },
    /// The servers are away or refuse.
    #[error("{0}")]
    Failed(String),
}

/// A question of another node.
#[derive(Debug)]
pub struct Question {
    /// What it asks.
    pub asked: Bytes,
    reply: Option<Subject>,
    client: Client,
}

/// What other nodes send.
#[derive(Debug)]
pub struct Inbox {
    messages: Subscriber,
    client: Client,
}

fn message_max_bytes(client: &Client) -> usize {
    client.max_payload().saturating_sub(ENVELOPE_MAX_BYTES)
}

fn check_size(client: &Client, message: &Bytes) -> Result<(), LinkError> {
    let (bytes, max_bytes) = (message.len(), message_max_bytes(client));
    if bytes > max_bytes { Err(LinkError::TooLarge { bytes, max_bytes }) } else { Ok(()) }
}

impl Link {
    pub(crate) fn new(client: Client, stream: &str, node: &str) -> Self {
        Self { client, stream: stream.to_owned(), node: node.to_owned() }
    }

    /// The name of this node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The longest message that the servers take.
    pub fn message_max_bytes(&self) -> usize {
        message_max_bytes(&self.client)
    }

    /// Asks a node, and waits for its answer.
    ///
    /// # Errors
    /// See [`LinkError`]. What it was asked for may have happened all the same.
    pub async fn ask(
        &self,
        node: &str,
        question: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, LinkError> {
        check_size(&self.client, &question)?;
        let request = Request::new().payload(question).timeout(Some(timeout));
        let answer = self.client.send_request(self.questions_of(node), request).await;
        answer.map(|answer| answer.payload).map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => LinkError::Away,
            RequestErrorKind::TimedOut => LinkError::Silent,
            _ => LinkError::Failed(error.to_string()),
        })
    }

    /// Tells all nodes something, which some may not hear.
    ///
    /// # Errors
    /// It is too large, or the connection is closed.
    pub async fn tell(&self, what: Bytes) -> Result<(), LinkError> {
        check_size(&self.client, &what)?;
        let told = self.client.publish(self.reports(), what).await;
        told.map_err(|error| LinkError::Failed(error.to_string()))
    }

    /// Questions to this node from now on.
    ///
    /// # Errors
    /// The servers are away or refuse.
    pub async fn questions(&self) -> Result<Inbox, LinkError> {
        self.inbox(self.questions_of(&self.node)).await
    }

    /// What nodes tell from now on.
    ///
    /// # Errors
    /// The servers are away or refuse.
    pub async fn told(&self) -> Result<Inbox, LinkError> {
        self.inbox(self.reports()).await
    }

    async fn inbox(&self, subject: String) -> Result<Inbox, LinkError> {
        let messages = self.client.subscribe(subject).await;
        let messages = messages.map_err(|error| LinkError::Failed(error.to_string()))?;
        Ok(Inbox { messages, client: self.client.clone() })
    }

    fn questions_of(&self, node: &str) -> String {
        format!("usher.ask.{}.{node}", self.stream)
    }

    fn reports(&self) -> String {
        format!("usher.node.{}", self.stream)
    }
}

impl Inbox {
    /// The next message; `None` once the connection is closed for good. Cancel-safe.
    pub async fn next(&mut self) -> Option<Question> {
        let Message { payload, reply, .. } = self.messages.next().await?;
        Some(Question { asked: payload, reply, client: self.client.clone() })
    }
}

impl Question {
    /// Answers it. Who asked may wait no more.
    ///
    /// # Errors
    /// [`LinkError::TooLarge`]: nothing was sent.
    pub async fn answer(&self, answer: Bytes) -> Result<(), LinkError> {
        check_size(&self.client, &answer)?;
        let Some(reply) = self.reply.clone() else { return Ok(()) };
        let answered = self.client.publish(reply, answer).await;
        answered.map_err(|error| LinkError::Failed(error.to_string()))
    }
}
