//! Values of `audit`: what operators did, as JSON. They are few, and new kinds will come.

use bytes::Bytes;
use serde_json::{Value, json};
use usher_event::FailureClass;

use crate::api::{
    Actor, AuditAction, AuditRecord, AuditedDeadLetter, Change, NodeChange, PluginChange,
    TokenChange,
};

const VERSION: u64 = 1;

/// Writes a record; its number is the key.
pub(crate) fn write(record: &AuditRecord) -> Vec<u8> {
    let AuditRecord { time_ms, actor, subscription, action, .. } = record;
    let mut row = json!({ "v": VERSION, "time_ms": time_ms, "action": action.as_str() });
    let mut more = |member: &str, value: Value| {
        if let Value::Object(members) = &mut row {
            members.insert(member.to_owned(), value);
        }
    };
    if !actor.is_local() {
        more("actor", json!(actor.as_str()));
    }
    if let Some(subscription) = subscription {
        more("subscription", json!(subscription));
    }
    match action {
        AuditAction::Redrive(dead) | AuditAction::Discard(dead) => more("dead", write_dead(dead)),
        AuditAction::RedriveEdited { dead, sequence } => {
            more("dead", write_dead(dead));
            more("sequence", json!(sequence));
        }
        AuditAction::Replay { first, last, events } => {
            more("first", json!(first));
            more("last", json!(last));
            more("events", json!(events));
        }
        AuditAction::Unsubscribe => {}
        AuditAction::Change(Change::Plugin { plugin, .. }) => more("plugin", json!(plugin)),
        AuditAction::Change(Change::Token { token, .. }) => more("token", json!(token)),
        AuditAction::Change(Change::Backup { folder }) => more("folder", json!(folder)),
        AuditAction::Change(Change::Node { node, .. }) => more("node", json!(node)),
    }
    row.to_string().into_bytes()
}

fn write_dead(dead: &AuditedDeadLetter) -> Value {
    json!({
        "id": dead.id,
        "time_ms": dead.time_ms,
        "class": dead.class.map(FailureClass::as_str),
        "sequence": dead.sequence,
        "source": dead.source,
        "event_id": dead.event_id,
        "type": dead.ty,
    })
}

/// Reads a record; `None` where the bytes can't be one.
pub(crate) fn read(number: u64, row: &Bytes) -> Option<AuditRecord> {
    let row: Value = serde_json::from_slice(row).ok()?;
    if row.get("v")?.as_u64()? != VERSION {
        return None;
    }
    let dead = || read_dead(row.get("dead")?);
    let number_of = |member| row.get(member)?.as_u64();
    let text_of = |member| row.get(member)?.as_str();
    let action = match row.get("action")?.as_str()? {
        "redrive" => AuditAction::Redrive(dead()?),
        "redrive_edited" => {
            AuditAction::RedriveEdited { dead: dead()?, sequence: number_of("sequence")? }
        }
        "replay" => AuditAction::Replay {
            first: number_of("first")?,
            last: number_of("last")?,
            events: number_of("events")?,
        },
        "discard" => AuditAction::Discard(dead()?),
        "remove" => AuditAction::Unsubscribe,
        "backup" => AuditAction::Change(Change::Backup { folder: text_of("folder")?.to_owned() }),
        other => AuditAction::Change(if let Some(change) = TokenChange::from_name(other) {
            Change::Token { token: text_of("token")?.to_owned(), change }
        } else if let Some(change) = NodeChange::from_name(other) {
            Change::Node { node: text_of("node")?.to_owned(), change }
        } else {
            let plugin = text_of("plugin")?.parse().ok()?;
            Change::Plugin { plugin, change: PluginChange::from_name(other)? }
        }),
    };
    let subscription = match row.get("subscription") {
        None => None,
        Some(name) => Some(name.as_str()?.parse().ok()?),
    };
    let actor = match row.get("actor") {
        None => Actor::local(),
        Some(name) => Actor::named(name.as_str()?),
    };
    let time_ms = row.get("time_ms")?.as_u64()?;
    Some(AuditRecord { number, time_ms, actor, subscription, action })
}

fn read_dead(dead: &Value) -> Option<AuditedDeadLetter> {
    let text = |member| Some(dead.get(member)?.as_str()?.to_owned());
    let class = match dead.get("class")? {
        Value::Null => None,
        class => Some(FailureClass::from_name(class.as_str()?)?),
    };
    Some(AuditedDeadLetter {
        id: dead.get("id")?.as_u64()?,
        time_ms: dead.get("time_ms")?.as_u64()?,
        class,
        sequence: dead.get("sequence")?.as_u64()?,
        source: text("source")?,
        event_id: text("event_id")?,
        ty: text("type")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay_by(actor: Actor) -> AuditRecord {
        AuditRecord {
            number: 7,
            time_ms: 1_769_860_803_000,
            actor,
            subscription: Some("printer/tickets".parse().unwrap()),
            action: AuditAction::Replay { first: 1, last: 9, events: 3 },
        }
    }

    #[test]
    fn a_record_keeps_its_actor() {
        let record = replay_by(Actor::named("ops"));
        assert_eq!(read(7, &write(&record).into()), Some(record));
    }

    #[test]
    fn changes_outside_of_the_broker_are_read_back() {
        let token = "shop".to_owned();
        for action in [
            AuditAction::Unsubscribe,
            AuditAction::Change(Change::Token { token, change: TokenChange::Revoke }),
            AuditAction::Change(Change::Backup { folder: "/copy".to_owned() }),
            AuditAction::Change(Change::Node { node: "b".to_owned(), change: NodeChange::Promote }),
        ] {
            let record = AuditRecord { action, ..replay_by(Actor::local()) };
            assert_eq!(read(7, &write(&record).into()), Some(record));
        }
    }

    #[test]
    fn a_row_without_an_actor_was_written_locally() {
        let record = replay_by(Actor::local());
        let row = write(&record);
        assert!(!String::from_utf8_lossy(&row).contains("actor"));
        assert_eq!(read(7, &row.into()), Some(record));
    }
}
