//! Events on a clock.

use maud::{Markup, html};
use usher_api::{Problem, Schedule, Schedules, routes};
use usher_wording::duration;

use crate::html::{cell, maybe_time, table};
use crate::source::{Source, fetch};

pub(crate) async fn show(source: &impl Source) -> Result<Markup, Problem> {
    let found: Schedules = fetch(source, routes::SCHEDULES, &[], &()).await?;
    let rows: Vec<_> = found.schedules.iter().map(row).collect();
    let heads =
        ["Name", "Pattern", "Time zone", "Type", "Next (UTC)", "Last (UTC)", "Events", "Skipped"];
    Ok(html! {
        h1 { "Schedules" }
        @if let Some(behind_ms) = found.clock_behind_ms {
            p.open {
                "The router's clock is " (duration(behind_ms.saturating_mul(1_000)))
                " behind the newest event."
            }
        }
        (table(&heads, &rows, "The configuration has none."))
    })
}

fn row(schedule: &Schedule) -> Markup {
    html! {
        tr {
            td.strong { (schedule.name.as_str()) }
            td { code { (cell(&schedule.cron)) } }
            td { (schedule.time_zone) }
            td { (cell(&schedule.ty)) }
            td { (maybe_time(schedule.next)) }
            td { (maybe_time(schedule.last)) }
            td.number { (schedule.emitted) }
            td.number { (schedule.passed_over) }
        }
    }
}
