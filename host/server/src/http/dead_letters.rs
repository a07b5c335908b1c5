//! `/dead-letters`: deliveries that were given up, and how to redrive or discard them.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use usher_broker::{self as broker, DeadLetterPage, DeadLetterQuery, Operated, Operation};
use usher_event::{FailureClass, Recording, SubscriptionName};

use super::client::Client;
use super::params::{Params, PathParams, number, page};
use super::problem::ApiError;
use super::state::{Api, Node};
use super::{answers, ingest};
use crate::access::Identity;
use crate::project;
use usher_api::{
    DeadLetter, DeadLetterGone, DeadLetterReason, DeadLetterReasons, DeadLetters, DeadLettersQuery,
    PAGE_MAX, Timestamp,
};

/// Limit on dead letters that one request counts; may be exceeded by a page.
const COUNTED_MAX: usize = 10_000;

/// Limit on pages that one request reads: where few match, the pages of the broker are short.
const COUNTED_PAGES_MAX: usize = 32;

/// Limit on reasons that one request tells apart.
const DISTINCT_MAX: usize = 1_000;

fn query(asked: DeadLettersQuery) -> Result<DeadLetterQuery, ApiError> {
    let class = |name: String| {
        FailureClass::from_name(&name).ok_or_else(|| {
            let known: Vec<_> = FailureClass::ALL.map(FailureClass::as_str).into();
            ApiError::invalid(format!("class: use one of {}", known.join(", ")))
        })
    };
    Ok(DeadLetterQuery {
        after: asked.after,
        max: page(asked.max)?,
        subscription: asked.subscription,
        plugin: asked.plugin,
        class: asked.class.map(class).transpose()?,
        reason: asked.reason,
        type_prefix: asked.type_prefix,
        from_ms: asked.since.map(Timestamp::as_ms),
        to_ms: asked.until.map(Timestamp::as_ms),
    })
}

/// Dead letters, oldest first.
pub(super) async fn list(
    State(node): State<Node>,
    identity: Identity,
    client: Client,
    Params(asked): Params<DeadLettersQuery>,
) -> Result<Response, ApiError> {
    let room = answers::room(&node, &client).await?;
    let DeadLetterPage { letters, next, last } = node.log.dead_letters(query(asked)?).await?;
    let dead_letters = letters.into_iter().map(project::listed_dead_letter).collect();
    let mut found = DeadLetters { dead_letters, next, last };
    identity.hide_data(&mut found);
    answers::json(room, &found)
}

/// How many dead letters there are of each subscription and reason.
pub(super) async fn reasons(
    State(node): State<Node>,
    client: Client,
    Params(asked): Params<DeadLettersQuery>,
) -> Result<Response, ApiError> {
    let named_max = page(asked.max)?;
    let room = answers::room(&node, &client).await?;
    let mut query = DeadLetterQuery { max: PAGE_MAX, ..query(asked)? };
    let (mut counted, mut pages, mut reasons) = (0, 0, Reasons::default());
    let next = loop {
        let page = node.log.dead_letters(query.clone()).await?;
        counted += page.letters.len();
        pages += 1;
        page.letters.iter().for_each(|dead| reasons.count(dead));
        if page.next.is_none() || counted >= COUNTED_MAX || pages >= COUNTED_PAGES_MAX {
            break page.next;
        }
        query.after = page.next;
    };
    answers::json(room, &reasons.most_frequent(named_max, next))
}

/// Counts of dead letters.
#[derive(Default)]
struct Reasons {
    counts: BTreeMap<(SubscriptionName, String), DeadLetterReason>,
    others: u64,
}

impl Reasons {
    fn count(&mut self, dead: &broker::DeadLetter) {
        let time = Timestamp::from_ms(dead.time_ms);
        let key = (dead.subscription.clone(), dead.reason().to_owned());
        if self.counts.len() >= DISTINCT_MAX && !self.counts.contains_key(&key) {
            self.others += 1;
            return;
        }
        let (subscription, reason) = key.clone();
        let counted = self.counts.entry(key).or_insert_with(|| DeadLetterReason {
            subscription,
            class: project::class_of(dead),
            reason,
            count: 0,
            first: time,
            last: time,
        });
        counted.count += 1;
        counted.last = time;
    }

    fn most_frequent(self, named_max: usize, next: Option<u64>) -> DeadLetterReasons {
        let mut reasons: Vec<_> = self.counts.into_values().collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        let rest = reasons.split_off(reasons.len().min(named_max));
        let others = self.others + rest.iter().map(|reason| reason.count).sum::<u64>();
        DeadLetterReasons { reasons, others, next }
    }
}

/// One dead letter, with its attempts.
pub(super) async fn one(
    State(node): State<Node>,
    identity: Identity,
    PathParams(id): PathParams<String>,
) -> Result<Json<DeadLetter>, ApiError> {
    let id = number("id", &id)?;
    match node.log.dead_letter(id).await? {
        Some(dead) => {
            let mut dead = project::dead_letter(dead);
            identity.hide_data(&mut dead);
            Ok(Json(dead))
        }
        None => Err(missing(id)),
    }
}

/// Reads a recording as it is kept.
pub(super) fn read_recording(json: &[u8]) -> Result<usher_api::Recording, ApiError> {
    let recording = Recording::read(json).map(project::recording);
    recording.ok_or_else(|| ApiError::internal("the recording can't be read"))
}

/// What the last attempt of a dead letter was told.
pub(super) async fn recording(
    State(node): State<Node>,
    client: Client,
    PathParams(id): PathParams<String>,
) -> Result<Response, ApiError> {
    let id = number("id", &id)?;
    let room = answers::room(&node, &client).await?;
    match node.log.recording(id).await? {
        Some(json) => answers::json(room, &read_recording(&json)?),
        None if node.log.dead_letter(id).await?.is_none() => Err(missing(id)),
        None => Err(ApiError::not_found(format!("nothing was recorded of dead letter {id}"))),
    }
}

/// Delivers the event to its subscription again.
pub(super) async fn redrive(
    State(api): State<Api>,
    identity: Identity,
    PathParams(id): PathParams<String>,
) -> Result<Json<DeadLetterGone>, ApiError> {
    let id = number("id", &id)?;
    gone(id, operate(&api, &identity, Operation::Redrive(id)).await?)
}

/// Deletes the dead letter.
pub(super) async fn discard(
    State(api): State<Api>,
    identity: Identity,
    PathParams(id): PathParams<String>,
) -> Result<Json<DeadLetterGone>, ApiError> {
    let id = number("id", &id)?;
    gone(id, operate(&api, &identity, Operation::Discard(id)).await?)
}

/// Delivers the event in the request body instead of the original.
pub(super) async fn redrive_edited(
    State(api): State<Api>,
    identity: Identity,
    client: Client,
    PathParams(id): PathParams<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DeadLetterGone>, ApiError> {
    let id = number("id", &id)?;
    let event = ingest::one_structured(&api, client.connection(), &headers, body).await?;
    gone(id, operate(&api, &identity, Operation::RedriveEdited { id, edited: event }).await?)
}

async fn operate(
    api: &Api,
    identity: &Identity,
    operation: Operation,
) -> Result<Operated, ApiError> {
    Ok(api.running.broker.operate(&identity.actor, operation).await?)
}

fn gone(id: u64, operated: Operated) -> Result<Json<DeadLetterGone>, ApiError> {
    let sequence = match operated {
        Operated::NotFound => return Err(missing(id)),
        Operated::Appended(sequence) => Some(sequence),
        Operated::Done | Operated::Replayed(_) => None,
    };
    Ok(Json(DeadLetterGone { id, sequence }))
}

fn missing(id: u64) -> ApiError {
    ApiError::not_found(format!(
        "there is no dead letter {id}; it may have been redriven or discarded"
    ))
}
