//! `usher check --url`: compares the configured schedules with those of a running router, and
//! reports each one's next tick.

use serde::Serialize;
use serde_json::{Value, json};
use usher_broker as broker;
use usher_event::ScheduleName;

use super::compare::{self, Kind, Setting, tally};
use usher_api::{Schedule, Timestamp};
use usher_wording::date_time;

/// Differences from a running router's schedules.
#[derive(Debug, Serialize)]
pub(crate) struct ScheduleComparison {
    /// Sorted by schedule.
    changes: Vec<Change>,
    unchanged: usize,
}

/// A new, removed or changed schedule.
#[derive(Debug, Serialize)]
struct Change {
    schedule: ScheduleName,
    change: Kind,
    /// Settings that differ.
    settings: Vec<Setting>,
    /// Its next tick under the new configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Timestamp>,
    /// Effects on its ticks, one line each.
    meaning: Vec<String>,
}

impl ScheduleComparison {
    /// Compares the configured schedules with a router's.
    pub(crate) fn new(new: &[broker::Schedule], running: &[Schedule], now: Timestamp) -> Self {
        let mut changes = Vec::new();
        for one in new {
            match running.iter().find(|old| old.name == one.name) {
                None => changes.push(Change::new(one, now)),
                Some(old) => changes.extend(Change::between(old, one, now)),
            }
        }
        let is_gone = |old: &&Schedule| new.iter().all(|one| one.name != old.name);
        let gone: Vec<_> = running.iter().filter(is_gone).map(Change::gone).collect();
        let known = new.len() + gone.len();
        changes.extend(gone);
        changes.sort_by(|a, b| a.schedule.cmp(&b.schedule));
        let unchanged = known - changes.len();
        Self { changes, unchanged }
    }

    /// Renders it as text; empty if neither side has schedules.
    pub(crate) fn render(&self) -> String {
        if self.changes.is_empty() && self.unchanged == 0 {
            return String::new();
        }
        let kinds = self.changes.iter().map(|change| change.change);
        let mut text = format!("\nschedules: {}\n", tally(kinds, self.unchanged));
        for Change { schedule, change, settings, meaning, .. } in &self.changes {
            text.push_str(&compare::told(schedule.as_str(), *change, settings, meaning));
        }
        text
    }
}

impl Change {
    fn new(new: &broker::Schedule, now: Timestamp) -> Self {
        let next = next(new, now);
        let meaning = vec![format!("its first tick is {}", tick(next))];
        let (schedule, settings) = (new.name.clone(), Vec::new());
        Self { schedule, change: Kind::New, settings, next, meaning }
    }

    fn gone(old: &Schedule) -> Self {
        let mut meaning = Vec::new();
        if let Some(next) = old.next {
            meaning
                .push(format!("its tick at {} UTC and those behind don't come", date_time(next)));
        }
        meaning.push(
            "how far it has come is forgotten: under this name again, it begins anew".to_owned(),
        );
        let (schedule, settings) = (old.name.clone(), Vec::new());
        Self { schedule, change: Kind::Gone, settings, next: None, meaning }
    }

    /// Returns `None` if no setting differs that the router reports.
    fn between(old: &Schedule, new: &broker::Schedule, now: Timestamp) -> Option<Self> {
        let text = |text: &str| json!(text);
        let rows: [(&'static str, Value, Value); 5] = [
            ("cron", text(&old.cron), text(new.calendar.cron())),
            ("time_zone", text(&old.time_zone), text(new.calendar.zone())),
            ("missed", text(&old.missed), text(new.missed.as_str())),
            ("type", text(&old.ty), text(new.event.ty())),
            ("source", text(&old.source), text(new.event.source())),
        ];
        let settings: Vec<_> = rows
            .into_iter()
            .filter(|(_, before, after)| before != after)
            .map(|(setting, before, after)| Setting { setting, before, after })
            .collect();
        if settings.is_empty() {
            return None;
        }
        let next = next(new, now);
        let is_set = |names: &[&str]| settings.iter().any(|one| names.contains(&one.setting));
        let mut meaning = vec![format!("its next tick is {}", tick(next))];
        if is_set(&["cron", "time_zone"]) {
            meaning.push(format!(
                "it goes on from the tick it has come to: what lies between that and the start under \
                 the new pattern was missed, and missed = {:?} decides on it",
                new.missed.as_str()
            ));
        } else if is_set(&["missed"]) {
            meaning.push("that holds for what is missed from the next start on".to_owned());
        }
        Some(Self { schedule: new.name.clone(), change: Kind::Changed, settings, next, meaning })
    }
}

/// The next tick by the calendar, ignoring missed ticks.
fn next(schedule: &broker::Schedule, now: Timestamp) -> Option<Timestamp> {
    schedule.calendar.after(now.as_ms()).map(Timestamp::from_ms)
}

fn tick(next: Option<Timestamp>) -> String {
    match next {
        Some(next) => format!("at {} UTC", date_time(next)),
        None => "not before the year 5000".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use usher_broker::{Calendar, Missed};
    use usher_event::Event;

    use super::*;

    /// 2026-01-31 12:00:05.
    const NOW_MS: u64 = 1_769_860_805_000;

    fn new(name: &str, cron: &str) -> broker::Schedule {
        let event = Event::builder("1", format!("/schedules/{name}"), "due");
        broker::Schedule {
            name: name.parse().unwrap(),
            calendar: Calendar::new(cron, "UTC").unwrap(),
            missed: Missed::Skip,
            event: event.build().unwrap(),
        }
    }

    /// As reported by a router.
    fn running(schedule: broker::Schedule) -> Schedule {
        let next_ms = schedule.calendar.after(NOW_MS);
        let (last_ms, emitted, passed_over) = (None, 0, 0);
        let status = broker::ScheduleStatus { schedule, next_ms, last_ms, emitted, passed_over };
        crate::project::schedule(status)
    }

    fn compared(new: &[broker::Schedule], old: &[broker::Schedule]) -> ScheduleComparison {
        let running: Vec<_> = old.iter().cloned().map(running).collect();
        ScheduleComparison::new(new, &running, Timestamp::from_ms(NOW_MS))
    }

    fn told(new: &[broker::Schedule], old: &[broker::Schedule]) -> String {
        anstream::adapter::strip_str(&compared(new, old).render()).to_string()
    }

    #[test]
    fn what_stays_is_only_counted_and_none_are_not_told() {
        let same = [new("nightly", "30 3 * * *")];
        assert_eq!(told(&same, &same), "\nschedules: 0 new, 0 changed, 0 gone, 1 unchanged\n");
        assert_eq!(told(&[], &[]), "");
    }

    #[test]
    fn each_change_says_when_the_next_tick_is() {
        let hourly = broker::Schedule { missed: Missed::All, ..new("report", "0 * * * *") };
        let text = told(
            &[hourly, new("pulse", "*/10 * * * * *")],
            &[new("report", "0 3 * * *"), new("old", "0 0 1 2 *")],
        );
        assert_eq!(
            text,
            "
schedules: 1 new, 1 changed, 1 gone, 0 unchanged

old: gone
  its tick at 2026-02-01 00:00:00.000 UTC and those behind don't come
  how far it has come is forgotten: under this name again, it begins anew

pulse: new
  its first tick is at 2026-01-31 12:00:10.000 UTC

report: changed
  cron: \"0 3 * * *\" becomes \"0 * * * *\"
  missed: \"skip\" becomes \"all\"
  its next tick is at 2026-01-31 13:00:00.000 UTC
  it goes on from the tick it has come to: what lies between that and the start under the new \
             pattern was missed, and missed = \"all\" decides on it
"
        );
        let json = serde_json::to_value(compared(&[], &[new("old", "0 0 1 2 *")])).unwrap();
        assert_eq!(
            (&json["changes"][0]["change"], &json["unchanged"]),
            (&json!("gone"), &json!(0))
        );
    }

    #[test]
    fn what_is_missed_and_what_is_emitted_may_change_alone() {
        let before = new("report", "0 3 * * *");
        let cases = [
            (broker::Schedule { missed: Missed::Once, ..before.clone() }, "missed"),
            (
                broker::Schedule {
                    event: Event::builder("1", "/desk", "due").build().unwrap(),
                    ..before.clone()
                },
                "source",
            ),
        ];
        for (after, setting) in cases {
            let found = compared(&[after], std::slice::from_ref(&before));
            let settings: Vec<_> =
                found.changes[0].settings.iter().map(|one| one.setting).collect();
            assert_eq!(settings, [setting]);
            assert!(found.changes[0].meaning.iter().all(|line| !line.contains("new pattern")));
        }
    }
}
