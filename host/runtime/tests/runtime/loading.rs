//! Which components load, and why others are refused.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use usher_event::{Event, PluginName};
use usher_runtime::{Grants, Limits, LoadError, LoadErrorKind, Loaded};

use crate::support::guest::{CUSTOM_SECTION, Parts, sections};
use crate::support::{Setup, guest, guest_bytes, load};

const FLIPS: usize = 10_000;
/// Distance between two flips, in bits: a prime, so that they spread over the whole component.
const FLIP_STEP: usize = 7_919;

#[track_caller]
fn refused(bytes: impl Into<Bytes>) -> String {
    let error = load(bytes).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("tested.wasm: "), "{error}");
    error
}

#[track_caller]
fn assert_refused(bytes: impl Into<Bytes>, words: &str) {
    let error = refused(bytes);
    assert!(error.contains(words), "{error:?} should contain {words:?}");
}

#[test]
fn a_plugin_tells_what_it_is() {
    let loaded = guest("hop");
    let description = loaded.description();
    assert_eq!(description.name.as_str(), "hop");
    assert_eq!(description.subscriptions.len(), 1);
    let event = Event::builder("1", "/", "hop.go").build().unwrap();
    assert!(description.subscriptions[0].filter.matches(&event));
    assert!(loaded.exports().iter().any(|name| name == "usher:plugin/listener@0.1.0"));
    assert_eq!(loaded.size_bytes(), guest_bytes("hop").len());
}

/// A component built when the contract was frozen, with all imports of its world, kept as text. It
/// must never be built again: a change that breaks it breaks plugins in use.
#[test]
fn a_component_built_for_0_1_0_is_served() {
    let text = include_str!("../contract/0.1.0.wat");
    let loaded = load(wat::parse_str(text).unwrap()).unwrap();
    assert_eq!(loaded.description().name.as_str(), "frozen-0-1");
    assert_eq!(loaded.imports().len(), 7, "{:?}", loaded.imports());
    let setup = Setup::new(&loaded, Grants::default(), Limits::default());
    let emitted = setup.deliver(&serde_json::json!({})).unwrap();
    assert_eq!(emitted.iter().map(|emission| &*emission.ty).collect::<Vec<_>>(), ["frozen.out"]);
}

#[test]
fn a_file_beyond_the_limit_is_refused() {
    assert_refused(vec![0; 64 * 1024 * 1024 + 1], "the limit is 67108864");
}

/// What authors and toolchains may supply, and what the error has to state: what was found, what
/// was expected, what to do.
#[test]
fn the_reason_is_in_its_readers_words() {
    let bytes = |bytes: &'static [u8]| Bytes::from_static(bytes);
    let component = |text: &str| Bytes::from(wat::parse_str(text).unwrap());
    let module = |fields| Parts { fields, ..Parts::default() }.build();
    let listener = |core: &str, lifted: &str| {
        component(&format!(
            r#"(component
                (core module $m {core})
                (core instance $i (instantiate $m))
                {lifted}
                (export "usher:plugin/listener@0.1.0" (instance $listener)))"#
        ))
    };
    let two_memories = listener("(memory 1) (memory 1)", "(instance $listener)");
    let in_async = listener(
        r#"(func (export "f"))
           (func (export "c") (param i32 i32 i32) (result i32) i32.const 0)"#,
        r#"(func $f (canon lift (core func $i "f") async (callback (core func $i "c"))))
           (instance $listener (export "handle" (func $f)))"#,
    );
    let importing = |import| {
        component(&format!(
            r#"(component (import "{import}" (instance)) (instance $l)
                (export "usher:plugin/listener@0.1.0" (instance $l)))"#
        ))
    };
    for (found, bytes, expected, advice) in [
        ("nothing in it", bytes(b""), "the file is empty", "may still be being written"),
        ("zero bytes", bytes(&[0; 4096]), "all zero", "may not be written yet"),
        ("a script", bytes(b"#!/bin/sh"), "found text", "expected a WebAssembly component"),
        (
            "an archive",
            bytes(b"\x1f\x8b\x08"),
            "found a gzip file",
            "expected a WebAssembly component",
        ),
        ("a core module", component("(module)"), "found a core module", "wasm32-wasip2"),
        ("no exports", component("(component)"), "exports nothing", "usher:plugin/listener@0.1.0"),
        ("two memories", two_memories, "needs more than an instance may have", "may have 1 memory"),
        ("async", in_async, "uses the component model's async", "for WASI 0.2"),
        ("WASI 0.3", importing("wasi:io/poll@0.3.0"), "there is version 0.2.x", "wasm32-wasip2"),
        (
            "a handler of WASI 0.3",
            component(
                r#"(component (instance $h) (export "wasi:http/handler@0.3.0" (instance $h)))"#,
            ),
            "exports wasi:http/handler@0.3.0",
            "build it for WASI 0.2",
        ),
        ("no such package", importing("a:b/c"), "imports a:b/c, which", "plugins get usher:plugin"),
        (
            "a server",
            importing("wasi:http/incoming-handler@0.2.0"),
            "of wasi:http there are",
            "types, outgoing-handler",
        ),
        ("subtypes", module("(type (sub (func)))"), "garbage-collected", "linear memory"),
        (
            "typed references",
            module("(type $t (func)) (func (param (ref $t)))"),
            "typed references",
            "linear memory",
        ),
        ("structs", module("(type (struct))"), "garbage-collected", "linear memory"),
        ("tags", module("(tag)"), "WebAssembly's exceptions", "-fno-exceptions"),
        ("shared memory", module("(memory 1 1 shared)"), "uses threads", "for one thread"),
        (
            "atomics",
            module("(func (drop (i32.atomic.load (i32.const 0))))"),
            "uses threads",
            "for one thread",
        ),
        ("64-bit memory", module("(memory i64 1)"), "uses 64-bit memory", "for 32 bits"),
    ] {
        let error = refused(bytes);
        assert!(error.contains(expected) && error.contains(advice), "{found}: {error}");
    }
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let whole = guest_bytes("hop");
    for size in (1..whole.len()).step_by(whole.len() / 50) {
        let error = load(whole.slice(..size)).map(drop).unwrap_err();
        assert!(matches!(error.kind, LoadErrorKind::Format(_)), "{size}: {error}");
    }
}

/// Damaged bytes may cause any kind of error except the host's own.
#[track_caller]
fn assert_not_the_hosts(error: &LoadError, what: usize) {
    assert!(!matches!(error.kind, LoadErrorKind::Host(_)), "{what}: {error:?}");
}

/// Cuts a small component at every place, including those between its sections.
#[test]
fn a_component_that_is_cut_anywhere_is_refused() {
    let whole = Parts::default().build();
    // The component is complete without trailing custom sections.
    let mut last: Vec<_> = sections(&whole).collect();
    while last.pop_if(|(_, id)| *id == CUSTOM_SECTION).is_some() {}
    let needed = sections(&whole).nth(last.len()).map_or(whole.len(), |(place, _)| place);
    each_beside(needed - 1, |number| {
        let size = number + 1;
        assert_not_the_hosts(&load(whole.slice(..size)).map(drop).unwrap_err(), size);
    });
    assert!(load(whole.slice(..needed)).is_ok());
}

#[test]
fn ten_thousand_flipped_bits_are_refused_or_harmless() {
    let whole = Parts::default().build();
    let bits = whole.len() * 8;
    assert!(!bits.is_multiple_of(FLIP_STEP) && bits >= FLIPS, "a bit is flipped twice");
    let refused = AtomicUsize::new(0);
    each_beside(FLIPS, |number| {
        let bit = number * FLIP_STEP % bits;
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Err(error) = load(bytes) {
            assert_not_the_hosts(&error, bit);
            refused.fetch_add(1, Ordering::Relaxed);
        }
    });
    // Much of a component is names and constants, for which other values are valid, too.
    assert!(refused.into_inner() > FLIPS / 2);
}

/// Runs `what` for each number below `count`, on as many threads as there are processors.
fn each_beside(count: usize, what: impl Fn(usize) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let of = |thread| (thread..count).step_by(threads);
        let what = &what;
        for thread in 0..threads {
            scope.spawn(move || of(thread).for_each(what));
        }
    });
}

#[test]
fn flipped_bits_are_refused_or_harmless() {
    let whole = guest_bytes("echo");
    for position in (8..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.to_vec();
        bytes[position] ^= 0x10;
        // Either result is fine, but not a panic, which is reported as a host error.
        if let Err(error) = load(bytes) {
            assert_not_the_hosts(&error, position);
        }
    }
}

#[test]
fn a_component_for_something_else_is_refused() {
    assert_refused(
        wat::parse_str("(component)").unwrap(),
        "exports nothing, expected usher:plugin/listener@0.1.0",
    );
    let other = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "run") (canon lift (core func $i "f"))))"#;
    assert_refused(
        wat::parse_str(other).unwrap(),
        "exports run, expected usher:plugin/listener@0.1.0",
    );
}

#[test]
fn the_right_name_with_the_wrong_type_is_refused() {
    let wrong = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (instance $listener (export "describe" (func $f)) (export "handle" (func $f)))
        (export "usher:plugin/listener@0.1.0" (instance $listener)))"#;
    assert_refused(wat::parse_str(wrong).unwrap(), "but not as the contract has it");
    let no_handle = wrong.replace(r#"(export "handle" (func $f))"#, "");
    assert_refused(wat::parse_str(&no_handle).unwrap(), "but not as the contract has it");
}

#[test]
fn an_import_that_is_not_offered_is_named() {
    let parts = Parts {
        imports: r#"(import "tests:other/thing@1.0.0" "f" (func))"#,
        world_imports: "import tests:other/thing@1.0.0;",
        packages: &["package tests:other@1.0.0; interface thing { f: func(); }"],
        ..Parts::default()
    };
    assert_refused(parts.build(), "imports tests:other/thing@1.0.0, which is not offered");
}

#[test]
fn describe_is_bounded_and_its_failures_are_told() {
    assert_refused(guest_bytes("describe-trap"), "describe failed");
    assert_refused(guest_bytes("describe-loop"), "used up its CPU time of 1000 ms");
    assert_refused(guest_bytes("describe-bad-filter"), "describe breaks a rule: the filter of");
    assert_refused(guest_bytes("describe-empty-name"), "describe breaks a rule: plugin name");
}

#[test]
fn a_start_function_that_loops_is_stopped() {
    let parts = Parts { fields: "(func $spin (loop br 0)) (start $spin)", ..Parts::default() };
    assert_refused(parts.build(), "used up its CPU time of 1000 ms");
}

#[test]
fn a_memory_beyond_the_limit_is_refused() {
    // 4 GiB, more than the whole pool has; then 129 MiB, more than this plugin may have.
    assert_refused(Parts { pages: 65_536, ..Parts::default() }.build(), "memory");
    assert_refused(Parts { pages: 129 * 16, ..Parts::default() }.build(), "memory");
}

#[test]
fn the_bytes_decide_the_digest() {
    let name: fn(&Loaded) -> PluginName = |loaded| loaded.description().name.clone();
    let (one, two) = (guest("echo"), guest("echo-v2"));
    assert_eq!(name(&one), name(&two));
    assert_ne!(one.digest(), two.digest());
}
