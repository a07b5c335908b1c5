//! Pagination of HTTP API lists.

use super::ui::error::CliError;

/// Largest page requested.
pub(crate) const PAGE_MAX: usize = 100;

/// Collects at most `wanted` items after the key `after`. `fetch(max, after)` returns one page;
/// `key` returns an item's page key.
///
/// Only an empty page is the last: the router also bounds pages by bytes, so a page may be shorter
/// than requested.
///
/// # Errors
/// A page can't be fetched.
pub(crate) fn collect<T, K: Clone>(
    wanted: usize,
    mut after: Option<K>,
    mut fetch: impl FnMut(usize, Option<K>) -> Result<Vec<T>, CliError>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, CliError> {
    let mut found = Vec::new();
    let mut missing = wanted;
    while missing > 0 {
        let page = fetch(missing.min(PAGE_MAX), after.clone())?;
        let Some(last) = page.last() else { break };
        after = Some(key(last));
        missing = missing.saturating_sub(page.len());
        found.extend(page);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pages_are_not_the_end() {
        for (there, page_max, wanted, expected) in
            [(0, 9, 5, 0), (250, 100, 1000, 250), (250, 3, 1000, 250), (250, 100, 120, 120)]
        {
            let mut asked = Vec::new();
            let fetch = |max: usize, after: Option<u64>| {
                asked.push(max);
                let first = after.map_or(0, |after| after + 1);
                Ok((first..there).take(max.min(page_max)).collect())
            };
            let found = collect(wanted, None, fetch, |item| *item).unwrap();
            assert_eq!(found, (0..expected).collect::<Vec<_>>());
            assert!(asked.iter().all(|max| *max <= PAGE_MAX), "{asked:?}");
        }
    }
}
