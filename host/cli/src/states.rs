//! `usher states`: active states that refuse producers or hold deliveries.

use super::args::ClientArgs;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::paint;
use usher_api::{StateHeld, States, routes};
use usher_wording::printable;

/// Shows the active states.
pub(crate) fn run(args: &ClientArgs, out: &mut Output) -> Result<(), CliError> {
    let found: States = args.client()?.call(routes::STATES, &[]).fetch()?;
    if args.json { out.json(&found) } else { out.text(&render(&found.states)) }
}

fn render(states: &[StateHeld]) -> String {
    if states.is_empty() {
        return "nothing is refused and nothing is held\n".to_owned();
    }
    let mut text = String::new();
    for state in states {
        let name = paint(&printable(&state.name), style::OPEN);
        text.push_str(&format!("{name}: {}\n", printable(&state.meaning)));
        for whom in &state.concerned {
            text.push_str(&format!("  {}\n", printable(whom)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_with_whom_they_concern() {
        let state = StateHeld {
            name: "paused".to_owned(),
            meaning: "these wait".to_owned(),
            concerned: vec!["payment".to_owned(), "printer".to_owned()],
        };
        let text = anstream::adapter::strip_str(&render(&[state])).to_string();
        assert_eq!(text, "paused: these wait\n  payment\n  printer\n");
        assert_eq!(render(&[]), "nothing is refused and nothing is held\n");
    }
}
