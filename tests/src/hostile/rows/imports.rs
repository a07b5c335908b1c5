//! Host imports for plugins written as text.

use super::super::text::Text;

/// Polling: `$subscribe` (nanoseconds) creates a pollable, `$block` waits for one, `$drop` drops
/// it.
pub(super) fn polling() -> Text {
    Text {
        imports: r#"
            (import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration"
                (func $subscribe (param i64) (result i32)))
            (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
            (import "wasi:io/poll@0.2.6" "[resource-drop]pollable" (func $drop (param i32)))"#
            .to_owned(),
        world_imports: "import wasi:clocks/monotonic-clock@0.2.6; import wasi:io/poll@0.2.6;"
            .to_owned(),
        packages: vec![IO, CLOCKS],
        ..Text::default()
    }
}

/// Like [`polling`], plus `$stdout`, which creates an output stream.
pub(super) fn polling_and_stdout() -> Text {
    let polling = polling();
    Text {
        imports: format!(
            r#"{}
            (import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))"#,
            polling.imports
        ),
        world_imports: format!("{} import wasi:cli/stdout@0.2.6;", polling.world_imports),
        packages: vec![IO, CLOCKS, CLI],
        ..polling
    }
}

const IO: &str = "package wasi:io@0.2.6;
    interface poll { resource pollable { block: func(); } }
    interface streams { resource output-stream { check-write: func(); } }";
const CLOCKS: &str = "package wasi:clocks@0.2.6;
    interface monotonic-clock {
        use wasi:io/poll@0.2.6.{pollable};
        type duration = u64;
        subscribe-duration: func(when: duration) -> pollable;
    }";
const CLI: &str = "package wasi:cli@0.2.6;
    interface stdout {
        use wasi:io/streams@0.2.6.{output-stream};
        get-stdout: func() -> output-stream;
    }";

/// `$random` takes a length and the address for the returned list, which is allocated.
pub(super) fn random() -> Text {
    Text {
        imports: r#"(import "wasi:random/random@0.2.6" "get-random-bytes"
            (func $random (param i64 i32)))"#
            .to_owned(),
        world_imports: "import wasi:random/random@0.2.6;".to_owned(),
        packages: vec![
            "package wasi:random@0.2.6;
            interface random { get-random-bytes: func(len: u64) -> list<u8>; }",
        ],
        ..Text::default()
    }
}

/// Clocks: `$monotonic` returns nanoseconds, `$wall` stores seconds and nanoseconds.
pub(super) fn clocks() -> Text {
    Text {
        imports: r#"
            (import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $monotonic (result i64)))
            (import "wasi:clocks/monotonic-clock@0.2.6" "resolution"
                (func $resolution (result i64)))
            (import "wasi:clocks/wall-clock@0.2.6" "now" (func $wall (param i32)))"#
            .to_owned(),
        world_imports: "import wasi:clocks/monotonic-clock@0.2.6;
            import wasi:clocks/wall-clock@0.2.6;"
            .to_owned(),
        packages: vec![
            "package wasi:clocks@0.2.6;
            interface monotonic-clock {
                type instant = u64;
                type duration = u64;
                now: func() -> instant;
                resolution: func() -> duration;
            }
            interface wall-clock {
                record datetime { seconds: u64, nanoseconds: u32 }
                now: func() -> datetime;
            }",
        ],
        ..Text::default()
    }
}

/// `$open` opens a bucket by name, `$delete_many` deletes keys; the last parameter is the result's
/// address.
pub(super) fn state() -> Text {
    Text {
        imports: r#"
            (import "wasi:keyvalue/store@0.2.0-draft2" "open"
                (func $open (param i32 i32 i32)))
            (import "wasi:keyvalue/batch@0.2.0-draft2" "delete-many"
                (func $delete_many (param i32 i32 i32 i32)))"#
            .to_owned(),
        world_imports: "import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;"
            .to_owned(),
        ..Text::default()
    }
}

/// `$log` takes a level, a context and a message.
pub(super) fn logging() -> Text {
    Text {
        imports: r#"(import "wasi:logging/logging@0.1.0-draft" "log"
            (func $log (param i32 i32 i32 i32 i32)))"#
            .to_owned(),
        world_imports: "import wasi:logging/logging@0.1.0-draft;".to_owned(),
        ..Text::default()
    }
}

/// Instructions that store these values at these addresses.
pub(super) fn stores(pairs: &[(u32, u32)]) -> String {
    // Text has no unsigned constants beyond what fits.
    let number = |value: u32| i64::from(value);
    let store = |(place, value): &(u32, u32)| {
        format!("i32.const {} i32.const {} i32.store ", number(*place), number(*value))
    };
    pairs.iter().map(store).collect()
}
