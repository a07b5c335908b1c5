//! Rows 23 to 27: abuse of the canonical ABI between plugin and host.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::row::Must::{Ack, Fail};
use super::super::row::{Plugin, Row, always, play};
use super::super::stage::Stage;
use super::super::text::Text;
use super::imports::{self, stores};

/// A reject result at 128 whose reason is at `place` with `units` code units.
fn rejection(place: u32, units: u32) -> String {
    let answer = stores(&[(128, 1), (136, 1), (144, place), (148, units)]);
    format!("{answer} i32.const 128")
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            23,
            "realloc traps",
            "trap",
            [always(Text { realloc: "unreachable".into(), ..Text::default() }, Fail("trap", ""))],
        ),
        Row::new(
            24,
            "realloc returns out of bounds, misaligned, null",
            "trap; null is its own",
            [
                always(
                    Text { realloc: "drop i32.const -16".into(), ..Text::default() },
                    Fail("trap", ""),
                ),
                always(
                    Text { realloc: "drop i32.const 4099".into(), ..Text::default() },
                    Fail("trap", ""),
                ),
                // Address 0 is valid: whatever is written there is the plugin's own memory, so
                // overwriting it is harmless.
                always(
                    Text {
                        realloc: "drop i32.const 0".into(),
                        handle: format!(
                            "{} i32.const 1024",
                            stores(&[(1024, 0), (1032, 0), (1036, 0)])
                        ),
                        ..Text::default()
                    },
                    Ack,
                ),
            ],
        ),
        Row::new(
            25,
            "realloc calls an import",
            "trap",
            [always(
                Text {
                    realloc: "i64.const 16 i32.const 256 call $random call $bump".into(),
                    ..imports::random()
                },
                Fail("trap", "cannot leave component instance"),
            )],
        ),
        Row::new(
            26,
            "strings that are none, in UTF-8 and UTF-16",
            "trap",
            [
                always(
                    Text {
                        fields: r#"(data (i32.const 300) "\ff\fe")"#.into(),
                        handle: rejection(300, 2),
                        ..Text::default()
                    },
                    Fail("trap", "utf-8"),
                ),
                // A lone surrogate; then one at an odd address.
                always(
                    Text {
                        fields: r#"(data (i32.const 300) "\00\d8")"#.into(),
                        handle: rejection(300, 1),
                        utf16: true,
                        ..Text::default()
                    },
                    Fail("trap", "unpaired surrogate"),
                ),
                always(
                    Text { handle: rejection(301, 1), utf16: true, ..Text::default() },
                    Fail("trap", "aligned"),
                ),
                always(
                    Text { handle: rejection(300, 0x7fff_ffff), utf16: true, ..Text::default() },
                    Fail("trap", ""),
                ),
            ],
        ),
        Row::new(
            27,
            "bad discriminants of variant, option, enum; bad bool",
            "trap; bools masked",
            [
                always(
                    Text {
                        handle: format!("{} i32.const 128", stores(&[(128, 7)])),
                        ..Text::default()
                    },
                    Fail("trap", ""),
                ),
                always(
                    Text {
                        handle: format!("{} i32.const 128", stores(&[(128, 1), (136, 9)])),
                        ..Text::default()
                    },
                    Fail("trap", ""),
                ),
                always(
                    Text {
                        handle: format!(
                            "{} i32.const 128",
                            stores(&[(128, 1), (136, 0), (152, 7)])
                        ),
                        ..Text::default()
                    },
                    Fail("trap", ""),
                ),
                always(
                    Text {
                        handle: "i32.const 77 i32.const 0 i32.const 0 i32.const 0 i32.const 0
                        call $log unreachable"
                            .into(),
                        ..imports::logging()
                    },
                    Fail("trap", ""),
                ),
                play([Plugin::text(with_flag())], masked),
            ],
        ),
    ]
}

/// One emission with a boolean extension of the value 2.
fn with_flag() -> Text {
    let answer = [(136, 1024), (140, 1)];
    let emission = [(1024, 900), (1028, 12), (1068, 1152), (1072, 1)];
    let extension = [(1152, 920), (1156, 4), (1160, 0), (1164, 2)];
    Text {
        fields: r#"(data (i32.const 900) "hostile.done") (data (i32.const 920) "flag")"#.into(),
        handle: format!(
            "{}{}{} i32.const 128",
            stores(&answer),
            stores(&emission),
            stores(&extension)
        ),
        ..Text::default()
    }
}

fn masked(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let flow = stage.done(name, &Value::Null)?;
    let flag = flow.pointer("/events/1/event/flag");
    ensure!(flag == Some(&json!(true)), "not true: {flow}");
    Ok("a bool of 2 is true".to_owned())
}
