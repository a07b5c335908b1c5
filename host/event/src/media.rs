//! Media types (RFC 2046), as far as events need them: validity, JSON and UTF-8.

/// Whether this is `type/subtype` with well-formed parameters.
pub fn is_valid(text: &str) -> bool {
    let (essence, mut rest) = split_essence(text);
    let Some((main, sub)) = essence.split_once('/') else { return false };
    if !is_token(main) || !is_token(sub) {
        return false;
    }
    while let Some(parameters) = rest {
        match parameter(parameters) {
            Some((_, _, next)) => rest = next,
            None => return false,
        }
    }
    true
}

/// Type and subtype, without parameters and spaces around.
pub fn essence(text: &str) -> &str {
    split_essence(text).0.trim()
}

/// Whether data of this type is JSON: the subtype is `json` or ends in `+json`.
pub fn is_json(text: &str) -> bool {
    let (essence, _) = split_essence(text);
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype).as_bytes();
    subtype.eq_ignore_ascii_case(b"json")
        || subtype
            .len()
            .checked_sub(b"+json".len())
            .and_then(|at| subtype.get(at..))
            .is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json"))
}

/// Whether text of this type is UTF-8: it names no charset, or UTF-8 or its subset ASCII.
pub fn is_utf8(text: &str) -> bool {
    let (_, mut rest) = split_essence(text);
    while let Some((name, value, next)) = rest.and_then(parameter) {
        if name.eq_ignore_ascii_case("charset") {
            let charset = value.trim_matches('"');
            return ["utf-8", "utf8", "us-ascii"].iter().any(|c| charset.eq_ignore_ascii_case(c));
        }
        rest = next;
    }
    true
}

/// Type and subtype, and what follows the first semicolon.
fn split_essence(text: &str) -> (&str, Option<&str>) {
    match text.split_once(';') {
        Some((essence, rest)) => (essence.trim_end_matches([' ', '\t']), Some(rest)),
        None => (text, None),
    }
}

/// Parses `name=value`; returns both and what follows the next semicolon.
fn parameter(text: &str) -> Option<(&str, &str, Option<&str>)> {
    let (name, rest) = text.trim_start_matches([' ', '\t']).split_once('=')?;
    if !is_token(name) {
        return None;
    }
    let end = match rest.strip_prefix('"') {
        Some(quoted) => quoted_end(quoted)? + 1,
        None => rest.find([';', ' ', '\t']).unwrap_or(rest.len()),
    };
    let (value, after) = rest.split_at_checked(end)?;
    if !value.starts_with('"') && !is_token(value) {
        return None;
    }
    let after = after.trim_start_matches([' ', '\t']);
    match after.strip_prefix(';') {
        Some(next) => Some((name, value, Some(next))),
        None if after.is_empty() => Some((name, value, None)),
        None => None,
    }
}

/// Index just after the closing quote, given the text after the opening one.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity() {
        let good = [
            "application/json",
            "text/plain; charset=utf-8",
            "text/plain;charset=\"utf-8\" ; format=flowed",
            "application/vnd.x+json",
            "multipart/mixed; boundary=\"a;b\\\"c\"",
        ];
        for text in good {
            assert!(is_valid(text), "{text}");
        }
        let bad = [
            "",
            "/",
            "json",
            "a/",
            "/b",
            "a/b/c",
            "a b/c",
            "a/b;",
            "a/b; x",
            "a/b; x=",
            "a/b; =x",
            "a/b; x=\"y",
            "a/b; x=y z",
            "é/b",
            " a/b",
        ];
        for text in bad {
            assert!(!is_valid(text), "{text}");
        }
    }

    #[test]
    fn json_types() {
        for text in
            ["application/json", "text/JSON; charset=utf-8", "application/a+json", "a/B+JSON"]
        {
            assert!(is_json(text), "{text}");
        }
        for text in
            ["text/plain", "application/jsonx", "application/json-seq", "json", "a/json+xml"]
        {
            assert!(!is_json(text), "{text}");
        }
    }

    #[test]
    fn charsets() {
        for text in ["text/plain", "text/plain; charset=UTF-8", "text/a; x=y; charset=\"us-ascii\""]
        {
            assert!(is_utf8(text), "{text}");
        }
        for text in ["text/plain; charset=iso-8859-1", "text/plain; x=1;Charset=\"utf-16\""] {
            assert!(!is_utf8(text), "{text}");
        }
    }
}
