//! Trace context: the `traceparent` of W3C Trace Context, section 3.2.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The extension, and the header, that carries trace context.
pub const TRACEPARENT: &str = "traceparent";
/// What vendors add to it.
pub const TRACESTATE: &str = "tracestate";

/// A span's identity as it travels between programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace_id: u128,
    /// The span; never zero.
    pub span_id: u64,
    /// Flags of the trace: recorded, and whether its id is random. Others are not passed on.
    pub flags: u8,
}

impl TraceContext {
    /// The flag of traces that are recorded.
    pub const SAMPLED: u8 = 1;

    /// Flags that have a meaning (W3C Trace Context 2, section 3.2.2.5).
    const KNOWN_FLAGS: u8 = Self::SAMPLED | 2;

    /// Reads a `traceparent`; `None` if it is invalid.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut fields = traceparent.split('-');
        let version = fields.next().filter(|v| is_hex(v, 2) && *v != "ff")?;
        let trace = fields.next().filter(|v| is_hex(v, 32))?;
        let span = fields.next().filter(|v| is_hex(v, 16))?;
        let flags = fields.next().filter(|v| is_hex(v, 2))?;
        // Later versions may append fields; a version 00 reader ignores them.
        if version == "00" && fields.next().is_some() {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()? & Self::KNOWN_FLAGS;
        Some(Self { trace_id, span_id, flags })
    }

    /// The context of event `id` in this trace: its span id is derived from `id`, so that it is the
    /// same at every attempt.
    pub(crate) fn of_emission(self, id: &str) -> Self {
        let mut span = [0; 8];
        span.iter_mut().zip(Sha256::digest(id)).for_each(|(to, from)| *to = from);
        Self { span_id: u64::from_be_bytes(span).max(1), ..self }
    }

    /// The trace's id, as logs have it: 32 hexadecimal digits.
    pub fn trace_id_text(self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }
}

/// The `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(parent: &str, id: &str) -> Option<String> {
        Some(TraceContext::parse(parent)?.of_emission(id).to_string())
    }

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
