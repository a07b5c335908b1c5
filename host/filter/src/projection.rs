//! What of an event's payload a subscription hands on: only the parts that `project` names, without those that
//! `redact` names. What is left is copied as it was written.
//!
//! Where it can't be told what a part is (data is no JSON, or nested deeper than a path looks), nothing of the
//! payload is handed on: what was to be hidden stays hidden.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use usher_event::Event;

use crate::data::members::{Part, behind, for_each, name};
use crate::data::path::{PATH_MAX_STEPS, Path, Step};
use crate::subject::text;

/// Maximum paths of `project`, and of `redact`.
pub const PROJECTION_MAX_PATHS: usize = 64;

/// Maximum of them with a descendant segment: each of those looks at all that is there.
const BELOW_MAX_PATHS: usize = 8;

/// The parts of a payload that are handed on.
#[derive(Clone, Debug, Default)]
pub struct Projection {
    /// `None` for all of it.
    project: Option<Trails>,
    redact: Trails,
}

/// A path that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} {reason}")]
pub struct ProjectionError {
    /// The path.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Projection {
    /// Hands on what `project` leads to, if there is one, but nothing that `redact` leads to. Both are JSON
    /// Pointers (RFC 6901) or JSONPath queries (RFC 9535) as in filters.
    ///
    /// # Errors
    /// One of them is no path, or there are more than [`PROJECTION_MAX_PATHS`].
    pub fn new<T: AsRef<str>>(
        project: Option<&[T]>,
        redact: &[T],
    ) -> Result<Self, ProjectionError> {
        let project = project.map(Trails::parse).transpose()?;
        Ok(Self { project, redact: Trails::parse(redact)? })
    }

    /// This projection, where `outer` holds as well: its `redact` in any case, its `project` unless this one has
    /// one.
    ///
    /// # Errors
    /// Together they redact more than [`PROJECTION_MAX_PATHS`].
    pub fn within(self, outer: &Self) -> Result<Self, ProjectionError> {
        let project = self.project().or_else(|| outer.project());
        let mut redact = self.redact();
        redact.extend(outer.redact());
        redact.sort_unstable();
        redact.dedup();
        Self::new(project.as_deref(), &redact)
    }

    /// Whether it hands on everything.
    pub fn is_whole(&self) -> bool {
        self.project.is_none() && self.redact.0.is_empty()
    }

    /// The paths of `project`, as they were written.
    pub fn project(&self) -> Option<Vec<&str>> {
        self.project.as_ref().map(Trails::texts)
    }

    /// The paths of `redact`, as they were written.
    pub fn redact(&self) -> Vec<&str> {
        self.redact.texts()
    }

    /// A copy of the event with that part of its data; without data if that can't be told. What is handed on
    /// whole costs nothing.
    #[must_use]
    pub fn apply(&self, event: &Event) -> Event {
        if self.is_whole() {
            return event.clone();
        }
        event.with_part_of_data(self.part_of(event).as_deref())
    }

    fn part_of(&self, event: &Event) -> Option<Vec<u8>> {
        let text = text(event).ok()?;
        let mut out = Vec::new();
        let has_any = self.copy(text, &mut out).ok()?;
        if !has_any {
            if self.redact.is_at_end(&self.redact.start()) {
                return None;
            }
            // Readers of an object get one of which nothing is left.
            match text.trim_start().as_bytes().first() {
                Some(b'{') => out.extend_from_slice(b"{}"),
                Some(b'[') => out.extend_from_slice(b"[]"),
                _ => return None,
            }
        }
        Some(out)
    }

    /// Whether anything was copied.
    fn copy(&self, text: &str, out: &mut Vec<u8>) -> Result<bool, serde_json::Error> {
        let keep = self.project.as_ref().map(Trails::start);
        let mut at = At { keep, hide: self.redact.start(), level: 0 };
        let mut walk = Walk { projection: self, text, out };
        let begin = text.trim_start();
        match walk.choose(&mut at, begin) {
            Copied::Parts if begin.starts_with('{') => {
                let mut deserializer = serde_json::Deserializer::from_str(text);
                let has_any = Members { walk: &mut walk, at }.deserialize(&mut deserializer)?;
                deserializer.end()?;
                Ok(has_any)
            }
            _ => walk.value(serde_json::from_str(text)?, at),
        }
    }
}

impl PartialEq for Projection {
    fn eq(&self, other: &Self) -> bool {
        (self.project(), self.redact()) == (other.project(), other.redact())
    }
}

/// Paths that are followed together.
#[derive(Clone, Debug, Default)]
struct Trails(Vec<Trail>);

#[derive(Clone, Debug)]
struct Trail {
    path: Path,
    steps: Vec<Step>,
}

/// A path, and how many of its steps were taken.
type Place = (usize, usize);

impl Trails {
    fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, ProjectionError> {
        let parse = |text: &T| {
            let text = text.as_ref();
            let error = |reason| ProjectionError { path: text.to_owned(), reason };
            let path = Path::parse(text).map_err(error)?;
            let steps = match path.pointer() {
                Some(pointer) => pointer.steps().iter().map(|name| Step::named(name)).collect(),
                None => path.steps().to_vec(),
            };
            Ok(Trail { path, steps })
        };
        if let Some(one_too_many) = texts.get(PROJECTION_MAX_PATHS) {
            return Err(ProjectionError {
                path: one_too_many.as_ref().to_owned(),
                reason: format!("is one path too many: at most {PROJECTION_MAX_PATHS} are allowed"),
            });
        }
        let trails = texts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let looks_below = |trail: &&Trail| trail.steps.contains(&Step::Below);
        if let Some(Trail { path, .. }) = trails.iter().filter(looks_below).nth(BELOW_MAX_PATHS) {
            return Err(ProjectionError {
                path: path.as_str().to_owned(),
                reason: format!(
                    "is one path with .. too many: at most {BELOW_MAX_PATHS} are allowed"
                ),
            });
        }
        Ok(Self(trails))
    }

    fn texts(&self) -> Vec<&str> {
        self.0.iter().map(|trail| trail.path.as_str()).collect()
    }

    fn start(&self) -> Vec<Place> {
        (0..self.0.len()).map(|trail| (trail, 0)).collect()
    }

    /// Where the paths lead from these places into a part of the value there.
    fn follow(&self, places: &[Place], part: &Part<'_>) -> Vec<Place> {
        let mut led = Vec::new();
        let mut add = |place| {
            if !led.contains(&place) {
                led.push(place);
            }
        };
        for (trail, taken) in places.iter().copied() {
            let Some(Trail { steps, .. }) = self.0.get(trail) else { continue };
            let next = match steps.get(taken) {
                Some(Step::Below) => {
                    add((trail, taken));
                    taken + 1
                }
                _ => taken,
            };
            if steps.get(next).is_some_and(|step| step.takes(part)) {
                add((trail, next + 1));
            }
        }
        led
    }

    /// Whether a path ends at one of these places.
    fn is_at_end(&self, places: &[Place]) -> bool {
        places.iter().any(|(trail, taken)| {
            self.0.get(*trail).is_some_and(|Trail { steps, .. }| steps.len() == *taken)
        })
    }
}

/// One copying of a payload's parts: objects are read once, arrays that are entered once more. Where a member is repeated, each is treated alike.
struct Walk<'p, 'd, 'o> {
    projection: &'p Projection,
    text: &'d str,
    out: &'o mut Vec<u8>,
}

/// Where the paths lead at a value, and how deep that lies.
struct At {
    /// `None` where all of it is kept.
    keep: Option<Vec<Place>>,
    hide: Vec<Place>,
    level: usize,
}

/// What is to be done with a value.
enum Copied {
    Nothing,
    Whole,
    /// Its parts, each as it says.
    Parts,
}

impl<'d> Walk<'_, 'd, '_> {
    /// Where the paths lead from a value into a part of it.
    fn follow(&self, at: &At, part: &Part<'_>) -> At {
        let Projection { project, redact } = self.projection;
        let keep = at.keep.as_ref().zip(project.as_ref());
        At {
            keep: keep.map(|(places, project)| project.follow(places, part)),
            hide: redact.follow(&at.hide, part),
            level: at.level + 1,
        }
    }

    /// What of a value that begins like this is copied.
    fn choose(&self, at: &mut At, begin: &str) -> Copied {
        let Projection { project, redact } = self.projection;
        if redact.is_at_end(&at.hide) {
            return Copied::Nothing;
        }
        if let (Some(places), Some(project)) = (&at.keep, project)
            && project.is_at_end(places)
        {
            at.keep = None;
        }
        let has_parts = begin.starts_with(['{', '[']);
        match &at.keep {
            None if at.hide.is_empty() || !has_parts => Copied::Whole,
            Some(places) if places.is_empty() || !has_parts => Copied::Nothing,
            _ => Copied::Parts,
        }
    }

    /// Copies what is to be kept of a value; returns whether that is anything.
    fn value(&mut self, value: &'d RawValue, mut at: At) -> Result<bool, serde_json::Error> {
        let text = value.get();
        match self.choose(&mut at, text) {
            Copied::Nothing => Ok(false),
            Copied::Whole => {
                self.out.extend_from_slice(text.as_bytes());
                Ok(true)
            }
            Copied::Parts if text.starts_with('{') => Members { walk: self, at }
                .deserialize(&mut serde_json::Deserializer::from_str(text)),
            Copied::Parts => self.elements(value, &at),
        }
    }

    fn elements(&mut self, value: &'d RawValue, at: &At) -> Result<bool, serde_json::Error> {
        check_level(at)?;
        let start = self.begin(b'[');
        let (mut has_any, mut failed) = (false, Ok(()));
        for_each(value, |part, value| {
            if failed.is_err() {
                return;
            }
            let before = self.next(has_any);
            match self.value(value, self.follow(at, &part)) {
                Ok(true) => has_any = true,
                Ok(false) => self.out.truncate(before),
                Err(error) => failed = Err(error),
            }
        });
        failed?;
        Ok(self.end(at, start, has_any, b']'))
    }

    fn begin(&mut self, bracket: u8) -> usize {
        let start = self.out.len();
        self.out.push(bracket);
        start
    }

    /// Begins a part that may be taken back to where it begins.
    fn next(&mut self, has_any: bool) -> usize {
        let before = self.out.len();
        if has_any {
            self.out.push(b',');
        }
        before
    }

    /// A container stays where all of it was to be kept, whatever was hidden in it.
    fn end(&mut self, at: &At, start: usize, has_any: bool, bracket: u8) -> bool {
        let is_kept = has_any || at.keep.is_none();
        match is_kept {
            true => self.out.push(bracket),
            false => self.out.truncate(start),
        }
        is_kept
    }
}

/// Only a descendant segment leads so deep.
fn check_level<E: serde::de::Error>(at: &At) -> Result<(), E> {
    match at.level < PATH_MAX_STEPS {
        true => Ok(()),
        false => Err(E::custom("nested deeper than is looked at")),
    }
}

/// An object whose members are copied as they come.
struct Members<'w, 'p, 'd, 'o> {
    walk: &'w mut Walk<'p, 'd, 'o>,
    at: At,
}

impl<'d> DeserializeSeed<'d> for Members<'_, '_, 'd, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'d>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'d> Visitor<'d> for Members<'_, '_, 'd, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'d>>(self, mut members: A) -> Result<bool, A::Error> {
        let Self { walk, at } = self;
        check_level(&at)?;
        let start = walk.begin(b'{');
        let mut has_any = false;
        while let Some(written) = members.next_key::<&RawValue>()? {
            let Some(part) = name(written).map(Part::Member) else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let mut within = walk.follow(&at, &part);
            let begin = behind(written, walk.text);
            let chosen = walk.choose(&mut within, begin);
            if let Copied::Nothing = chosen {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let before = walk.next(has_any);
            if let Part::Member(name) = &part {
                // Writing text to memory can't fail.
                let _ = serde_json::to_writer(&mut *walk.out, name);
                walk.out.push(b':');
            }
            let is_kept = match chosen {
                Copied::Parts if begin.starts_with('{') => {
                    members.next_value_seed(Members { walk: &mut *walk, at: within })?
                }
                _ => {
                    let value = members.next_value::<&RawValue>()?;
                    walk.value(value, within).map_err(serde::de::Error::custom)?
                }
            };
            match is_kept {
                true => has_any = true,
                false => walk.out.truncate(before),
            }
        }
        Ok(walk.end(&at, start, has_any, b'}'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(project: Option<&[&str]>, redact: &[&str], data: &str) -> Option<String> {
        let projection = Projection::new(project, redact).unwrap();
        let event =
            Event::builder("1", "/s", "t").subject("x").data(data.to_owned()).build().unwrap();
        let part = projection.apply(&event);
        // As if it had been made like that.
        assert_eq!(Event::from_encoded(part.encoded().clone()).unwrap(), part);
        assert_eq!((part.id(), part.subject()), ("1", Some("x")));
        part.data().map(|data| String::from_utf8(data.to_vec()).unwrap())
    }

    fn project(paths: &[&str], data: &str) -> Option<String> {
        apply(Some(paths), &[], data)
    }

    fn redact(paths: &[&str], data: &str) -> Option<String> {
        apply(None, paths, data)
    }

    const ORDER: &str = r#"{"order":{"id":7.10,"items":[{"sku":"a","n":1},{"sku":"b"},3]},"amount": 1e2,
        "card":{"number":"4111","name":"x"}}"#;

    #[test]
    fn only_what_is_named_is_kept_as_it_was_written() {
        let kept = project(&["/order/id", "/amount"], ORDER).unwrap();
        assert_eq!(kept, r#"{"order":{"id":7.10},"amount":1e2}"#);
        let kept = project(&["$.order.items[*].sku"], ORDER).unwrap();
        assert_eq!(kept, r#"{"order":{"items":[{"sku":"a"},{"sku":"b"}]}}"#);
        assert_eq!(
            project(&["/order/items/1"], ORDER).unwrap(),
            r#"{"order":{"items":[{"sku":"b"}]}}"#
        );
        assert_eq!(
            project(&["/card", "/card/name"], ORDER).unwrap(),
            r#"{"card":{"number":"4111","name":"x"}}"#
        );
        assert_eq!(project(&[""], ORDER).unwrap(), ORDER);
        assert_eq!(
            project(&["$..sku"], ORDER).unwrap(),
            r#"{"order":{"items":[{"sku":"a"},{"sku":"b"}]}}"#
        );
        for nothing in [&["/nothing"][..], &["/amount/x"], &[]] {
            assert_eq!(project(nothing, ORDER).unwrap(), "{}");
        }
        assert_eq!(project(&["/x"], "[1]").unwrap(), "[]");
        assert_eq!(project(&["/x"], "1"), None);
        assert_eq!(project(&["/a"], r#"{"\u0061":1,"\"":2,"a":3}"#).unwrap(), r#"{"a":1,"a":3}"#);
        assert_eq!(project(&["/\""], r#"{"\"":2}"#).unwrap(), r#"{"\"":2}"#);
    }

    #[test]
    fn what_is_redacted_is_left_out() {
        assert_eq!(
            redact(&["/a/b", "/c/0"], r#"{"a":{"b":1,"d":2},"c":[1,2]}"#).unwrap(),
            r#"{"a":{"d":2},"c":[2]}"#
        );
        assert_eq!(redact(&["/a/b"], r#"{"a":{"b":1}}"#).unwrap(), r#"{"a":{}}"#);
        assert_eq!(
            redact(&["$..password"], r#"{"password":1,"u":[{"password":2,"n":"p"}]}"#).unwrap(),
            r#"{"u":[{"n":"p"}]}"#
        );
        assert_eq!(redact(&["/a"], r#"{"a":1,"\u0061":2,"b":3}"#).unwrap(), r#"{"b":3}"#);
        assert_eq!(redact(&[""], r#"{"a":1}"#), None);
        assert_eq!(
            apply(Some(&["/card"]), &["/card/number"], ORDER).unwrap(),
            r#"{"card":{"name":"x"}}"#
        );
        assert_eq!(apply(Some(&["/card/number"]), &["/card/number"], ORDER).unwrap(), "{}");
    }

    #[test]
    fn what_cannot_be_told_is_hidden() {
        for data in ["no JSON", r#"{"a":1"#, ""] {
            assert_eq!(redact(&["/a"], data), None, "{data}");
            assert_eq!(project(&["/a"], data), None, "{data}");
        }
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(redact(&["$..a"], &deep), None);
        assert_eq!(redact(&["/a"], &deep).unwrap(), deep);
        let text = Event::builder("1", "/s", "t").datacontenttype("text/plain").data(r#"{"b":1}"#);
        let hidden = Projection::new(None, &["/a"]).unwrap().apply(&text.build().unwrap());
        assert_eq!(hidden.data(), None);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let error = Projection::new(Some(&["order"]), &[]).unwrap_err();
        assert!(error.to_string().starts_with("\"order\" is no path"), "{error}");
        let many = vec!["/a"; PROJECTION_MAX_PATHS + 1];
        assert!(Projection::new(None, &many).unwrap_err().to_string().contains("at most 64"));
        let below = vec!["$..a"; BELOW_MAX_PATHS + 1];
        assert!(Projection::new(None, &below).unwrap_err().to_string().contains("at most 8"));
    }

    #[test]
    fn what_holds_for_all_holds_for_each() {
        let outer = Projection::new(Some(&["/a"]), &["/b", "/c"]).unwrap();
        let own = Projection::new(None, &["/b", "/d"]).unwrap().within(&outer).unwrap();
        assert_eq!((own.project(), own.redact()), (Some(vec!["/a"]), vec!["/b", "/c", "/d"]));
        let own = Projection::new(Some(&["/e"]), &[]).unwrap().within(&outer).unwrap();
        assert_eq!((own.project(), own.redact()), (Some(vec!["/e"]), vec!["/b", "/c"]));
    }
}
