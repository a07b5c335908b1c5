//! Payloads for reading: JSON is indented, and nothing in it is parsed into a number or string and
//! written again, so that each looks as it was sent.

use serde::de::IgnoredAny;

/// Limit on indented text; beyond it JSON is shown as it was sent.
const PRETTY_MAX_BYTES: usize = 2 * 1024 * 1024;

/// JSON with line breaks; `None` if the text isn't JSON, or grows too large.
pub(crate) fn pretty(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut is_string, mut is_escaped) = (0, false, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if is_string {
            out.push(character);
            (is_string, is_escaped) = match character {
                _ if is_escaped => (true, false),
                '\\' => (true, true),
                '"' => (false, false),
                _ => (true, false),
            };
            continue;
        }
        match character {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                while characters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                out.push(character);
                match characters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth -= 1;
                new_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                is_string = character == '"';
                out.push(character);
            }
        }
        if out.len() > PRETTY_MAX_BYTES {
            return None;
        }
    }
    Some(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    (0..depth).for_each(|_| out.push_str("  "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_look_as_they_were_sent() {
        let sent = r#"{"n":1.10,"big":123456789012345678901,"e":1E5,"s":"a\"{\u0041,","l":[ ],"o":{},"m":[1,[2]]}"#;
        let expected = "{\n  \"n\": 1.10,\n  \"big\": 123456789012345678901,\n  \"e\": 1E5,\n  \
             \"s\": \"a\\\"{\\u0041,\",\n  \"l\": [],\n  \"o\": {},\n  \"m\": [\n    1,\n    [\n      2\n    ]\n  ]\n}";
        assert_eq!(pretty(sent).unwrap(), expected);
        assert_eq!(pretty(expected).unwrap(), expected);
        assert_eq!(pretty("{"), None);
        assert_eq!(pretty(" 7 ").unwrap(), "7");
    }

    #[test]
    fn what_would_grow_too_large_stays_as_it_is() {
        let deep = format!("{}{}1{}", "[".repeat(100), "1,".repeat(50_000), "]".repeat(100));
        assert_eq!(pretty(&deep), None);
    }
}
