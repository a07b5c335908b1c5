//! `listen` and `tls`: where the API listens, and whether in plain text.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::problem::ConfigProblem;
use super::table::{At, Table, report};

const PORT_DEFAULT: u16 = 7171;

/// Limit on addresses.
const LISTEN_MAX: usize = 16;

const HINT: &str = "write an address and a port, such as 127.0.0.1:7171 or https://[::]:7443, or a \
                    socket: unix:/run/usher/usher.sock";

/// One place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Whether clients speak TLS.
        is_tls: bool,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Listen {
    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { address, .. } => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, is_tls: true } => write!(f, "https://{address}"),
            Self::Tcp { address, is_tls: false } => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate and those between it and the root.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Roots that certificates of clients are verified with; without it none is asked for.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients without a certificate are turned away.
    pub requires_client_certificate: bool,
}

/// What the key `tls` says.
enum Tls {
    /// Nothing.
    Unset,
    /// `tls = "off"`: plain text everywhere, which a proxy in front makes up for.
    Off,
    /// `[tls]`
    On(TlsConfig),
}

/// Reads both. Reports what doesn't go together.
pub(super) fn read(
    flags: &[String],
    table: &Table<'_>,
    folder: &Path,
    problems: &mut Vec<ConfigProblem>,
) -> (Vec<Listen>, Option<TlsConfig>) {
    let tls = read_tls(table, folder);
    let written = table.string_or_strings("listen");
    let mut places: Vec<(String, Option<std::ops::Range<usize>>)> = if flags.is_empty() {
        let written = written.into_iter();
        written.map(|At { value, span }| (value.to_owned(), Some(span))).collect()
    } else {
        flags.iter().map(|text| (text.clone(), None)).collect()
    };
    if places.len() > LISTEN_MAX {
        let what = format!("listen has more than {LISTEN_MAX} addresses");
        report(table, problems, None, "--listen", what, "leave some out");
        places.truncate(LISTEN_MAX);
    }
    let mut listen: Vec<Listen> = Vec::new();
    for (text, place) in places {
        match parse(&text, &tls, folder) {
            Ok(one) if listen.contains(&one) && !is_free_port(&one) => {
                let what = format!("listen has {text:?} twice");
                report(table, problems, place, "--listen", what, "leave one of them out");
            }
            Ok(one) => listen.push(one),
            Err((what, hint)) => report(table, problems, place, "--listen", what, hint),
        }
    }
    let tls = match tls {
        Tls::On(config) => Some(config),
        Tls::Unset | Tls::Off => None,
    };
    if listen.is_empty() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT));
        listen.push(Listen::Tcp { address, is_tls: tls.is_some() });
    }
    (listen, tls)
}

fn is_free_port(listen: &Listen) -> bool {
    matches!(listen, Listen::Tcp { address, .. } if address.port() == 0)
}

fn parse(text: &str, tls: &Tls, folder: &Path) -> Result<Listen, (String, &'static str)> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err((format!("listen can't be {text:?}"), HINT));
        }
        return Ok(Listen::Unix(folder.join(path)));
    }
    let (asked, rest) = match text.split_once("://") {
        Some(("http", rest)) => (Some(false), rest),
        Some(("https", rest)) => (Some(true), rest),
        Some(_) => return Err((format!("listen can't be {text:?}"), HINT)),
        None => (None, text),
    };
    let address: SocketAddr =
        rest.parse().map_err(|_| (format!("listen can't be {text:?}"), HINT))?;
    let is_tls = asked.unwrap_or(matches!(tls, Tls::On(_)));
    if is_tls && !matches!(tls, Tls::On(_)) {
        return Err((
            format!("{text} needs a certificate"),
            "add [tls] with certificate_file and key_file",
        ));
    }
    if !is_tls && !address.ip().is_loopback() && !matches!(tls, Tls::Off) {
        return Err((
            format!("{text} would serve others than this machine in plain text"),
            "add [tls] with certificate_file and key_file, or, behind a proxy that has them, write \
             tls = \"off\"",
        ));
    }
    Ok(Listen::Tcp { address, is_tls })
}

fn read_tls(table: &Table<'_>, folder: &Path) -> Tls {
    let Some(value) = table.value("tls") else { return Tls::Unset };
    match value.get_ref().as_str() {
        Some("off") => Tls::Off,
        Some(other) => {
            let hint =
                "write tls = \"off\", or [tls] with certificate_file and key_file".to_owned();
            table.source().problem(&value.span(), format!("tls can't be {other:?}"), Some(hint));
            Tls::Unset
        }
        None => table
            .table("tls")
            .and_then(|table| tls_config(table, folder, &value.span()))
            .map_or(Tls::Unset, Tls::On),
    }
}

fn tls_config(table: Table<'_>, folder: &Path, at: &std::ops::Range<usize>) -> Option<TlsConfig> {
    let required = |key| {
        let path = table.string(key).map(|At { value, .. }| folder.join(value));
        if path.is_none() && table.value(key).is_none() {
            let hint = format!("write {key} = \"FILE.pem\"");
            table.source().problem(at, format!("[tls] needs {key}"), Some(hint));
        }
        path
    };
    let (certificate_file, key_file) = (required("certificate_file"), required("key_file"));
    let client_ca_file = table.string("client_ca_file").map(|At { value, .. }| folder.join(value));
    let choices = [("optional", false), ("required", true)];
    let requires_client_certificate = table.choice("client_certificates", &choices);
    if requires_client_certificate.is_some() && client_ca_file.is_none() {
        let what = "client_certificates needs client_ca_file, which they are verified with";
        table.source().problem(at, what, Some("add client_ca_file = \"CA.pem\"".to_owned()));
    }
    table.finish();
    Some(TlsConfig {
        certificate_file: certificate_file?,
        key_file: key_file?,
        client_ca_file,
        requires_client_certificate: requires_client_certificate.unwrap_or(false),
    })
}
