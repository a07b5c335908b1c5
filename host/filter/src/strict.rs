//! JSON that refuses duplicate members, and numbers that a 64-bit integer or float would round.
//! `serde_json`'s own value keeps the last member and the rounded number, which would silently drop or
//! change a condition of a filter.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

use crate::data::decimal::compare;

pub(crate) struct Strict(pub(crate) Json);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

/// The first number in valid JSON that is kept as another one.
pub(crate) fn rounded_number(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let begin = rest.find(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])?;
        rest = rest.get(begin..)?;
        if let Some(string) = rest.strip_prefix('"') {
            let mut is_escaped = false;
            let end = string.find(|one| {
                let ends = one == '"' && !is_escaped;
                is_escaped = one == '\\' && !is_escaped;
                ends
            });
            rest = string.get(end? + 1..)?;
            continue;
        }
        let is_of_number = |one: char| matches!(one, '0'..='9' | '-' | '+' | '.' | 'e' | 'E');
        let end = rest.find(|one| !is_of_number(one)).unwrap_or(rest.len());
        let (number, behind) = rest.split_at_checked(end)?;
        let kept: Number = serde_json::from_str(number).ok()?;
        if compare(number, &kept.to_string()).is_ne() {
            return Some(number);
        }
        rest = behind;
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut of = Vec::new();
        while let Some(Strict(json)) = seq.next_element()? {
            of.push(json);
        }
        Ok(Json::Array(of))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(json))) = map.next_entry::<String, _>()? {
            if members.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format!("member {shown:?} is there twice")));
            }
            members.insert(name, json);
        }
        Ok(Json::Object(members))
    }
}
