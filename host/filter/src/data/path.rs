//! Where in a payload: a JSON Pointer (RFC 6901), or a query of the part of JSONPath (RFC 9535) that can be
//! answered in time that grows with the payload alone.
//!
//! Whole JSONPath can't: a selector that is repeated, as in `[*,*]`, selects a node twice, and again at each
//! level; a filter selector may look through all of the payload for each of its elements. Filters are hostile
//! input, and evaluated between two commits.

use std::fmt;

use super::members::Part;

/// Maximum length of a path.
pub(crate) const PATH_MAX_BYTES: usize = 1_024;

/// Maximum steps of a path.
pub(crate) const PATH_MAX_STEPS: usize = 32;

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
    Query(Vec<Step>),
}

/// Where one value is: names of members, or indices of elements, as the value that they are in has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pointer(Vec<Box<str>>);

/// A segment of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `.name` or `['name']`.
    Name(Box<str>),
    /// `[7]`.
    Index(usize),
    /// As a pointer has it: the member of this name, or the element whose index it is.
    Either(Box<str>, usize),
    /// `.*` or `[*]`.
    Every,
    /// `..`: what follows, from here and from everything below.
    Below,
}

impl Step {
    /// A step of a pointer.
    pub(crate) fn named(name: &str) -> Self {
        match index(name) {
            Some(index) => Self::Either(name.into(), index),
            None => Self::Name(name.into()),
        }
    }

    /// Whether it leads to this part of a value.
    pub(crate) fn takes(&self, part: &Part<'_>) -> bool {
        match (self, part) {
            (Self::Every, _) => true,
            (Self::Name(name) | Self::Either(name, _), Part::Member(here)) => **name == **here,
            (Self::Index(index) | Self::Either(_, index), Part::Element(here)) => index == here,
            _ => false,
        }
    }
}

impl Path {
    /// Reads a path; the reason why it is none otherwise.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATH_MAX_BYTES {
            return Err(format!("has {} bytes, at most {PATH_MAX_BYTES} are allowed", text.len()));
        }
        let kind = match text.strip_prefix('$') {
            Some(rest) => query(rest)?,
            None if text.is_empty() || text.starts_with('/') => Kind::One(Pointer::parse(text)?),
            None => {
                return Err(
                    "is no path: /member for a JSON Pointer, $.member for a JSONPath query"
                        .to_owned(),
                );
            }
        };
        Ok(Self { text: text.into(), kind })
    }

    /// The one value it is about, if it can be only one and an index can look it up.
    pub(crate) fn pointer(&self) -> Option<&Pointer> {
        match &self.kind {
            Kind::One(pointer) => Some(pointer),
            Kind::Query(_) => None,
        }
    }

    /// The segments of a query that is no pointer.
    pub(crate) fn steps(&self) -> &[Step] {
        match &self.kind {
            Kind::One(_) => &[],
            Kind::Query(steps) => steps,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Reads what follows the `$`.
fn query(text: &str) -> Result<Kind, String> {
    let unknown = || {
        "has a segment that is none of .name, ['name'], [0], [*], .* and one ..: filter selectors, slices, \
         unions, negative indices and functions are not supported"
            .to_owned()
    };
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(below) = rest.strip_prefix("..") {
            if steps.contains(&Step::Below) {
                return Err("has more than one descendant segment (..)".to_owned());
            }
            steps.push(Step::Below);
            // `..name` and `..*` go on as after a single dot.
            rest = if below.starts_with('[') { below } else { rest.get(1..).unwrap_or_default() };
        }
        if let Some(member) = rest.strip_prefix('.') {
            let end = member.find(['.', '[']).unwrap_or(member.len());
            let (name, behind) = member.split_at_checked(end).ok_or_else(unknown)?;
            let is_name = |one: char| one.is_alphanumeric() || one == '_' || !one.is_ascii();
            steps.push(match name {
                "*" => Step::Every,
                name if !name.is_empty()
                    && name.chars().all(is_name)
                    && !name.starts_with(|one: char| one.is_ascii_digit()) =>
                {
                    Step::Name(name.into())
                }
                _ => return Err(unknown()),
            });
            rest = behind;
        } else if let Some(inner) = rest.strip_prefix('[') {
            let (step, behind) = bracket(inner).ok_or_else(unknown)?;
            steps.push(step);
            rest = behind;
        } else {
            return Err(unknown());
        }
        if steps.len() > PATH_MAX_STEPS {
            return Err(too_long(steps.len()));
        }
    }
    let name = |step: &Step| match step {
        // A pointer would also take it for an index.
        Step::Name(name) if index(name).is_none() => Some(name.clone()),
        _ => None,
    };
    let names: Option<Vec<Box<str>>> = steps.iter().map(name).collect();
    Ok(match names {
        Some(names) => Kind::One(Pointer(names)),
        None => Kind::Query(steps),
    })
}

/// Parses a bracketed selector behind its `[`; returns what follows its `]`, too.
fn bracket(inner: &str) -> Option<(Step, &str)> {
    let inner = inner.trim_start();
    let (step, behind) = match inner.chars().next()? {
        '*' => (Step::Every, inner.get(1..)?),
        quote @ ('\'' | '"') => {
            let (name, behind) = inner.get(1..)?.split_once(quote)?;
            // Escapes are not supported: a JSON Pointer needs none.
            (Step::Name(Some(name).filter(|name| !name.contains('\\'))?.into()), behind)
        }
        _ => {
            let end = inner.find(|one: char| !one.is_ascii_digit())?;
            let (number, behind) = inner.split_at_checked(end)?;
            (Step::Index(index(number)?), behind)
        }
    };
    Some((step, behind.trim_start().strip_prefix(']')?))
}

/// The index that a text is: digits without leading zeros (RFC 6901, section 4).
pub(crate) fn index(text: &str) -> Option<usize> {
    let index: usize = text.parse().ok()?;
    (index.to_string() == text).then_some(index)
}

fn too_long(steps: usize) -> String {
    format!("has {steps} steps, at most {PATH_MAX_STEPS} are allowed")
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
        let steps: Vec<Box<str>> = steps.split('/').map(step).collect::<Result<_, String>>()?;
        if steps.len() > PATH_MAX_STEPS {
            return Err(too_long(steps.len()));
        }
        Ok(Self(steps))
    }

    pub(crate) fn steps(&self) -> &[Box<str>] {
        &self.0
    }
}

/// A step as a JSON Pointer has it.
pub(crate) fn escaped(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

/// As a JSON Pointer.
impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "/{}", escaped(step)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_of_names_is_a_pointer() {
        for (text, pointer) in [
            ("", Some("")),
            ("/a/0/b~1c~0d", Some("/a/0/b~1c~0d")),
            ("/a//b", Some("/a//b")),
            ("$", Some("")),
            ("$.a.b", Some("/a/b")),
            ("$['a'][\"b.c\"]", Some("/a/b.c")),
            ("$.a[ 'b' ]", Some("/a/b")),
            // A pointer would take an index and a name for each other.
            ("$.a[0]", None),
            ("$.a['0']", None),
            ("$.a[*]", None),
            ("$..a", None),
            ("$..[0].*", None),
        ] {
            let path = Path::parse(text).unwrap();
            assert_eq!(path.pointer().map(Pointer::to_string).as_deref(), pointer, "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let steps = "/a".repeat(33);
        for (text, reason) in [
            ("a", "is no path"),
            ("/a~", "has a ~ that is neither"),
            ("/a~2", "has a ~ that is neither"),
            (steps.as_str(), "has 33 steps"),
            ("$.", "has a segment that is none of"),
            ("$.a[", "has a segment that is none of"),
            ("$.a[-1]", "has a segment that is none of"),
            ("$.a[01]", "has a segment that is none of"),
            ("$.a[0:2]", "has a segment that is none of"),
            ("$[*,*]", "has a segment that is none of"),
            ("$[?@.a]", "has a segment that is none of"),
            ("$['a\\'b']", "has a segment that is none of"),
            ("$a", "has a segment that is none of"),
            ("$..", "has a segment that is none of"),
            ("$..a..b", "has more than one descendant segment"),
        ] {
            let error = Path::parse(text).unwrap_err();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
        assert!(Path::parse(&format!("/{}", "a".repeat(1_024))).is_err());
    }
}
