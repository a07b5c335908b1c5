//! Every limit: below it and at it a delivery succeeds, above it fails with a reason that says why.

use serde_json::{Value, json};
use usher_event::FailureClass;
use usher_runtime::{Grants, Limits};

use crate::support::guest::{POLLABLES, Parts, with_component};
use crate::support::{Setup, any_delivery, assert_failure, guest, load};

const MIB: u64 = 1 << 20;

/// Delivers `amount` to the guest.
fn tries(setup: &Setup, amount: u64) -> Result<(), usher_event::Failure> {
    let delivery = crate::support::delivery(&json!({ "amount": amount }));
    setup.deliver_on(&delivery).map(drop)
}

/// Checks one below, at and one above the limit; `with` makes a guest that uses so much.
#[track_caller]
fn check(limit: u64, words: &str, with: impl Fn(u64) -> Setup) {
    check_as(FailureClass::Limit, limit, words, with);
}

/// Like [`check`]; exceeding the limit fails with this class.
#[track_caller]
fn check_as(class: FailureClass, limit: u64, words: &str, with: impl Fn(u64) -> Setup) {
    for amount in [limit - 1, limit] {
        let done = tries(&with(amount), amount);
        assert!(done.is_ok(), "{amount} of {limit}: {done:?}");
    }
    let failure = tries(&with(limit + 1), limit + 1).unwrap_err();
    assert_failure(&failure, class, words);
}

fn hostile(parts: &Parts<'_>, limits: Limits) -> Setup {
    let loaded = load(parts.build()).unwrap_or_else(|error| panic!("{error}"));
    Setup::new(&loaded, Grants::default(), limits)
}

#[test]
fn memory_counts_to_the_page() {
    // 16 pages initially; `pages` in total.
    check(32, "asked for 65536 bytes of memory more where 0 were left", |pages| {
        let grow = "(func $grow (local $left i32)
            i32.const PAGES local.set $left
            loop
                i32.const 1 memory.grow i32.const -1 i32.eq if unreachable end
                local.get $left i32.const 1 i32.sub local.tee $left br_if 0
            end)";
        let fields = grow.replace("PAGES", &(pages - 16).to_string());
        let handle = "call $grow i32.const 128";
        let parts = Parts { fields: &fields, handle, ..Parts::default() };
        hostile(&parts, Limits { memory_bytes: 2 * MIB, ..Limits::default() })
    });
}

#[test]
fn tables_count_to_the_element() {
    check(200, "asked for a table of 201 elements, the limit is 200", |elements| {
        let more = elements - 10;
        let handle = format!(
            "ref.null func i32.const {more} table.grow $t i32.const -1 i32.eq if unreachable end
             i32.const 128"
        );
        let fields = "(table $t 10 funcref)";
        let parts = Parts { fields, handle: &handle, ..Parts::default() };
        hostile(&parts, Limits { table_elements: 200, ..Limits::default() })
    });
}

#[test]
fn core_instances_are_counted() {
    let works = |core_instances| {
        let limits = Limits { core_instances, ..Limits::default() };
        let setup = Setup::new(&guest("hop"), Grants::default(), limits);
        setup.deliver(&json!({"n": 1})).map(drop)
    };
    let needed = (1..=32).find(|limit| works(*limit).is_ok()).expect("the default is enough");
    assert!(needed > 1, "the guest has one core instance only");
    assert!(works(needed + 1).is_ok());
    let failure = works(needed - 1).unwrap_err();
    assert_failure(&failure, FailureClass::Limit, "instance count too high");
}

/// A guest that takes so many pollables and keeps them.
fn hoarder(pollables: u64, limits: Limits) -> Setup {
    let fields = format!(
        "(func $hoard (local $left i32)
            i32.const {pollables} local.set $left
            loop
                i64.const 1000000 call $subscribe drop
                local.get $left i32.const 1 i32.sub local.tee $left br_if 0
            end)"
    );
    let parts = Parts {
        imports: r#"(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration"
            (func $subscribe (param i64) (result i32)))"#,
        world_imports: "import wasi:clocks/monotonic-clock@0.2.6;",
        packages: &POLLABLES,
        fields: &fields,
        handle: "call $hoard i32.const 128",
        ..Parts::default()
    };
    hostile(&parts, limits)
}

#[test]
fn handles_are_counted_and_go_with_their_instance() {
    check(1_000, "handle limit exceeded", |pollables| {
        hoarder(pollables, Limits { resources: 100_000, ..Limits::default() })
    });
}

/// A pollable counts as two resources: itself, and what it waits for.
#[test]
fn host_resources_are_counted() {
    check(50, "too many host resources held at a time", |pollables| {
        hoarder(pollables, Limits { resources: 100, ..Limits::default() })
    });
}

#[test]
fn a_forged_or_dropped_handle_traps() {
    for handle in ["i32.const 7 call $block", "call $twice"] {
        let fields = "(func $twice (local $pollable i32)
            i64.const 1 call $subscribe local.set $pollable
            local.get $pollable call $drop
            local.get $pollable call $drop)";
        let parts = Parts {
            imports: r#"(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration"
                    (func $subscribe (param i64) (result i32)))
                (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
                (import "wasi:io/poll@0.2.6" "[resource-drop]pollable" (func $drop (param i32)))"#,
            world_imports: "import wasi:clocks/monotonic-clock@0.2.6; import wasi:io/poll@0.2.6;",
            packages: &POLLABLES,
            fields,
            handle: &format!("{handle} i32.const 128"),
            ..Parts::default()
        };
        let setup = hostile(&parts, Limits::default());
        let failure = setup.deliver_on(&any_delivery()).unwrap_err();
        assert_failure(&failure, FailureClass::Trap, "handle");
        assert_eq!(setup.listener.stats().instances, 0, "{handle}");
    }
}

/// The guest's result counts with its framing, so the maximum is found by trying.
#[test]
fn what_a_call_hands_over_is_bounded() {
    let limits = Limits { host_call_bytes: 64 * 1024, ..Limits::default() };
    let setup = Setup::new(&guest("emit"), Grants::default(), limits);
    let emits = |bytes: u64| setup.deliver(&json!({"what": "large", "bytes": bytes})).map(drop);
    let (mut most, mut too_much) = (60 * 1024, 64 * 1024 + 1);
    while too_much - most > 1 {
        let middle = (most + too_much) / 2;
        if emits(middle).is_ok() { most = middle } else { too_much = middle }
    }
    assert!(emits(most).is_ok() && most > 62 * 1024, "{most}");
    assert_failure(&emits(too_much).unwrap_err(), FailureClass::Limit, "fuel");
}

#[test]
fn emissions_count_by_number_and_by_byte() {
    let limits = Limits { emissions: 3, emission_bytes: 100, ..Limits::default() };
    let setup = Setup::new(&guest("emit"), Grants::default(), limits);
    let emits = |what: Value| setup.deliver(&what).map(|emissions| emissions.len());
    for count in [2, 3] {
        assert_eq!(emits(json!({"what": "many", "count": count})), Ok(count));
    }
    let many = emits(json!({"what": "many", "count": 4})).unwrap_err();
    assert_failure(&many, FailureClass::Limit, "handed back 4 emissions, the limit is 3");
    // Besides its data, an emission has its type and its content type.
    let attributes = "test.emitted".len() + "text/plain".len();
    for bytes in [99, 100] {
        assert_eq!(emits(json!({"what": "large", "bytes": bytes - attributes})), Ok(1));
    }
    let large = emits(json!({"what": "large", "bytes": 101 - attributes})).unwrap_err();
    assert_failure(&large, FailureClass::Limit, "handed back 101 bytes");
}

/// The guest `probe` under these limits, with everything granted.
fn probes(limits: Limits) -> Setup {
    let grants = Grants::default().allowing("state").allowing("blobs");
    Setup::new(&guest("probe"), grants, limits)
}

#[test]
fn state_counts_by_value_by_byte_and_by_key() {
    let set = |setup: &Setup, key: &str, bytes: usize| {
        setup.deliver(&json!({"try": "state", "key": key, "set": "x".repeat(bytes)})).map(drop)
    };
    let values = Limits { state_value_bytes: 10, ..Limits::default() };
    // The names of the bucket and of the key count, too.
    let bytes = Limits { state_bytes: 10 + "probek".len() as u64, ..Limits::default() };
    for (limits, words) in [
        (values, "the value has 11 bytes, the limit is 10"),
        (bytes, "state would have 17 bytes of keys and values, the limit is 16"),
    ] {
        let setup = probes(limits);
        for bytes in [9, 10] {
            assert_eq!(set(&setup, "k", bytes), Ok(()), "{words}");
        }
        let failure = set(&setup, "k", 11).unwrap_err();
        assert_failure(&failure, FailureClass::Limit, words);
    }
    let setup = probes(Limits { state_keys: 2, ..Limits::default() });
    assert_eq!((set(&setup, "a", 1), set(&setup, "b", 1)), (Ok(()), Ok(())));
    let failure = set(&setup, "c", 1).unwrap_err();
    assert_failure(&failure, FailureClass::Limit, "state has 2 keys, which is the limit");
}

#[test]
fn blobs_count_one_by_one_and_all_together() {
    let put = |setup: &Setup, content: &str| {
        setup.deliver(&json!({"try": "put-blob", "content": content})).map(drop)
    };
    let one = Limits { blob_bytes: 3, ..Limits::default() };
    let delivery = Limits { delivery_blob_bytes: 3, ..Limits::default() };
    for (limits, words) in [
        (one, "the blob has 4 bytes, the limit is 3"),
        (delivery, "one delivery may put 3 bytes of blobs"),
    ] {
        let setup = probes(limits);
        assert_eq!((put(&setup, "ab"), put(&setup, "abc")), (Ok(()), Ok(())), "{words}");
        assert_failure(&put(&setup, "abcd").unwrap_err(), FailureClass::Limit, words);
    }
    let setup = probes(Limits { blobs_bytes: 5, ..Limits::default() });
    for content in ["ab", "cd", "e"] {
        assert_eq!(put(&setup, content), Ok(()), "up to the limit");
    }
    let failure = put(&setup, "f").unwrap_err();
    assert_failure(&failure, FailureClass::Limit, "blobs would have more than 5 bytes");
}

#[test]
fn random_bytes_are_counted() {
    check_as(FailureClass::Trap, 64 * 1024, "exceeds limit 65536", |bytes| {
        let parts = Parts {
            imports: r#"(import "wasi:random/random@0.2.6" "get-random-bytes"
                (func $random (param i64 i32)))"#,
            world_imports: "import wasi:random/random@0.2.6;",
            packages: &["package wasi:random@0.2.6;
                interface random { get-random-bytes: func(len: u64) -> list<u8>; }"],
            handle: &format!("i64.const {bytes} i32.const 256 call $random i32.const 128"),
            ..Parts::default()
        };
        hostile(&parts, Limits::default())
    });
}

/// A guest that recurses one call deeper with each delivery. How much stack a call takes is up to
/// the compiler; the last depth must work every time, and one more must never work.
#[test]
fn the_stack_has_an_end() {
    let parts = Parts {
        fields: "(global $depth (mut i32) (i32.const 4000))
            (func $descend (param $left i32) (result i32)
                local.get $left i32.eqz if i32.const 0 return end
                local.get $left i32.const 1 i32.sub call $descend i32.const 1 i32.add)
            (func $deeper
                i32.const 4096 global.set $next
                global.get $depth i32.const 1 i32.add global.set $depth
                global.get $depth call $descend drop)",
        handle: "call $deeper i32.const 128",
        ..Parts::default()
    };
    let loaded = load(parts.build()).unwrap_or_else(|error| panic!("{error}"));
    let limits = Limits { calls_per_instance: 1_000_000, ..Limits::default() };
    let setup = Setup::new(&loaded, Grants::default(), limits);
    let deepest = || {
        let mut deliveries = 0;
        loop {
            match setup.deliver_on(&any_delivery()) {
                Ok(_) => deliveries += 1,
                Err(failure) => {
                    assert_failure(&failure, FailureClass::Trap, "stack overflowed");
                    return deliveries;
                }
            }
        }
    };
    let calls = deepest();
    assert!(calls > 0, "4001 calls are too many already");
    assert_eq!(deepest(), calls, "the next instance has as much");
    let call_bytes = 512 * 1024 / (4_000 + calls);
    assert!((16..=128).contains(&call_bytes), "{call_bytes} bytes for a call");
}

/// A guest beside which lies a component of so many core instances, each with these fields.
fn beside(fields: &[String]) -> Result<Setup, usher_runtime::LoadError> {
    let instances = fields.iter().enumerate().map(|(number, fields)| {
        format!("(core module $m{number} {fields}) (core instance (instantiate $m{number}))")
    });
    let component = format!("(component {})", instances.collect::<String>());
    let loaded = load(with_component(&Parts::default().build(), &component))?;
    Ok(Setup::new(&loaded, Grants::default(), Limits::default()))
}

#[test]
fn memories_and_tables_of_all_parts_are_counted() {
    // The guest itself has a memory and no table.
    let memories = |count: usize| vec!["(memory 1)".to_owned(); count - 1];
    let tables = |count: usize| {
        let of = |part: usize| "(table 1 funcref)".repeat((count - part * 4).min(4));
        (0..count.div_ceil(4)).map(of).collect::<Vec<_>>()
    };
    for (limit, what, fields) in
        [(8, "memories", &memories as &dyn Fn(usize) -> Vec<String>), (32, "tables", &tables)]
    {
        for count in [limit - 1, limit] {
            let setup = beside(&fields(count)).unwrap_or_else(|error| panic!("{count}: {error}"));
            assert_eq!(setup.deliver_on(&any_delivery()), Ok(vec![]), "{count} {what}");
        }
        let error = beside(&fields(limit + 1)).map(drop).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(&limit.to_string()), "{error}");
    }
}

#[test]
fn instances_that_wait_are_counted() {
    for (idle_instances, expected) in [(0, 0), (1, 1), (2, 1)] {
        let limits = Limits { idle_instances, ..Limits::default() };
        let setup = Setup::new(&guest("hop"), Grants::default(), limits);
        setup.deliver(&json!({"n": 1})).unwrap();
        assert_eq!(setup.listener.stats().instances_idle, expected, "{idle_instances}");
    }
}

#[test]
fn every_limit_has_a_floor_and_a_ceiling() {
    for row in Limits::ROWS {
        let check = |value: u64| {
            let limits: Limits = serde_json::from_value(json!({ row.name: value })).unwrap();
            limits.check()
        };
        for value in [row.min, row.min + 1, row.default, row.max - 1, row.max] {
            assert_eq!(check(value), Ok(()), "{} = {value}", row.name);
        }
        for value in [row.min.checked_sub(1), row.max.checked_add(1)].into_iter().flatten() {
            let error = check(value).unwrap_err().to_string();
            assert!(error.contains(row.name) && error.contains("out of range"), "{error}");
        }
    }
}

#[test]
fn how_close_deliveries_came_is_known_and_never_falls() {
    let limits = Limits { emissions: 3, ..Limits::default() };
    let setup = Setup::new(&guest("emit"), Grants::default(), limits);
    let peak = |name: &str| {
        let all = setup.listener.limits();
        let one = all.iter().find(|one| one.name == name).unwrap();
        (one.peak, one.limit)
    };
    assert_eq!(peak("emissions"), (0, 3));
    for (count, most) in [(2, 2), (1, 2), (3, 3), (4, 4)] {
        let _ = setup.deliver(&json!({ "what": "many", "count": count }));
        assert_eq!(peak("emissions"), (most, 3), "{count} emitted");
    }
    let (memory_bytes, limit) = peak("memory_bytes");
    assert!((1..limit).contains(&memory_bytes), "{memory_bytes}");

    let setup = Setup::new(&guest("probe"), Grants::default(), Limits::default());
    let _ = setup.deliver(&json!({ "try": "flood", "bytes": 1000 }));
    let logged = setup.listener.limits().into_iter().find(|one| one.name == "log_bytes").unwrap();
    assert!((1_000..2_000).contains(&logged.peak), "{logged:?}");
}
