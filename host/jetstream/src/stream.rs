//! The stream: what is asked of it, and what its answers mean.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{
    ContextBuilder, CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind, RequestErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{Context, ErrorCode, stream};
use tokio::sync::watch;
use usher_journal::{JournalError, JournalId, new_id};

use crate::JetStreamOptions;
use crate::message::{HEADERS_MAX_BYTES, Message};

/// How long an answer may take before it is asked for again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Parts of records are at most this long, whatever the server takes.
const PART_MAX_BYTES: usize = 1_024 * 1_024;

/// Who tries that often in vain says so.
const TRIES_QUIET: u32 = 20;

/// Messages under way to a reader.
const PULLED_MAX_MESSAGES: usize = 1_024;
const PULLED_MAX_BYTES: usize = 16 * 1_024 * 1_024;

/// How often a server shows a reader without messages that it is there.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Readers that have gone are forgotten after this.
const INACTIVE_AFTER: Duration = Duration::from_secs(30);

/// A server that takes less is refused.
const PAYLOAD_MIN_BYTES: usize = 16 * 1_024;

/// In a stream's metadata: the journal's id, and the version of its messages.
const ID: &str = "usher-journal";
const FORMAT: &str = "usher-journal-format";
const FORMAT_VERSION: &str = "1";

/// The error's number in answers to appends that expected another last sequence.
const WRONG_LAST_SEQUENCE: [ErrorCode; 2] =
    [ErrorCode::STREAM_WRONG_LAST_SEQUENCE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT];

/// A journal's stream.
pub(crate) struct Stream {
    context: Context,
    stream: stream::Stream<()>,
    name: String,
    subject: String,
    pub(crate) id: JournalId,
    /// The longest part of a record's frame.
    pub(crate) part_max_bytes: usize,
    /// Whether a message waits for servers that are away.
    is_away: AtomicBool,
    /// Set once nothing is waited for any more.
    is_stopping: watch::Receiver<bool>,
}

/// Where a message came to stand.
pub(crate) enum Placed {
    /// At this sequence.
    At(u64),
    /// This one stands there instead.
    Taken(Message),
}

impl Stream {
    /// The stream of these options. Makes one if it isn't there and that is wanted, for the journal with this
    /// id or a new one.
    pub(crate) async fn open(
        client: Client,
        options: &JetStreamOptions,
        id: Option<JournalId>,
        may_make: bool,
        is_stopping: watch::Receiver<bool>,
    ) -> Result<Self, JournalError> {
        let name = options.stream.clone();
        let refused = |reason: String| JournalError::Service { stream: name.clone(), reason };
        let max_payload = client.max_payload();
        if max_payload < PAYLOAD_MIN_BYTES {
            return Err(refused(format!(
                "the server's max_payload is {max_payload} bytes; the least that does is \
                 {PAYLOAD_MIN_BYTES}"
            )));
        }
        let context = ContextBuilder::new().timeout(ANSWER_TIMEOUT).build(client);
        let subject = format!("usher.journal.{name}");
        let id = match id {
            Some(id) => id,
            None => new_id().map_err(|error| refused(format!("no random numbers: {error}")))?,
        };
        let config = Config {
            name: name.clone(),
            description: Some("The journal of an Usher router".to_owned()),
            subjects: vec![subject.clone()],
            num_replicas: options.replicas,
            deny_delete: true,
            metadata: HashMap::from([
                (ID.to_owned(), hex(&id)),
                (FORMAT.to_owned(), FORMAT_VERSION.to_owned()),
            ]),
            ..kept()
        };
        let info = if may_make {
            ensure(&context, config, &is_stopping).await?
        } else {
            let missing = || {
                refused(
                    "it isn't there, and this data folder has a journal already; set journal.stream to that \
                     journal's, give an empty data folder, or copy it there with `usher journal copy embedded \
                     jetstream`"
                        .to_owned(),
                )
            };
            find(&context, &name, &is_stopping).await?.ok_or_else(missing)?
        };
        let id = check(&info, &subject).map_err(|reason| {
            refused(format!(
                "{reason}; give journal.stream another name, or the stream that was made"
            ))
        })?;
        if info.config.num_replicas != options.replicas {
            tracing::warn!(
                stream = name,
                found = info.config.num_replicas,
                configured = options.replicas,
                "the stream's replicas are not those of journal.replicas, which is for a new stream"
            );
        }
        let stream = context.get_stream_no_info(&name).await;
        let stream = stream.map_err(|error| refused(error.to_string()))?;
        let part_max_bytes = (max_payload - HEADERS_MAX_BYTES).min(PART_MAX_BYTES);
        Ok(Self {
            context,
            stream,
            name,
            subject,
            id,
            part_max_bytes,
            is_away: AtomicBool::new(false),
            is_stopping,
        })
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> JournalError {
        JournalError::Service { stream: self.name.clone(), reason: reason.into() }
    }

    pub(crate) fn client(&self) -> Client {
        self.context.client()
    }

    /// The sequences of the first message and of the last; the last is 0 as long as there was none.
    pub(crate) async fn bounds(&self) -> Result<(u64, u64), JournalError> {
        let info = self
            .insist("the stream's state", || async {
                self.stream.get_info().await.map_err(|error| match error.kind() {
                    RequestErrorKind::TimedOut
                    | RequestErrorKind::NoResponders
                    | RequestErrorKind::Other => Failure::Passing(error.to_string()),
                    _ => Failure::Lasting(error.to_string()),
                })
            })
            .await?;
        // The id is asked for each time: whoever deletes a stream may make one of the same name.
        if info.config.metadata.get(ID) != Some(&hex(&self.id)) {
            return Err(self.error("it was deleted and made anew: restore a backup"));
        }
        // Of a stream without messages it is 0.
        Ok((info.state.first_sequence.max(1), info.state.last_sequence))
    }

    /// The message with this sequence; `None` if there is none, or not any more.
    pub(crate) async fn message(&self, sequence: u64) -> Result<Option<Message>, JournalError> {
        let found = self
            .insist("a message", || async {
                match self.stream.get_raw_message(sequence).await {
                    Ok(found) => Ok(Some(found)),
                    Err(error) => match error.kind() {
                        RawMessageErrorKind::NoMessageFound => Ok(None),
                        RawMessageErrorKind::JetStream(error) if !is_passing(&error) => {
                            Err(Failure::Lasting(error.to_string()))
                        }
                        _ => Err(Failure::Passing(error.to_string())),
                    },
                }
            })
            .await?;
        let Some(found) = found else { return Ok(None) };
        match Message::read(&found.headers, found.payload) {
            Some(message) => Ok(Some(message)),
            None => Err(self.foreign(sequence)),
        }
    }

    pub(crate) fn foreign(&self, sequence: u64) -> JournalError {
        self.error(format!(
            "message {sequence} was not written by Usher: nobody else may publish there"
        ))
    }

    /// Appends a message behind the one with sequence `last`. Asks until it is known what became of it.
    pub(crate) async fn place(&self, message: &Message, last: u64) -> Result<Placed, JournalError> {
        let placed = self.ask_to_place(message, last).await;
        self.is_away.store(false, Ordering::Release);
        placed
    }

    /// Whether a message waits for servers that are away.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Acquire)
    }

    async fn ask_to_place(&self, message: &Message, last: u64) -> Result<Placed, JournalError> {
        let mut is_told = false;
        loop {
            let publish = PublishMessage::build()
                .headers(message.headers())
                .payload(message.payload())
                .expected_stream(&self.name)
                .expected_last_sequence(last);
            let sent = self.context.send_publish(self.subject.clone(), publish).await;
            let answer = match sent {
                Ok(sent) => sent.await,
                Err(error) => Err(error),
            };
            let error = match answer {
                Ok(answer) => return Ok(Placed::At(answer.sequence)),
                Err(error) => error,
            };
            if is_conflict(&error) {
                // Ours, the answer to which was lost, or another's.
                match self.message(last + 1).await? {
                    Some(found) if found == *message => return Ok(Placed::At(last + 1)),
                    Some(found) => return Ok(Placed::Taken(found)),
                    None => {
                        let (_, end) = self.bounds().await?;
                        if end < last {
                            return Err(self.error(format!(
                                "it ends with message {end}, and {last} had been acknowledged: the \
                                 server has lost it, or an old backup was restored"
                            )));
                        }
                    }
                }
            } else if matches!(error.kind(), PublishErrorKind::MaxPayloadExceeded) {
                return Err(self.error("the server's max_payload was lowered; restart this node"));
            } else if !std::mem::replace(&mut is_told, true) {
                self.is_away.store(true, Ordering::Release);
                let reason = source(&error);
                tracing::warn!(
                    stream = self.name,
                    reason,
                    "the journal can't be written; trying again"
                );
            }
            again(&self.is_stopping).await?;
        }
    }

    /// The sequence of the first message that is about this position or a later one; that of the next
    /// message if there is none.
    pub(crate) async fn find(&self, position: u64) -> Result<u64, JournalError> {
        let (mut low, last) = self.bounds().await?;
        let mut high = last + 1;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.message(middle).await? {
                Some(message) if message.position >= position => high = middle,
                // Messages go from the beginning on.
                Some(_) | None => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// Messages from a sequence on, as they come. They end with an error when the server has gone, and
    /// some may be missing then.
    pub(crate) async fn messages(&self, from: u64) -> Result<pull::Stream, JournalError> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
            ..reader()
        };
        self.insist("a consumer", || async {
            let passing = |error: String| Failure::Passing(error);
            let made = self.stream.create_consumer(config.clone()).await;
            let consumer = made.map_err(|error| passing(error.to_string()))?;
            // An ordered consumer would do the same, and notices only after 15 s that its server has gone
            // (async-nats 0.51).
            let messages = consumer
                .stream()
                .max_messages_per_batch(PULLED_MAX_MESSAGES)
                .max_bytes_per_batch(PULLED_MAX_BYTES)
                .expires(HEARTBEAT * 10)
                .heartbeat(HEARTBEAT)
                .messages();
            messages.await.map_err(|error| passing(error.to_string()))
        })
        .await
    }

    /// Gives up the messages before a sequence.
    pub(crate) async fn purge(&self, before: u64) -> Result<(), JournalError> {
        let purged = self.stream.purge().sequence(before).await;
        purged.map(|_| ()).map_err(|error| self.error(error.to_string()))
    }

    /// Asks again while the failure may pass.
    async fn insist<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
    ) -> Result<T, JournalError> {
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Passing(reason)) => {
                    if tries == TRIES_QUIET {
                        tracing::warn!(
                            stream = self.name,
                            reason,
                            "cannot get {what}; trying again"
                        );
                    }
                    again(&self.is_stopping).await?;
                }
                Err(Failure::Lasting(reason)) => {
                    return Err(self.error(format!("cannot get {what}: {reason}")));
                }
            }
        }
    }
}

enum Failure {
    /// It may be otherwise soon.
    Passing(String),
    Lasting(String),
}

/// Waits before the next try; fails once nothing is to be waited for any more.
async fn again(is_stopping: &watch::Receiver<bool>) -> Result<(), JournalError> {
    let mut is_stopping = is_stopping.clone();
    let stopped = tokio::time::timeout(AGAIN_AFTER, is_stopping.wait_for(|is| *is)).await;
    match stopped {
        Ok(_) => {
            Err(JournalError::Failed("stopped while the journal's servers were away".to_owned()))
        }
        Err(_) => Ok(()),
    }
}

/// Whether a server that answers like this may answer otherwise soon: no leader, no quorum.
fn is_passing(error: &async_nats::jetstream::Error) -> bool {
    error.code() == 503
}

fn is_conflict(error: &async_nats::jetstream::context::PublishError) -> bool {
    let is_wrong =
        |error: &async_nats::jetstream::Error| WRONG_LAST_SEQUENCE.contains(&error.error_code());
    error.kind() == PublishErrorKind::WrongLastSequence
        // The second of the numbers has no kind of its own.
        || std::error::Error::source(error)
            .and_then(|source| source.downcast_ref())
            .is_some_and(is_wrong)
}

fn source(error: &async_nats::jetstream::context::PublishError) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

/// What makes a stream keep all that is written to it.
pub(crate) fn kept() -> Config {
    Config {
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        ..Config::default()
    }
}

/// Why a stream would lose messages, if it would.
pub(crate) fn lossy(config: &Config) -> Option<&'static str> {
    let limits = [
        (config.retention != RetentionPolicy::Limits, "its retention is not by limits"),
        (config.discard != DiscardPolicy::New, "it discards old messages when it is full"),
        (config.storage != StorageType::File, "it is kept in memory"),
        (!config.max_age.is_zero(), "its messages have a max_age"),
        (config.max_messages > 0, "it has max_msgs"),
        (config.max_messages_per_subject > 0, "it has max_msgs_per_subject"),
        (config.max_message_size > 0, "it has max_msg_size"),
        (config.sealed, "it is sealed"),
    ];
    limits.iter().find(|(is_wrong, _)| *is_wrong).map(|(_, reason)| *reason)
}

/// A reader that acknowledges nothing, and that servers forget once it has gone.
pub(crate) fn reader() -> pull::Config {
    pull::Config {
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE_AFTER,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}

/// The stream of this name, which is made if there is none.
pub(crate) async fn ensure(
    context: &Context,
    config: Config,
    is_stopping: &watch::Receiver<bool>,
) -> Result<Info, JournalError> {
    loop {
        if let Some(found) = find(context, &config.name, is_stopping).await? {
            return Ok(found);
        }
        if !make(context, &config).await? {
            again(is_stopping).await?;
        }
    }
}

/// The stream of this name, if there is one.
async fn find(
    context: &Context,
    name: &str,
    is_stopping: &watch::Receiver<bool>,
) -> Result<Option<Info>, JournalError> {
    let refused = |reason: String| JournalError::Service { stream: name.to_owned(), reason };
    loop {
        let error = match context.get_stream(name).await {
            Ok(found) => return Ok(Some(found.cached_info().clone())),
            Err(error) => error,
        };
        match error.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                return Ok(None);
            }
            GetStreamErrorKind::JetStream(error) if !is_passing(&error) => {
                return Err(refused(error.to_string()));
            }
            GetStreamErrorKind::InvalidStreamName | GetStreamErrorKind::EmptyName => {
                return Err(refused(error.to_string()));
            }
            _ => tracing::debug!(%error, "the stream is asked for again"),
        }
        again(is_stopping).await?;
    }
}

/// Makes a stream; whether it is there now, by this node or by one that was faster.
async fn make(context: &Context, config: &Config) -> Result<bool, JournalError> {
    let Err(error) = context.create_stream(config.clone()).await else { return Ok(true) };
    match error.kind() {
        CreateStreamErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::STREAM_NAME_EXIST =>
        {
            Ok(true)
        }
        // Servers of a cluster that is starting don't know each other yet.
        CreateStreamErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::CLUSTER_NO_PEERS =>
        {
            tracing::warn!(
                stream = config.name,
                replicas = config.num_replicas,
                "not as many servers are there as the stream needs; trying again"
            );
            tokio::time::sleep(AGAIN_AFTER * 10).await;
            Ok(false)
        }
        CreateStreamErrorKind::JetStream(error) if !is_passing(&error) => {
            let replicas = config.num_replicas;
            let reason = format!(
                "cannot make it with {replicas} replicas: {error}; set journal.replicas to what the servers \
                 can keep, 1 for a server by itself"
            );
            Err(JournalError::Service { stream: config.name.clone(), reason })
        }
        _ => Ok(false),
    }
}

/// The id of the journal in a stream; why it has none, or none that is safe there.
fn check(info: &Info, subject: &str) -> Result<JournalId, String> {
    let Config { metadata, subjects, .. } = &info.config;
    let Some(id) = metadata.get(ID) else {
        return Err("it is not a journal of Usher".to_owned());
    };
    let id = unhex(id).ok_or_else(|| format!("its {ID} {id:?} is none"))?;
    match metadata.get(FORMAT).map(String::as_str) {
        Some(FORMAT_VERSION) => {}
        other => {
            let found = other.unwrap_or("none");
            return Err(format!("its format is {found}, this version reads {FORMAT_VERSION}"));
        }
    }
    if *subjects != [subject] {
        return Err(format!("its subjects are {subjects:?}, and not {subject:?}"));
    }
    match lossy(&info.config) {
        Some(reason) => Err(format!("{reason}, so that it would lose records")),
        None => Ok(id),
    }
}

/// An id as text.
pub(crate) fn hex(id: &JournalId) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

fn unhex(text: &str) -> Option<JournalId> {
    let id = u128::from_str_radix(text, 16).ok()?.to_be_bytes();
    (hex(&id) == text).then_some(id)
}
