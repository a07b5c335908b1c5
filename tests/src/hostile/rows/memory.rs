//! Rows 11 to 22: memory, tables and handles.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::row::Must::{Ack, Fail};
use super::super::row::{Plugin, Row, Trial, always, play, refused};
use super::super::stage::{Stage, delivery};
use super::super::text::Text;
use super::composed;
use super::imports::{self, stores};
use crate::wait::wait_for;

const MIB: u64 = 1024 * 1024;
/// Deliveries of a plugin that leaks memory.
const MANY: usize = 60;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new(
            11,
            "memory.grow bomb",
            "-1 at the cap",
            [always(
                Text {
                    fields: "(func $grow
                    loop i32.const 16 memory.grow i32.const -1 i32.ne br_if 0 end
                    memory.size i32.const 2048 i32.gt_u if unreachable end)"
                        .into(),
                    handle: "call $grow i32.const 128".into(),
                    ..Text::default()
                },
                Ack,
            )],
        ),
        Row::new(
            12,
            "4 GiB of initial memory",
            "refused at load",
            [refused(|name| Text { pages: 65_536, ..Text::default() }.build(name), &["memory"])],
        ),
        Row::new(
            13,
            "table of 10 million; table.grow",
            "refused at load; -1 at the cap",
            [
                refused(
                    |name| {
                        let fields = "(table 10000000 funcref)".into();
                        Text { fields, ..Text::default() }.build(name)
                    },
                    &["table"],
                ),
                always(
                    Text {
                        fields: "(table $t 10 funcref)
                        (func $grow
                            loop
                                ref.null func i32.const 1000 table.grow $t
                                i32.const -1 i32.ne br_if 0
                            end
                            table.size $t i32.const 10000 i32.gt_u if unreachable end)"
                            .into(),
                        handle: "call $grow i32.const 128".into(),
                        ..Text::default()
                    },
                    Ack,
                ),
            ],
        ),
        Row::new(
            14,
            "1,000 core instances",
            "refused",
            [refused(
                |_| {
                    let instances = "(core instance (instantiate $m))".repeat(1_000);
                    let text = format!(
                        r#"(component (core module $m) {instances} (instance $listener)
                        (export "usher:plugin/listener@0.1.0" (instance $listener)))"#
                    );
                    Ok(wat::parse_str(text)?)
                },
                &["instances"],
            )],
        ),
        Row::new(
            15,
            "100,001 data segments",
            "refused before it is compiled",
            [refused(
                |_| Ok(composed::wrapped(&composed::data_segments(100_001))),
                &["not a valid component", "data segments count exceeds limit"],
            )],
        ),
        Row::new(
            16,
            "leak with each of 10^6 calls for memory",
            "recycled at the cap",
            [
                play(
                    [Plugin::text(Text {
                        fields: "(func $leak (param $size i32) (result i32)
                    memory.size i32.const 16 i32.shl
                    i32.const 8 memory.grow i32.const -1 i32.eq if unreachable end)"
                            .into(),
                        realloc: "call $leak".into(),
                        ..Text::default()
                    })],
                    all_done,
                ),
                play(
                    // Memory held at the threshold must stay below the total of all leaks.
                    [Plugin::text(leaking()).with(
                        "[plugin.NAME]\ninstances = 2\n\
                         [plugin.NAME.limits]\nrecycle_memory_bytes = 8388608\n",
                    )],
                    leaked,
                ),
            ],
        ),
        Row::new(
            17,
            "list of 2^32-1 elements",
            "trap; the host takes < 16 MiB",
            [
                always(
                    Text {
                        handle: format!("{} i32.const 128", stores(&[(136, 0), (140, u32::MAX)])),
                        ..Text::default()
                    },
                    Fail("trap", ""),
                ),
                Trial::Events(
                    Plugin::text(Text {
                        handle: "i32.const 512 i32.const 1 i32.const 256 call $open
                        i32.const 260 i32.load i32.const 0 i32.const -1 i32.const 272
                        call $delete_many
                        i32.const 128"
                            .into(),
                        ..imports::state()
                    })
                    .with("[plugin.NAME.grants]\nstate = true"),
                    vec![(Value::Null, Fail("trap", ""))],
                ),
            ],
        ),
        Row::new(
            18,
            "nested lists that share their strings",
            "host-call fuel runs out",
            [always(
                Text {
                    fields: amplifying(),
                    handle: format!(
                        "call $amplify {} i32.const 128",
                        stores(&[(136, EMISSIONS), (140, 1_000)])
                    ),
                    ..Text::default()
                },
                Fail("limit", "fuel"),
            )],
        ),
        Row::new(
            19,
            "100,000 handles",
            "trap at 1,000",
            [always(
                Text {
                    handle: "loop i64.const 1000000000 call $subscribe drop br 0 end unreachable"
                        .into(),
                    ..imports::polling()
                },
                Fail("limit", ""),
            )],
        ),
        Row::new(
            20,
            "handles that are never dropped",
            "freed with the instance",
            [play(
                [Plugin::text(Text {
                    fields: "(func $keep (local $left i32)
                    i32.const 100 local.set $left
                    loop
                        i64.const 1000000000 call $subscribe drop
                        local.get $left i32.const 1 i32.sub local.tee $left br_if 0
                    end)"
                        .into(),
                    handle: "call $keep i32.const 128".into(),
                    ..imports::polling()
                })],
                all_done,
            )],
        ),
        Row::new(
            21,
            "handles forged, dropped twice, of another type",
            "trap",
            [
                always(
                    Text {
                        handle: "i32.const 99 call $block unreachable".into(),
                        ..imports::polling()
                    },
                    Fail("trap", "handle"),
                ),
                always(
                    Text {
                        fields: "(func $twice (param $handle i32)
                        local.get $handle call $drop local.get $handle call $drop)"
                            .into(),
                        handle: "i64.const 1 call $subscribe call $twice unreachable".into(),
                        ..imports::polling()
                    },
                    Fail("trap", "handle"),
                ),
                always(
                    Text {
                        handle: "call $stdout call $block unreachable".into(),
                        ..imports::polling_and_stdout()
                    },
                    Fail("trap", ""),
                ),
            ],
        ),
        Row::new(
            22,
            "100,000 borrowed handles between its parts",
            "counted as handles",
            [refused(composed::lending, &["handle"])],
        ),
    ];
    for row in &mut rows {
        if row.number == 17 {
            row.growth_max_bytes = 16 * MIB;
        }
    }
    rows
}

/// Deliveries of the leaking plugin, and leaks per delivery.
const LEAKING: u64 = 10_000;
const LEAKS: u64 = 100;
/// Initial memory and the recycling threshold, in pages.
const BEGIN_PAGES: u64 = 16;
const MARK_PAGES: u64 = 128;

/// Leaks 1 KiB, written to, with each call of `realloc`, and emits an event once it exceeds the
/// threshold. An instance that continues beyond that traps.
fn leaking() -> Text {
    let over = MARK_PAGES + 2;
    Text {
        fields: format!(
            r#"(data (i32.const 1024) "hostile.full")
            (global $top (mut i32) (i32.const {}))
            (func $leak
                global.get $top i32.const 1024 i32.add global.set $top
                global.get $top memory.size i32.const 16 i32.shl i32.gt_u if
                    i32.const 1 memory.grow i32.const -1 i32.eq if unreachable end
                end
                (memory.fill (i32.sub (global.get $top) (i32.const 1024))
                    (i32.const 170) (i32.const 1024)))
            (func $calls (local $left i32)
                i32.const {LEAKS} local.set $left
                loop
                    call $leak
                    local.get $left i32.const 1 i32.sub local.tee $left br_if 0
                end
                memory.size i32.const {over} i32.gt_u if unreachable end
                i32.const 4096 global.set $next
                memory.size i32.const {MARK_PAGES} i32.gt_u if {} end)"#,
            BEGIN_PAGES * 65_536,
            // One emission with only a type.
            stores(&[(136, 2048), (140, 1), (2048, 1024), (2052, 12)]),
        ),
        handle: "call $calls i32.const 128".into(),
        ..Text::default()
    }
}

/// Each instance is recycled at the threshold, and no delivery fails.
fn leaked(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    stage.publish_many(name, LEAKING, &Value::Null)?;
    let subscription = format!("subscription=\"{name}/all\"");
    let metric = |what: &str| stage.metric(&format!("usher_subscription_{what}{{{subscription}}}"));
    wait_for("the deliveries", || {
        Ok((metric("acked_deliveries_total")? >= Some(LEAKING)).then_some(()))
    })?;
    let failed = metric("failed_attempts_total")?;
    ensure!(failed == Some(0), "{failed:?} failed");
    let full = stage.client().events_of_type("hostile.full")?.len() as u64;
    let leaks = LEAKING * LEAKS;
    // An instance's life takes a fixed number of leaks; concurrent instances may be partway.
    let lives = leaks / ((MARK_PAGES - BEGIN_PAGES) * 64);
    ensure!((lives / 2..=lives).contains(&full), "replaced {full} times, not {lives}");
    Ok(format!("{leaks} leaks of 1 KiB in {LEAKING} deliveries: replaced {full} times"))
}

const EXTENSIONS: u32 = 131_072;
const EMISSIONS: u32 = 262_144;

/// 1,000 emissions that all have the same 1,000 extensions, whose names are the same 60,000 bytes.
fn amplifying() -> String {
    format!(
        "(func $amplify (local $i i32)
            loop
                (i32.store offset={EXTENSIONS}
                    (i32.mul (local.get $i) (i32.const 20)) (i32.const 700000))
                (i32.store offset={}
                    (i32.mul (local.get $i) (i32.const 20)) (i32.const 60000))
                (i32.store offset={}
                    (i32.mul (local.get $i) (i32.const 80)) (i32.const {EXTENSIONS}))
                (i32.store offset={}
                    (i32.mul (local.get $i) (i32.const 80)) (i32.const 1000))
                (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                i32.const 1000 i32.lt_u br_if 0
            end)",
        EXTENSIONS + 4,
        EMISSIONS + 44,
        EMISSIONS + 48,
    )
}

/// All deliveries succeed: an instance is either recycled at the threshold, or fails at the limit
/// and the retry succeeds on a new one.
fn all_done(stage: &Stage, names: &[String]) -> Result<String> {
    let name = names.first().context("no plugin")?;
    let mut again = 0;
    for _ in 0..MANY {
        let flow = stage.flow(name, &json!({ "any": "thing" }))?;
        let delivery = delivery(&flow)?;
        ensure!(delivery.get("state") == Some(&json!("done")), "{delivery}");
        let failures = delivery.get("failures").and_then(Value::as_array);
        again += failures.map_or(0, Vec::len);
    }
    Ok(format!("{MANY} deliveries done, {again} of them at a second attempt"))
}
