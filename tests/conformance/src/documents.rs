//! Documents that others keep in the journal.

use bytes::Bytes;
use usher_broker::{
    Actor, BrokerError, Change, DOCUMENT_MAX_BYTES, DOCUMENT_NAME_MAX_BYTES, DOCUMENTS_MAX,
    Document, Operation, TokenChange,
};

use crate::harness::*;

fn document(name: &str, content: &'static [u8]) -> Document {
    Document { name: name.into(), content: Some(Bytes::from_static(content)) }
}

fn gone(name: &str) -> Document {
    Document { name: name.into(), content: None }
}

async fn names(broker: &dyn usher_broker::Log, prefix: &str) -> Vec<String> {
    let found = broker.documents(prefix).await.unwrap();
    found.into_keys().map(String::from).collect()
}

/// Invariant 1 holds for documents, too: what was kept is there after a restart.
pub async fn documents_are_replaced_and_stay(disk: Disk) {
    let broker = disk.open();
    let first = vec![document("a/1", b"one"), document("a/2", b"two"), document("b", b"")];
    soon(broker.keep(first)).await.unwrap();
    soon(broker.keep(vec![document("a/1", b"other"), gone("b"), gone("never")])).await.unwrap();
    drop(broker);
    let broker = disk.open();
    assert_eq!(names(&*broker, "").await, ["a/1", "a/2"]);
    assert_eq!(names(&*broker, "a/2").await, ["a/2"]);
    assert_eq!(broker.documents("a/1").await.unwrap()["a/1"], Bytes::from_static(b"other"));
    assert!(names(&*broker, "b").await.is_empty());
}

/// A change by an operator is recorded in the commit that makes it.
pub async fn a_change_of_documents_is_recorded_with_it(disk: Disk) {
    let broker = disk.open();
    let change = Change::Token { token: "shop".to_owned(), change: TokenChange::Create };
    let keep = |documents| Operation::Keep(change.clone(), documents);
    let by = Actor::named("ops");
    soon(broker.operate(&by, keep(vec![document("tokens", b"{}")]))).await.unwrap();
    let refused = soon(broker.operate(&by, keep(vec![document("", b"{}")]))).await;
    assert!(matches!(refused, Err(BrokerError::Invalid(_))), "{refused:?}");
    drop(broker);
    let broker = disk.open();
    let records = broker.audit(None, 10).await.unwrap();
    assert_eq!((records.len(), &records[0].actor), (1, &by));
    assert_eq!(names(&*broker, "").await, ["tokens"]);
}

/// One that is too large takes the others of its commit with it.
pub async fn too_large_documents_are_refused_whole(disk: Disk) {
    let broker = disk.open();
    let large = Bytes::from(vec![b'x'; DOCUMENT_MAX_BYTES + 1]);
    let long = "x".repeat(DOCUMENT_NAME_MAX_BYTES + 1);
    for wrong in [
        Document { name: "large".into(), content: Some(large.clone()) },
        document(&long, b""),
        gone(""),
    ] {
        let refused = soon(broker.keep(vec![document("good", b""), wrong])).await;
        assert!(matches!(refused, Err(BrokerError::Invalid(_))), "{refused:?}");
    }
    let twice = soon(broker.keep(vec![document("good", b"1"), gone("good")])).await;
    assert!(matches!(twice, Err(BrokerError::Invalid(_))), "{twice:?}");
    let many = (0..=DOCUMENTS_MAX).map(|n| document(&n.to_string(), b"")).collect();
    let many = soon(broker.keep(many)).await;
    assert!(matches!(many, Err(BrokerError::Conflict(_))), "{many:?}");
    assert!(names(&*broker, "").await.is_empty());
    let content = Some(large.slice(1..));
    soon(broker.keep(vec![Document { name: "large".into(), content }])).await.unwrap();
    assert_eq!(names(&*broker, "").await, ["large"]);
}
