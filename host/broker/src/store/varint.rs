//! Reading and writing the parts of rows: varints, text, runs of bytes.

use bytes::Bytes;

/// Appends an unsigned LEB128.
pub(crate) fn put(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// Appends a length and bytes.
pub(crate) fn put_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) {
    put(buffer, bytes.len() as u64);
    buffer.extend_from_slice(bytes);
}

/// Takes a row apart. Every method answers `None` where the bytes can't be what they should be.
pub(crate) struct Parts {
    rest: Bytes,
}

impl Parts {
    pub(crate) fn new(bytes: &Bytes) -> Self {
        Self { rest: bytes.clone() }
    }

    /// Begins a row whose first byte is its version.
    pub(crate) fn versioned(bytes: &Bytes, version: u8) -> Option<Self> {
        let mut parts = Self::new(bytes);
        (parts.byte()? == version).then_some(parts)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let byte = *self.rest.first()?;
        drop(self.rest.split_to(1));
        Some(byte)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for (position, byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * position as u32;
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                drop(self.rest.split_to(position + 1));
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn number_as<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    pub(crate) fn bytes(&mut self) -> Option<Bytes> {
        let length = self.number_as::<usize>()?;
        (length <= self.rest.len()).then(|| self.rest.split_to(length))
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.into()).ok()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.rest.first_chunk::<N>()?;
        drop(self.rest.split_to(N));
        Some(array)
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub(crate) fn rest(self) -> Bytes {
        self.rest
    }

    /// Only if nothing is left.
    pub(crate) fn end(self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut buffer = Vec::new();
            put(&mut buffer, value);
            let mut parts = Parts::new(&buffer.into());
            assert_eq!(parts.number(), Some(value));
            assert_eq!(parts.end(), Some(()));
        }
    }

    #[test]
    fn wrong_bytes_are_no_number() {
        let cases: [&[u8]; 4] = [&[], &[0x80], &[0xff; 10], &[0xff; 11]];
        for bytes in cases {
            assert_eq!(Parts::new(&Bytes::copy_from_slice(bytes)).number(), None, "{bytes:?}");
        }
    }

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        let mut buffer = Vec::new();
        put(&mut buffer, 5);
        buffer.extend_from_slice(b"abcd");
        assert_eq!(Parts::new(&buffer.into()).bytes(), None);
        let mut buffer = Vec::new();
        put_bytes(&mut buffer, &[0xff]);
        assert_eq!(Parts::new(&buffer.into()).text(), None);
    }
}
