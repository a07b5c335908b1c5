//! Describes in plain words what a plugin's imports let it do.

use serde::Serialize;
use usher_runtime::{About, capabilities};

/// Something a plugin's imports let it do, if granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Ability {
    /// A predicate whose subject is the plugin: "keeps state".
    pub(crate) words: &'static str,
    /// The capability that must be granted; `null` if it needs no grant.
    pub(crate) capability: Option<&'static str>,
    /// Whether the given configuration grants it; `null` without a configuration or capability.
    pub(crate) granted: Option<bool>,
}

/// The abilities that `imports` imply. `is_granted` is `None` without a configuration.
pub(crate) fn of(imports: &[String], is_granted: Option<&dyn Fn(&str) -> bool>) -> Vec<Ability> {
    let mut abilities = Vec::new();
    for About { name: capability, interfaces, ability: words, .. } in capabilities() {
        let uses = |import: &String| interfaces.iter().any(|start| import.starts_with(start));
        if imports.iter().any(uses) {
            let granted = is_granted.zip(capability).map(|(is_granted, name)| is_granted(name));
            abilities.push(Ability { words, capability, granted });
        }
    }
    abilities
}

impl Ability {
    /// The condition under which it works, as text.
    pub(crate) fn condition(&self) -> String {
        match (self.capability, self.granted) {
            (None, _) => "always".to_owned(),
            (Some(name), None) => format!("where {name} is granted"),
            (Some(name), Some(true)) => format!("{name} is granted"),
            (Some(name), Some(false)) => format!("denied: {name} is not granted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_told_in_words_once_each() {
        let imports = [
            "wasi:keyvalue/store@0.2.0-draft2",
            "wasi:keyvalue/atomics@0.2.0-draft2",
            "wasi:io/poll@0.2.6",
            "wasi:cli/stdout@0.2.6",
            "wasi:http/outgoing-handler@0.2.12",
        ]
        .map(str::to_owned);
        let shown = |is_granted: Option<&dyn Fn(&str) -> bool>| {
            let abilities = of(&imports, is_granted).into_iter();
            abilities.map(|one| format!("{}: {}", one.words, one.condition())).collect::<Vec<_>>()
        };
        assert_eq!(
            shown(None),
            [
                "reaches the network, by HTTP: where http is granted",
                "keeps state: where state is granted",
                "writes to the log: always"
            ]
        );
        assert_eq!(
            shown(Some(&|name| name == "state")),
            [
                "reaches the network, by HTTP: denied: http is not granted",
                "keeps state: state is granted",
                "writes to the log: always"
            ]
        );
    }
}
