//! Patterns of `LIKE` (§3.4.3).

use crate::evaluate::{Steps, TooManySteps};

/// A pattern, split at its `%`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// As it was written.
    text: Box<str>,
    /// What a value begins with.
    first: Group,
    /// What follows anywhere, in this order.
    middle: Box<[Group]>,
    /// What it ends with; `None` without any `%`: then `first` is all of it.
    last: Option<Group>,
}

/// Text and single characters, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// `_`: this many characters.
    Any(usize),
    Text(String),
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        let mut groups = vec![Group::default()];
        let mut chars = text.chars().peekable();
        while let Some(one) = chars.next() {
            let literal = match one {
                '%' => {
                    groups.push(Group::default());
                    continue;
                }
                '_' => None,
                // "Both `%` and `_` can be escaped with `\`"; before anything else it is itself.
                '\\' => Some(chars.next_if(|next| matches!(next, '%' | '_')).unwrap_or('\\')),
                other => Some(other),
            };
            if let Some(group) = groups.last_mut() {
                group.push(literal);
            }
        }
        let last = (groups.len() > 1).then(|| groups.pop().unwrap_or_default());
        let mut groups = groups.into_iter();
        let first = groups.next().unwrap_or_default();
        let middle = groups.filter(|group| !group.0.is_empty()).collect();
        Self { text: text.into(), first, middle, last }
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What every value that matches begins with, and whether every value that does matches.
    pub(crate) fn prefix(&self) -> (&str, bool) {
        let Some(Piece::Text(prefix)) = self.first.0.first() else { return ("", false) };
        let is_open = self.last.as_ref().is_some_and(|last| last.0.is_empty());
        (prefix, self.first.0.len() == 1 && self.middle.is_empty() && is_open)
    }

    /// The only value that matches, if there is only one.
    pub(crate) fn only(&self) -> Option<&str> {
        match (self.first.0.as_slice(), &self.last) {
            ([], None) => Some(""),
            ([Piece::Text(text)], None) => Some(text),
            _ => None,
        }
    }

    /// Whether a value matches.
    pub(crate) fn matches(&self, value: &str, steps: &mut Steps) -> Result<bool, TooManySteps> {
        steps.take(value.len())?;
        let Some(mut rest) = self.first.strip(value) else { return Ok(false) };
        let Some(last) = &self.last else { return Ok(rest.is_empty()) };
        for group in &self.middle {
            match group.find(rest, steps)? {
                Some(behind) => rest = behind,
                None => return Ok(false),
            }
        }
        Ok(last.ends(rest))
    }
}

impl Piece {
    /// Its characters.
    fn width(&self) -> usize {
        match self {
            Self::Any(count) => *count,
            Self::Text(literal) => literal.chars().count(),
        }
    }
}

impl Group {
    fn push(&mut self, literal: Option<char>) {
        match (literal, self.0.last_mut()) {
            (None, Some(Piece::Any(count))) => *count += 1,
            (None, _) => self.0.push(Piece::Any(1)),
            (Some(one), Some(Piece::Text(text))) => text.push(one),
            (Some(one), _) => self.0.push(Piece::Text(one.to_string())),
        }
    }

    /// What follows, if the text begins with the group.
    fn strip<'t>(&self, mut text: &'t str) -> Option<&'t str> {
        for piece in &self.0 {
            text = match piece {
                Piece::Any(count) => skip(text, *count)?,
                Piece::Text(literal) => text.strip_prefix(literal.as_str())?,
            };
        }
        Some(text)
    }

    /// What follows the group where it stands first in the text.
    fn find<'t>(
        &self,
        mut text: &'t str,
        steps: &mut Steps,
    ) -> Result<Option<&'t str>, TooManySteps> {
        if let [Piece::Text(literal)] = self.0.as_slice() {
            steps.take(text.len())?;
            return Ok(text.split_once(literal.as_str()).map(|(_, behind)| behind));
        }
        // At most what one attempt looks at.
        let width = self.0.iter().map(Piece::width).sum();
        loop {
            steps.take(width)?;
            if let Some(behind) = self.strip(text) {
                return Ok(Some(behind));
            }
            match skip(text, 1) {
                Some(rest) => text = rest,
                None => return Ok(None),
            }
        }
    }

    /// Whether the text ends with the group.
    fn ends(&self, text: &str) -> bool {
        let chars: usize = self.0.iter().map(Piece::width).sum();
        let Some(before_last) = chars.checked_sub(1) else { return true };
        let begin = text.char_indices().rev().nth(before_last);
        let end = begin.and_then(|(begin, _)| text.get(begin..));
        end.is_some_and(|end| self.strip(end).is_some_and(str::is_empty))
    }
}

/// What follows that many characters.
fn skip(text: &str, chars: usize) -> Option<&str> {
    let mut rest = text.chars();
    (0..chars).all(|_| rest.next().is_some()).then_some(rest.as_str())
}
