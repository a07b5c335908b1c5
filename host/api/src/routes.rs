//! The routes of the API: method, path, scope, and what each takes and returns. The server mounts
//! its handlers on them and the OpenAPI document is derived from them.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use utoipa::openapi::path::Parameter;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema as _, ToSchema};

use crate::problem::{
    BUSY, CONFLICT, FORBIDDEN, FULL, INTERNAL, INVALID, MISDIRECTED, NOT_FOUND, Refusal, TIMEOUT,
    TOO_LARGE, UNAUTHORIZED, UNAVAILABLE, UNSUPPORTED_MEDIA_TYPE,
};
use crate::{
    Accepted, Audit, AuditQuery, Backup, BackupQuery, Blobs, BlobsQuery, CloudEvent, DeadLetter,
    DeadLetterGone, DeadLetterReasons, DeadLetters, DeadLettersQuery, DryRuns, Events, EventsQuery,
    Explanation, Flow, Health, Logs, LogsQuery, NewToken, Nodes, Overview, PluginHistory,
    PluginSettings, PluginStanding, Plugins, RecordedDelivery, Recording, Recordings, ReplayQuery,
    Replayed, Schedules, Scope, Sinks, StateQuery, StateValues, States, Stored, StreamQuery,
    SubscriptionGone, Subscriptions, TokenCreated, TokenRevoked, Tokens,
};

/// Characters that must be escaped in a path segment.
const PATH_SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'?')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The parameter for the sequence of an event that is to be there before the log is read.
pub const AT_LEAST: &str = "at-least";

/// The header with the sequence of the newest event that was there before the log was read.
pub const SEQUENCE_HEADER: &str = "usher-sequence";

/// The methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// `GET`, and with it `HEAD`.
    Get,
    /// `POST`
    Post,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
}

impl Method {
    /// As written in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

/// One method of one path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path; parameters in braces.
    pub path: &'static str,
    /// The permission it requires.
    pub scope: Scope,
    /// Whether any node answers it, with what it has, and not only the owner of the journal. Then it takes
    /// [`AT_LEAST`], and says in [`SEQUENCE_HEADER`] how far that goes.
    pub is_on_every_node: bool,
    /// Its `operationId`.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) description: Option<&'static str>,
    pub(crate) parameters: fn() -> Vec<Parameter>,
    pub(crate) body: Option<Body>,
    pub(crate) success: Success,
    /// Refusals of its handler; see [`Route::refusals`].
    own_refusals: &'static [Refusal],
}

/// A request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    pub(crate) description: &'static str,
    /// Media types and their schemas.
    pub(crate) content: &'static [(&'static str, SchemaOf)],
}

/// The response to a request that succeeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Success {
    pub(crate) status: u16,
    pub(crate) description: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) schema: SchemaOf,
}

/// A schema, and the named ones that it refers to.
pub(crate) type SchemaOf = fn(&mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema>;

/// Refusals in front of the handlers: of the guard, which doesn't check the `Host` of probes, and
/// of the check of tokens.
const GUARDED: [Refusal; 5] = [FORBIDDEN, MISDIRECTED, INVALID, UNAUTHORIZED, BUSY];

impl Route {
    const fn new(method: Method, path: &'static str, id: &'static str, scope: Scope) -> Self {
        Self {
            method,
            path,
            scope,
            is_on_every_node: false,
            id,
            summary: "",
            description: None,
            parameters: Vec::new,
            body: None,
            success: Success {
                status: 200,
                description: "",
                media_type: "application/json",
                schema: anything,
            },
            own_refusals: &[],
        }
    }

    const fn get(path: &'static str, id: &'static str, scope: Scope) -> Self {
        Self::new(Method::Get, path, id, scope)
    }

    const fn post(path: &'static str, id: &'static str, scope: Scope) -> Self {
        Self::new(Method::Post, path, id, scope)
    }

    const fn on_every_node(self) -> Self {
        Self { is_on_every_node: true, ..self }
    }

    const fn summary(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    const fn description(self, description: &'static str) -> Self {
        Self { description: Some(description), ..self }
    }

    const fn query(self, parameters: fn() -> Vec<Parameter>) -> Self {
        Self { parameters, ..self }
    }

    const fn body(
        self,
        description: &'static str,
        content: &'static [(&'static str, SchemaOf)],
    ) -> Self {
        Self { body: Some(Body { description, content }), ..self }
    }

    const fn returns(self, description: &'static str, schema: SchemaOf) -> Self {
        let success = Success { description, schema, ..self.success };
        Self { success, ..self }
    }

    const fn with_status(self, status: u16) -> Self {
        let success = Success { status, ..self.success };
        Self { success, ..self }
    }

    const fn with_media_type(self, media_type: &'static str) -> Self {
        let success = Success { media_type, ..self.success };
        Self { success, ..self }
    }

    const fn refuses(self, own_refusals: &'static [Refusal]) -> Self {
        Self { own_refusals, ..self }
    }

    /// Its path; `parameters` fill the braces in their order.
    pub fn filled(&self, parameters: &[&str]) -> String {
        let mut parameters = parameters.iter();
        let filled = |part: &str| match part.starts_with('{').then(|| parameters.next()) {
            Some(Some(parameter)) => utf8_percent_encode(parameter, PATH_SEGMENT).to_string(),
            _ => part.to_owned(),
        };
        self.path.split('/').map(filled).collect::<Vec<_>>().join("/")
    }

    /// Whether it accepts any `Host` header: probes connect by address.
    pub fn is_probe(&self) -> bool {
        is_probe(self.path)
    }

    /// All refusals it may return.
    pub fn refusals(&self) -> impl Iterator<Item = Refusal> + use<> {
        let guarded = match self.scope {
            _ if self.is_probe() => &GUARDED[..1],
            Scope::Open => &GUARDED[..2],
            _ => &GUARDED[..],
        };
        let own = self.own_refusals;
        let guarded = guarded.iter().filter(move |refusal| !own.contains(refusal));
        guarded.chain(own).copied()
    }

    /// 304, for the only route whose response clients may cache.
    pub(crate) fn not_modified(&self) -> Option<u16> {
        (self.path == BLOB.path).then_some(304)
    }

    /// Every status it returns.
    pub fn statuses(&self) -> Vec<u16> {
        let refused = self.refusals().map(|refusal| refusal.status);
        [self.success.status].into_iter().chain(self.not_modified()).chain(refused).collect()
    }
}

fn params<T: IntoParams>() -> Vec<Parameter> {
    T::into_params(|| None)
}

fn json<T: ToSchema + 'static>(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    named.push((T::name().into_owned(), T::schema()));
    T::schemas(named);
    utoipa::openapi::Ref::from_schema_name(T::name()).into()
}

fn batch(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    utoipa::openapi::schema::ArrayBuilder::new()
        .items(json::<CloudEvent>(named))
        .max_items(Some(1000))
        .into()
}

fn text(_: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    String::schema()
}

/// Any JSON, or any bytes.
fn anything(_: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    serde_json::Value::schema()
}

/// Every refusal of a route whose handler asks the broker.
const BROKER: &[Refusal] = &[INVALID, NOT_FOUND, BUSY, INTERNAL, UNAVAILABLE];
const LISTS: &[Refusal] = &[INVALID, BUSY, INTERNAL, UNAVAILABLE];
const READS: &[Refusal] = &[BUSY, INTERNAL, UNAVAILABLE];
const CHANGES: &[Refusal] = &[INVALID, NOT_FOUND, CONFLICT, BUSY, INTERNAL, UNAVAILABLE];

/// Read the log.
pub const EVENTS: Route = Route::get("/events", "listEvents", Scope::Read)
    .on_every_node()
    .summary("Read the log")
    .query(params::<EventsQuery>)
    .returns("A page of the log.", json::<Events>)
    .refuses(LISTS);

/// Publish one event or a batch.
pub const PUBLISH: Route = Route::post("/events", "publish", Scope::Publish)
    .summary("Publish one event or a batch")
    .description(
        "All or nothing: an event that breaks a rule refuses the whole batch. An event whose source \
         and id are in the log already is not stored again; its first sequence is returned. \
         Sources under /plugins/ are reserved for plugins.",
    )
    .body(
        "In any mode of the CloudEvents HTTP protocol binding. In binary mode the attributes are in \
         ce- headers, percent-encoded, and the body is the data; any content type but \
         application/cloudevents* is binary mode.",
        &[
            ("application/cloudevents+json", json::<CloudEvent>),
            ("application/cloudevents-batch+json", batch),
            ("*/*", anything),
        ],
    )
    .returns("The events are in the log: written and fsynced.", json::<Accepted>)
    .with_status(202)
    .refuses(&[
        INVALID,
        TIMEOUT,
        TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        BUSY,
        INTERNAL,
        UNAVAILABLE,
        FULL,
    ]);

/// Ask whether an origin may deliver events.
pub const HANDSHAKE: Route =
    Route { method: Method::Options, ..Route::get("/events", "webhookHandshake", Scope::Open) }
        .summary("Ask whether an origin may deliver events")
        .description(
            "The handshake of CloudEvents HTTP Webhooks 1.0.2: the request names its origin in \
     WebHook-Request-Origin, and the configuration those that may deliver.",
        )
        .returns("It may: see WebHook-Allowed-Origin and WebHook-Allowed-Rate.", text)
        .with_media_type("text/plain")
        .refuses(&[INVALID]);

/// Read one event.
pub const EVENT: Route = Route::get("/events/{sequence}", "getEvent", Scope::Read)
    .on_every_node()
    .summary("Read one event")
    .returns("The event.", json::<Stored>)
    .refuses(BROKER);

/// Explain a delivery, or why there is none.
pub const DELIVERY: Route =
    Route::get("/events/{sequence}/deliveries/{plugin}/{name}", "explainDelivery", Scope::Read)
        .summary("What became of an event for a subscription, or why nothing did")
        .returns("The explanation.", json::<Explanation>)
        .refuses(BROKER);

/// Follow the log.
pub const STREAM: Route = Route::get("/events/stream", "streamEvents", Scope::Read)
    .on_every_node()
    .summary("Follow the log")
    .query(stream_parameters)
    .returns(
        "Server-sent events: `id` is the sequence, `data` a Stored as JSON on one line. A comment \
         goes out every 15 s of silence. The stream ends when the router stops.",
        text,
    )
    .with_media_type("text/event-stream")
    .refuses(&[INVALID, BUSY, UNAVAILABLE]);

/// Read a flow.
pub const FLOW: Route = Route::get("/flows/{id}", "getFlow", Scope::Read)
    .summary("An event and all that it caused")
    .returns("The flow.", json::<Flow>)
    .refuses(BROKER);

/// List plugins.
pub const PLUGINS: Route = Route::get("/plugins", "listPlugins", Scope::Read)
    .summary("Plugins, and files that were refused")
    .returns("All plugins.", json::<Plugins>);

/// Pause a plugin.
pub const PAUSE: Route = Route::post("/plugins/{plugin}/pause", "pausePlugin", Scope::Operate)
    .summary("Stop delivering to a plugin")
    .description(
        "Deliveries under way finish; its events wait, across restarts and new versions, until it \
         is resumed.",
    )
    .returns("It is paused.", json::<PluginStanding>)
    .refuses(CHANGES);

/// Resume a paused plugin.
pub const RESUME: Route = Route::post("/plugins/{plugin}/resume", "resumePlugin", Scope::Operate)
    .summary("Resume deliveries to a paused plugin")
    .description("They continue where they stopped.")
    .returns("It is no longer paused.", json::<PluginStanding>)
    .refuses(CHANGES);

/// Release a plugin from quarantine.
pub const RELEASE: Route =
    Route::post("/plugins/{plugin}/release", "releasePlugin", Scope::Operate)
        .summary("Lift the quarantine of a plugin")
        .description("Its failures are forgotten; if it keeps failing, it is quarantined again.")
        .returns("It is no longer quarantined.", json::<PluginStanding>)
        .refuses(CHANGES);

/// Roll a plugin back.
pub const ROLLBACK: Route =
    Route::post("/plugins/{plugin}/rollback", "rollbackPlugin", Scope::Operate)
        .summary("Return to the previous version of a plugin")
        .description(
            "Without a version on trial, the one before the present one. The present one stays off \
             until its file changes.",
        )
        .returns("The previous version serves.", json::<PluginStanding>)
        .refuses(CHANGES);

/// Read the history of a plugin.
pub const HISTORY: Route = Route::get("/plugins/{plugin}/history", "pluginHistory", Scope::Read)
    .summary("How changes of a plugin ended")
    .returns("The newest 100, oldest first.", json::<PluginHistory>)
    .refuses(&[INVALID, NOT_FOUND]);

/// Read a plugin's settings.
pub const PLUGIN_SETTINGS: Route =
    Route::get("/plugins/{plugin}/settings", "pluginSettings", Scope::ReadData)
        .summary("What the operator gave a plugin: grants, configuration, limits")
        .description("Secrets are named, and replaced wherever they appear.")
        .returns("The settings of the version that serves.", json::<PluginSettings>)
        .refuses(&[INVALID, NOT_FOUND]);

/// List a plugin's recordings.
pub const PLUGIN_RECORDINGS: Route = Route::get(
    "/plugins/{plugin}/recordings",
    "listRecordings",
    Scope::ReadData,
)
.summary("Its newest deliveries that failed, or that asked other servers")
.description(
    "In memory, since the router started: at most 64 and 4 MiB of a plugin, and 64 MiB of all. \
             None of plugins that record nothing (`recording_bytes = 0`).",
)
.returns("Without what they were told, newest first.", json::<Recordings>)
.refuses(&[INVALID, NOT_FOUND]);

/// Read one of a plugin's recordings.
pub const PLUGIN_RECORDING: Route =
    Route::get("/plugins/{plugin}/recordings/{number}", "getRecording", Scope::ReadData)
        .summary("What a delivery was told, to run it again elsewhere")
        .description("Secrets are replaced.")
        .returns("The delivery.", json::<RecordedDelivery>)
        .refuses(&[INVALID, NOT_FOUND, INTERNAL, UNAVAILABLE]);

/// Read a plugin's component.
pub const PLUGIN_COMPONENT: Route =
    Route::get("/plugins/{plugin}/component", "pluginComponent", Scope::ReadData)
        .summary("The component that serves a plugin")
        .returns("Its bytes. ETag is the digest.", anything)
        .with_media_type("application/wasm")
        .refuses(BROKER);

/// Read a plugin's state.
pub const PLUGIN_STATE: Route = Route::get(
    "/plugins/{plugin}/state",
    "pluginState",
    Scope::ReadData,
)
.on_every_node()
.summary("What a plugin keeps, by bucket and key")
.description(
    "Also of a plugin that was removed: its state stays. With `at`, as of an earlier event, as \
             far as retention has left what led there.",
)
.query(params::<StateQuery>)
.returns(
    "Values. A page may be shorter than `max` although there are more: continue after the \
             last until one is empty.",
    json::<StateValues>,
)
.refuses(LISTS);

/// Read what plugins wrote.
pub const LOGS: Route = Route::get("/logs", "listLogs", Scope::ReadData)
    .summary("Lines that plugins wrote, as far as they are still in memory")
    .description(
        "Lines that the filter of the log (`log` in usher.toml) lets through. The newest of each \
         plugin are kept, 256 KiB of them, until the router stops.",
    )
    .query(params::<LogsQuery>)
    .returns("The newest lines that match, oldest first.", json::<Logs>)
    .refuses(&[INVALID]);

/// List subscriptions.
pub const SUBSCRIPTIONS: Route = Route::get("/subscriptions", "listSubscriptions", Scope::Read)
    .summary("Subscriptions and their progress")
    .returns("All subscriptions.", json::<Subscriptions>)
    .refuses(READS);

/// Remove a subscription.
pub const UNSUBSCRIBE: Route = Route {
    method: Method::Delete,
    ..Route::get("/subscriptions/{plugin}/{name}", "removeSubscription", Scope::Admin)
}
.summary("Remove a subscription that nothing serves")
.description(
    "Its cursor and its waiting deliveries are removed; its dead letters stay. A plugin that asks \
     for it again creates a new one.",
)
.returns("It is removed.", json::<SubscriptionGone>)
.refuses(CHANGES);

/// Replay part of the log.
pub const REPLAY: Route =
    Route::post("/subscriptions/{plugin}/{name}/replay", "replay", Scope::Operate)
        .summary("Deliver part of the log to a subscription again")
        .description(
            "One step: events that match the subscription, in order, marked as a replay; those with \
             a delivery that is pending or under way, or with a dead letter, are skipped. 429 while \
             more than 1,024 replayed deliveries of the subscription are unsettled. Continue from \
             `next`, with `to` as it was returned.",
        )
        .query(params::<ReplayQuery>)
        .returns("What was done.", json::<Replayed>)
        .refuses(BROKER);

/// Show what a replay would do.
pub const DRY_RUN: Route =
    Route::post("/subscriptions/{plugin}/{name}/dry-run", "dryRun", Scope::Operate)
        .summary("Show what would become of events")
        .description(
            "One step: the plugin that serves the subscription handles the events, its effects are \
             dropped and its HTTP calls refused. Continue from `next`, with `to` as it was returned.",
        )
        .query(params::<ReplayQuery>)
        .returns("What would become of each.", json::<DryRuns>)
        .refuses(CHANGES);

/// List sinks.
pub const SINKS: Route = Route::get("/sinks", "listSinks", Scope::Read)
    .summary("Servers that events are delivered to")
    .returns("All sinks.", json::<Sinks>);

/// List nodes.
pub const NODES: Route = Route::get("/nodes", "listNodes", Scope::Read)
    .summary("The nodes of a router whose journal is shared by several")
    .returns("All that the owner has heard.", json::<Nodes>);

/// Have a node take no deliveries.
pub const DRAIN_NODE: Route = Route::post("/nodes/{node}/drain", "drainNode", Scope::Operate)
    .summary("Give a node no more deliveries")
    .description(
        "Those under way finish. It still follows the journal, and takes over if the owner fails. \
         Until it is resumed, or started again.",
    )
    .returns("It takes none.", json::<Nodes>)
    .refuses(CHANGES);

/// Have a node take deliveries again.
pub const RESUME_NODE: Route = Route::post("/nodes/{node}/resume", "resumeNode", Scope::Operate)
    .summary("Give a drained node deliveries again")
    .returns("It takes them.", json::<Nodes>)
    .refuses(CHANGES);

/// Have a node take over.
pub const PROMOTE_NODE: Route = Route::post("/nodes/{node}/promote", "promoteNode", Scope::Operate)
    .summary("Leave the journal to a node")
    .description(
        "The owner stops in order and follows; the node takes over. If it doesn't, the next in \
             rank does.",
    )
    .returns("The owner is stopping.", json::<Nodes>)
    .refuses(CHANGES);

/// List schedules.
pub const SCHEDULES: Route = Route::get("/schedules", "listSchedules", Scope::Read)
    .summary("Schedules and their ticks")
    .returns("All schedules.", json::<Schedules>)
    .refuses(READS);

/// List dead letters.
pub const DEAD_LETTERS: Route = Route::get("/dead-letters", "listDeadLetters", Scope::Read)
    .on_every_node()
    .summary("Deliveries that were given up, oldest first")
    .query(params::<DeadLettersQuery>)
    .returns(
        "Dead letters, without their attempts. A page may be shorter than `max`, even empty, \
         although there are more: continue with `next` as `after` until that is null.",
        json::<DeadLetters>,
    )
    .refuses(LISTS);

/// Count dead letters by reason.
pub const DEAD_LETTER_REASONS: Route = Route::get(
    "/dead-letters/reasons",
    "countDeadLetters",
    Scope::Read,
)
.on_every_node()
.summary("Dead letters by subscription and reason")
.description(
    "Counts at most 10,000 dead letters and tells at most 1,000 reasons apart: continue with \
             `next` as `after` until that is null. `max` is the number of reasons.",
)
.query(params::<DeadLettersQuery>)
.returns("How many there are of each.", json::<DeadLetterReasons>)
.refuses(LISTS);

/// Read one dead letter.
pub const DEAD_LETTER: Route = Route::get("/dead-letters/{id}", "getDeadLetter", Scope::Read)
    .on_every_node()
    .summary("One dead letter, with its attempts")
    .returns("The dead letter.", json::<DeadLetter>)
    .refuses(BROKER);

/// Read what a dead letter's last attempt was told.
pub const DEAD_LETTER_RECORDING: Route =
    Route::get("/dead-letters/{id}/recording", "getDeadLetterRecording", Scope::ReadData)
        .on_every_node()
        .summary("What its last attempt was told, to run it again elsewhere")
        .description(
            "Secrets are replaced. There is none of deliveries by sinks, of plugins that record \
             nothing (`recording_bytes = 0`), and of dead letters from before recordings.",
        )
        .returns("The recording.", json::<Recording>)
        .refuses(BROKER);

/// Redrive a dead letter.
pub const REDRIVE: Route =
    Route::post("/dead-letters/{id}/redrive", "redriveDeadLetter", Scope::Operate)
        .summary("Deliver its event to its subscription again")
        .returns("It is no longer a dead letter; its attempts start over.", json::<DeadLetterGone>)
        .refuses(BROKER);

/// Redrive a dead letter with another event.
pub const REDRIVE_EDITED: Route =
    Route::post("/dead-letters/{id}/redrive-edited", "redriveDeadLetterEdited", Scope::Operate)
        .summary("Deliver another event in its event's place, to its subscription alone")
        .body(
            "The dead letter's event, corrected; `id` and `source` unchanged.",
            &[("application/cloudevents+json", json::<CloudEvent>)],
        )
        .returns(
            "It is no longer a dead letter; the new event has an id of its own.",
            json::<DeadLetterGone>,
        )
        .refuses(&[
            INVALID,
            NOT_FOUND,
            TIMEOUT,
            TOO_LARGE,
            UNSUPPORTED_MEDIA_TYPE,
            BUSY,
            INTERNAL,
            UNAVAILABLE,
        ]);

/// Discard a dead letter.
pub const DISCARD: Route =
    Route::post("/dead-letters/{id}/discard", "discardDeadLetter", Scope::Operate)
        .summary("Drop it for good")
        .returns("It is removed.", json::<DeadLetterGone>)
        .refuses(BROKER);

/// List operator actions.
pub const AUDIT: Route = Route::get("/audit", "listAudit", Scope::Read)
    .on_every_node()
    .summary("What operators did, oldest first; the newest 10,000 records are kept")
    .query(params::<AuditQuery>)
    .returns("Records. Continue with `after` until a page is empty.", json::<Audit>)
    .refuses(LISTS);

/// List blobs.
pub const BLOBS: Route = Route::get("/blobs", "listBlobs", Scope::Read)
    .on_every_node()
    .summary("Blobs of plugins, by digest")
    .query(params::<BlobsQuery>)
    .returns(
        "Blobs. A page may be shorter than `max` although there are more: continue with `after` \
         until one is empty.",
        json::<Blobs>,
    )
    .refuses(LISTS);

/// Read a blob.
pub const BLOB: Route = Route::get("/blobs/{digest}", "getBlob", Scope::ReadData)
    .on_every_node()
    .summary("A blob's content")
    .returns("The content, with the media type it was put with. ETag is the digest.", anything)
    .with_media_type("*/*")
    .refuses(BROKER);

/// List tokens.
pub const TOKENS: Route = Route::get("/tokens", "listTokens", Scope::Admin)
    .summary("Tokens, without their secrets")
    .returns("All tokens.", json::<Tokens>);

/// Create a token.
pub const CREATE_TOKEN: Route = Route::post("/tokens", "createToken", Scope::Admin)
    .summary("Create a token")
    .description(
        "The first one must have the scope `admin`. From then on every request needs a token, but \
         for probes and this document.",
    )
    .body("The token.", &[("application/json", json::<NewToken>)])
    .returns("The token, with its secret.", json::<TokenCreated>)
    .with_status(201)
    .refuses(&[
        INVALID,
        TIMEOUT,
        CONFLICT,
        TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        BUSY,
        INTERNAL,
        UNAVAILABLE,
    ]);

/// Revoke a token.
pub const REVOKE_TOKEN: Route =
    Route { method: Method::Delete, ..Route::get("/tokens/{token}", "revokeToken", Scope::Admin) }
        .summary("Revoke a token")
        .description("Neither the last one with the scope `admin` nor one of the configuration.")
        .returns("It is no longer accepted.", json::<TokenRevoked>)
        .refuses(CHANGES);

/// Make a backup.
pub const BACKUP: Route = Route::post("/backup", "backup", Scope::Admin)
    .summary("Copy the data folder while the router runs")
    .description(
        "Returns once the copy is complete and on the disk: everything acknowledged before the \
         request is in it. A router starts from it. One at a time; a failure leaves nothing behind.",
    )
    .query(params::<BackupQuery>)
    .returns("It is complete.", json::<Backup>)
    .refuses(&[INVALID, CONFLICT, BUSY, INTERNAL, UNAVAILABLE]);

/// The router as a whole.
pub const OVERVIEW: Route = Route::get("/overview", "overview", Scope::Read)
    .summary("The router as a whole, now and in the last hour")
    .returns("The overview.", json::<Overview>);

/// List active states.
pub const STATES: Route = Route::get("/states", "listStates", Scope::Read)
    .summary("The states in which producers are refused or deliveries are held")
    .returns("Those that hold now.", json::<States>)
    .refuses(READS);

/// Liveness probe.
pub const HEALTH: Route = Route::get("/healthz", "health", Scope::Open)
    .summary("Whether the router is alive")
    .description("503 once the store has failed: only a restart helps.")
    .returns("It is.", json::<Health>)
    .refuses(&[UNAVAILABLE]);

/// Readiness probe.
pub const READINESS: Route = Route::get("/readyz", "readiness", Scope::Open)
    .summary("Whether the router is ready")
    .returns(
        "The broker has recovered, the plugins folder was read, and no state holds that \
         `http.unready_on` names.",
        json::<Health>,
    )
    .refuses(&[UNAVAILABLE]);

/// Read metrics.
pub const METRICS: Route = Route::get("/metrics", "metrics", Scope::Read)
    .summary("Counters and gauges")
    .returns("OpenMetrics text.", text)
    .with_media_type("application/openmetrics-text")
    .refuses(READS);

/// Read the OpenAPI document.
pub const OPENAPI: Route = Route::get("/openapi.json", "openapi", Scope::Open)
    .summary("This document")
    .returns("OpenAPI 3.1.", anything);

/// Whether this is the path of a health check: allowed under any `Host`, since it reveals nothing
/// about events, and probes connect by address.
pub fn is_probe(path: &str) -> bool {
    [HEALTH.path, READINESS.path].contains(&path)
}

/// Every route of the API.
pub const ALL: &[Route] = &[
    EVENTS,
    PUBLISH,
    HANDSHAKE,
    EVENT,
    DELIVERY,
    STREAM,
    FLOW,
    PLUGINS,
    PAUSE,
    RESUME,
    RELEASE,
    ROLLBACK,
    HISTORY,
    PLUGIN_SETTINGS,
    PLUGIN_COMPONENT,
    PLUGIN_RECORDINGS,
    PLUGIN_RECORDING,
    PLUGIN_STATE,
    LOGS,
    SUBSCRIPTIONS,
    UNSUBSCRIBE,
    REPLAY,
    DRY_RUN,
    SINKS,
    SCHEDULES,
    NODES,
    DRAIN_NODE,
    RESUME_NODE,
    PROMOTE_NODE,
    DEAD_LETTERS,
    DEAD_LETTER_REASONS,
    DEAD_LETTER,
    DEAD_LETTER_RECORDING,
    REDRIVE,
    REDRIVE_EDITED,
    DISCARD,
    AUDIT,
    BLOBS,
    BLOB,
    TOKENS,
    CREATE_TOKEN,
    REVOKE_TOKEN,
    BACKUP,
    OVERVIEW,
    STATES,
    HEALTH,
    READINESS,
    METRICS,
    OPENAPI,
];

fn stream_parameters() -> Vec<Parameter> {
    let seen = utoipa::openapi::path::ParameterBuilder::new()
        .name("Last-Event-ID")
        .parameter_in(utoipa::openapi::path::ParameterIn::Header)
        .description(Some("The last sequence seen; takes precedence over `from`."))
        .schema(Some(u64::schema()))
        .build();
    let mut all = params::<StreamQuery>();
    all.push(seen);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_fill_the_braces() {
        assert_eq!(DELIVERY.filled(&["7", "a b", "c"]), "/events/7/deliveries/a%20b/c");
        assert_eq!(FLOW.filled(&["a/b?c#d é"]), "/flows/a%2Fb%3Fc%23d%20%C3%A9");
    }
}
