//! Where in a payload: a JSON Pointer (RFC 6901) or a JSONPath query (RFC 9535).

use std::fmt;

use serde_json_path::JsonPath;

/// Maximum length of a path.
pub(crate) const PATH_MAX_BYTES: usize = 1_024;

/// Maximum steps of a path.
pub(crate) const PATH_MAX_STEPS: usize = 32;

/// A query with more descendant segments could select a node as often as there are nodes.
const DESCENDANTS_MAX: usize = 1;

/// Where values are.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// As it was written.
    text: Box<str>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    One(Pointer),
    /// May select any number of values.
    Query(Box<JsonPath>),
}

/// Where one value is: names of members and indices of elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pointer(Vec<Box<str>>);

impl Path {
    /// Reads a path; the reason why it is none otherwise.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATH_MAX_BYTES {
            return Err(format!("has {} bytes, at most {PATH_MAX_BYTES} are allowed", text.len()));
        }
        let kind = match text.chars().next() {
            None | Some('/') => Kind::One(Pointer::parse(text)?),
            Some('$') => query(text)?,
            Some(_) => {
                return Err(
                    "is no path: /member for a JSON Pointer, $.member for a JSONPath query"
                        .to_owned(),
                );
            }
        };
        Ok(Self { text: text.into(), kind })
    }

    /// The one value it is about, if it can be only one.
    pub(crate) fn pointer(&self) -> Option<&Pointer> {
        match &self.kind {
            Kind::One(pointer) => Some(pointer),
            Kind::Query(_) => None,
        }
    }

    /// The values that it selects in a payload.
    pub(crate) fn select(&self, payload: &serde_json::Value) -> Vec<Pointer> {
        let Kind::Query(query) = &self.kind else { return Vec::new() };
        let located = query.query_located(payload);
        let places = located.into_iter().map(|node| node.location().to_json_pointer());
        places.filter_map(|place| Pointer::parse(&place).ok()).collect()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

fn query(text: &str) -> Result<Kind, String> {
    let query = JsonPath::parse(text).map_err(|error| format!("is no JSONPath query: {error}"))?;
    if let Some(pointer) = singular(text) {
        return pointer.check().map(Kind::One);
    }
    // Outside of quotes `..` is nothing else.
    if text.matches("..").count() > DESCENDANTS_MAX {
        return Err(format!("has more than {DESCENDANTS_MAX} descendant segment (..)"));
    }
    Ok(Kind::Query(Box::new(query)))
}

/// The value that a valid query of names and indices alone is about (RFC 9535, section 2.3.5.1: a
/// singular query); `None` for another.
fn singular(text: &str) -> Option<Pointer> {
    let mut rest = text.strip_prefix('$')?.trim_end();
    let mut steps = Vec::new();
    while !rest.is_empty() {
        rest = rest.trim_start();
        if let Some(member) = rest.strip_prefix('.') {
            let end = member.find(['.', '[', ' ', '\t', '\r', '\n']).unwrap_or(member.len());
            let (name, behind) = member.split_at_checked(end)?;
            if name.is_empty() || name == "*" {
                return None;
            }
            steps.push(name.into());
            rest = behind;
            continue;
        }
        let inner = rest.strip_prefix('[')?.trim_start();
        let (step, behind) = match inner.chars().next()? {
            quote @ ('\'' | '"') => {
                let (name, behind) = inner.get(1..)?.split_once(quote)?;
                // Escapes are left to the query.
                (Some(name).filter(|name| !name.contains('\\'))?, behind)
            }
            _ => {
                let end = inner.find(|one: char| !one.is_ascii_digit())?;
                let (index, behind) = inner.split_at_checked(end)?;
                (Some(index).filter(|index| !index.is_empty())?, behind)
            }
        };
        steps.push(step.into());
        rest = behind.trim_start().strip_prefix(']')?;
    }
    Some(Pointer(steps))
}

impl Pointer {
    /// Reads a JSON Pointer.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(steps) = text.strip_prefix('/') else {
            let is_root = text.is_empty();
            return if is_root { Ok(Self(Vec::new())) } else { Err("begins with no /".to_owned()) };
        };
        let step = |step: &str| {
            let mut name = String::with_capacity(step.len());
            let mut parts = step.split('~');
            name.push_str(parts.next().unwrap_or_default());
            for part in parts {
                let (escaped, rest) = match part.split_at_checked(1) {
                    Some(("0", rest)) => ('~', rest),
                    Some(("1", rest)) => ('/', rest),
                    _ => return Err("has a ~ that is neither ~0 nor ~1".to_owned()),
                };
                name.push(escaped);
                name.push_str(rest);
            }
            Ok(name.into())
        };
        Self(steps.split('/').map(step).collect::<Result<_, String>>()?).check()
    }

    fn check(self) -> Result<Self, String> {
        if self.0.len() > PATH_MAX_STEPS {
            return Err(format!(
                "has {} steps, at most {PATH_MAX_STEPS} are allowed",
                self.0.len()
            ));
        }
        Ok(self)
    }

    pub(crate) fn steps(&self) -> &[Box<str>] {
        &self.0
    }
}

/// As a JSON Pointer.
impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_of_names_and_indices_is_a_pointer() {
        for (text, pointer) in [
            ("", Some("")),
            ("/a/0/b~1c~0d", Some("/a/0/b~1c~0d")),
            ("/a//b", Some("/a//b")),
            ("$", Some("")),
            ("$.a.b", Some("/a/b")),
            ("$['a'][\"b.c\"][0]", Some("/a/b.c/0")),
            ("$ .a [ 'b' ]", Some("/a/b")),
            ("$.a[*]", None),
            ("$.a[-1]", None),
            ("$.a[0:2]", None),
            ("$.a['b','c']", None),
            ("$..a", None),
            ("$.a[?@.b == 1]", None),
            ("$['a\\'b']", None),
        ] {
            let path = Path::parse(text).unwrap();
            assert_eq!(path.pointer().map(Pointer::to_string).as_deref(), pointer, "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for (text, reason) in [
            ("a", "is no path"),
            ("/a~", "has a ~ that is neither"),
            ("/a~2", "has a ~ that is neither"),
            ("$.", "is no JSONPath query"),
            ("$.a[", "is no JSONPath query"),
            ("$..a..b", "has more than 1 descendant segment"),
            ("/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a", "has 33 steps"),
        ] {
            let error = Path::parse(text).unwrap_err();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
        assert!(Path::parse(&format!("/{}", "a".repeat(1_024))).is_err());
    }

    #[test]
    fn a_query_selects_places() {
        let payload = serde_json::json!({ "a": [{ "b": 1 }, { "b": 2 }, { "c/d": 3 }] });
        let select = |text: &str| {
            let found = Path::parse(text).unwrap().select(&payload);
            found.iter().map(Pointer::to_string).collect::<Vec<_>>()
        };
        assert_eq!(select("$.a[*].b"), ["/a/0/b", "/a/1/b"]);
        assert_eq!(select("$..['c/d']"), ["/a/2/c~1d"]);
        assert_eq!(select("$.a[?@.b > 1]"), ["/a/1"]);
        assert_eq!(select("$.x[*]"), [""; 0]);
    }
}
