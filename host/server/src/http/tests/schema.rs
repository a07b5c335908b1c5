//! Checks JSON against the schemas of the OpenAPI document: the part of JSON Schema that the
//! document uses. A keyword that isn't known here fails the test, so nothing goes unchecked.

use serde_json::Value;

/// What `value` does that `schema` (of `document`) doesn't allow; empty when all is well.
pub(super) fn violations(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut checker = Checker { document, violations: Vec::new() };
    checker.check(schema, value, "$");
    checker.violations
}

/// What `reference` (`#/…`) points at.
pub(super) fn resolve<'a>(document: &'a Value, reference: &str) -> &'a Value {
    let pointer = reference.strip_prefix('#').expect("references stay in the document");
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} points nowhere"))
}

struct Checker<'a> {
    document: &'a Value,
    violations: Vec<String>,
}

impl Checker<'_> {
    fn check(&mut self, schema: &Value, value: &Value, at: &str) {
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            let holds = match keyword.as_str() {
                "description" | "default" => true,
                "$ref" => {
                    self.check(resolve(self.document, rule.as_str().unwrap()), value, at);
                    true
                }
                "type" => match rule {
                    Value::Array(types) => types.iter().any(|name| is(value, name)),
                    name => is(value, name),
                },
                "const" => rule == value,
                "enum" => rule.as_array().unwrap().contains(value),
                "oneOf" => {
                    let fits = |schema| violations(self.document, schema, value).is_empty();
                    rule.as_array().unwrap().iter().filter(|schema| fits(schema)).count() == 1
                }
                "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
                "minLength" => value
                    .as_str()
                    .is_none_or(|s| s.chars().count() as u64 >= rule.as_u64().unwrap()),
                "maxItems" => {
                    value.as_array().is_none_or(|a| a.len() as u64 <= rule.as_u64().unwrap())
                }
                "format" => self.format(rule, value),
                "pattern" => {
                    assert_eq!(rule, "^[0-9a-f]{64}$", "the only pattern in use");
                    value.as_str().is_none_or(|s| s.parse::<usher_event::Digest>().is_ok())
                }
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}[{n}]"));
                    }
                    true
                }
                "required" => {
                    let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                    value.is_object() && { names }.all(|name| value.get(name).is_some())
                }
                "properties" => {
                    for (name, schema) in rule.as_object().unwrap() {
                        if let Some(value) = value.get(name) {
                            self.check(schema, value, &format!("{at}.{name}"));
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        let known = schema["properties"].get(name).is_some();
                        match rule {
                            _ if known => {}
                            Value::Bool(true) => {}
                            Value::Bool(false) => {
                                self.violations.push(format!("{at}.{name} is not described"));
                            }
                            schema => self.check(schema, value, &format!("{at}.{name}")),
                        }
                    }
                    true
                }
                unknown => panic!("the keyword {unknown} is not known here; teach the test"),
            };
            if !holds {
                self.violations.push(format!("{at}: {keyword} {rule} does not hold for {value}"));
            }
        }
    }

    fn format(&self, format: &Value, value: &Value) -> bool {
        assert_eq!(format, "date-time", "the only format in use");
        let rfc3339 = &time::format_description::well_known::Rfc3339;
        value.as_str().is_none_or(|s| time::OffsetDateTime::parse(s, rfc3339).is_ok())
    }
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("the type {unknown} is not known here; teach the test"),
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let document = serde_json::json!({
        "s": {
            "type": "object", "required": ["n"], "additionalProperties": false,
            "properties": {
                "n": { "type": ["integer", "null"], "minimum": 1 },
                "t": { "type": "string", "format": "date-time" },
                "l": { "type": "array", "items": { "enum": ["a"] } },
                "o": { "oneOf": [{ "type": "null" }, { "type": "boolean" }] }
            }
        }
    });
    let schema = serde_json::json!({ "$ref": "#/s" });
    for (value, expected) in [
        (serde_json::json!({ "n": 1, "t": "2026-01-31T12:00:00Z", "l": ["a"], "o": true }), 0),
        (serde_json::json!({ "n": null }), 0),
        (serde_json::json!({}), 1),
        (serde_json::json!([]), 2),
        (serde_json::json!({ "n": 0 }), 1),
        (serde_json::json!({ "n": "x" }), 1),
        (serde_json::json!({ "n": 1, "x": 1 }), 1),
        (serde_json::json!({ "n": 1, "t": "soon", "l": ["a", "b"], "o": 1 }), 3),
    ] {
        let found = violations(&document, &schema, &value);
        assert_eq!(found.len(), expected, "{value}: {found:?}");
    }
}
