//! Reads TOML tables key by key. Problems are collected with their places instead of ending the
//! read, so that all are reported at once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ConfigProblem, Location};

/// How much of an unknown key is compared with the known ones.
const KEY_MAX_CHARS: usize = 64;

/// The file being read and the problems found in it so far.
pub(crate) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
    problems: RefCell<Vec<(usize, ConfigProblem)>>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, problems: RefCell::default() }
    }

    /// Records a problem.
    pub(crate) fn problem(&self, at: &Range<usize>, what: impl Display, hint: Option<String>) {
        let problem = ConfigProblem {
            place: Location::in_file(self.file, self.text, at.start),
            what: what.to_string(),
            hint,
        };
        self.problems.borrow_mut().push((at.start, problem));
    }

    /// Records the problems of a file that is named here.
    pub(crate) fn add(&self, at: &Range<usize>, problems: Vec<ConfigProblem>) {
        self.problems.borrow_mut().extend(problems.into_iter().map(|problem| (at.start, problem)));
    }

    /// The problems, in the order of the file.
    pub(crate) fn into_problems(self) -> Vec<ConfigProblem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(offset, _)| *offset);
        problems.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// Reads a file that is no larger than that.
pub(crate) fn read_file(path: &Path, max_bytes: u64) -> Result<String, String> {
    let failed = |error: io::Error| format!("can't be read: {error}");
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(max_bytes + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > max_bytes {
        return Err(format!("has more than {max_bytes} bytes"));
    }
    Ok(text)
}

/// Has `read` read the text of a file; returns all problems.
pub(crate) fn parse(file: &Path, text: &str, read: impl FnOnce(Table<'_>)) -> Vec<ConfigProblem> {
    let source = Source::new(file, text);
    let (entries, errors) = DeTable::parse_recoverable(text);
    let whole = 0..text.len();
    for error in &errors {
        let hint = "write key = value, or [table] on a line of its own; text stands in quotes";
        let span = error.span().unwrap_or(whole.clone());
        source.problem(&span, error.message(), Some(hint.to_owned()));
    }
    read(Table::root(&source, entries.get_ref()));
    source.into_problems()
}

/// A value with its byte range in the file.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// A table of the file. Readers return `None` or an empty list for absent keys, and for invalid
/// values, which they also report. [`Table::finish`] reports keys that were never read.
pub(crate) struct Table<'a> {
    source: &'a Source<'a>,
    /// Its name as in the file, such as `plugin.payment`; empty for the root.
    name: String,
    entries: &'a DeTable<'a>,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Table<'a> {
    pub(crate) fn root(source: &'a Source<'a>, entries: &'a DeTable<'a>) -> Self {
        Self { source, name: String::new(), entries, known: RefCell::default() }
    }

    pub(crate) fn source(&self) -> &'a Source<'a> {
        self.source
    }

    /// The table's dotted name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().insert(key);
        self.entries.get(key)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str, written: &str) {
        let found = value.get_ref().type_str();
        let what = format!("{key} must be {wanted}, found {}", with_article(found));
        self.source.problem(&value.span(), what, Some(format!("write {written}")));
    }

    /// A string.
    pub(crate) fn string(&self, key: &'static str) -> Option<At<&'a str>> {
        let value = self.get(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, "a string", &format!("{key} = \"…\", with the quotes"));
        }
        Some(At { value: text?, span: value.span() })
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let At { value, span } = self.string(key)?;
        let chosen = choices.iter().find(|(word, _)| *word == value).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            let what = format!("{key} can't be {value:?}");
            self.source.problem(&span, what, Some(format!("use {}", words.join(" or "))));
        }
        chosen
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            let written = format!("{key} = true or {key} = false, without quotes");
            self.wrong_type(key, value, "true or false", &written);
        }
        boolean
    }

    /// A whole number within `range`.
    pub(crate) fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(key)?;
        let Some(digits) = value.get_ref().as_integer() else {
            let written = format!("{key} = {}, without quotes or fraction", range.start());
            self.wrong_type(key, value, "a whole number", &written);
            return None;
        };
        let number = u64::from_str_radix(digits.as_str(), digits.radix()).ok();
        let fitting = number.filter(|number| range.contains(number));
        if fitting.is_none() {
            let what = format!("{key} = {digits} is out of range");
            let hint = format!("use {} to {}", range.start(), range.end());
            self.source.problem(&value.span(), what, Some(hint));
        }
        fitting
    }

    /// A whole number within `range`, as a size.
    pub(crate) fn size(&self, key: &'static str, range: RangeInclusive<usize>) -> Option<usize> {
        let wide = |size: &usize| u64::try_from(*size).unwrap_or(u64::MAX);
        let number = self.integer(key, wide(range.start())..=wide(range.end()))?;
        usize::try_from(number).ok()
    }

    /// Milliseconds within `range`.
    pub(crate) fn millis(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<Duration> {
        self.integer(key, range).map(Duration::from_millis)
    }

    /// A number within `range`.
    pub(crate) fn number(&self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => integer.to_string().parse().ok(),
            _ => {
                let written = format!("{key} = {}, without quotes", range.start());
                self.wrong_type(key, value, "a number", &written);
                return None;
            }
        };
        let fitting = number.filter(|number| range.contains(number));
        if fitting.is_none() {
            let hint = format!("use {} to {}", range.start(), range.end());
            self.source.problem(&value.span(), format!("{key} is out of range"), Some(hint));
        }
        fitting
    }

    /// A string, or a list of them.
    pub(crate) fn string_or_strings(&self, key: &'static str) -> Vec<At<&'a str>> {
        match self.get(key).map(Spanned::get_ref) {
            Some(DeValue::Array(_)) => self.strings(key),
            _ => self.string(key).into_iter().collect(),
        }
    }

    /// A list of strings.
    pub(crate) fn strings(&self, key: &'static str) -> Vec<At<&'a str>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list of strings", &format!("{key} = [\"…\"]"));
            return Vec::new();
        };
        let text = |item: &'a Spanned<DeValue<'a>>| match item.get_ref().as_str() {
            Some(text) => Some(At { value: text, span: item.span() }),
            None => {
                let written = format!("{key} = [\"…\", \"…\"], with the quotes");
                self.wrong_type(&format!("each of {key}"), item, "a string", &written);
                None
            }
        };
        items.iter().filter_map(text).collect()
    }

    /// A list of any values, for the caller to check.
    pub(crate) fn items(&self, key: &'static str) -> &'a [Spanned<DeValue<'a>>] {
        let Some(value) = self.get(key) else { return &[] };
        match value.get_ref().as_array() {
            Some(items) => items,
            None => {
                self.wrong_type(key, value, "a list", &format!("{key} = [\"…\"]"));
                &[]
            }
        }
    }

    /// An item of the list `key`, as a table.
    pub(crate) fn item(&self, key: &str, item: &'a Spanned<DeValue<'a>>) -> Option<Table<'a>> {
        self.inner(key, item)
    }

    /// Any value, for the caller to check.
    pub(crate) fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.get(key)
    }

    /// A table within this one.
    pub(crate) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let value = self.get(key)?;
        self.inner(key, value)
    }

    /// A list of tables (`[[key]]`), each with its place.
    pub(crate) fn list(&self, key: &'static str) -> Vec<At<Table<'a>>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            let written = format!("[[{key}]] on a line of its own, once for each");
            self.wrong_type(key, value, "a list of tables", &written);
            return Vec::new();
        };
        let table = |item: &'a Spanned<DeValue<'a>>| {
            Some(At { value: self.inner(key, item)?, span: item.span() })
        };
        items.iter().filter_map(table).collect()
    }

    /// Every entry as a table with its name, for tables whose keys are names.
    pub(crate) fn tables(&self) -> Vec<(At<&'a str>, Table<'a>)> {
        let named = |(key, value): (&'a Spanned<_>, &'a Spanned<_>)| {
            let name: &std::borrow::Cow<'a, str> = key.get_ref();
            let table = self.inner(name, value)?;
            Some((At { value: &**name, span: key.span() }, table))
        };
        self.entries.iter().filter_map(named).collect()
    }

    /// Every entry with its name, for tables whose keys are names.
    pub(crate) fn entries(
        &self,
    ) -> impl Iterator<Item = (At<&'a str>, &'a Spanned<DeValue<'a>>)> + use<'a> {
        self.entries.iter().map(|(key, value)| {
            let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
            (At { value: &**name, span: key.span() }, value)
        })
    }

    fn inner(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Option<Table<'a>> {
        let name =
            if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        let Some(entries) = value.get_ref().as_table() else {
            let written = format!("[{name}] on a line of its own, and its keys below");
            self.wrong_type(key, value, &format!("a table ([{name}])"), &written);
            return None;
        };
        Some(Table { source: self.source, name, entries, known: RefCell::default() })
    }

    /// Reports keys that were never read, with a suggestion.
    pub(crate) fn finish(self) {
        let known = self.known.into_inner();
        for (key, _) in self.entries {
            if known.contains(&**key.get_ref()) {
                continue;
            }
            let place =
                if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            let hint = match closest(key.get_ref(), &known) {
                Some(close) => format!("did you mean {close:?}?"),
                None => {
                    let known: Vec<_> = known.iter().copied().collect();
                    format!("known here: {}", known.join(", "))
                }
            };
            let what = format!("unknown key {:?}{place}", key.get_ref());
            self.source.problem(&key.span(), what, Some(hint));
        }
    }
}

/// Records a problem at the setting's span in the file, or at its flag.
pub(crate) fn report(
    table: &Table<'_>,
    problems: &mut Vec<ConfigProblem>,
    place: Option<std::ops::Range<usize>>,
    flag: &'static str,
    what: String,
    hint: &str,
) {
    match place {
        Some(span) => table.source().problem(&span, what, Some(hint.to_owned())),
        None => problems.push(ConfigProblem {
            place: Location::Flag { flag },
            what,
            hint: Some(hint.to_owned()),
        }),
    }
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// The known word that `word` most likely misspells, if any is close enough.
pub(crate) fn closest<'k>(word: &str, known: &BTreeSet<&'k str>) -> Option<&'k str> {
    // Bounds the comparison with a key of a hostile length.
    let end = word.char_indices().nth(KEY_MAX_CHARS).map_or(word.len(), |(end, _)| end);
    let word = word.get(..end).unwrap_or(word);
    known
        .iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let known = ["instances", "limits", "grants", "config"].into();
        let cases = [
            ("isntances", Some("instances")),
            ("instance", Some("instances")),
            ("limit", Some("limits")),
            ("gratns", Some("grants")),
            ("memory", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(closest(word, &known), expected, "{word}");
        }
    }
}
