//! `usher schedules`: each schedule's next tick, last tick and counts.

use super::args::ClientArgs;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table, paint};
use usher_api::{Schedule, Schedules, Timestamp, routes};
use usher_wording::{date_time, duration, now, printable, printable_cut, until};

/// Placeholder in empty cells.
const NOTHING: &str = "-";

const TYPE_MAX_CHARS: usize = 60;

/// Shows the schedules.
pub(crate) fn run(args: &ClientArgs, out: &mut Output) -> Result<(), CliError> {
    let found: Schedules = args.client()?.call(routes::SCHEDULES, &[]).fetch()?;
    if args.json {
        return out.json(&found);
    }
    if let Some(behind_ms) = found.clock_behind_ms {
        let behind = duration(behind_ms.saturating_mul(1_000));
        let note = format!(
            "the router's clock is {behind} behind the newest event: it was ahead when that was \
             recorded, or is behind now; everything waits from its present time on\n\n"
        );
        out.text(&paint(&note, style::OPEN))?;
    }
    out.text(&render(&found.schedules, now()))
}

fn render(schedules: &[Schedule], now: Timestamp) -> String {
    if schedules.is_empty() {
        return "no schedules: the configuration brings them, see [[schedule]]\n".to_owned();
    }
    let mut table = Table::new(&[
        ("SCHEDULE", Align::Left),
        ("CRON", Align::Left),
        ("TIME ZONE", Align::Left),
        ("NEXT (UTC)", Align::Left),
        ("", Align::Right),
        ("LAST (UTC)", Align::Left),
        ("EMITTED", Align::Right),
        ("MISSED", Align::Left),
        ("PASSED OVER", Align::Right),
        ("TYPE", Align::Left),
    ]);
    for schedule in schedules {
        let time = |time: Option<Timestamp>| time.map_or(NOTHING.to_owned(), date_time);
        table.row([
            Cell::styled(schedule.name.as_str(), style::NAME),
            printable(&schedule.cron).into(),
            printable(&schedule.time_zone).into(),
            time(schedule.next).into(),
            schedule.next.map(|next| until(now, next)).unwrap_or_default().into(),
            Cell::styled(time(schedule.last), style::FAINT),
            schedule.emitted.to_string().into(),
            printable(&schedule.missed).into(),
            match schedule.passed_over {
                0 => "0".into(),
                count => Cell::styled(count.to_string(), style::OPEN),
            },
            printable_cut(&schedule.ty, TYPE_MAX_CHARS).into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_a_table() {
        let schedules: Vec<Schedule> = serde_json::from_value(serde_json::json!([
            {
                "name": "nightly", "cron": "30 3 * * *", "time_zone": "Europe/Berlin",
                "missed": "once", "type": "report.due", "source": "/desk",
                "next": "2026-02-01T02:30:00.000Z", "last": "2026-01-31T02:30:00.000Z",
                "emitted": 12, "passed_over": 3
            },
            {
                "name": "pulse", "cron": "*/10 * * * * *", "time_zone": "UTC", "missed": "skip",
                "type": "pulse", "source": "/schedules/pulse",
                "next": "2026-01-31T12:00:10.000Z", "emitted": 0, "passed_over": 0
            }
        ]))
        .unwrap();
        let now = Timestamp::from_ms(1_769_860_805_750);
        assert_eq!(
            anstream::adapter::strip_str(&render(&schedules, now)).to_string(),
            "\
SCHEDULE  CRON            TIME ZONE      NEXT (UTC)                               LAST (UTC)               \
EMITTED  MISSED  PASSED OVER  TYPE
nightly   30 3 * * *      Europe/Berlin  2026-02-01 02:30:00.000  in 14 h 29 min  \
2026-01-31 02:30:00.000       12  once              3  report.due
pulse     */10 * * * * *  UTC            2026-01-31 12:00:10.000      in 4.250 s  -                              \
0  skip              0  pulse
"
        );
        assert!(render(&[], now).starts_with("no schedules"));
    }
}
