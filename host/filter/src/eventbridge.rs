//! Event patterns of Amazon EventBridge, translated to filters.
//!
//! Their envelope becomes attributes: `detail-type` is the type, `source` the source, `id` and `time`
//! what they are called; `detail` is the payload. An array of values in a pattern means that one of them
//! matches, and that a value which is an array matches with one of its elements: here `any`.

use serde_json::{Map, Value as Json, json};
use usher_cesql::literal;

use crate::data::path::escaped;
use crate::{Filter, FilterError};

/// A translated event pattern.
#[derive(Clone, Debug)]
pub struct Translated {
    /// What of the pattern has a counterpart.
    pub filter: Filter,
    /// What hasn't, each with its place. The filter matches more events than the pattern did.
    pub untranslated: Vec<String>,
}

/// What is wrong with another leaf.
const LEAF: &str = "a leaf of a pattern is an array that isn't empty";

/// Maximum nesting of objects in a pattern.
const PATTERN_MAX_DEPTH: usize = 32;

/// Translates an event pattern.
///
/// # Errors
/// The pattern is no object, or what it becomes exceeds a limit of filters.
pub fn from_eventbridge(pattern: &Json) -> Result<Translated, FilterError> {
    let Json::Object(pattern) = pattern else {
        return Err(FilterError::new("", "an event pattern is a JSON object"));
    };
    let mut translation = Translation::default();
    let all = translation.object(pattern, &Place::Envelope, 1);
    let filter = Filter::from_json(&Json::Array(all))?;
    Ok(Translated { filter, untranslated: translation.untranslated })
}

/// Where in an event a part of a pattern looks.
enum Place {
    Envelope,
    /// A JSON Pointer.
    Detail(String),
}

#[derive(Default)]
struct Translation {
    untranslated: Vec<String>,
}

impl Translation {
    /// The filters that all have to match.
    fn object(&mut self, pattern: &Map<String, Json>, place: &Place, depth: usize) -> Vec<Json> {
        if depth > PATTERN_MAX_DEPTH {
            self.cannot("", &format!("nests deeper than {PATTERN_MAX_DEPTH}"));
            return Vec::new();
        }
        let mut all = Vec::new();
        for (name, part) in pattern {
            if name == "$or" {
                all.extend(self.alternatives(part, place, depth));
                continue;
            }
            match (place, part) {
                (Place::Envelope, Json::Object(inner)) if name == "detail" => {
                    all.extend(self.object(inner, &Place::Detail(String::new()), depth + 1));
                }
                (Place::Envelope, part) => all.extend(self.attribute(name, part)),
                (Place::Detail(above), part) => {
                    let pointer = format!("{above}/{}", escaped(name));
                    match part {
                        Json::Object(inner) => {
                            all.extend(self.object(inner, &Place::Detail(pointer), depth + 1));
                        }
                        Json::Array(of) if !of.is_empty() => all.extend(self.values(&pointer, of)),
                        _ => self.cannot(&pointer, LEAF),
                    }
                }
            }
        }
        all
    }

    fn alternatives(&mut self, part: &Json, place: &Place, depth: usize) -> Option<Json> {
        let Json::Array(of) = part else {
            self.cannot("$or", "needs an array");
            return None;
        };
        if of.is_empty() {
            self.cannot("$or", "needs at least one alternative");
        }
        let mut any = Vec::new();
        for one in of {
            let Json::Object(one) = one else {
                self.cannot("$or", "needs objects");
                return None;
            };
            let all = self.object(one, place, depth + 1);
            let Some(one) = joined(all, |all| json!({ "all": all })) else {
                // What says nothing matches everything.
                self.cannot("$or", "has an alternative of which nothing is left");
                return None;
            };
            any.push(one);
        }
        (!any.is_empty()).then(|| json!({ "any": any }))
    }

    /// A filter on one member of the envelope.
    fn attribute(&mut self, name: &str, part: &Json) -> Option<Json> {
        let attribute = match name {
            "detail-type" => "type",
            "source" | "id" | "time" => name,
            other => {
                self.cannot(other, "has no counterpart in a CloudEvent");
                return None;
            }
        };
        let Json::Array(of) = part else {
            self.cannot(name, LEAF);
            return None;
        };
        if of.is_empty() {
            self.cannot(name, LEAF);
        }
        let mut any = Vec::new();
        for one in of {
            any.push(self.attribute_value(name, attribute, one)?);
        }
        joined(any, |any| json!({ "any": any }))
    }

    fn attribute_value(&mut self, name: &str, attribute: &str, value: &Json) -> Option<Json> {
        let (operator, operand) = match value {
            Json::String(_) => return Some(json!({ "exact": { attribute: value } })),
            Json::Object(of) if of.len() == 1 => of.iter().next()?,
            other => {
                self.cannot(name, &format!("can't be {other}"));
                return None;
            }
        };
        match (operator.as_str(), operand) {
            ("prefix" | "suffix", Json::String(_)) => {
                Some(json!({ operator: { attribute: operand } }))
            }
            ("equals-ignore-case", Json::String(text)) => {
                let Some(text) = literal(&text.to_lowercase()) else {
                    self.cannot(name, "has a backslash where SQL can't");
                    return None;
                };
                Some(json!({ "sql": format!("LOWER({attribute}) = {text}") }))
            }
            ("exists", Json::Bool(exists)) => {
                let not = if *exists { "" } else { "NOT " };
                Some(json!({ "sql": format!("{not}EXISTS {attribute}") }))
            }
            ("anything-but", unwanted) => {
                let mut any = Vec::new();
                for one in listed(unwanted) {
                    any.push(self.attribute_value(name, attribute, one)?);
                }
                Some(json!({ "not": { "any": any } }))
            }
            _ => {
                self.cannot(name, &format!("{operator} has no counterpart for attributes"));
                None
            }
        }
    }

    /// A filter on one value of the payload.
    fn values(&mut self, pointer: &str, of: &[Json]) -> Option<Json> {
        // Absence is no element of an array.
        let (mut elements, mut either) = (Vec::new(), Vec::new());
        for one in of {
            match one {
                Json::Object(operator) if operator.contains_key("exists") => {
                    either.push(one.clone())
                }
                one => elements.push(self.value(pointer, one)?),
            }
        }
        either.extend(joined(elements, Json::Array).map(|any| json!({ "any": any })));
        let condition = joined(either, Json::Array)?;
        Some(json!({ "data": { pointer: condition } }))
    }

    fn value(&mut self, pointer: &str, value: &Json) -> Option<Json> {
        let (operator, operand) = match value {
            Json::Object(of) if of.len() == 1 => of.iter().next()?,
            Json::Object(_) | Json::Array(_) => {
                self.cannot(pointer, &format!("can't be {value}"));
                return None;
            }
            scalar => return Some(scalar.clone()),
        };
        match (operator.as_str(), operand) {
            ("prefix" | "suffix" | "wildcard" | "cidr", Json::String(text)) if !text.is_empty() => {
                Some(json!({ operator: operand }))
            }
            ("equals-ignore-case", Json::String(_)) => {
                Some(json!({ "equals_ignore_case": operand }))
            }
            ("numeric", Json::Array(of)) => self.numeric(pointer, of),
            ("anything-but", Json::Array(of)) => Some(json!({ "not": of })),
            ("anything-but", Json::Object(inner)) => {
                let mut either = Vec::new();
                for (name, operand) in inner {
                    for operand in listed(operand) {
                        either.push(self.value(pointer, &json!({ name: operand }))?);
                    }
                }
                Some(json!({ "not": either }))
            }
            ("anything-but", scalar) => Some(json!({ "not": scalar })),
            _ => {
                self.cannot(pointer, &format!("{value} has no counterpart"));
                None
            }
        }
    }

    fn numeric(&mut self, pointer: &str, of: &[Json]) -> Option<Json> {
        let mut sides = Map::new();
        for pair in of.chunks(2) {
            let side = match pair {
                [Json::String(side), number @ Json::Number(_)] => match side.as_str() {
                    "=" if of.len() == 2 => return Some(number.clone()),
                    ">" => Some(("gt", number)),
                    ">=" => Some(("gte", number)),
                    "<" => Some(("lt", number)),
                    "<=" => Some(("lte", number)),
                    _ => None,
                },
                _ => None,
            };
            let Some((side, number)) = side else {
                self.cannot(pointer, &format!("numeric can't be {}", json!(of)));
                return None;
            };
            if sides.insert(side.to_owned(), number.clone()).is_some() {
                self.cannot(pointer, "numeric has one side twice");
                return None;
            }
        }
        if of.is_empty() {
            self.cannot(pointer, "numeric can't be empty");
            return None;
        }
        Some(Json::Object(sides))
    }

    fn cannot(&mut self, place: &str, why: &str) {
        let shown: String = format!("{place}: {why}").chars().take(200).collect();
        self.untranslated.push(shown);
    }
}

/// Several as one; one is itself.
fn joined(mut of: Vec<Json>, join: impl FnOnce(Vec<Json>) -> Json) -> Option<Json> {
    if of.len() > 1 { Some(join(of)) } else { of.pop() }
}

/// The elements of an array, or what stands for an array of itself.
fn listed(json: &Json) -> &[Json] {
    match json {
        Json::Array(of) => of,
        one => std::slice::from_ref(one),
    }
}
