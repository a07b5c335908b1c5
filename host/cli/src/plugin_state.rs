//! `usher state`: what a plugin keeps, now or as of an earlier event.

use super::args::StateArgs;
use super::pages;
use super::ui::error::CliError;
use super::ui::output::Output;
use super::ui::table::{Align, Cell, Table};
use usher_api::{StateQuery, StateValue, StateValues, routes};
use usher_wording::{bytes, printable_cut};

/// How much of a value is shown.
const VALUE_SHOWN_CHARS: usize = 80;

/// Lists a plugin's state.
pub(crate) fn list(args: &StateArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let wanted = args.max.count;
    let fetch = |max: usize, after: Option<(String, String)>| {
        let (after_bucket, after_key) = after.unzip();
        let query = StateQuery { after_bucket, after_key, at: args.at, max: Some(max) };
        let call = client.call(routes::PLUGIN_STATE, &[args.plugin.as_str()]).query(&query);
        Ok(call.fetch::<StateValues>()?.values)
    };
    let key = |value: &StateValue| (value.bucket.clone(), value.key.clone());
    let found = pages::collect(wanted, None, fetch, key)?;
    if args.client.json {
        return out.json(&StateValues { values: found });
    }
    out.text(&table(&found))?;
    if found.len() == wanted {
        out.text("there may be more: use --max\n")?;
    }
    Ok(())
}

fn table(found: &[StateValue]) -> String {
    if found.is_empty() {
        return "no state\n".to_owned();
    }
    let columns = [
        ("BUCKET", Align::Left),
        ("KEY", Align::Left),
        ("SIZE", Align::Right),
        ("VALUE", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for one in found {
        let value = match (&one.value, &one.value_base64) {
            (Some(text), _) => printable_cut(text, VALUE_SHOWN_CHARS),
            (None, Some(base64)) => format!("base64 {}", printable_cut(base64, VALUE_SHOWN_CHARS)),
            (None, None) => String::new(),
        };
        table.row([
            Cell::from(printable_cut(&one.bucket, VALUE_SHOWN_CHARS)),
            printable_cut(&one.key, VALUE_SHOWN_CHARS).into(),
            bytes(one.size_bytes).into(),
            value.into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_text_or_base64() {
        let value = |value: Option<&str>, base64: Option<&str>| StateValue {
            bucket: "orders".to_owned(),
            key: "1".to_owned(),
            size_bytes: 4,
            value: value.map(str::to_owned),
            value_base64: base64.map(str::to_owned),
        };
        let text = table(&[value(Some("paid"), None), value(None, Some("/wA="))]);
        assert!(text.contains("orders") && text.contains("paid"), "{text}");
        assert!(text.contains("base64 /wA="), "{text}");
        assert_eq!(table(&[]), "no state\n");
    }
}
