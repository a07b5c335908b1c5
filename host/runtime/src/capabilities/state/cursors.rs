//! Numbers for pages of keys: what the draft's listing has for cursors.

use std::sync::Arc;

/// Pages one delivery may be given numbers for; more than there can be keys.
const CURSORS_MAX: usize = 1_000;

/// The keys that the current delivery's cursors stand for: cursor 1 is the first.
#[derive(Default)]
pub(super) struct Cursors(Vec<Arc<str>>);

impl Cursors {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn number(&mut self, key: String) -> Result<u64, String> {
        if self.0.len() >= CURSORS_MAX {
            let words = format!("one delivery may list {CURSORS_MAX} pages of keys");
            return Err(words);
        }
        self.0.push(key.into());
        Ok(self.0.len() as u64)
    }

    /// The key after which the page begins. As in other hosts, 0 is the beginning.
    pub(super) fn key(&self, cursor: Option<u64>) -> Result<Option<String>, String> {
        let Some(before) = cursor.and_then(|cursor| cursor.checked_sub(1)) else { return Ok(None) };
        let key = usize::try_from(before).ok().and_then(|before| self.0.get(before));
        key.map(|key| Some(key.to_string()))
            .ok_or_else(|| "the cursor is not one of this delivery's".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_numbers_of_this_delivery() {
        let mut cursors = Cursors::default();
        assert_eq!(cursors.number("a".to_owned()).unwrap(), 1);
        assert_eq!(cursors.number("b".to_owned()).unwrap(), 2);
        for (cursor, key) in
            [(None, None), (Some(0), None), (Some(1), Some("a")), (Some(2), Some("b"))]
        {
            assert_eq!(cursors.key(cursor).unwrap().as_deref(), key, "{cursor:?}");
        }
        assert!(cursors.key(Some(3)).is_err());
        cursors.clear();
        assert!(cursors.key(Some(1)).is_err(), "of an earlier delivery");
        for _ in 0..CURSORS_MAX {
            cursors.number(String::new()).unwrap();
        }
        assert!(cursors.number(String::new()).is_err());
    }
}
