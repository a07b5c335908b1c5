//! `usher dead-letters list` and `show`.

use super::args::{DeadLetterArgs, DeadLetterFilterArgs, DeadLettersListArgs};
use super::pages::PAGE_MAX;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table, paint};
use usher_api::{Attempt, DeadLetter, DeadLetters, DeadLettersQuery, routes};
use usher_client::Client;
use usher_wording::{count, date_time, duration, printable, printable_cut};

const VERSION_MAX_CHARS: usize = 32;

/// In lists only; `show` prints reasons whole.
const REASON_MAX_CHARS: usize = 100;

/// Lists dead letters.
pub(crate) fn list(args: &DeadLettersListArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let wanted = args.max.count;
    let mut found = DeadLetters { dead_letters: Vec::new(), next: args.after, last: 0 };
    loop {
        let missing = wanted.saturating_sub(found.dead_letters.len());
        let page = page(&client, &args.filter, missing, found.next)?;
        found.dead_letters.extend(page.dead_letters);
        (found.next, found.last) = (page.next, page.last);
        if found.next.is_none() || found.dead_letters.len() >= wanted {
            break;
        }
    }
    if args.client.json {
        return out.json(&found);
    }
    out.text(&table(&found.dead_letters))?;
    match found.next {
        Some(next) => out.text(&format!("there may be more: use --after {next}\n")),
        None => Ok(()),
    }
}

/// Fetches a page of matching dead letters with ids above `after`: at most `max`, capped at
/// [`PAGE_MAX`].
pub(crate) fn page(
    client: &Client,
    filter: &DeadLetterFilterArgs,
    max: usize,
    after: Option<u64>,
) -> Result<DeadLetters, CliError> {
    let query = DeadLettersQuery {
        after,
        max: Some(max.min(PAGE_MAX)),
        subscription: filter.subscription.clone(),
        plugin: filter.plugin.clone(),
        class: filter.class.map(|class| class.as_str().to_owned()),
        reason: filter.reason.clone(),
        type_prefix: filter.type_prefix.clone(),
        since: filter.since,
        until: filter.until,
    };
    Ok(client.call(routes::DEAD_LETTERS, &[]).query(&query).fetch()?)
}

/// Shows one dead letter.
pub(crate) fn show(args: &DeadLetterArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let dead: DeadLetter = client.call(routes::DEAD_LETTER, &[&args.id.to_string()]).fetch()?;
    if args.client.json {
        return out.json(&dead);
    }
    if args.event {
        return out.json(&dead.event.event);
    }
    let event = serde_json::to_string_pretty(&dead.event.event).map_err(std::io::Error::from)?;
    out.text(&details(&dead, &event))
}

fn table(found: &[DeadLetter]) -> String {
    if found.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let mut table = Table::new(&[
        ("ID", Align::Right),
        ("TIME", Align::Left),
        ("SUBSCRIPTION", Align::Left),
        ("EVENT", Align::Right),
        ("TYPE", Align::Left),
        ("ATTEMPTS", Align::Right),
        ("WHY", Align::Left),
    ]);
    for dead in found {
        table.row([
            Cell::styled(dead.id.to_string(), style::STRONG),
            Cell::styled(date_time(dead.time), style::FAINT),
            Cell::styled(dead.subscription.as_str(), style::NAME),
            dead.event.sequence.to_string().into(),
            printable_cut(dead.event.event.ty(), 60).into(),
            dead.attempt_count.to_string().into(),
            format!("{}: {}", dead.class, printable_cut(&dead.reason, REASON_MAX_CHARS)).into(),
        ]);
    }
    table.render()
}

fn details(dead: &DeadLetter, event: &str) -> String {
    let attempts = dead.attempts.as_deref().unwrap_or_default();
    let mut text = format!(
        "{}  {}  {}  {} UTC\n\n{} (flow {}):\n",
        paint(&format!("dead letter {}", dead.id), style::STRONG),
        paint(dead.subscription.as_str(), style::NAME),
        count(dead.attempt_count as usize, "attempt"),
        date_time(dead.time),
        paint(&format!("event {}", dead.event.sequence), style::STRONG),
        dead.event.flow,
    );
    for line in event.lines() {
        text.push_str(&format!("  {}\n", printable(line)));
    }
    for attempt in attempts {
        text.push_str(&attempt_text(attempt));
    }
    let missing = (dead.attempt_count as usize).saturating_sub(attempts.len());
    if missing > 0 {
        text.push_str(&format!("\n{} in between not kept\n", count(missing, "attempt")));
    }
    text
}

fn attempt_text(attempt: &Attempt) -> String {
    let version = attempt.version.iter().map(|version| printable_cut(version, VERSION_MAX_CHARS));
    let digest = attempt.digest.iter().map(|digest| digest.short().to_string());
    let digest: String = version.chain(digest).map(|word| format!("  {word}")).collect();
    let mut text = format!(
        "\n{}  {} UTC  {}  {}{}\n",
        paint(&format!("attempt {}", attempt.attempt), style::STRONG),
        date_time(attempt.time),
        duration(attempt.took_us),
        paint(&printable(&attempt.class), style::BAD),
        paint(&digest, style::FAINT),
    );
    if !attempt.counted {
        text.push_str("  does not count\n");
    }
    if let Some(asked_ms) = attempt.asked_ms {
        let asked = duration(asked_ms.saturating_mul(1_000));
        text.push_str(&format!("  asked for a wait of {asked}, which was cut\n"));
    }
    let lines = attempt.reason.lines().chain(attempt.backtrace.iter().flat_map(|b| b.lines()));
    for line in lines {
        text.push_str(&format!("  {}\n", printable(line)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead() -> DeadLetter {
        serde_json::from_value(serde_json::json!({
            "id": 4, "time": "2026-01-31T12:00:02.000Z", "subscription": "printer/tickets",
            "plugin": "printer", "attempt_count": 3, "class": "trap", "reason": "unreachable",
            "event": {
                "sequence": 18, "recorded": "2026-01-31T12:00:00.000Z", "flow": 17, "depth": 1,
                "cause": null,
                "event": {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
            },
            "attempts": [
                {
                    "attempt": 1, "time": "2026-01-31T12:00:01.000Z", "took_us": 900,
                    "class": "retry", "reason": "first\nsecond", "backtrace": null, "digest": null,
                    "version": null, "counted": false, "asked_ms": 864_000_000
                },
                {
                    "attempt": 3, "time": "2026-01-31T12:00:02.000Z", "took_us": 900,
                    "class": "trap", "reason": "unreachable", "backtrace": "draw\nhandle",
                    "digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                    "version": "1.2.0", "counted": true
                }
            ]
        }))
        .unwrap()
    }

    #[test]
    fn dead_letters_are_a_table() {
        assert_eq!(
            anstream::adapter::strip_str(&table(&[dead()])).to_string(),
            "\
ID  TIME                     SUBSCRIPTION     EVENT  TYPE  ATTEMPTS  WHY
 4  2026-01-31 12:00:02.000  printer/tickets     18  t            3  trap: unreachable
"
        );
        assert_eq!(table(&[]), "no dead letters\n");
    }

    #[test]
    fn one_is_shown_whole() {
        let text = details(&dead(), "{\n  \"id\": \"1\"\n}");
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "\
dead letter 4  printer/tickets  3 attempts  2026-01-31 12:00:02.000 UTC

event 18 (flow 17):
  {
    \"id\": \"1\"
  }

attempt 1  2026-01-31 12:00:01.000 UTC  900 us  retry
  does not count
  asked for a wait of 10 d 00 h, which was cut
  first
  second

attempt 3  2026-01-31 12:00:02.000 UTC  900 us  trap  1.2.0  ba7816bf8f01
  unreachable
  draw
  handle

1 attempt in between not kept
"
        );
    }
}
