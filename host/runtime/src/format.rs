//! Detects the file type from its header and section framing, so that an operator reads "a core
//! module" rather than a parser error.

/// Why a file can't be a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file is empty.
    #[error("the file is empty; it may still be being written")]
    Empty,
    /// Larger than the limit.
    #[error("the file has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// Not a WebAssembly binary.
    #[error("found {found}, expected a WebAssembly component")]
    NotWasm {
        /// What it looks like.
        found: &'static str,
    },
    /// A core module.
    #[error(
        "found a core module, expected a component; build it for wasm32-wasip2, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// An unknown or obsolete version of the binary format.
    #[error("found a component of an unknown binary format ({version:#x}), expected version 0xd")]
    Version {
        /// The header's version field.
        version: u16,
    },
    /// It ends inside the header or a section.
    #[error(
        "the file ends at byte {size_bytes} in the middle of a section; it is truncated, or still \
         being written"
    )]
    Truncated {
        /// Its size.
        size_bytes: usize,
    },
}

const WASM_MAGIC: [u8; 4] = *b"\0asm";
const HEADER_BYTES: usize = 8;
const CORE_LAYER: u16 = 0;
const COMPONENT_VERSION: u16 = 0xd;

/// Checks size and header, and that every section is complete.
pub(crate) fn check(bytes: &[u8], limit_bytes: usize) -> Result<(), FormatError> {
    let size_bytes = bytes.len();
    if bytes.is_empty() {
        return Err(FormatError::Empty);
    }
    if size_bytes > limit_bytes {
        return Err(FormatError::TooLarge { size_bytes, limit_bytes });
    }
    if !bytes.starts_with(&WASM_MAGIC) {
        return Err(match WASM_MAGIC.starts_with(bytes) {
            true => FormatError::Truncated { size_bytes },
            false => FormatError::NotWasm { found: guess(bytes) },
        });
    }
    let Some(&[_, _, _, _, v0, v1, l0, l1]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(FormatError::Truncated { size_bytes });
    };
    if u16::from_le_bytes([l0, l1]) == CORE_LAYER {
        return Err(FormatError::CoreModule);
    }
    let version = u16::from_le_bytes([v0, v1]);
    if version != COMPONENT_VERSION {
        return Err(FormatError::Version { version });
    }
    let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
    while !rest.is_empty() {
        rest = skip_section(rest).ok_or(FormatError::Truncated { size_bytes })?;
    }
    Ok(())
}

/// Returns what follows one section (id, LEB128 length, content); `None` if it is incomplete.
fn skip_section(bytes: &[u8]) -> Option<&[u8]> {
    let (_id, mut rest) = bytes.split_first()?;
    let mut length = 0u64;
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return rest.get(usize::try_from(length).ok()?..);
        }
    }
    None
}

/// Leading bytes that [`guess`] examines.
const GUESSED_BYTES: usize = 64;

/// Whether bytes are UTF-8 without control characters other than white space.
fn is_text(bytes: &[u8]) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // A character may be cut off at the end.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default())
                .unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace())
}

fn guess(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x7f, b'E', b'L', b'F', ..] => "an ELF file (precompiled code is not accepted)",
        [0x1f, 0x8b, ..] => "a gzip file",
        [b'P', b'K', 3, 4, ..] => "a zip file",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd file",
        [b'(', ..] => "WebAssembly text",
        [0, rest @ ..] if rest.iter().take(GUESSED_BYTES).all(|byte| *byte == 0) => {
            "bytes that are all zero; the file may not be written yet"
        }
        _ if is_text(bytes.get(..GUESSED_BYTES).unwrap_or(bytes)) => "text",
        _ => "unknown data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_BYTES: usize = 1024;

    #[test]
    fn what_is_no_component_is_named() {
        let check = |bytes: &[u8]| check(bytes, LIMIT_BYTES).unwrap_err().to_string();
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"\0as", "truncated"),
            (b"\0asm\x0d\0\x01", "truncated"),
            (b"\0asm\x01\0\0\0", "core module"),
            (b"\0asm\x0c\0\x01\0", "0xc"),
            (b"\x7fELF\x02", "ELF"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"(component)", "WebAssembly text"),
            (b"hello", "text"),
            (&[b'a', 0, b'b', 1], "unknown data"),
            (&[0; 100], "all zero"),
            (b"\xff\xfe\0", "unknown data"),
            (&[0; 1025], "limit is 1024"),
        ] {
            let error = check(bytes);
            assert!(error.contains(word), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn truncation_is_seen_at_every_byte() {
        // Two custom sections: an id, a length, an empty name, then data.
        let whole = b"\0asm\x0d\0\x01\0\x00\x04\x00abc\x00\x02\x00x";
        assert_eq!(check(whole, LIMIT_BYTES), Ok(()));
        let boundaries = [8, 14, whole.len()];
        for size in 1..whole.len() {
            let expected = boundaries.contains(&size);
            assert_eq!(check(&whole[..size], LIMIT_BYTES).is_ok(), expected, "{size}");
        }
    }

    #[test]
    fn a_file_may_be_as_large_as_the_limit() {
        // One custom section with an empty name.
        let file = |size: usize| {
            let mut bytes = b"\0asm\x0d\0\x01\0\x00".to_vec();
            let length = size - bytes.len() - 2;
            bytes.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
            bytes.resize(size, 0);
            bytes
        };
        assert_eq!(check(&file(LIMIT_BYTES - 1), LIMIT_BYTES), Ok(()));
        assert_eq!(check(&file(LIMIT_BYTES), LIMIT_BYTES), Ok(()));
        let (size_bytes, limit_bytes) = (LIMIT_BYTES + 1, LIMIT_BYTES);
        let error = FormatError::TooLarge { size_bytes, limit_bytes };
        assert_eq!(check(&file(size_bytes), limit_bytes), Err(error));
    }
}
