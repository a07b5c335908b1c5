//! The language, section by section of its specification: expression, what it comes to, and the error.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

use proptest::prelude::*;
use usher_cesql::{
    Attributes, EXPRESSION_MAX_BYTES, EXPRESSION_MAX_DEPTH, ErrorKind, Expression, Value,
};

use ErrorKind::{Cast, FunctionEvaluation, Generic, Math, MissingAttribute, MissingFunction};

/// An event with attributes of each type. `missing` isn't there.
fn event() -> [(&'static str, Value<'static>); 10] {
    [
        ("specversion", "1.0".into()),
        ("id", "A-7".into()),
        ("source", "https://shop.example/orders".into()),
        ("type", "order.placed".into()),
        ("time", "2026-05-04T03:02:01Z".into()),
        ("sequence", "12".into()),
        ("items", 12.into()),
        ("paid", true.into()),
        ("word", "Straße".into()),
        ("2fa", "on".into()),
    ]
}

fn check<'v>(text: &str, value: impl Into<Value<'v>>, error: Option<ErrorKind>) {
    let expression = Expression::parse(text).unwrap();
    let event = event();
    let evaluation = expression.evaluate(&event);
    let found = (evaluation.value, evaluation.error.map(|error| error.kind));
    assert_eq!(found, (value.into(), error), "{text}");
    assert_eq!(expression.passes(&event), found == (true.into(), None), "{text}");
    assert_eq!(expression.explain(&event).is_none(), found == (true.into(), None), "{text}");
    let printed = expression.to_string();
    assert_eq!(Expression::parse(&printed).as_ref(), Ok(&expression), "{text}: {printed}");
}

fn is<'v>(text: &str, value: impl Into<Value<'v>>) {
    check(text, value, None);
}

fn fails<'v>(text: &str, value: impl Into<Value<'v>>, error: ErrorKind) {
    check(text, value, Some(error));
}

/// Byte and beginning of the reason.
#[track_caller]
fn refused(text: &str, at: usize, reason: &str) {
    let error = Expression::parse(text).unwrap_err();
    assert_eq!(error.at(), at, "{text}: {error}");
    assert!(error.reason().starts_with(reason), "{text}: {error}");
}

#[test]
fn literals_and_names() {
    is("TRUE", true);
    is("false", false);
    is("\t 7\r\n", 7);
    is("-2147483648", i32::MIN);
    is("+2147483647", i32::MAX);
    is("007", 7);
    is("'it\\'s'", "it's");
    is("\"it's \\\"so\\\"\"", "it's \"so\"");
    is("'\"'", "\"");
    is("'a\\b\\\\'", "a\\b\\\\");
    is("\"\\'\"", "\\'");
    is(r#""\'\\\"""#, r#"\'\\""#);
    is("2fa", "on");
    is("type", "order.placed");
    is("paid", true);
    is("items", 12);
    is("time", "2026-05-04T03:02:01Z");
    fails("missing", false, MissingAttribute);
    fails("(missing)", false, MissingAttribute);
}

#[test]
fn what_is_no_expression() {
    refused("", 0, "expected a value, found the end");
    refused("type =", 6, "expected a value, found the end");
    refused("type = = 'a'", 7, "expected a value, found '='");
    refused("type 'a'", 5, "expected an operator or the end");
    refused("(type = 'a'", 11, "a parenthesis is not closed");
    refused("type = 'a')", 10, "there is no parenthesis to close");
    refused("'abc", 0, "the string is not closed with '");
    refused("'abc\\'", 0, "the string is not closed with '");
    refused("'it''s'", 4, "a ' within the string is written \\'");
    refused("Type = 'a'", 0, "names of attributes are lower-case");
    refused("my_ext = 'a'", 0, "names of attributes are lower-case");
    refused("EXISTS Subject", 7, "names of attributes are lower-case");
    refused("EXISTS 'subject'", 7, "expected the name of an attribute");
    refused("2147483648", 0, "isn't a 32-bit signed integer");
    refused("-2147483649", 0, "isn't a 32-bit signed integer");
    refused("-2fa", 0, "a number has digits only");
    refused("+ sequence", 0, "a + here needs digits behind it");
    refused("type LIKE source", 10, "LIKE needs a pattern in quotes");
    refused("type LIKE ('a')", 10, "LIKE needs a pattern in quotes");
    refused("type IN 'a'", 8, "IN needs a set in parentheses");
    refused("type IN ()", 10, "IN needs at least one element");
    refused("A1(type)", 0, "names of functions are letters and _");
    refused("LENGTH(type,)", 12, "expected a value, found ')'");
    refused("type = AND", 7, "expected a value, found AND");
    refused("type ; id", 5, "expected an operator or the end");
    refused("type = $", 7, "expected a value, found '$'");
    refused("typ\u{e9} = 'a'", 3, "expected an operator or the end");
}

#[test]
fn an_error_points_at_its_place() {
    let error = Expression::parse("type = 'é' AND = 2").unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[0], "at character 16: expected a value, found '='");
    assert_eq!(lines[1], "  type = 'é' AND = 2");
    assert_eq!(lines[2].chars().count(), 2 + 15 + 1);
}

#[test]
fn precedence_and_order() {
    is("2 + 3 * 4 - 6 / 2", 11);
    is("10 - 3 - 2", 5);
    is("100 / 10 / 5", 2);
    is("4-1", 3);
    is("4 - -1", 5);
    is("1 + 2 = 3", true);
    is("(2 + 3) * 4 % 6 = 2", true);
    // One level for the three, from the left (§3.6).
    is("TRUE OR FALSE AND FALSE", false);
    is("TRUE XOR TRUE AND FALSE", false);
    is("TRUE OR (FALSE AND FALSE)", true);
    is("FALSE AND TRUE OR TRUE", true);
    // NOT binds tighter than comparisons (§3.6).
    is("NOT TRUE = FALSE", true);
    is("NOT (TRUE = TRUE)", false);
    is("NOT paid LIKE 'f%'", true);
    is("NOT NOT paid", true);
    is("- items + 20", 8);
    is("-(5)", -5);
    is("--5", 5);
    is("'1' + 1 IN (2)", 1);
}

#[test]
fn logic_is_decided_by_its_left_operand() {
    is("FALSE AND missing", false);
    is("TRUE OR missing", true);
    is("FALSE AND 1 / 0 = 1", false);
    is("TRUE OR INT('x') = 1 OR missing", true);
    fails("TRUE AND missing", false, MissingAttribute);
    fails("FALSE OR missing", false, MissingAttribute);
    fails("missing OR TRUE", false, MissingAttribute);
    fails("missing AND FALSE", false, MissingAttribute);
    fails("TRUE XOR missing", false, MissingAttribute);
    is("paid AND '1' = 1", true);
    is("1 AND 'TRUE'", true);
    fails("'yes' AND TRUE", false, Cast);
    fails("TRUE AND 'yes'", false, Cast);
    is("TRUE XOR 'false'", true);
}

#[test]
fn a_missing_attribute_makes_the_zero_value() {
    fails("missing * 5", 0, MissingAttribute);
    fails("1 / missing", 0, MissingAttribute);
    fails("-missing", 0, MissingAttribute);
    fails("missing = ''", false, MissingAttribute);
    fails("missing != 'a'", false, MissingAttribute);
    fails("missing NOT LIKE 'a'", false, MissingAttribute);
    fails("missing NOT IN ('a')", false, MissingAttribute);
    fails("'a' IN ('a', missing)", false, MissingAttribute);
    fails("LENGTH(missing)", 0, MissingAttribute);
    fails("CONCAT('a', missing)", "", MissingAttribute);
    fails("NOT missing", false, MissingAttribute);
    is("EXISTS missing", false);
    is("EXISTS id AND EXISTS 2fa", true);
    is("NOT EXISTS missing", true);
}

#[test]
fn numbers() {
    is("7 / 2", 3);
    is("-7 / 2", -3);
    is("-7 % 2", -1);
    is("7 % -2", 1);
    is("-2147483648 % -1", 0);
    for text in ["7 / 0", "7 % 0", "2147483647 + 1", "-2147483648 - 1", "65536 * 65536"] {
        fails(text, 0, Math);
    }
    fails("-2147483648 / -1", 0, Math);
    fails("-(-2147483648)", 0, Math);
    fails("ABS(-2147483648)", i32::MAX, Math);
    fails("ABS(-2147483648) = 2147483647", false, Math);
    is("sequence < 13 AND sequence >= '12' AND items > sequence - 1", true);
    fails("type < 3", false, Cast);
}

#[test]
fn equality_casts_to_the_type_on_the_right() {
    is("sequence = 12", true);
    is("12 = sequence", true);
    is("'012' = 12", true);
    is("12 = '012'", false);
    is("paid = 'true'", true);
    is("paid = 'TRUE'", false);
    is("'TRUE' = paid", true);
    is("1 = TRUE", true);
    is("TRUE = 1", true);
    is("TRUE = 2", false);
    is("type = 'Order.placed'", false);
    is("type <> 'x'", true);
    fails("'' = 0", false, Cast);
    fails("'x' != TRUE", false, Cast);
}

#[test]
fn casts() {
    is("INT('+5')", 5);
    is("INT('-0')", 0);
    for text in ["INT(' 5')", "INT('5.0')", "INT('2147483648')", "INT('')", "INT('٣')"] {
        fails(text, 0, Cast);
    }
    is("BOOL('FaLsE')", false);
    is("BOOL(-3)", true);
    fails("BOOL('1')", false, Cast);
    fails("NOT 'x'", false, Cast);
    is("NOT 10", false);
    is("STRING(-3)", "-3");
    is("STRING(paid)", "true");
    is("IS_INT('12') AND IS_INT(TRUE) AND NOT IS_INT('x')", true);
    is("IS_BOOL('true') AND IS_BOOL(7) AND NOT IS_BOOL('7')", true);
}

#[test]
fn patterns() {
    for (text, pattern, matches) in [
        ("", "", true),
        ("", "%", true),
        ("", "_", false),
        ("abc", "abc", true),
        ("aBc", "abc", false),
        ("abc", "a%", true),
        ("abc", "%c", true),
        ("abc", "%b%", true),
        ("abc", "a%c%", true),
        ("abc", "_b_", true),
        ("abc", "%_", true),
        ("abc", "____", false),
        ("abcbc", "a%bc", true),
        ("ab", "a%ab", false),
        ("aXbaYb", "a_b%a_b", true),
        ("aab", "%a_", true),
        ("mississippi", "m%iss%ip_i", true),
        ("mississippi", "%iss__ss%", false),
        ("100%", "100\\%", true),
        ("100x", "100\\%", false),
        ("a_b", "a\\_b", true),
        ("axb", "a\\_b", false),
        ("a\\b", "a\\b", true),
        ("a.c", "a.c", true),
        ("abc", "a.c", false),
        ("Straße", "Stra_e", true),
        ("éé", "__", true),
        ("日本語", "日_語", true),
        ("日本語", "%本%", true),
        ("a\nb", "a%b", true),
    ] {
        let expression = format!("x LIKE '{pattern}'");
        let expression = Expression::parse(&expression).unwrap();
        let event = [("x", Value::from(text))];
        assert_eq!(expression.passes(&event), matches, "{text:?} {expression}");
    }
    is("items LIKE '1_'", true);
    is("type NOT LIKE 'order.%'", false);
    is("CONCAT(type, '!') LIKE '%!'", true);
}

#[test]
fn sets_cast_to_the_type_on_the_left() {
    is("sequence IN (11, 12)", true);
    is("12 IN ('12')", true);
    is("paid IN ('true')", true);
    is("'TRUE' IN (TRUE)", false);
    is("type IN (id, 'order.placed')", true);
    is("type NOT IN ('a', 'b')", true);
    fails("12 IN ('x', 12)", false, Cast);
}

#[test]
fn functions() {
    is("LENGTH(word)", 6);
    is("LENGTH('👍🏽')", 2);
    is("UPPER(word)", "STRASSE");
    is("lower('ÀB')", "àb");
    is("TRIM('\u{2003} a b \u{a0}')", "a b");
    is("TRIM('\u{7}a')", "\u{7}a");
    is("LEFT(word, 5)", "Straß");
    is("LEFT(word, 0)", "");
    is("RIGHT(word, 2)", "ße");
    is("RIGHT(word, 99)", "Straße");
    is("RIGHT(word, 0)", "");
    fails("LEFT(word, -1)", "Straße", FunctionEvaluation);
    fails("LENGTH(LEFT(word, -1))", 0, FunctionEvaluation);
    is("SUBSTRING(word, 5)", "ße");
    is("SUBSTRING(word, -2, 1)", "ß");
    is("SUBSTRING(word, 2, 0)", "");
    is("SUBSTRING(word, 0)", "");
    is("SUBSTRING(UPPER(word), 5, 2)", "SS");
    for text in ["SUBSTRING(word, 7)", "SUBSTRING(word, -7, 2)", "SUBSTRING(word, 1, -1)"] {
        fails(text, "", FunctionEvaluation);
    }
    fails("SUBSTRING('', 1)", "", FunctionEvaluation);
    is("CONCAT_WS('-', 1, TRUE, 'x')", "1-true-x");
    is("concat()", "");
    is("LENGTH (CONCAT('a', items)) = 3", true);
    fails("NOSUCH(1)", false, MissingFunction);
    fails("LENGTH()", false, MissingFunction);
    fails("1 + LENGTH('a', 'b')", 0, MissingFunction);
    fails("CONCAT('a', NOSUCH())", "", MissingFunction);
    fails("LEFT(word, 'x')", "", Cast);
}

#[test]
fn filters_that_cannot_pass_are_mistakes() {
    for (text, at, reason) in [
        ("type", None, ""),
        ("type = 'a' OR EXISTS missing", None, ""),
        ("1 = 2", None, ""),
        ("paid AND TRUE", None, ""),
        ("LENGTH(type)", Some(0), "the value is always Integer, a filter needs Boolean"),
        ("'a'", Some(0), "the value is always String, a filter needs Boolean"),
        ("paid AND NOT 'x'", Some(9), "always fails: the value can't be cast"),
        ("items / 0 = 1", None, ""),
        ("items = 1 / 0", Some(8), "always fails: the result is no 32-bit integer"),
        ("UPPER(type) = LEFT('a', -1)", Some(14), "always fails: the function can't take"),
        ("FOO(type, 2) = 3", Some(0), "there is no function FOO with 2 arguments"),
    ] {
        let checked = Expression::parse(text).unwrap().check_filter();
        assert_eq!(checked.as_ref().err().map(|error| error.at()), at, "{text}");
        assert!(checked.is_ok_and(|()| true) || !reason.is_empty(), "{text}");
        if let Err(error) = Expression::parse(text).unwrap().check_filter() {
            assert!(error.reason().starts_with(reason), "{text}: {error}");
        }
    }
}

#[test]
fn an_explanation_names_the_part_and_what_is_there() {
    for (text, why) in [
        ("type = 'a'", "type = 'a' is false: type is 'order.placed'"),
        ("paid AND items > 20", "items > 20 is false: items is 12"),
        ("items > 20 AND missing = 1", "items > 20 is false: items is 12"),
        (
            "paid AND missing = 1",
            "missing fails: the event doesn't have the attribute: missing is not there",
        ),
        ("type = 'a' OR type = 'b'", "type = 'b' is false: type is 'order.placed'"),
        ("NOT paid", "NOT paid is false: paid is true"),
        ("type", "type is 'order.placed', no Boolean: type is 'order.placed'"),
        ("EXISTS missing", "EXISTS missing is false: missing is not there"),
        ("TRUE AND (type LIKE 'x%')", "type LIKE 'x%' is false: type is 'order.placed'"),
    ] {
        let found = Expression::parse(text).unwrap().explain(&event());
        assert_eq!(found.as_deref(), Some(why), "{text}");
    }
}

#[test]
fn limits_hold() {
    let deep = |levels: usize| format!("{}TRUE{}", "(".repeat(levels), ")".repeat(levels));
    is(&deep(EXPRESSION_MAX_DEPTH), true);
    is(&format!("{}2{} > 0", "1 - 1 * (".repeat(90), ")".repeat(90)), true);
    for text in [deep(5_000), "NOT ".repeat(5_000) + "TRUE", "ABS(".repeat(5_000) + "1"] {
        let error = Expression::parse(&text).unwrap_err();
        assert_eq!(error.reason(), format!("nests deeper than {EXPRESSION_MAX_DEPTH}"));
    }
    let error = Expression::parse(&" ".repeat(EXPRESSION_MAX_BYTES + 1)).unwrap_err();
    assert!(error.reason().contains("at most 32768 are allowed"), "{error}");
    // A chain isn't nested, however long it is.
    let long = format!("{}1=1", "1=1 AND ".repeat(4_000));
    let large = format!("12 IN ({}12)", "1,".repeat(16_000));
    for text in [long, large] {
        assert!(Expression::parse(&text).is_ok_and(|expression| expression.passes(&event())));
    }
    // What would take long is an error after so many steps.
    let text = "a".repeat(60_000);
    let event = [("x", Value::from(&*text))];
    let pattern = format!("x LIKE '%{}b'", "_a%".repeat(5_000));
    for text in [pattern, format!("CONCAT({}x) = x", "x,".repeat(10_000))] {
        let expression = Expression::parse(&text).unwrap();
        let error = expression.evaluate(&event).error.map(|error| error.kind);
        assert!(error == Some(Generic) || !expression.passes(&event), "{error:?}");
    }
    let wide = format!("CONCAT(x, x, x) LIKE '%{}b%'", "_".repeat(30_000));
    let expression = Expression::parse(&wide).unwrap();
    assert_eq!(expression.evaluate(&event).error.unwrap().kind, Generic);
    // Constant parts are evaluated once each, however they nest.
    let sum = format!("{}1 = 2", "1+".repeat(16_000));
    Expression::parse(&sum).unwrap().check_filter().unwrap();
    let joins = "CONCAT(".repeat(50) + "x" + &",x,x,x,x,x,x,x,x)".repeat(50) + " = 'a'";
    let expression = Expression::parse(&joins).unwrap();
    assert_eq!(expression.evaluate(&event).error.unwrap().kind, Generic);
}

/// Expressions of every kind, as text.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-z0-9]{1,4}".prop_map(|name| match name.bytes().all(|byte| byte.is_ascii_digit()) {
            true => format!("a{name}"),
            false => name,
        }),
        any::<i32>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|value| value.to_string()),
        "[a-z%_\\\\\"é ]{0,4}".prop_map(|text| format!("'{}x'", text)),
        "[a-z%_\\\\' ]{0,4}".prop_map(|text| format!("\"{}x\"", text)),
        "[a-z0-9]{1,3}".prop_map(|name| format!("EXISTS {name}")),
    ];
    leaf.prop_recursive(6, 48, 3, |inner| {
        let operator = prop_oneof![
            Just("AND"),
            Just("or"),
            Just("XOR"),
            Just("="),
            Just("!="),
            Just("<>"),
            Just("<"),
            Just("<="),
            Just(">"),
            Just(">="),
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
        ];
        let function = prop_oneof![
            Just("LENGTH"),
            Just("concat"),
            Just("CONCAT_WS"),
            Just("LEFT"),
            Just("SUBSTRING"),
            Just("ABS"),
            Just("INT"),
            Just("NOSUCH"),
            Just("TRIM"),
            Just("UPPER"),
        ];
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.clone().prop_map(|inner| format!("NOT {inner}")),
            inner.clone().prop_map(|inner| format!("-({inner})")),
            (inner.clone(), any::<bool>(), "[a-c%_]{0,5}").prop_map(|(left, negated, pattern)| {
                format!("{left} {}LIKE '{pattern}'", if negated { "NOT " } else { "" })
            }),
            (inner.clone(), any::<bool>(), prop::collection::vec(inner.clone(), 1..4)).prop_map(
                |(left, negated, set)| {
                    let not = if negated { "NOT " } else { "" };
                    format!("{left} {not}IN ({})", set.join(", "))
                }
            ),
            (function, prop::collection::vec(inner, 0..4))
                .prop_map(|(name, arguments)| format!("{name}({})", arguments.join(", "))),
        ]
    })
}

/// Whatever is asked for is there, with a value that its name chooses.
struct Anything;

impl Attributes for Anything {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        match name.bytes().map(usize::from).sum::<usize>() % 5 {
            0 => None,
            1 => Some(true.into()),
            2 => Some(7.into()),
            3 => Some("7".into()),
            _ => Some("abc".into()),
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same(text in expressions()) {
        let Ok(expression) = Expression::parse(&text) else {
            // A name that is a keyword, most often.
            return Ok(());
        };
        let printed = expression.to_string();
        let again = Expression::parse(&printed);
        prop_assert_eq!(again.as_ref(), Ok(&expression), "{}", printed);
        let again = again.unwrap();
        prop_assert_eq!(again.to_string(), printed);
        let (one, other) = (expression.evaluate(&Anything), again.evaluate(&Anything));
        prop_assert_eq!(one.value, other.value);
        prop_assert_eq!(one.error.map(|error| error.kind), other.error.map(|error| error.kind));
        prop_assert_eq!(expression.passes(&Anything), expression.explain(&Anything).is_none());
    }

    #[test]
    fn whatever_passes_meets_the_requirements(text in expressions()) {
        let Ok(expression) = Expression::parse(&text) else { return Ok(()) };
        let meets = |requirement| match requirement {
            usher_cesql::Requirement::Equals { attribute, value } => {
                let found = Anything.attribute(attribute);
                found.is_some_and(|found| found.to_string().trim_matches('\'') == value)
            }
            usher_cesql::Requirement::BeginsWith { attribute, prefix } => {
                let found = Anything.attribute(attribute);
                found.is_some_and(|found| found.to_string().trim_matches('\'').starts_with(prefix))
            }
        };
        let passes = expression.passes(&Anything);
        prop_assert!(!passes || expression.requirements().all(meets));
        if let Some(only) = expression.as_requirement() {
            prop_assert_eq!(passes, meets(only));
        }
    }

    #[test]
    fn no_text_panics(text in "[ -~é]{0,60}") {
        if let Err(error) = Expression::parse(&text) {
            prop_assert!(error.at() <= text.len());
            let _ = error.to_string();
        }
    }
}
