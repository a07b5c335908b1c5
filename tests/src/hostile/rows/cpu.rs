//! Rows 1 to 10: CPU and stack.

use serde_json::{Value, json};

use super::super::row::Must::{self, Emit, Fail};
use super::super::row::{Plugin, Row, Trial, always, always_with, refused};
use super::super::text::Text;
use super::{imports, short_cpu};

/// An infinite loop.
pub(super) const SPIN: &str = "loop br 0 end";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            1,
            "infinite loop",
            "trap at the CPU budget",
            [always_with(
                Text { handle: format!("{SPIN} unreachable"), ..Text::default() },
                short_cpu(),
                Fail("timeout", "used up its CPU time of 100 ms"),
            )],
        ),
        Row::new(
            2,
            "infinite recursion",
            "stack overflow",
            [always(
                Text {
                    fields: "(func $deep (result i32) call $deep i32.const 1 i32.add)".into(),
                    handle: "call $deep".into(),
                    ..Text::default()
                },
                Fail("trap", "stack overflowed"),
            )],
        ),
        Row::new(
            3,
            "recursion through a host import",
            "trap at the first turn",
            [always(
                Text {
                    fields: "(global $deep (mut i32) (i32.const 0))".into(),
                    realloc: "global.get $deep
                    if i64.const 16 i32.const 256 call $random end
                    call $bump"
                        .into(),
                    handle: "i32.const 1 global.set $deep
                    i64.const 16 i32.const 256 call $random
                    i32.const 128"
                        .into(),
                    ..imports::random()
                },
                Fail("trap", "cannot leave component instance"),
            )],
        ),
        Row::new(
            4,
            "start function that loops",
            "load fails in 1 s, old version serves on",
            [refused(
                |name| {
                    let fields = format!("(func $spin {SPIN}) (start $spin)");
                    Text { fields, ..Text::default() }.build(name)
                },
                &["used up its CPU time of 1000 ms"],
            )],
        ),
        Row::new(
            5,
            "initialiser and describe that loop",
            "as row 4",
            [
                refused(
                    |name| {
                        let fields = format!("(func (export \"_initialize\") {SPIN})");
                        Text { fields, ..Text::default() }.build(name)
                    },
                    &["used up its CPU time of 1000 ms"],
                ),
                refused(
                    |name| {
                        let describe = format!("{SPIN} unreachable");
                        Text { describe, ..Text::default() }.build(name)
                    },
                    &["describe failed: used up its CPU time of 1000 ms"],
                ),
            ],
        ),
        Row::new(
            6,
            "memory.fill and memory.copy of all memory",
            "memory and CPU capped",
            [always_with(
                Text {
                    fields: "(func $end (result i32) memory.size i32.const 16 i32.shl)
                        (func $flood
                            i32.const 2016 memory.grow drop
                            loop
                                i32.const 8192 i32.const 7
                                call $end i32.const 8192 i32.sub memory.fill
                                i32.const 8192 i32.const 65536
                                call $end i32.const 65536 i32.sub memory.copy
                                br 0
                            end)"
                        .into(),
                    handle: "call $flood unreachable".into(),
                    ..Text::default()
                },
                short_cpu(),
                Fail("timeout", "used up its CPU time of 100 ms"),
            )],
        ),
        Row::new(
            7,
            "loop inside realloc",
            "trap at the deadline",
            [always_with(
                Text { realloc: format!("drop {SPIN} unreachable"), ..Text::default() },
                short_cpu(),
                Fail("timeout", "used up its CPU time of 100 ms"),
            )],
        ),
        Row::new(
            8,
            "loop in post-return",
            "trap; failed, not acknowledged",
            [always_with(
                Text { post_return: Some(SPIN.into()), ..Text::default() },
                short_cpu(),
                Fail("timeout", "used up its CPU time of 100 ms"),
            )],
        ),
        Row::new(
            9,
            "slow, but within its budget",
            "done; others get their turns",
            [Trial::Events(
                Plugin::rust().with("[plugin.NAME.limits]\ncpu_ms = 500\n"),
                (0..3).map(|_| (json!({ "mode": "slow", "ms": 400 }), is_null())).collect(),
            )],
        ),
        Row::new(
            10,
            "repeats what was refused for ever",
            "deadline",
            [Trial::Events(
                Plugin::rust().with("[plugin.NAME.grants]\nstate = true").with(short_cpu()),
                vec![(json!({ "mode": "insist" }), Fail("timeout", ""))],
            )],
        ),
    ]
}

fn is_null() -> Must {
    Emit(Box::new(Value::is_null))
}
