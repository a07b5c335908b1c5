//! The `traceparent` of W3C Trace Context, section 3.2.

use sha2::{Digest as _, Sha256};

/// Extensions that carry trace context.
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";

/// The `traceparent` of event `id`, caused by one with `parent`: same trace and flags, and a span
/// id derived from `id`, so that it is the same at every attempt. `None` if `parent` is invalid.
pub(crate) fn child(parent: &str, id: &str) -> Option<String> {
    let mut fields = parent.split('-');
    let version = fields.next().filter(|v| is_hex(v, 2) && *v != "ff")?;
    let trace = fields.next().filter(|v| is_hex(v, 32) && !is_zero(v))?;
    fields.next().filter(|v| is_hex(v, 16) && !is_zero(v))?;
    let flags = fields.next().filter(|v| is_hex(v, 2))?;
    // Later versions may append fields; a version 00 reader ignores them.
    if version == "00" && fields.next().is_some() {
        return None;
    }
    let mut span = [0; 8];
    span.iter_mut().zip(Sha256::digest(id)).for_each(|(to, from)| *to = from);
    let span = u64::from_be_bytes(span).max(1);
    Some(format!("00-{trace}-{span:016x}-{flags}"))
}

/// Whether text is a `traceparent`.
pub(crate) fn is_traceparent(text: &str) -> bool {
    child(text, "").is_some()
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|b| b == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_keeps_trace_and_flags() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        // SHA-256("abc") starts with ba7816bf8f01cfea.
        let child_of_v0 = "00-0af7651916cd43dd8448eb211c80319c-ba7816bf8f01cfea-01";
        assert_eq!(child(parent, "abc").as_deref(), Some(child_of_v0));
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert_eq!(child(later, "abc").as_deref(), Some(child_of_v0));
    }

    #[test]
    fn invalid_parents_have_no_children() {
        let cases = [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ];
        for parent in cases {
            assert_eq!(child(parent, "abc"), None, "{parent}");
        }
    }
}
