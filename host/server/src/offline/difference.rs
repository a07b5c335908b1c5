//! `usher inspect NEW --against OLD`: compares the descriptions, imports and exports of two plugin
//! versions.

use serde::Serialize;
use serde_json::{Value, json};
use usher_event::Digest;

use super::compare::{Kind, Setting};
use super::inspected::{Inspected, section};
use usher_cli::ui::paint;
use usher_cli::ui::style;
use usher_wording::printable;

/// How one version of a plugin differs from another.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    old: Version,
    new: Version,
    /// Empty if only code changed, or nothing.
    changes: Vec<Change>,
}

/// Identifies one of the two versions.
#[derive(Debug, Serialize)]
struct Version {
    file: String,
    digest: Digest,
    name: String,
    version: String,
}

/// What kind of item changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    /// Name, version or summary.
    Description,
    Subscription,
    Capability,
    Ability,
    Import,
    Export,
}

/// Headings, in output order.
const WHATS: [(What, &str); 6] = [
    (What::Description, "what it is"),
    (What::Subscription, "subscribes to"),
    (What::Capability, "asks for"),
    (What::Ability, "what its imports let it do"),
    (What::Import, "imports"),
    (What::Export, "exports"),
];

/// A new, removed or changed item.
#[derive(Debug, Serialize)]
struct Change {
    what: What,
    name: String,
    change: Kind,
    /// Settings that differ; empty if the item is new or removed.
    settings: Vec<Setting>,
    /// Describes a new item.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Difference {
    /// Compares two versions.
    pub(crate) fn between(old: &Inspected, new: &Inspected) -> Self {
        let version = |one: &Inspected| Version {
            file: one.file.clone(),
            digest: one.digest,
            name: one.name.clone(),
            version: one.version.clone(),
        };
        let mut changes = Vec::new();
        for (name, before, after) in [
            ("name", &old.name, &new.name),
            ("version", &old.version, &new.version),
            ("summary", &old.summary, &new.summary),
        ] {
            if before != after {
                let name = name.to_owned();
                let settings = vec![setting("text", json!(before), json!(after))];
                let (what, change) = (What::Description, Kind::Changed);
                changes.push(Change { what, name, change, settings, detail: None });
            }
        }
        compare(
            &mut changes,
            What::Subscription,
            (&old.subscriptions, &new.subscriptions),
            |asked| &asked.name,
            |asked| asked.words(),
            |old, new| {
                vec![
                    setting("filter", old.filter.clone(), new.filter.clone()),
                    setting("max_in_flight", json!(old.max_in_flight), json!(new.max_in_flight)),
                ]
            },
        );
        compare(
            &mut changes,
            What::Capability,
            (&old.capabilities, &new.capabilities),
            |wanted| &wanted.name,
            |wanted| wanted.reason.clone(),
            |old, new| vec![setting("reason", json!(old.reason), json!(new.reason))],
        );
        compare(
            &mut changes,
            What::Ability,
            (&old.abilities, &new.abilities),
            |ability| ability.words,
            |ability| ability.condition(),
            |_, _| Vec::new(),
        );
        for (what, old, new) in
            [(What::Import, &old.imports, &new.imports), (What::Export, &old.exports, &new.exports)]
        {
            let (nothing, none) = (|_: &String| String::new(), |_: &String, _: &String| Vec::new());
            compare(&mut changes, what, (old, new), |name| name, nothing, none);
        }
        Self { old: version(old), new: version(new), changes }
    }

    /// Renders it as text.
    pub(crate) fn render(&self) -> String {
        let Self { old, new, changes } = self;
        let named = |one: &Version| {
            let name = paint(&printable(&one.name), style::STRONG);
            format!("{name} {}  {}", printable(&one.version), printable(&one.file))
        };
        let mut text = format!("old  {}\nnew  {}\n", named(old), named(new));
        if old.digest == new.digest {
            text.push_str("\nthe bytes are the same\n");
        } else if changes.is_empty() {
            text.push_str("\nit says and imports the same; only its code has changed\n");
        }
        if old.name != new.name {
            text.push_str(
                "\nit is another plugin: beside the old one it would have places, grants and state of \
                 its own\n",
            );
        }
        for (what, head) in WHATS {
            let of: Vec<_> = changes.iter().filter(|change| change.what == what).collect();
            section(&mut text, head, &of, |change| (printable(&change.name), change.words()));
        }
        text
    }
}

impl Change {
    fn words(&self) -> String {
        match self.change {
            Kind::Gone => paint("no more", style::OPEN),
            Kind::New => {
                let detail = self.detail.as_deref().unwrap_or_default();
                let colon = if detail.is_empty() { "" } else { ": " };
                format!("{}{colon}{}", paint("new", style::GOOD), printable(detail))
            }
            Kind::Changed => {
                let told = self.settings.iter().map(|Setting { setting, before, after }| {
                    let [before, after] = [before, after].map(|value| match value {
                        Value::String(text) => printable(text),
                        Value::Null => "the default".to_owned(),
                        other => printable(&other.to_string()),
                    });
                    match *setting {
                        "text" => format!("{before} becomes {after}"),
                        setting => format!("{setting} {before} becomes {after}"),
                    }
                });
                told.collect::<Vec<_>>().join("; ")
            }
        }
    }
}

fn setting(setting: &'static str, before: Value, after: Value) -> Setting {
    Setting { setting, before, after }
}

/// Appends the changes of one kind: new and changed items in `new`'s order, then removed ones.
fn compare<T>(
    changes: &mut Vec<Change>,
    what: What,
    (old, new): (&[T], &[T]),
    name: impl Fn(&T) -> &str,
    detail: impl Fn(&T) -> String,
    settings: impl Fn(&T, &T) -> Vec<Setting>,
) {
    let change = |one: &T, change, settings, detail| {
        let name = name(one).to_owned();
        Change { what, name, change, settings, detail }
    };
    for one in new {
        match old.iter().find(|old| name(old) == name(one)) {
            None => {
                let detail = Some(detail(one)).filter(|detail| !detail.is_empty());
                changes.push(change(one, Kind::New, Vec::new(), detail));
            }
            Some(old) => {
                let mut settings = settings(old, one);
                settings.retain(|setting| setting.before != setting.after);
                if !settings.is_empty() {
                    changes.push(change(one, Kind::Changed, settings, None));
                }
            }
        }
    }
    let went = old.iter().filter(|old| new.iter().all(|one| name(one) != name(old)));
    changes.extend(went.map(|old| change(old, Kind::Gone, Vec::new(), None)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(old: &Inspected, new: &Inspected) -> String {
        anstream::adapter::strip_str(&Difference::between(old, new).render()).to_string()
    }

    #[test]
    fn what_came_went_and_changed_is_told_in_words() {
        let old = Inspected::example();
        let new = Inspected::newer_example();
        assert_eq!(
            told(&old, &new),
            "\
old  printer 0.1.0  printer.wasm
new  printer 0.2.0  printer-2.wasm

what it is
  version  0.1.0 becomes 0.2.0

subscribes to
  tickets  filter {\"exact\":{\"type\":\"t\"}} becomes {\"exact\":{\"type\":\"u\"}}; max_in_flight 4 \
             becomes the default
  refunds  new: {\"exact\":{\"type\":\"r\"}}, 2 in flight at most

asks for
  config  reason for work becomes for more work
  http    new: to print elsewhere
  blobs   no more

what its imports let it do
  reaches the network, by HTTP                new: where http is granted
  puts blobs, and reads those of all plugins  no more

imports
  wasi:http/outgoing-handler@0.2.12  new
  usher:plugin/blobs@0.1.0           no more
"
        );
        let json = serde_json::to_value(Difference::between(&old, &new)).unwrap();
        assert_eq!(json["old"]["version"], "0.1.0");
        assert_eq!(
            json["changes"][0],
            json!({
                "what": "description", "name": "version", "change": "changed",
                "settings": [{ "setting": "text", "before": "0.1.0", "after": "0.2.0" }],
            })
        );
    }

    #[test]
    fn what_is_the_same_is_said_to_be() {
        let old = Inspected::example();
        assert!(told(&old, &old).ends_with("\nthe bytes are the same\n"));
        let recompiled = Inspected { digest: Digest::of(b"recompiled"), ..Inspected::example() };
        assert!(told(&old, &recompiled).ends_with("only its code has changed\n"));
        let other = Inspected { name: "other".to_owned(), ..recompiled };
        assert!(told(&old, &other).contains("it is another plugin"));
    }
}
