//! What a delivery leaves behind, and what can observe it.

use serde_json::json;
use usher_event::FailureClass;
use usher_runtime::{CompileBudget, Grants, Isolation, Limits, Runtime, RuntimeOptions};

use crate::support::guest::Parts;
use crate::support::{Setup, any_delivery, assert_failure, block_on, guest, load, options, setup};

/// Traps unless its memory, including the pages it has just grown, is zero; then fills all of it.
/// `mark` tells one such guest from another.
fn squatter(mark: u8) -> bytes::Bytes {
    // Below the second page are the guest's data and what the host has passed in.
    let fields = format!(
        r#"(func $squat (local $sum i64) (local $at i32)
            i32.const 16 memory.grow i32.const -1 i32.eq if unreachable end
            i32.const 65536 local.set $at
            loop
                local.get $sum local.get $at i64.load i64.or local.set $sum
                local.get $at i32.const 8 i32.add local.tee $at
                i32.const 2097152 i32.lt_u br_if 0
            end
            local.get $sum i64.eqz i32.eqz if unreachable end
            i32.const 65536 i32.const {mark} i32.const 2031616 memory.fill)"#
    );
    let handle = "call $squat i32.const 128";
    Parts { fields: &fields, handle, ..Parts::default() }.build()
}

#[test]
fn a_warm_instance_keeps_its_memory_and_a_fresh_one_has_none() {
    let loaded = load(squatter(0xaa)).unwrap_or_else(|error| panic!("{error}"));
    let warm = Setup::isolated(&loaded, Isolation::Warm);
    assert!(warm.deliver_on(&any_delivery()).is_ok());
    let failure = warm.deliver_on(&any_delivery()).unwrap_err();
    assert_failure(&failure, FailureClass::Trap, "unreachable");

    let fresh = Setup::isolated(&loaded, Isolation::Fresh);
    for _ in 0..5 {
        assert_eq!(fresh.deliver_on(&any_delivery()), Ok(vec![]));
    }
    let stats = fresh.listener.stats();
    assert_eq!((stats.instances_made, stats.instances, stats.instances_idle), (5, 0, 0));
}

/// With room for one instance there are two memories, so at least one of three tenants gets a
/// memory that another has filled.
#[test]
fn the_next_tenant_of_a_memory_finds_zeros() {
    let runtime = Runtime::new(RuntimeOptions { max_instances: 1, ..options() }).unwrap();
    let tenants = [0x11, 0x22, 0x33].map(|mark| {
        let loaded =
            block_on(runtime.load(squatter(mark), "tested.wasm", CompileBudget::Patient)).unwrap();
        Setup::isolated(&loaded, Isolation::Fresh)
    });
    for round in 0..4 {
        for tenant in &tenants {
            assert_eq!(tenant.deliver_on(&any_delivery()), Ok(vec![]), "round {round}");
        }
    }
}

#[test]
fn instances_are_recycled_after_their_calls() {
    let made = |calls_per_instance| {
        let limits = Limits { calls_per_instance, ..Limits::default() };
        let setup = Setup::new(&guest("hop"), Grants::default(), limits);
        for _ in 0..7 {
            setup.deliver(&json!({"n": 1})).unwrap();
        }
        setup.listener.stats().instances_made
    };
    assert_eq!([6, 7, 8].map(made), [2, 1, 1]);
    assert_eq!([1, 3].map(made), [7, 3]);
}

/// A guest that leaks a page per delivery never reaches its limit.
#[test]
fn an_instance_whose_memory_has_grown_is_recycled() {
    const MIB: u64 = 1 << 20;
    let leak = "i32.const 1 memory.grow i32.const -1 i32.eq if unreachable end i32.const 128";
    // Starts with 15 pages: the 16th reaches the mark, the 17th exceeds it.
    let made = |pages, recycle_memory_bytes, deliveries| {
        let leaking = Parts { pages, handle: leak, ..Parts::default() };
        let loaded = load(leaking.build()).unwrap_or_else(|error| panic!("{error}"));
        let limits = Limits { memory_bytes: 4 * MIB, recycle_memory_bytes, ..Limits::default() };
        let setup = Setup::new(&loaded, Grants::default(), limits);
        for _ in 0..deliveries {
            setup.deliver_on(&any_delivery()).unwrap();
        }
        setup.listener.stats().instances_made
    };
    assert_eq!([1, 2, 3, 4, 5].map(|deliveries| made(15, MIB, deliveries)), [1, 1, 2, 2, 3]);
    assert_eq!(made(16, MIB, 3), 3, "the least it has is more than the mark");
    assert_eq!(made(15, 2 * MIB, 500), 500_u64.div_ceil(18));
}

#[test]
fn a_guest_that_fails_by_its_own_words_is_kept() {
    let setup = setup("fail", Grants::default());
    for mode in ["retry", "reject", "ok"] {
        let _ = setup.deliver(&json!({"mode": mode, "after_ms": 1}));
        assert_eq!(setup.listener.stats().instances_idle, 1, "{mode}");
    }
    assert_eq!(setup.listener.stats().instances_made, 1);
}
