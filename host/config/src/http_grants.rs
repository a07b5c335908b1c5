//! `http = [ … ]` in `[plugin.NAME.grants]`: URLs, optionally with the addresses their host names
//! may resolve to.

use std::net::IpAddr;

use toml::Spanned;
use toml::de::DeValue;
use usher_runtime::{AddressRange, HttpGrant};

use super::table::{At, Table};

const HINT: &str = "write scheme, host and port, and maybe a path: https://pay.example.com/v1 or \
                    http://127.0.0.1:9001";
const ADDRESSES_HINT: &str =
    "write { url = \"https://db.internal\", addresses = [\"10.0.0.0/8\"] }";

/// Reads the grants; invalid ones are reported and left out.
pub(super) fn read(table: &Table<'_>) -> Vec<HttpGrant> {
    table.items("http").iter().filter_map(|item| one(table, item)).collect()
}

fn one<'a>(table: &Table<'a>, item: &'a Spanned<DeValue<'a>>) -> Option<HttpGrant> {
    match item.get_ref() {
        DeValue::String(text) => url(table, &At { value: text, span: item.span() }),
        DeValue::Table(_) => {
            let inner = table.item("http", item)?;
            let written = inner.string("url");
            if written.is_none() && inner.value("url").is_none() {
                refuse(table, item, "http: a grant needs a url", ADDRESSES_HINT);
            }
            let grant = written.and_then(|written| url(&inner, &written));
            let addresses = addresses(&inner, grant.as_ref());
            inner.finish();
            let mut grant = grant?;
            grant.addresses = addresses;
            Some(grant)
        }
        _ => {
            refuse(table, item, "http: a grant is a string or a table", ADDRESSES_HINT);
            None
        }
    }
}

fn url(table: &Table<'_>, written: &At<&str>) -> Option<HttpGrant> {
    written
        .value
        .parse()
        .map_err(|error| {
            table.source().problem(&written.span, format!("http: {error}"), Some(HINT.to_owned()));
        })
        .ok()
}

fn addresses(table: &Table<'_>, grant: Option<&HttpGrant>) -> Vec<AddressRange> {
    let written = table.strings("addresses");
    if let (Some(first), Some(grant)) = (written.first(), grant)
        && grant.origin.host().parse::<IpAddr>().is_ok()
    {
        let what = format!("addresses say what a name stands for, and {grant} has none");
        let hint = "leave addresses out: an address is granted as what it is".to_owned();
        table.source().problem(&first.span, what, Some(hint));
    }
    let range = |At { value, span }: At<&str>| {
        let problem = |error| table.source().problem(&span, error, Some(ADDRESSES_HINT.to_owned()));
        value.parse().map_err(|error: usher_runtime::AddressRangeError| problem(error)).ok()
    };
    written.into_iter().filter_map(range).collect()
}

fn refuse(table: &Table<'_>, item: &Spanned<DeValue<'_>>, what: &str, hint: &str) {
    table.source().problem(&item.span(), what, Some(hint.to_owned()));
}
