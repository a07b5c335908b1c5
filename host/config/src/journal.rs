//! `[journal]`: where the journal is kept, and this node's part in it.

use std::ops::Range;
use std::path::Path;

use usher_jetstream::{JetStreamOptions, NAME_MAX_CHARS, is_name};

use super::table::{At, Table};

/// Maximum URLs of servers.
const SERVERS_MAX: usize = 64;

#[derive(Clone, Copy)]
enum Engine {
    Embedded,
    JetStream,
}

/// Reads the table; `None` for a journal in the data folder.
pub(super) fn read(root: &Table<'_>, folder: &Path) -> Option<JetStreamOptions> {
    let at = root.value("journal")?.span();
    let table = root.table("journal")?;
    let engines = [("embedded", Engine::Embedded), ("jetstream", Engine::JetStream)];
    if table.value("engine").is_none() {
        let hint = "write engine = \"jetstream\", or leave the table out".to_owned();
        table.source().problem(&at, "[journal] needs an engine", Some(hint));
    }
    match table.choice("engine", &engines)? {
        Engine::Embedded => {
            // Whatever else is set is none of its settings.
            table.finish();
            return None;
        }
        Engine::JetStream => {}
    }
    let source = table.source();
    let servers: Vec<String> =
        table.strings("servers").iter().filter_map(|at| server(&table, at)).collect();
    let written = table.strings("servers").len();
    if written == 0 || written > SERVERS_MAX {
        let what = format!("[journal] needs 1 to {SERVERS_MAX} servers");
        source.problem(&at, what, Some("write servers = [\"nats://localhost:4222\"]".to_owned()));
    }
    let node = match table.value("node") {
        Some(_) => name(&table, "node"),
        None => host_name(),
    };
    if node.is_none() {
        let hint = "write node = \"a\": letters, digits, - and _, another one on each machine";
        source.problem(&at, "[journal] needs the name of this node", Some(hint.to_owned()));
    }
    let file = |key| {
        let At { value, span } = table.string(key)?;
        let path = folder.join(value);
        if !path.is_file() {
            let what = format!("{key}: there is no file {}", path.display());
            source.problem(&span, what, None);
        }
        Some(path)
    };
    let user = table.string("user").map(|At { value, .. }| value.to_owned());
    let user = together(&table, &at, ("user", user), ("password_file", file("password_file")));
    let (certificate, key) = (file("cert_file"), file("key_file"));
    let certificate = together(&table, &at, ("cert_file", certificate), ("key_file", key));
    let default = JetStreamOptions::new(servers, &node.unwrap_or_default());
    let options = JetStreamOptions {
        stream: name(&table, "stream").unwrap_or(default.stream),
        replicas: table.size("replicas", 1..=5).unwrap_or(default.replicas),
        url: url(&table),
        user,
        certificate,
        ca: file("ca_file"),
        takeover_after: table
            .millis("takeover_after_ms", 1_000..=600_000)
            .unwrap_or(default.takeover_after),
        rank: table
            .integer("rank", 0..=100)
            .and_then(|rank| u32::try_from(rank).ok())
            .unwrap_or(default.rank),
        ..default
    };
    table.finish();
    Some(options)
}

/// Where the other nodes find this one.
fn url(table: &Table<'_>) -> Option<String> {
    let At { value, span } = table.string("url")?;
    let host = ["http://", "https://"].iter().find_map(|scheme| value.strip_prefix(scheme));
    if host.is_none_or(str::is_empty) {
        let hint = Some("write url = \"http://10.0.0.1:7171\"".to_owned());
        table.source().problem(&span, format!("{value:?} is no URL of a router"), hint);
    }
    Some(value.to_owned())
}

fn server(table: &Table<'_>, At { value, span }: &At<&str>) -> Option<String> {
    let address = ["nats://", "tls://"].iter().find_map(|scheme| value.strip_prefix(scheme));
    let problem = match address {
        None => "must begin with nats:// or tls://",
        Some(address) if address.contains('@') => {
            "must not have a user and a password: set user and password_file"
        }
        Some(address) if address.is_empty() || address.contains(['/', ' ']) => {
            "must be followed by a host, or by host:port"
        }
        Some(_) => return Some((*value).to_owned()),
    };
    let shown =
        if value.contains('@') { "a server's URL".to_owned() } else { format!("{value:?}") };
    let hint = Some("write \"nats://localhost:4222\"".to_owned());
    table.source().problem(span, format!("{shown} {problem}"), hint);
    None
}

/// Two settings that are there together, or not at all.
fn together<A, B>(
    table: &Table<'_>,
    at: &Range<usize>,
    (one, a): (&str, Option<A>),
    (other, b): (&str, Option<B>),
) -> Option<(A, B)> {
    let missing = match (a, b) {
        (Some(a), Some(b)) => return Some((a, b)),
        (None, None) => return None,
        (Some(_), None) => other,
        (None, Some(_)) => one,
    };
    let what = format!("[journal] has only one of {one} and {other}");
    table.source().problem(at, what, Some(format!("set {missing} as well")));
    None
}

fn name(table: &Table<'_>, key: &'static str) -> Option<String> {
    let At { value, span } = table.string(key)?;
    if !is_name(value) {
        let hint = format!("take 1 to {NAME_MAX_CHARS} letters, digits, - and _");
        table.source().problem(&span, format!("{key} can't be {value:?}"), Some(hint));
    }
    Some(value.to_owned())
}

/// The name of this machine, without its domain, if it can be a node's.
fn host_name() -> Option<String> {
    let name = rustix::system::uname();
    let name = name.nodename().to_str().ok()?.split('.').next()?.to_owned();
    is_name(&name).then_some(name)
}
