//! NATS JetStream as the servers of a journal.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{
    ContextBuilder, CreateStreamErrorKind, GetStreamErrorKind, PublishError, PublishErrorKind,
    RequestErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{self, Context, ErrorCode, stream};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use usher_journal::{JournalError, JournalId, new_id};

use crate::JetStreamOptions;
use crate::blobs::Blobs;
use crate::message::{HEADERS_MAX_BYTES, Message};
use crate::owner::{self, Owner};
use crate::servers::{AGAIN_AFTER, Arrival, Extent, Failure, Refusal, Servers, Stored};
use crate::stream::{Stream, again};

/// How long an answer may take before it is asked for again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Parts of records are at most this long, whatever the server takes.
const PART_MAX_BYTES: usize = 1_024 * 1_024;

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

/// The servers of a journal's stream, and of its blobs.
pub struct JetStream {
    context: Context,
    stream: stream::Stream<()>,
    name: String,
    subject: String,
    blobs: OnceLock<Blobs>,
}

impl Stream<JetStream> {
    /// The stream of these options. One that is made is for the journal with this id, or for a new one.
    pub(crate) async fn open(
        client: Client,
        options: &JetStreamOptions,
        id: Option<JournalId>,
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
        let info = find_or_make(&context, config, options.makes_stream, &is_stopping).await?;
        let missing = || {
            refused(
                "it isn't there: check journal.stream. A node whose data folder has a journal makes none; copy \
                 that journal there with `usher journal copy embedded jetstream`, or give an empty data folder"
                    .to_owned(),
            )
        };
        let info = info.ok_or_else(missing)?;
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
        let blobs = OnceLock::new();
        let servers = JetStream { context, stream, name: name.clone(), subject, blobs };
        Ok(Self::new(servers, name, id, part_max_bytes, is_stopping))
    }

    /// Opens the stream of blobs, which is made if there is none.
    pub(crate) async fn open_blobs(&self, options: &JetStreamOptions) -> Result<(), JournalError> {
        let (client, max_bytes) = (self.servers.client(), self.part_max_bytes);
        let blobs = Blobs::open(client, options, max_bytes, &self.is_stopping).await?;
        // Already opened: the same.
        let _ = self.servers.blobs.set(blobs);
        Ok(())
    }
}

impl JetStream {
    pub(crate) fn client(&self) -> Client {
        self.context.client()
    }

    /// The blobs, once they are opened.
    pub(crate) fn blobs(&self) -> Result<&Blobs, JournalError> {
        let closed = || JournalError::Failed("the stream of blobs isn't open".to_owned());
        self.blobs.get().ok_or_else(closed)
    }
}

impl Servers for JetStream {
    type Arrivals = BoxStream<'static, Arrival>;

    async fn publish(&self, message: &Message, last: u64) -> Result<u64, Refusal> {
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
        answer.map(|answer| answer.sequence).map_err(|error| {
            if is_conflict(&error) {
                Refusal::Conflict
            } else if error.kind() == PublishErrorKind::MaxPayloadExceeded {
                Refusal::TooLarge
            } else {
                Refusal::Unknown(source(&error))
            }
        })
    }

    async fn message(&self, sequence: u64) -> Result<Option<Stored>, Failure> {
        match self.stream.get_raw_message(sequence).await {
            Ok(found) => Ok(Some(Message::read(&found.headers, found.payload))),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(error) if !is_passing(&error) => {
                    Err(Failure::Lasting(error.to_string()))
                }
                _ => Err(Failure::Passing(error.to_string())),
            },
        }
    }

    async fn extent(&self) -> Result<Extent, Failure> {
        let info = self.stream.get_info().await.map_err(|error| match error.kind() {
            RequestErrorKind::TimedOut
            | RequestErrorKind::NoResponders
            | RequestErrorKind::Other => Failure::Passing(error.to_string()),
            _ => Failure::Lasting(error.to_string()),
        })?;
        let id = info.config.metadata.get(ID).and_then(|id| unhex(id));
        // Of a stream without messages it is 0.
        let first = info.state.first_sequence.max(1);
        Ok(Extent { id, first, last: info.state.last_sequence })
    }

    async fn messages(&self, from: u64) -> Result<Self::Arrivals, Failure> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
            ..reader()
        };
        let passing = |error: String| Failure::Passing(error);
        let made = self.stream.create_consumer(config).await;
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
        let messages = messages.await.map_err(|error| passing(error.to_string()))?;
        let arrivals = messages
            .scan((), |(), message| std::future::ready(message.ok().as_ref().and_then(arrival)));
        Ok(arrivals.boxed())
    }

    async fn purge(&self, before: u64) -> Result<(), Failure> {
        let purged = self.stream.purge().sequence(before).await;
        purged.map(|_| ()).map_err(|error| Failure::Passing(error.to_string()))
    }

    async fn tell(&self, owner: &Owner) {
        owner::tell(&self.client(), &self.name, owner).await;
    }

    async fn is_owner_heard(&self, epoch: u64) -> bool {
        owner::is_there(&self.client(), &self.name, epoch).await
    }
}

/// A message as it came; `None` if the server didn't say where it stands.
fn arrival(message: &jetstream::Message) -> Option<Arrival> {
    let info = message
        .info()
        .inspect_err(|error| tracing::warn!(%error, "a message doesn't say where it stands"));
    let info = info.ok()?;
    let headers = message.headers.as_ref();
    Some(Arrival {
        sequence: info.stream_sequence,
        is_first: info.consumer_sequence == 1,
        stored: headers.and_then(|headers| Message::read(headers, message.payload.clone())),
    })
}

/// Whether a server that answers like this may answer otherwise soon: no leader, no quorum.
fn is_passing(error: &async_nats::jetstream::Error) -> bool {
    error.code() == 503
}

fn is_conflict(error: &PublishError) -> bool {
    let is_wrong =
        |error: &async_nats::jetstream::Error| WRONG_LAST_SEQUENCE.contains(&error.error_code());
    error.kind() == PublishErrorKind::WrongLastSequence
        // The second of the numbers has no kind of its own.
        || std::error::Error::source(error)
            .and_then(|source| source.downcast_ref())
            .is_some_and(is_wrong)
}

fn source(error: &PublishError) -> String {
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

/// The stream of this name; one that isn't there is made if that is wanted.
pub(crate) async fn find_or_make(
    context: &Context,
    config: Config,
    makes_stream: bool,
    is_stopping: &watch::Receiver<bool>,
) -> Result<Option<Info>, JournalError> {
    loop {
        let found = find(context, &config.name, is_stopping).await?;
        if found.is_some() || !makes_stream {
            return Ok(found);
        }
        if !make(context, &config).await? {
            again(is_stopping, tokio::time::sleep(AGAIN_AFTER)).await?;
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
    let mut is_told = false;
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
            _ if std::mem::replace(&mut is_told, true) => {}
            _ => {
                tracing::warn!(stream = name, %error, "the stream can't be looked at; trying again")
            }
        }
        again(is_stopping, tokio::time::sleep(AGAIN_AFTER)).await?;
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
