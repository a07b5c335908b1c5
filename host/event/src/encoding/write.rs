//! Encodes events.

use super::{
    CORE_COUNT, Core, DATA_PRESENT, Extent, HEADER_BYTES, Layout, Parts, VERSION, check_value,
    narrow_u8, narrow_u16, narrow_u32, too_long, value_length,
};
use crate::limits::{EVENT_MAX_BYTES, EXTENSIONS_MAX};
use crate::value::ValueRef;
use crate::{EventError, rules};

/// Validates and encodes parts in a single allocation. Also returns the layout, so that the result
/// needn't be parsed again. Extension names are limited to `name_max_bytes`.
pub(crate) fn write(
    mut parts: Parts<'_>,
    name_max_bytes: usize,
) -> Result<(Vec<u8>, Layout), EventError> {
    if parts.extensions.len() > EXTENSIONS_MAX {
        return Err(EventError::too_large(
            None,
            format!("the event must have at most {EXTENSIONS_MAX} extensions"),
        )
        .found_a(parts.extensions.len().to_string()));
    }
    parts.extensions.sort_unstable_by_key(|(name, _)| *name);
    let (attributes_end, present) = check(&parts, name_max_bytes)?;
    let total = attributes_end + parts.data.map_or(0, <[u8]>::len);
    if total > EVENT_MAX_BYTES {
        return Err(too_long(total));
    }

    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&[VERSION, present, narrow_u8(parts.extensions.len()), 0]);
    out.extend_from_slice(&narrow_u32(attributes_end).to_le_bytes());
    let mut core = [Extent::default(); CORE_COUNT];
    for (text, extent) in parts.core.iter().zip(&mut core) {
        if let Some(text) = text {
            out.extend_from_slice(&narrow_u16(text.len()).to_le_bytes());
            *extent = Extent::new(out.len(), out.len() + text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    let extensions = Extent::new(out.len(), attributes_end);
    for (name, value) in &parts.extensions {
        write_extension(&mut out, name, *value);
    }
    out.extend_from_slice(parts.data.unwrap_or_default());
    debug_assert_eq!(out.len(), total, "the length was computed wrong");
    let data = parts.data.map(|_| Extent::new(attributes_end, total));
    Ok((out, Layout { core, extensions, data }))
}

/// An encoded event with other data, no larger than what it had, and its layout.
pub(crate) fn write_part(event: &[u8], layout: Layout, data: Option<&[u8]>) -> (Vec<u8>, Layout) {
    let end = layout.extensions.range().end;
    let mut out = Vec::with_capacity(end + data.map_or(0, <[u8]>::len));
    out.extend_from_slice(event.get(..end).unwrap_or_default());
    if data.is_none()
        && let Some(present) = out.get_mut(1)
    {
        *present &= !DATA_PRESENT;
    }
    out.extend_from_slice(data.unwrap_or_default());
    let data = data.map(|_| Extent::new(end, out.len()));
    (out, Layout { data, ..layout })
}

/// Validates all parts; returns the end of the attributes and the presence bits.
fn check(parts: &Parts<'_>, name_max_bytes: usize) -> Result<(usize, u8), EventError> {
    let mut present = if parts.data.is_some() { DATA_PRESENT } else { 0 };
    let mut end = HEADER_BYTES;
    for (core, text) in Core::ALL.iter().zip(&parts.core) {
        match (text, core.bit()) {
            (Some(text), bit) => {
                present |= bit.unwrap_or(0);
                end += 2 + value_length(core.name(), text.len())?;
                core.check(text)?;
            }
            (None, None) => return Err(EventError::rule(core.name(), "is required")),
            (None, Some(_)) => {}
        }
    }
    let mut previous = None;
    for (name, value) in &parts.extensions {
        if previous == Some(name) {
            return Err(EventError::rule(name, "is there twice"));
        }
        previous = Some(name);
        rules::check_name(name, name_max_bytes)?;
        end += 1 + name.len() + 1 + 2 + value_length(name, encoded_length(*value))?;
        check_value(name, *value)?;
    }
    Ok((end, present))
}

fn write_extension(out: &mut Vec<u8>, name: &str, value: ValueRef<'_>) {
    out.push(narrow_u8(name.len()));
    out.extend_from_slice(name.as_bytes());
    out.push(kind(value));
    out.extend_from_slice(&narrow_u16(encoded_length(value)).to_le_bytes());
    match value {
        ValueRef::Boolean(value) => out.push(value.into()),
        ValueRef::Integer(value) => out.extend_from_slice(&value.to_le_bytes()),
        ValueRef::Binary(bytes) => out.extend_from_slice(bytes),
        ValueRef::String(text)
        | ValueRef::Uri(text)
        | ValueRef::UriReference(text)
        | ValueRef::Timestamp(text) => out.extend_from_slice(text.as_bytes()),
    }
}

fn kind(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Boolean(_) => 0,
        ValueRef::Integer(_) => 1,
        ValueRef::String(_) => 2,
        ValueRef::Binary(_) => 3,
        ValueRef::Uri(_) => 4,
        ValueRef::UriReference(_) => 5,
        ValueRef::Timestamp(_) => 6,
    }
}

fn encoded_length(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Boolean(_) => 1,
        ValueRef::Integer(_) => 4,
        ValueRef::Binary(bytes) => bytes.len(),
        ValueRef::String(text)
        | ValueRef::Uri(text)
        | ValueRef::UriReference(text)
        | ValueRef::Timestamp(text) => text.len(),
    }
}
