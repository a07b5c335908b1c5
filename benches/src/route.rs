//! Routing by content: what an expression and a condition on data cost, and how matching grows with the
//! number of subscriptions.

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use serde::de::IgnoredAny;
use serde_json::json;
use usher_broker::Start;
use usher_broker::traits::*;
use usher_cesql::{Expression, Value};
use usher_event::Event;
use usher_filter::{Filter, FilterIndex, Projection};

use crate::rounds::{Calls, median, time_per_call};
use crate::table::Table;
use crate::{StageArgs, hops, process, sample};

/// Calls per round of what takes a fraction of a microsecond.
const ROUND_CALLS: u32 = 100_000;

/// Subscriptions of which one matches: few and many.
const FEW: usize = 100;
const MANY: usize = 100_000;

/// Subscriptions beside the hops.
const BESIDE: usize = 10_000;

/// Subscriptions that begin with the oldest event while hops go on.
const NEWCOMERS: usize = 1_000;

#[derive(clap::Args)]
pub(crate) struct RouteArgs {
    /// Events of the rows of durable hops.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    #[command(flatten)]
    stage: StageArgs,
}

/// Ten expressions as filters have them.
const EXPRESSIONS: [&str; 10] = [
    "type = 'com.example.order.placed'",
    "type LIKE 'com.example.%'",
    "type LIKE '%.placed' AND source LIKE 'https://shop.%'",
    "subject = 'eu/1001' OR subject = 'us/1001'",
    "EXISTS subject AND subject != ''",
    "type IN ('com.example.a', 'com.example.b', 'com.example.order.placed')",
    "INT(hops) < 10 AND paid",
    "hops + 1 <= maxhops",
    "NOT EXISTS dead AND (region = 'eu' OR region = 'us')",
    "LEFT(subject, 3) = 'eu/' AND LENGTH(subject) > 5",
];

pub(crate) fn run(args: &RouteArgs) -> anyhow::Result<()> {
    let mut table = Table::new();
    expressions(&mut table)?;
    if let Some(real) = args.stage.real_events() {
        data(&mut table, &real)?;
        projected_hops(args, &mut table, &real)?;
    }
    for shape in Shape::ALL {
        index(&mut table, shape)?;
    }
    durable_hops(args, &mut table)?;
    if args.stage.json { table.print_json() } else { table.print() }
}

fn expressions(table: &mut Table) -> anyhow::Result<()> {
    let event = [
        ("type", Value::from("com.example.order.placed")),
        ("source", Value::from("https://shop.example/eu")),
        ("subject", Value::from("eu/1001")),
        ("region", Value::from("eu")),
        ("hops", Value::from("3")),
        ("maxhops", Value::from(9)),
        ("paid", Value::from(true)),
    ];
    for text in EXPRESSIONS {
        let expression = Expression::parse(text)?;
        ensure!(expression.passes(&event), "{text} doesn't pass");
        let event = event.clone();
        let calls: Calls = Box::new(move |calls| {
            for _ in 0..calls {
                black_box(expression.passes(black_box(&event)));
            }
            Ok(())
        });
        let [each] = time_per_call(ROUND_CALLS, [calls])?;
        table.row(text, each, None);
    }
    Ok(())
}

/// Conditions on the data of real events, beside a validating scan of the same bytes.
fn data(table: &mut Table, real: &sample::Sample) -> anyhow::Result<()> {
    const CALLS: u32 = 2_000;
    let filters = [
        ("one member", r#"{"data":{"/action":"no such"}}"#),
        (
            "three members, one deep",
            r#"{"data":{"/action":"no such","/repository/owner/login":{"prefix":"zz"},"/sender/id":{"gt":1}}}"#,
        ),
        ("a query of all depths", r#"{"data":{"$..login":"no such"}}"#),
    ];
    let events: Vec<Event> = (0..273).map(|n| real.template(n).clone()).collect();
    let scanned = events.clone();
    let scan: Calls = Box::new(move |calls| {
        for (_, event) in (0..calls).zip(scanned.iter().cycle()) {
            let text = std::str::from_utf8(event.data_slice().unwrap_or_default())?;
            black_box(serde_json::from_str::<IgnoredAny>(text)?);
        }
        Ok(())
    });
    let calls = |filter: &str| -> anyhow::Result<Calls> {
        let (filter, events) = (Filter::parse(filter)?, events.clone());
        Ok(Box::new(move |calls| {
            for (_, event) in (0..calls).zip(events.iter().cycle()) {
                black_box(filter.matches(event));
            }
            Ok(())
        }))
    };
    let (projection, projected) = (projection()?, events.clone());
    let project: Calls = Box::new(move |calls| {
        for (_, event) in (0..calls).zip(projected.iter().cycle()) {
            black_box(projection.apply(event));
        }
        Ok(())
    });
    let [(_, one), (_, three), (_, query)] = filters;
    let [scan, one, three, query, project] =
        time_per_call(CALLS, [scan, calls(one)?, calls(three)?, calls(query)?, project])?;
    table.row("validating scan of 273 real payloads", scan, None);
    for ((name, _), each) in filters.iter().zip([one, three, query]) {
        table.row(&format!("data filter on them: {name}"), each, Some((scan, "scan")));
    }
    table.row("projection of them: three members", project, Some((scan, "scan")));
    Ok(())
}

fn projection() -> anyhow::Result<Projection> {
    Ok(Projection::new(Some(&["/action", "/repository/full_name", "/sender/login"]), &[])?)
}

/// Hops with the whole payload of real events, and with a part of it.
fn projected_hops(
    args: &RouteArgs,
    table: &mut Table,
    real: &sample::Sample,
) -> anyhow::Result<()> {
    const ROUNDS: usize = 3;
    let component = args.stage.component()?;
    let folder = args.stage.folder();
    let whole = hops::Setup::hop(&component);
    let part = hops::Setup { projection: projection()?, ..whole.clone() };
    let (mut all, mut some) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        all.push(hops::run(&folder, &whole, real, args.events)?.per_hop());
        some.push(hops::run(&folder, &part, real, args.events)?.per_hop());
    }
    let all = median(all);
    table.row("durable hop, real events whole", all, None);
    table.row("durable hop, three members of them", median(some), Some((all, "whole")));
    Ok(())
}

/// What the filters of many subscriptions have in common.
#[derive(Clone, Copy)]
enum Shape {
    Types,
    Prefixes,
    Subjects,
    Data,
    Ranges,
    Sql,
}

impl Shape {
    const ALL: [Self; 6] =
        [Self::Types, Self::Prefixes, Self::Subjects, Self::Data, Self::Ranges, Self::Sql];

    fn name(self) -> &'static str {
        match self {
            Self::Types => "a type each",
            Self::Prefixes => "a prefix each",
            Self::Subjects => "one type, a subject each",
            Self::Data => "one type, a value of data each",
            Self::Ranges => "one type, a range of data each",
            Self::Sql => "one type, a subject each, in SQL",
        }
    }

    fn filter(self, n: usize) -> anyhow::Result<Filter> {
        Ok(Filter::from_json(&match self {
            Self::Types => json!({ "exact": { "type": format!("t.{n}") } }),
            Self::Prefixes => json!({ "prefix": { "subject": format!("s/{n}/") } }),
            Self::Subjects => json!({ "exact": { "type": "t.7", "subject": format!("s/{n}/x") } }),
            Self::Data => json!({ "all": [
                { "exact": { "type": "t.7" } }, { "data": { "/key": format!("k{n}") } },
            ] }),
            Self::Ranges => json!({ "all": [
                { "exact": { "type": "t.7" } }, { "data": { "/n": { "gte": n, "lt": n + 1 } } },
            ] }),
            Self::Sql => json!({ "sql": format!("type = 't.7' AND subject = 's/{n}/x'") }),
        })?)
    }
}

fn index(table: &mut Table, shape: Shape) -> anyhow::Result<()> {
    let event = Event::builder("1", "/bench", "t.7")
        .subject("s/7/x")
        .datacontenttype("application/json")
        .data(json!({ "key": "k7", "n": 7.5, "note": "x".repeat(100) }).to_string())
        .build()?;
    let calls = |count: usize| -> anyhow::Result<(Calls, u64)> {
        let filters = (0..count).map(|n| shape.filter(n)).collect::<Result<Vec<_>, _>>()?;
        let before = process::resident_bytes()?;
        let mut index = FilterIndex::new();
        for (n, filter) in (0_u32..).zip(&filters) {
            index.insert(n, filter);
        }
        let event = event.clone();
        let mut found = Vec::new();
        index.for_each_match(&event, |n| found.push(*n));
        ensure!(found == [7], "{} finds {found:?}", shape.name());
        let bytes = process::resident_bytes()?.saturating_sub(before);
        let calls: Calls = Box::new(move |calls| {
            for _ in 0..calls {
                index.for_each_match(black_box(&event), |n| {
                    black_box(n);
                });
            }
            Ok(())
        });
        Ok((calls, bytes / count as u64))
    };
    let ((few, _), (many, bytes)) = (calls(FEW)?, calls(MANY)?);
    let [few, many] = time_per_call(ROUND_CALLS / 4, [few, many])?;
    table.row(&format!("match, {FEW} subscriptions, {}", shape.name()), few, None);
    let name = format!("match, {MANY} subscriptions, {bytes} B each, {}", shape.name());
    table.row(&name, many, Some((few, "few")));
    Ok(())
}

/// Hops of one subscription, alone, beside many that match nothing, and while others look through the log for
/// the first time.
fn durable_hops(args: &RouteArgs, table: &mut Table) -> anyhow::Result<()> {
    const ROUNDS: usize = 3;
    let component = args.stage.component()?;
    let folder = args.stage.folder();
    let sample = sample::events_of_size(256)?;
    let setup = hops::Setup::hop(&component);
    let among = hops::Setup { newcomers: NEWCOMERS, ..setup.clone() };
    let (mut alone, mut beside, mut amid) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(hops::run(&folder, &setup, &sample, args.events)?.per_hop());
        amid.push(hops::run(&folder, &among, &sample, args.events)?.per_hop());
        let run = hops::run_beside(&folder, &setup, &sample, args.events, subscribe_others)?;
        beside.push(run.per_hop());
    }
    let alone = median(alone);
    table.row("durable hop, one subscription", alone, None);
    let name = format!("durable hop, {BESIDE} subscriptions of which one matches");
    table.row(&name, median(beside), Some((alone, "alone")));
    let name = format!("durable hop, {NEWCOMERS} new subscriptions at earliest");
    table.row(&name, median(amid), Some((alone, "alone")));
    Ok(())
}

async fn subscribe_others(stage: &hops::Stage<'_>) -> anyhow::Result<()> {
    let begun = Instant::now();
    for n in 0..BESIDE - 1 {
        let subscription = hops::idle(&format!("n{n}"), Start::Latest)?;
        stage.broker.subscribe(subscription).await?;
    }
    eprintln!("{BESIDE} subscriptions are there after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}
