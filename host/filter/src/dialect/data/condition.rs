//! What is asked of a value of the payload.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};

use crate::FilterError;
use crate::cover::{Atom, Cost, Cover, Test};
use crate::data::decimal::{Decimal, canonical, compare};
use crate::data::path::Pointer;
use crate::data::value::{Found, text_key};
use crate::dialect::Size;
use crate::mismatch::{Mismatch, quoted};
use crate::reader::{Reader, kind};

/// A condition on a value. All but `exists: false` fail where there is no value.
#[derive(Debug)]
pub(crate) enum Condition {
    /// It is this scalar.
    Is(Scalar),
    /// One of them holds; never empty.
    Either(Vec<Condition>),
    /// Each of them holds; at least two, each of another kind.
    Each(Vec<Condition>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    EqualsIgnoreCase(Box<str>),
    /// `*` stands for any characters.
    Wildcard(Wildcard),
    /// It is a number on this side of a limit.
    Number(Side, Decimal),
    /// It is an IP address of this network.
    Cidr(IpNet),
    Exists(bool),
    /// There is a value, for which the condition doesn't hold.
    Not(Box<Condition>),
    /// It is an array with an element, or a value that is no array, for which it holds.
    Any(Box<Condition>),
    /// It is an array for each element of which it holds, or a value for which it holds.
    All(Box<Condition>),
}

/// A scalar, with the key that equal ones share.
#[derive(Debug)]
pub(crate) struct Scalar {
    json: Json,
    key: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Above,
    From,
    Below,
    UpTo,
}

impl Side {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Above, "gt", "be above"),
        (Self::From, "gte", "be at least"),
        (Self::Below, "lt", "be below"),
        (Self::UpTo, "lte", "be at most"),
    ];

    fn words(self) -> (&'static str, &'static str) {
        let row = Self::ALL.iter().find(|(side, ..)| *side == self);
        row.map_or(("", ""), |(_, name, needs)| (name, needs))
    }

    fn has(self, number: &str, limit: &str) -> bool {
        let order = compare(number, limit);
        match self {
            Self::Above => order.is_gt(),
            Self::From => order.is_ge(),
            Self::Below => order.is_lt(),
            Self::UpTo => order.is_le(),
        }
    }
}

const OPERATORS: &str = "prefix, suffix, equals_ignore_case, wildcard, gt, gte, lt, lte, cidr, \
                         exists, not, any or all";

impl Condition {
    /// Reads a condition: a scalar, an array of conditions, or an object of operators.
    pub(crate) fn read(reader: &mut Reader, json: &Json) -> Result<Self, FilterError> {
        reader.check_depth()?;
        reader.count()?;
        match json {
            Json::Array(of) if of.is_empty() => {
                Err(reader.error("is empty: at least one alternative is needed"))
            }
            Json::Array(of) => {
                let members = of.iter().enumerate();
                let one = |(n, json)| {
                    reader.within(&format!("[{n}]"), |reader| {
                        reader.deeper(|reader| Self::read(reader, json))
                    })
                };
                Ok(Self::Either(members.map(one).collect::<Result<_, _>>()?))
            }
            Json::Object(of) if of.is_empty() => {
                Err(reader.error(format!("is empty: use {OPERATORS}")))
            }
            Json::Object(of) => {
                let one = |(name, json): (&String, &Json)| {
                    reader.within(&format!(".{name}"), |reader| Self::operator(reader, name, json))
                };
                let mut each = of.iter().map(one).collect::<Result<Vec<_>, _>>()?;
                match each.len() {
                    1 => each.pop().ok_or_else(|| reader.error("is empty")),
                    _ => {
                        each.sort_by_key(Self::name);
                        Ok(Self::Each(each))
                    }
                }
            }
            scalar => Scalar::read(reader, scalar).map(Self::Is),
        }
    }

    fn operator(reader: &mut Reader, name: &str, json: &Json) -> Result<Self, FilterError> {
        reader.count()?;
        if let Some((side, ..)) = Side::ALL.iter().find(|(_, known, _)| *known == name) {
            let Json::Number(number) = json else {
                return Err(reader.error(format!("expected a number, found {}", kind(json))));
            };
            return Ok(Self::Number(*side, Decimal::new(number.to_string())));
        }
        let inner =
            |reader: &mut Reader| reader.deeper(|reader| Self::read(reader, json)).map(Box::new);
        Ok(match name {
            "prefix" => Self::Prefix(reader.value(json)?),
            "suffix" => Self::Suffix(reader.value(json)?),
            "equals_ignore_case" => Self::EqualsIgnoreCase(reader.value(json)?),
            "wildcard" => Self::Wildcard(Wildcard::new(reader.value(json)?)),
            "cidr" => {
                let text = reader.value(json)?;
                let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
                Self::Cidr(network.map_err(|_| {
                    reader.error(format!("{} is no network, such as 10.0.0.0/8", quoted(&text)))
                })?)
            }
            "exists" => match json {
                Json::Bool(exists) => Self::Exists(*exists),
                other => {
                    return Err(
                        reader.error(format!("expected true or false, found {}", kind(other)))
                    );
                }
            },
            "not" => Self::Not(inner(reader)?),
            "any" => Self::Any(inner(reader)?),
            "all" => Self::All(inner(reader)?),
            _ => return Err(reader.error(format!("is no operator there is: use {OPERATORS}"))),
        })
    }

    /// Whether it holds for a value.
    pub(crate) fn holds(&self, value: Option<&RawValue>) -> bool {
        match (self, value) {
            (Self::Exists(exists), value) => *exists == value.is_some(),
            (Self::Either(of), value) => of.iter().any(|one| one.holds(value)),
            (Self::Each(of), value) => of.iter().all(|one| one.holds(value)),
            (_, None) => false,
            (condition, Some(value)) => condition.holds_here(value),
        }
    }

    fn holds_here(&self, value: &RawValue) -> bool {
        let found = Found::of(value);
        let text = |test: &dyn Fn(&str) -> bool| found.text().is_some_and(|text| test(&text));
        match self {
            Self::Is(scalar) => found.key().is_some_and(|key| key == scalar.key.as_ref()),
            Self::Prefix(prefix) => text(&|text| text.starts_with(&**prefix)),
            Self::Suffix(suffix) => text(&|text| text.ends_with(&**suffix)),
            Self::EqualsIgnoreCase(other) => text(&|text| same_but_case(text, other)),
            Self::Wildcard(pattern) => text(&|text| pattern.matches(text)),
            Self::Number(side, limit) => match found {
                Found::Number(number) => side.has(number, limit.as_str()),
                _ => false,
            },
            Self::Cidr(network) => {
                text(&|text| text.parse::<IpAddr>().is_ok_and(|ip| network.contains(&ip)))
            }
            Self::Not(inner) => !inner.holds(Some(value)),
            Self::Any(inner) => match found.elements() {
                Some(elements) => elements.iter().any(|element| inner.holds(Some(element))),
                None => inner.holds(Some(value)),
            },
            Self::All(inner) => match found.elements() {
                Some(elements) => elements.iter().all(|element| inner.holds(Some(element))),
                None => inner.holds(Some(value)),
            },
            Self::Exists(_) | Self::Either(_) | Self::Each(_) => self.holds(Some(value)),
        }
    }

    /// Whether it holds for what a query selects: for one of the values, or with `all` for each of at
    /// least one.
    pub(crate) fn holds_for(&self, values: &[&RawValue]) -> bool {
        match self {
            Self::Exists(exists) => *exists != values.is_empty(),
            // One value has to meet all of them, but for those that are about all values.
            Self::Each(of)
                if of.iter().any(|one| matches!(one, Self::Exists(_) | Self::All(_))) =>
            {
                of.iter().all(|one| one.holds_for(values))
            }
            Self::Either(of) => of.iter().any(|one| one.holds_for(values)),
            Self::All(inner) => {
                !values.is_empty() && values.iter().all(|value| inner.holds(Some(value)))
            }
            Self::Any(inner) => values.iter().any(|value| inner.holds(Some(value))),
            one => values.iter().any(|value| one.holds(Some(value))),
        }
    }

    /// Whether it looks into elements. An index looks at those of the value itself, not at theirs.
    fn looks_into_elements(&self) -> bool {
        match self {
            Self::Any(_) | Self::All(_) => true,
            Self::Either(of) | Self::Each(of) => of.iter().any(Self::looks_into_elements),
            Self::Not(inner) => inner.looks_into_elements(),
            _ => false,
        }
    }

    /// Conditions on the value at a pointer that an index can look up.
    pub(crate) fn cover(&self, pointer: &Pointer, cost: Cost<'_>) -> Option<Cover> {
        let one = |test| Some(Cover::one(Atom::data(pointer, test), false));
        match self {
            Self::Is(scalar) => one(Test::Equals(scalar.key.clone())),
            Self::Prefix(prefix) => one(Test::BeginsWith(prefix.clone())),
            Self::Suffix(suffix) => one(Test::EndsWith(suffix.clone())),
            Self::Wildcard(pattern) => match pattern.first() {
                "" => None,
                prefix => one(Test::BeginsWith(prefix.into())),
            },
            Self::Number(Side::Above | Side::From, limit) => {
                one(Test::Within(Some(limit.clone()), None))
            }
            Self::Number(Side::Below | Side::UpTo, limit) => {
                one(Test::Within(None, Some(limit.clone())))
            }
            Self::Either(of) => Cover::union(of.iter().map(|one| one.cover(pointer, cost))),
            Self::Each(of) => {
                let limit = |of_side: [Side; 2]| {
                    of.iter().find_map(|one| match one {
                        Self::Number(side, limit) if of_side.contains(side) => Some(limit.clone()),
                        _ => None,
                    })
                };
                let low = limit([Side::Above, Side::From]);
                let high = limit([Side::Below, Side::UpTo]);
                let is_range = low.is_some() && high.is_some();
                let range = is_range.then_some(Test::Within(low, high)).and_then(one);
                let each = of.iter().map(|one| one.cover(pointer, cost));
                Cover::cheapest([range].into_iter().chain(each), cost)
            }
            Self::Any(inner) if !inner.looks_into_elements() => inner.cover(pointer, cost),
            Self::EqualsIgnoreCase(_)
            | Self::Cidr(_)
            | Self::Exists(_)
            | Self::Not(_)
            | Self::Any(_)
            | Self::All(_) => None,
        }
    }

    /// Completes "needs to".
    pub(crate) fn needs(&self) -> String {
        match self {
            Self::Is(scalar) => format!("be {}", Mismatch::shown(&scalar.json)),
            Self::Prefix(prefix) => format!("begin with {}", quoted(prefix)),
            Self::Suffix(suffix) => format!("end with {}", quoted(suffix)),
            Self::EqualsIgnoreCase(text) => format!("be {} in any case", quoted(text)),
            Self::Wildcard(pattern) => format!("be like {}", quoted(&pattern.text)),
            Self::Number(side, limit) => {
                format!("{} {}", side.words().1, Mismatch::shown_text(limit.as_str()))
            }
            Self::Cidr(network) => format!("be an address of {network}"),
            Self::Exists(true) => "be there".to_owned(),
            Self::Exists(false) => "be absent".to_owned(),
            Self::Not(inner) => format!("be there and not {}", inner.needs()),
            Self::Any(inner) => format!("have an element to {}", inner.needs()),
            Self::All(inner) => format!("have only elements to {}", inner.needs()),
            Self::Either(of) if of.iter().all(|one| matches!(one, Self::Is(_))) => {
                format!("be one of {}", Mismatch::shown(&self.to_json()))
            }
            Self::Either(of) => Mismatch::shown_text(&join(of, " or ")),
            Self::Each(of) => Mismatch::shown_text(&join(of, " and ")),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Prefix(_) => "prefix",
            Self::Suffix(_) => "suffix",
            Self::EqualsIgnoreCase(_) => "equals_ignore_case",
            Self::Wildcard(_) => "wildcard",
            Self::Number(side, _) => side.words().0,
            Self::Cidr(_) => "cidr",
            Self::Exists(_) => "exists",
            Self::Not(_) => "not",
            Self::Any(_) => "any",
            Self::All(_) => "all",
            Self::Is(_) | Self::Either(_) | Self::Each(_) => "",
        }
    }

    pub(crate) fn size(&self) -> Size {
        match self {
            Self::Is(_) => Size { depth: 1, expressions: 1 },
            Self::Either(of) => Size::around(of.iter().map(Self::size)),
            Self::Each(of) => {
                let Size { depth, expressions } = Size::around(of.iter().map(Self::size));
                // What each counts for the object around it is counted once.
                Size { depth: depth - 1, expressions: expressions - of.len() }
            }
            Self::Not(inner) | Self::Any(inner) | Self::All(inner) => {
                let Size { depth, expressions } = inner.size();
                Size { depth: depth + 1, expressions: expressions + 2 }
            }
            _ => Size { depth: 1, expressions: 2 },
        }
    }

    pub(crate) fn to_json(&self) -> Json {
        let operand = match self {
            Self::Is(scalar) => return scalar.json.clone(),
            Self::Either(of) => return of.iter().map(Self::to_json).collect(),
            Self::Each(of) => {
                let members = of.iter().filter_map(|one| match one.to_json() {
                    Json::Object(members) => Some(members),
                    _ => None,
                });
                return Json::Object(members.flatten().collect());
            }
            Self::Prefix(text) | Self::Suffix(text) | Self::EqualsIgnoreCase(text) => json!(text),
            Self::Wildcard(pattern) => json!(pattern.text),
            Self::Number(_, limit) => serde_json::from_str(limit.as_str()).unwrap_or_default(),
            Self::Cidr(network) => json!(network.to_string()),
            Self::Exists(exists) => json!(exists),
            Self::Not(inner) | Self::Any(inner) | Self::All(inner) => inner.to_json(),
        };
        Json::Object(Map::from_iter([(self.name().to_owned(), operand)]))
    }
}

fn join(of: &[Condition], between: &str) -> String {
    of.iter().map(Condition::needs).collect::<Vec<_>>().join(between)
}

impl Scalar {
    fn read(reader: &Reader, json: &Json) -> Result<Self, FilterError> {
        let key = match json {
            Json::Null => "null".to_owned(),
            Json::Bool(value) => value.to_string(),
            Json::Number(number) => canonical(&number.to_string()),
            Json::String(text) => text_key(text),
            other => return Err(reader.error(format!("can't be compared with {}", kind(other)))),
        };
        Ok(Self { json: json.clone(), key: key.into() })
    }
}

/// Whether two texts are the same but for the case of their letters.
fn same_but_case(one: &str, other: &str) -> bool {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
    one.eq_ignore_ascii_case(other) || (!one.is_ascii() && lower(one) == lower(other))
}

/// A pattern in which `*` stands for any characters, and `\*` and `\\` for themselves.
#[derive(Debug)]
pub(crate) struct Wildcard {
    /// As it was written.
    text: Box<str>,
    /// What stands between the stars: one more than there are stars.
    pieces: Vec<String>,
}

impl Wildcard {
    fn new(text: Box<str>) -> Self {
        let mut pieces = vec![String::new()];
        let mut chars = text.chars();
        while let Some(one) = chars.next() {
            let literal = match one {
                '*' => {
                    pieces.push(String::new());
                    continue;
                }
                '\\' => chars.next().unwrap_or('\\'),
                other => other,
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(literal);
            }
        }
        Self { text, pieces }
    }

    /// What every text that matches begins with.
    fn first(&self) -> &str {
        self.pieces.first().map_or("", String::as_str)
    }

    /// Takes time that grows with the text and the pattern: each piece is searched for once.
    fn matches(&self, text: &str) -> bool {
        let Some(rest) = text.strip_prefix(self.first()) else { return false };
        let Some((last, middle)) = self.pieces.get(1..).and_then(<[_]>::split_last) else {
            return rest.is_empty();
        };
        let mut rest = rest;
        for piece in middle {
            let Some((_, behind)) = rest.split_once(piece.as_str()) else { return false };
            rest = behind;
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (text, pattern, matches) in [
            ("", "*", true),
            ("", "a", false),
            ("a", "", false),
            ("abc", "abc", true),
            ("abc", "a*", true),
            ("abc", "*c", true),
            ("abc", "a*b*c", true),
            ("abcbc", "a*bc", true),
            ("abcb", "a*bc", false),
            ("a*b", "a\\*b", true),
            ("axb", "a\\*b", false),
            ("a\\b", "a\\\\b", true),
            ("é*", "*\\*", true),
        ] {
            assert_eq!(Wildcard::new(pattern.into()).matches(text), matches, "{text} {pattern}");
        }
    }
}
