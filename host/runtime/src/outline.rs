//! Reads a component's imports and exports without compiling it: compiling a component only to find
//! that it targets another world could take arbitrarily long.

use wasmparser::{Parser, Payload};

use crate::exported::Kind;
use crate::load_error::LoadErrorKind;
use crate::text;

/// Maximum export names listed in an error.
const EXPORTS_SHOWN_MAX: usize = 8;

/// Importable packages: name, versions (each a prefix if it ends in `.`) and interfaces (empty:
/// all).
const OFFERED: [(&str, &[&str], &[&str]); 13] = [
    ("usher:plugin", &["0.1."], &["contract", "blobs"]),
    ("wasi:cli", &["0.2."], &[]),
    ("wasi:clocks", &["0.2."], &[]),
    ("wasi:config", &["0.2.0-draft", "0.2.0-rc.1", "0.2.0-draft-2024-09-27"], &["store"]),
    ("wasi:filesystem", &["0.2."], &[]),
    ("wasi:http", &["0.2."], &["types", "outgoing-handler"]),
    ("wasi:io", &["0.2."], &[]),
    ("wasi:keyvalue", &["0.2.0-draft2", "0.2.0-draft"], &["store", "atomics", "batch"]),
    ("wasi:logging", &["0.1.0-draft"], &["logging"]),
    ("wasi:messaging", &["0.2.0-draft"], &["types", "producer", "request-reply"]),
    ("wasi:random", &["0.2."], &[]),
    ("wasi:sockets", &["0.2."], &[]),
    ("wasmcloud:messaging", &["0.2."], &["types", "consumer"]),
];
/// Maximum number of imports and exports together.
const NAMES_MAX: usize = 10_000;

/// Names of a component's top-level imports and exports.
#[derive(Debug, Default)]
pub(crate) struct ComponentNames {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl ComponentNames {
    /// Reads the top-level names; nested modules and components are skipped.
    ///
    /// # Errors
    /// The parser's message for an invalid binary, or more than `NAMES_MAX` names.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let words = |error: wasmparser::BinaryReaderError| error.to_string();
        let mut outline = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(words)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        outline.imports.push(import.map_err(words)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        outline.exports.push(export.map_err(words)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
            if outline.imports.len() + outline.exports.len() > NAMES_MAX {
                return Err(format!("it imports and exports more than {NAMES_MAX} names"));
            }
        }
        Ok(outline)
    }

    /// Checks that the component exports an interface that deliveries can be made to, and imports only what is offered.
    pub(crate) fn check(&self) -> Result<(), LoadErrorKind> {
        if Kind::of(self.exports.iter().map(String::as_str)).is_none() {
            return Err(wrong_world(&self.exports));
        }
        let refused = self.imports.iter().find_map(|name| Some((name, refusal(name)?)));
        match refused {
            None => Ok(()),
            Some((name, detail)) => {
                Err(LoadErrorKind::UnknownImport { import: text::name(name), detail })
            }
        }
    }
}

/// Why an import is not offered, and what is; `None` if it is offered.
fn refusal(name: &str) -> Option<String> {
    let Some((package, rest)) = name.split_once('/') else {
        return Some(format!(
            "which is not offered: it is no interface; plugins import interfaces of {}",
            packages()
        ));
    };
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    let Some((_, offered, interfaces)) = OFFERED.iter().find(|(known, ..)| *known == package)
    else {
        return Some(format!("which is not offered: plugins get {}", packages()));
    };
    let is_fit = |offered: &&str| match offered.strip_suffix('.') {
        Some(_) => version.starts_with(offered),
        None => version == *offered,
    };
    if !offered.iter().any(is_fit) {
        let shown = |offered: &&str| match offered.strip_suffix('.') {
            Some(line) => format!("{line}.x"),
            None => (*offered).to_owned(),
        };
        let offered = offered.iter().map(shown).collect::<Vec<_>>().join(" and ");
        let advice = match is_wasi_0_3(package, version) {
            true => "; build it for WASI 0.2, such as Rust's target wasm32-wasip2",
            false => "",
        };
        return Some(format!(
            "which is not offered like that: there is version {offered}, not {}{advice}",
            if version.is_empty() { "without one".to_owned() } else { text::name(version) }
        ));
    }
    // What the contract's types were called before 0.1.0 was frozen.
    if name.starts_with("usher:plugin/types@") {
        return Some(
            "which is not offered: it was built for a draft of the contract; build it again with \
             the WIT or SDK of this version"
                .to_owned(),
        );
    }
    if !interfaces.is_empty() && !interfaces.contains(&interface) {
        let all = interfaces.join(", ");
        return Some(format!("which is not offered: of {package} there are {all}"));
    }
    None
}

fn packages() -> String {
    OFFERED.map(|(package, ..)| package).join(", ")
}

/// Whether a version of an interface of WASI is of the 0.3 line.
fn is_wasi_0_3(package: &str, version: &str) -> bool {
    package.starts_with("wasi:") && version.starts_with("0.3.")
}

/// That a component has none of the exports that deliveries can be made to.
pub(crate) fn wrong_world(exports: &[String]) -> LoadErrorKind {
    let is_wasi_0_3 = exports.iter().any(|name| {
        let version = name.split_once('@').map_or("", |(_, version)| version);
        is_wasi_0_3(name, version)
    });
    LoadErrorKind::WrongWorld { found: shown(exports), is_wasi_0_3 }
}

/// Export names for an error.
fn shown(exports: &[String]) -> String {
    match exports {
        [] => "nothing".to_owned(),
        names => {
            let shown: Vec<_> =
                names.iter().take(EXPORTS_SHOWN_MAX).map(|name| text::name(name)).collect();
            let more = if names.len() > EXPORTS_SHOWN_MAX { ", …" } else { "" };
            format!("{}{more}", shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_without_what_is_inside() {
        let text = r#"(component
            (import "wasi:io/error@0.2.0" (instance))
            (component (import "inner" (func)) (export "also-inner" (func 0)))
            (core module (func))
            (instance $empty)
            (export "usher:plugin/listener@0.1.0" (instance $empty)))"#;
        let bytes = wat::parse_str(text).unwrap();
        let outline = ComponentNames::read(&bytes).unwrap();
        assert_eq!(outline.imports, ["wasi:io/error@0.2.0"]);
        assert_eq!(outline.exports, ["usher:plugin/listener@0.1.0"]);
        assert!(outline.check().is_ok());
        let end = bytes.len() - 1;
        assert!(ComponentNames::read(&bytes[..end]).is_err());
    }

    #[test]
    fn what_is_not_offered_is_told_with_what_is() {
        for (name, expected) in [
            ("wasi:io/streams@0.2.12", None),
            ("wasi:http/types@0.2.0", None),
            ("wasi:keyvalue/store@0.2.0-draft2", None),
            ("usher:plugin/contract@0.1.0", None),
            ("wasi:keyvalue/store@0.2.0-draft", None),
            ("wasi:config/store@0.2.0-rc.1", None),
            ("usher:plugin/types@0.1.0", Some("built for a draft of the contract")),
            (
                "wasi:http/incoming-handler@0.2.0",
                Some("of wasi:http there are types, outgoing-handler"),
            ),
            (
                "wasi:io/streams@0.3.0",
                Some("there is version 0.2.x, not 0.3.0; build it for WASI 0.2"),
            ),
            (
                "wasi:keyvalue/store@0.2.0",
                Some("there is version 0.2.0-draft2 and 0.2.0-draft, not 0.2.0"),
            ),
            ("usher:plugin/contract@9.0.0", Some("there is version 0.1.x, not 9.0.0")),
            ("wasi:nn/tensor@0.2.0", Some("which is not offered: plugins get usher:plugin")),
            ("env", Some("it is no interface")),
        ] {
            let found = refusal(name);
            let is_expected = match expected {
                None => found.is_none(),
                Some(words) => found.as_ref().is_some_and(|found| found.contains(words)),
            };
            assert!(is_expected, "{name}: {found:?}");
        }
    }
}
