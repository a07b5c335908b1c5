//! Splits http URLs, as far as requests need it.

use crate::Error;

/// The parts of an absolute http or https URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) https: bool,
    /// Host and optional port.
    pub(crate) authority: &'a str,
    /// Path and query; empty means `/`.
    pub(crate) path_with_query: &'a str,
}

/// Splits a URL; drops the fragment, which is never sent.
pub(crate) fn parse(url: &str) -> Result<Parts<'_>, Error> {
    let wrong = |what: &str| Error::Invalid(format!("`{url}` {what}"));
    if let Some(odd) = url.chars().find(|c| c.is_control() || c.is_whitespace()) {
        return Err(wrong(&format!("has a character a URL can't have: {odd:?}")));
    }
    let (https, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        _ => return Err(wrong("is not an http or https URL")),
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path_with_query) = rest.split_at(end);
    if authority.is_empty() {
        return Err(wrong("names no host"));
    }
    if authority.contains('@') {
        return Err(wrong("carries credentials: send them in a header instead"));
    }
    Ok(Parts { https, authority, path_with_query })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_apart() {
        let check = |url, https, authority, path_with_query| {
            assert_eq!(parse(url), Ok(Parts { https, authority, path_with_query }), "{url}");
        };
        check("http://127.0.0.1:9001/charges", false, "127.0.0.1:9001", "/charges");
        check("HTTPS://shop.example", true, "shop.example", "");
        check("https://shop.example?q=1#top", true, "shop.example", "?q=1");
        check("http://[::1]:80/a/b?c=/d", false, "[::1]:80", "/a/b?c=/d");
    }

    #[test]
    fn refuses_what_is_none() {
        for url in
            ["", "/charges", "ftp://x", "http://", "http:///x", "http://u:p@x/", "http://a b"]
        {
            assert!(matches!(parse(url), Err(Error::Invalid(_))), "{url}");
        }
    }
}
