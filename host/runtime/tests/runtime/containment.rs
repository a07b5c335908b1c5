//! A guest can fail its own deliveries, and nothing else.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use usher_event::{FailureClass, Listener as _, Verdict};
use usher_runtime::{CompileBudget, Grants, Limits, Runtime, RuntimeOptions};

use crate::support::guest::{POLLABLES, Parts};
use crate::support::stores::MemoryState;
use crate::support::{
    Setup, any_delivery, assert_failure, block_on, delivery, guest, guest_bytes, load, setup,
};

/// A listener made of hostile parts.
fn hostile(parts: &Parts<'_>, limits: Limits) -> Setup {
    let loaded = load(parts.build()).unwrap_or_else(|error| panic!("{error}"));
    Setup::new(&loaded, Grants::default(), limits)
}

#[test]
fn a_good_guest_answers_with_an_emission() {
    let setup = setup("hop", Grants::default());
    for n in 0..3 {
        let emissions = setup.deliver(&json!({"n": n, "name": "ab"})).unwrap();
        assert_eq!(emissions.len(), 1);
        assert_eq!(emissions[0].ty, "hop.done");
        let data: serde_json::Value =
            serde_json::from_slice(emissions[0].data.as_ref().unwrap()).unwrap();
        assert_eq!(data, json!({"n": n + 2}));
    }
    let stats = setup.listener.stats();
    assert_eq!((stats.handled, stats.instances_made, stats.instances_idle), (3, 1, 1));
}

#[test]
fn the_guest_sees_the_whole_delivery() {
    let mut delivery = delivery(&json!({"any": "thing"}));
    delivery.event = usher_event::Event::builder("id-1", "/shop", "test.echo")
        .subject("o-1")
        .extension("flag", usher_event::Value::Boolean(true))
        .extension("note", usher_event::Value::String("ünïcode".to_owned()))
        .datacontenttype("text/plain")
        .data("payload")
        .build()
        .unwrap();
    let emissions = setup("echo", Grants::default()).deliver_on(&delivery).unwrap();
    assert_eq!(emissions[0].subject.as_deref(), Some("o-1"));
    assert_eq!(emissions[0].datacontenttype.as_deref(), Some("text/plain"));
    assert_eq!(emissions[0].data.as_deref(), Some(&b"payload"[..]));
}

#[test]
fn retry_and_reject_are_the_guests_to_say() {
    let setup = setup("fail", Grants::default());
    let verdict = |data| setup.handle(&delivery(&data)).verdict;
    let Verdict::Retry { failure, after } = verdict(json!({"mode": "retry", "after_ms": 1500}))
    else {
        panic!("expected a retry")
    };
    assert_eq!(after, Some(Duration::from_millis(1500)));
    assert_failure(&failure, FailureClass::Retry, "asked to fail on attempt 1");
    let Verdict::Reject { failure } = verdict(json!({"mode": "reject"})) else {
        panic!("expected a rejection")
    };
    assert_failure(&failure, FailureClass::Reject, "asked to fail");
    assert_eq!(setup.listener.stats().failed["reject"], 1);
}

#[test]
fn a_spinning_guest_is_stopped_within_its_budget() {
    let limits = Limits { cpu_ms: 50, ..Limits::default() };
    let setup = Setup::new(&guest("spin"), Grants::default(), limits);
    let failure = setup.deliver_on(&any_delivery()).unwrap_err();
    assert_failure(&failure, FailureClass::Timeout, "used up its CPU time of 50 ms");
    let backtrace = failure.backtrace.expect("a backtrace");
    assert!(backtrace.lines().count() >= 1, "{backtrace}");
    assert_eq!(setup.listener.stats().instances_idle, 0, "the instance is gone");
}

#[test]
fn a_spinning_guest_gives_way_to_others() {
    let spinning = setup("spin", Grants::default());
    let honest = setup("hop", Grants::default());
    let hop = delivery(&json!({"n": 1}));
    // Both on one thread: the honest deliveries complete while the other guest still spins.
    let hops = block_on(async {
        let spinning = tokio::spawn({
            let listener = spinning.listener.clone();
            async move { listener.handle(&any_delivery()).await }
        });
        let mut hops = 0;
        while !spinning.is_finished() {
            assert_eq!(honest.listener.handle(&hop).await.verdict, Verdict::Ack);
            hops += 1;
            tokio::task::yield_now().await;
        }
        assert_ne!(spinning.await.unwrap().verdict, Verdict::Ack);
        hops
    });
    assert!(hops > 5, "only {hops} deliveries got through");
}

#[test]
fn short_deliveries_do_not_stand_in_line_with_long_ones() {
    const SPINNING: u64 = 16;
    const HOPS: usize = 200;
    // If every spinning guest ran for a tick between two hops, each would use a second and a half
    // before the hops were done.
    let limits = Limits { cpu_ms: 1_000, ..Limits::default() };
    let spinning = Setup::new(&guest("spin"), Grants::default(), limits);
    let honest = setup("hop", Grants::default());
    let mut executor = tokio::runtime::Builder::new_multi_thread();
    executor.worker_threads(1).enable_all().build().unwrap().block_on(async {
        let spun: Vec<_> = (0..SPINNING)
            .map(|_| {
                let listener = spinning.listener.clone();
                tokio::spawn(async move { listener.handle(&any_delivery()).await })
            })
            .collect();
        while spinning.listener.stats().instances < SPINNING {
            tokio::task::yield_now().await;
        }
        let hops = tokio::spawn(async move {
            let hop = delivery(&json!({"n": 1}));
            for _ in 0..HOPS {
                assert_eq!(honest.listener.handle(&hop).await.verdict, Verdict::Ack);
                tokio::task::yield_now().await;
            }
        });
        hops.await.unwrap();
        let over = spun.iter().filter(|one| one.is_finished()).count();
        assert_eq!(over, 0, "of those that spin, so many were through before");
        spun.iter().for_each(tokio::task::JoinHandle::abort);
    });
}

#[test]
fn a_guest_that_only_calls_the_host_gives_way_and_meets_its_deadline() {
    let reading = Parts {
        imports: r#"
            (import "wasi:keyvalue/store@0.2.0-draft2" "open"
                (func $open (param i32 i32 i32)))
            (import "wasi:keyvalue/store@0.2.0-draft2" "[method]bucket.get"
                (func $get (param i32 i32 i32 i32)))"#,
        world_imports: "import wasi:keyvalue/store@0.2.0-draft2;",
        // Opens the bucket "t" and reads 200 keys of zero bytes, each of another length.
        fields: r#"(func $read (local $left i32)
            i32.const 512 i32.const 1 i32.const 256 call $open
            i32.const 200 local.set $left
            loop
                i32.const 260 i32.load i32.const 1024 local.get $left i32.const 272 call $get
                local.get $left i32.const 1 i32.sub local.tee $left br_if 0
            end)"#,
        handle: "call $read i32.const 128",
        ..Parts::default()
    };
    let loaded = load(reading.build()).unwrap_or_else(|error| panic!("{error}"));
    let over = |read_ms: u64, limits: Limits| {
        let state = MemoryState::slow(Duration::from_millis(read_ms));
        Setup::over(&loaded, Grants::default().allowing("state"), limits, state)
    };
    assert!(over(0, Limits::default()).deliver_on(&any_delivery()).is_ok());
    // Each tick passes within a host call and is charged to no guest.
    let slow = over(15, Limits { wall_ms: 200, ..Limits::default() });
    let failure = slow.deliver_on(&any_delivery()).unwrap_err();
    assert_failure(&failure, FailureClass::Timeout, "did not finish within 200 ms");
}

#[test]
fn a_panic_becomes_a_failure_with_message_and_function_names() {
    let setup = setup("trap", Grants::default());
    let failure = setup.deliver_on(&any_delivery()).unwrap_err();
    assert_failure(&failure, FailureClass::Trap, "trapped on attempt 1");
    let backtrace = failure.backtrace.expect("a backtrace");
    assert!(backtrace.contains("fall_into_the_trap"), "{backtrace}");
    // The next delivery gets a fresh instance and fails the same way.
    let failure = setup.deliver_on(&any_delivery()).unwrap_err();
    assert_failure(&failure, FailureClass::Trap, "trapped on attempt 1");
    assert_eq!(setup.listener.stats().instances_made, 2);
}

#[test]
fn a_memory_bomb_hits_its_limit() {
    let setup = setup("probe", Grants::default());
    let failure = setup.deliver(&json!({"try": "allocate", "bytes": 200 << 20})).unwrap_err();
    assert_failure(&failure, FailureClass::Limit, "bytes of memory");
    assert_eq!(setup.probe(&json!({"try": "allocate", "bytes": 50 << 20}))["ok"], 50 << 20);
}

#[test]
fn endless_recursion_overflows_the_guests_stack_only() {
    let setup = setup("probe", Grants::default());
    let failure = setup.deliver(&json!({"try": "recurse"})).unwrap_err();
    assert_failure(&failure, FailureClass::Trap, "stack overflowed");
    assert!(failure.backtrace.expect("a backtrace").contains("recurse"));
}

#[test]
fn emissions_beyond_the_limits_are_rejected() {
    let setup = setup("emit", Grants::default());
    assert_eq!(setup.deliver(&json!({"what": "many", "count": 100})).unwrap().len(), 100);
    let many = setup.deliver(&json!({"what": "many", "count": 101})).unwrap_err();
    assert_failure(&many, FailureClass::Limit, "handed back 101 emissions, the limit is 100");
    let large = setup.deliver(&json!({"what": "large", "bytes": (1 << 20) + 1})).unwrap_err();
    assert_failure(&large, FailureClass::Limit, "bytes of emissions, the limit is 1048576");
    let huge = setup.deliver(&json!({"what": "large", "bytes": 10 << 20})).unwrap_err();
    assert_failure(&huge, FailureClass::Limit, "fuel");
}

#[test]
fn a_forged_answer_traps() {
    let answer = |discriminant: u8, address: u32, length: u32| {
        format!(
            "i32.const 256 i32.const {discriminant} i32.store8 \
             i32.const 264 i32.const {address} i32.store \
             i32.const 268 i32.const {length} i32.store \
             i32.const 256"
        )
    };
    for (handle, class) in [
        // A list of 2³²−1 emissions; one beyond the end of the memory; one at an unaligned address.
        (answer(0, 0, u32::MAX), FailureClass::Trap),
        (answer(0, 0xffff_fff8, 1), FailureClass::Trap),
        (answer(0, 1025, 1), FailureClass::Trap),
        // A result that is neither ok nor an error; a result at an invalid address.
        (answer(7, 0, 0), FailureClass::Trap),
        ("i32.const -8".to_owned(), FailureClass::Trap),
        // As many emissions as fit in the memory, all empty: more than may be copied.
        (answer(0, 4096, 50_000), FailureClass::Limit),
    ] {
        let parts = Parts { handle: &handle, pages: 64, ..Parts::default() };
        let setup = hostile(&parts, Limits::default());
        let failure = setup.deliver_on(&any_delivery()).unwrap_err();
        assert_eq!(failure.class, class, "{handle}: {failure:?}");
        assert_eq!(setup.listener.stats().instances_idle, 0);
    }
}

#[test]
fn a_hostile_allocator_traps() {
    for realloc in ["drop unreachable", "drop i32.const -16", "drop i32.const 3"] {
        let setup = hostile(&Parts { realloc, ..Parts::default() }, Limits::default());
        let failure = setup.deliver_on(&any_delivery()).unwrap_err();
        assert_eq!(failure.class, FailureClass::Trap, "{realloc}: {failure:?}");
    }
    let spinning = Parts { realloc: "drop loop br 0 end unreachable", ..Parts::default() };
    let limits = Limits { cpu_ms: 30, ..Limits::default() };
    let failure = hostile(&spinning, limits).deliver_on(&any_delivery()).unwrap_err();
    assert_eq!(failure.class, FailureClass::Timeout);
}

#[test]
fn a_guest_that_never_gives_handles_back_gets_a_new_instance_in_time() {
    let opening = Parts {
        imports: r#"(import "wasi:keyvalue/store@0.2.0-draft2" "open"
            (func $open (param i32 i32 i32)))"#,
        world_imports: "import wasi:keyvalue/store@0.2.0-draft2;",
        // Opens the bucket "t" once more.
        handle: "i32.const 512 i32.const 1 i32.const 256 call $open i32.const 128",
        ..Parts::default()
    };
    let loaded = load(opening.build()).unwrap_or_else(|error| panic!("{error}"));
    let grants = Grants::default().allowing("state");
    for limits in [Limits { handles: 16, ..Limits::default() }, Limits::default()] {
        let setup = Setup::over(&loaded, grants.clone(), limits, MemoryState::slow(Duration::ZERO));
        for number in 0..3_000 {
            let done = setup.deliver_on(&any_delivery());
            assert!(done.is_ok(), "delivery {number}: {done:?}");
        }
    }
}

#[test]
fn a_delivery_that_meets_a_limit_that_others_used_up_runs_again_on_a_new_instance() {
    // Memory never shrinks: each call takes more than a third of what is available.
    let growing = Parts {
        handle: "i32.const 12 memory.grow i32.const -1 i32.eq if unreachable end i32.const 128",
        ..Parts::default()
    };
    let limits = Limits { memory_bytes: 2 << 20, ..Limits::default() };
    let setup = hostile(&growing, limits);
    for number in 0..20 {
        let done = setup.deliver_on(&any_delivery());
        assert!(done.is_ok(), "delivery {number}: {done:?}");
    }
}

/// The guest blocks on the host, for 200 ms or for 20 s.
const SLEEP: &str = "i64.const 200000000 call $subscribe call $block i32.const 128";
const SLEEP_LONG: &str = "i64.const 20000000000 call $subscribe call $block i32.const 128";

fn sleeping(handle: &str) -> Parts<'_> {
    Parts {
        imports: r#"
            (import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration"
                (func $subscribe (param i64) (result i32)))
            (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))"#,
        world_imports: "import wasi:clocks/monotonic-clock@0.2.6; import wasi:io/poll@0.2.6;",
        packages: &POLLABLES,
        handle,
        ..Parts::default()
    }
}

#[test]
fn waiting_counts_against_the_wall_not_the_cpu() {
    let sleeping = sleeping(SLEEP);
    let patient = hostile(&sleeping, Limits { cpu_ms: 20, ..Limits::default() });
    assert!(patient.deliver_on(&any_delivery()).unwrap().is_empty());

    let hurried = hostile(&sleeping, Limits { wall_ms: 50, ..Limits::default() });
    let started = Instant::now();
    let failure = hurried.deliver_on(&any_delivery()).unwrap_err();
    assert_failure(&failure, FailureClass::Timeout, "did not finish within 50 ms");
    assert!(started.elapsed() < Duration::from_millis(190), "{:?}", started.elapsed());
    assert_eq!(hurried.listener.stats().instances_idle, 0);
}

/// Invariant 11, for the instances of a retired version.
#[test]
fn a_retired_listener_frees_its_instances() {
    let setup =
        Setup::new(&load(sleeping(SLEEP).build()).unwrap(), Grants::default(), Limits::default());
    setup.deliver_on(&any_delivery()).unwrap();
    assert_eq!(setup.listener.stats().instances, 1);
    block_on(async {
        let under_way = tokio::spawn({
            let listener = setup.listener.clone();
            async move { listener.handle(&any_delivery()).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(setup.listener.stats().instances_idle, 0, "at work");
        setup.listener.retire();
        assert_eq!(under_way.await.unwrap().verdict, Verdict::Ack);
    });
    assert_eq!(setup.listener.stats().instances, 0);
    setup.deliver_on(&any_delivery()).unwrap();
    let stats = setup.listener.stats();
    assert_eq!((stats.instances, stats.handled, stats.instances_made), (0, 3, 2));
}

/// A runtime with at most this many instances.
fn small(max_instances: u32) -> Runtime {
    Runtime::new(RuntimeOptions { max_instances, ..crate::support::options() }).unwrap()
}

fn load_into(runtime: &Runtime, bytes: Bytes, limits: Limits) -> Setup {
    let loaded = block_on(runtime.load(bytes, "tested.wasm", CompileBudget::Patient)).unwrap();
    Setup::new(&loaded, Grants::default(), limits)
}

#[test]
fn a_delivery_without_a_place_waits_for_one() {
    let runtime = small(1);
    let long = load_into(&runtime, sleeping(SLEEP).build(), Limits::default());
    let short = load_into(&runtime, guest_bytes("hop"), Limits::default());
    let hop = delivery(&json!({"n": 1}));
    block_on(async {
        let calls: Vec<_> = (0..6)
            .map(|number| {
                let setup = if number % 2 == 0 { &long } else { &short };
                let (listener, hop) = (setup.listener.clone(), hop.clone());
                tokio::spawn(async move { listener.handle(&hop).await })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().verdict, Verdict::Ack);
        }
    });
}

#[test]
fn waiting_for_a_place_ends_at_the_deadline() {
    let runtime = small(1);
    let long = load_into(&runtime, sleeping(SLEEP_LONG).build(), Limits::default());
    let hurried = Limits { wall_ms: 50, ..Limits::default() };
    let hurried = load_into(&runtime, guest_bytes("hop"), hurried);
    block_on(async {
        let under_way = tokio::spawn({
            let listener = long.listener.clone();
            async move { listener.handle(&any_delivery()).await }
        });
        tokio::task::yield_now().await;
        let started = Instant::now();
        let outcome = hurried.listener.handle(&delivery(&json!({"n": 1}))).await;
        let Verdict::Retry { failure, .. } = outcome.verdict else { panic!("expected a retry") };
        assert_failure(&failure, FailureClass::Host, "no room for another instance");
        assert!(started.elapsed() >= Duration::from_millis(50), "{:?}", started.elapsed());
        assert!(!under_way.is_finished());
    });
}

#[test]
fn idle_instances_make_room_for_others() {
    let runtime = small(2);
    let load = |name| load_into(&runtime, guest_bytes(name), Limits::default());
    let setups = [load("hop"), load("echo"), load("fail")];
    for round in 0..3 {
        for setup in &setups {
            let outcome = setup.handle(&delivery(&json!({"n": round, "mode": "ok"})));
            assert_eq!(outcome.verdict, Verdict::Ack, "{:?}", setup.listener);
        }
    }
}

/// Invariant 11, for instances.
#[test]
fn an_abandoned_delivery_frees_its_instance() {
    let setup = setup("spin", Grants::default());
    block_on(async {
        for _ in 0..120 {
            let delivery = any_delivery();
            let call = setup.listener.handle(&delivery);
            let cut = tokio::time::timeout(Duration::from_millis(1), call).await;
            assert!(cut.is_err());
        }
    });
    assert_eq!(setup.listener.stats().instances_idle, 0);
}

#[test]
fn limits_out_of_range_are_refused() {
    let loaded = guest("hop");
    let settings = usher_runtime::Settings {
        limits: Limits { cpu_ms: 1, ..Limits::default() },
        grants: Grants::default(),
        isolation: usher_runtime::Isolation::default(),
        state: std::sync::Arc::<crate::support::stores::MemoryState>::default(),
        blobs: std::sync::Arc::<crate::support::stores::MemoryBlobs>::default(),
        script: None,
    };
    let Err(usher_runtime::SettingsError::Limits(errors)) = loaded.listener(settings) else {
        panic!("expected limits out of range")
    };
    assert_eq!(errors.0[0].name, "cpu_ms");
}
