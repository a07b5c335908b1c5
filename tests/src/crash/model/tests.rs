//! Checks that the model detects each kind of damage.

use serde_json::{Value, json};

use super::*;
use crate::crash::log::Entry;

fn count(id: &str, key: &str) -> Planned {
    Planned { id: id.to_owned(), kind: Kind::Count { key: key.to_owned(), by_reading: true } }
}

fn ordered(id: &str) -> Planned {
    Planned { id: id.to_owned(), kind: Kind::Ordered { key: "ordered-0".to_owned() } }
}

fn stored(sequence: u64, planned: &Planned) -> Entry {
    entry(sequence, &Value::Null, &planned.event())
}

fn entry(sequence: u64, cause: &Value, event: &Value) -> Entry {
    Entry::of(&json!({ "sequence": sequence, "cause": cause, "event": event })).unwrap()
}

fn counted(sequence: u64, parent: u64, key: &str, value: u64) -> Entry {
    let subscription = if key.starts_with("ordered") { "state/ordered" } else { "state/count" };
    entry(
        sequence,
        &json!({ "parent": parent, "subscription": subscription }),
        &json!({
            "id": format!("{parent}/{subscription}/0"),
            "source": "/plugins/state",
            "type": "test.counted",
            "data": { "key": key, "value": value },
        }),
    )
}

fn receipt(id: &str, sequence: u64, duplicate: bool) -> Receipt {
    Receipt { id: id.to_owned(), source: SOURCE.to_owned(), sequence, duplicate, differs: false }
}

/// The model's findings for these events and this log.
fn problems(planned: &[Planned], log: &[Entry]) -> Vec<String> {
    let mut model = Model::default();
    for (sequence, planned) in (1..).zip(planned) {
        assert_eq!(model.acknowledge(&receipt(&planned.id, sequence, false)), None);
    }
    model.grow(planned, log)
}

#[test]
fn a_right_log_is_right() {
    let planned = [count("a", "count-0"), count("b", "count-0")];
    let log = [
        stored(1, &planned[0]),
        stored(2, &planned[1]),
        counted(3, 2, "count-0", 1),
        counted(4, 1, "count-0", 2),
    ];
    assert_eq!(problems(&planned, &log), Vec::<String>::new());
}

#[test]
fn each_kind_of_damage_is_seen() {
    let planned = [ordered("a"), ordered("b")];
    let [a, b] = [stored(1, &planned[0]), stored(2, &planned[1])];
    let key = "ordered-0";
    let changed = Planned { kind: Kind::Echo { subject: key.to_owned() }, ..planned[0].clone() };
    let foreign = stored(5, &count("c", "count-0"));
    let first = counted(3, 1, key, 1);
    let second = counted(4, 2, key, 2);
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("a is lost", vec![b.clone(), counted(3, 2, key, 1)]),
        ("not as it was sent", vec![stored(1, &changed), b.clone()]),
        ("nobody sent", vec![a.clone(), b.clone(), first.clone(), second.clone(), foreign]),
        ("the flow of b", vec![a.clone(), b.clone(), first.clone()]),
        (
            "the flow of a",
            vec![a.clone(), b.clone(), first.clone(), second.clone(), {
                let mut twice = counted(5, 1, key, 1);
                twice.id = "another".to_owned();
                twice
            }],
        ),
        (
            "is in the log twice",
            vec![a.clone(), b.clone(), first.clone(), second.clone(), {
                let mut twice = first.clone();
                twice.sequence = 5;
                twice
            }],
        ),
        ("counted [1, 1]", vec![a.clone(), b.clone(), first.clone(), counted(4, 2, key, 1)]),
        (
            "counted [2, 1]",
            vec![a.clone(), b.clone(), counted(3, 1, key, 2), counted(4, 2, key, 1)],
        ),
        (
            "answered 1 after 2",
            vec![a.clone(), b.clone(), counted(3, 2, key, 2), counted(4, 1, key, 1)],
        ),
        (
            "settled in an earlier round",
            vec![a.clone(), b.clone(), first, second, counted(5, 0, key, 3)],
        ),
        ("comes after", vec![b, a]),
    ];
    for (word, log) in cases {
        let found = problems(&planned, &log);
        assert!(found.iter().any(|problem| problem.contains(word)), "{word}: {found:?}");
    }
}

#[test]
fn a_later_answer_must_say_the_same() {
    let mut model = Model::default();
    assert_eq!(model.acknowledge(&receipt("a", 7, false)), None);
    assert_eq!(model.acknowledge(&receipt("a", 7, true)), None);
    assert!(model.acknowledge(&receipt("a", 7, false)).unwrap().contains("taken in anew"));
    assert!(model.acknowledge(&receipt("a", 8, true)).unwrap().contains("later as 8"));
}
