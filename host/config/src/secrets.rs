//! Secrets: their sources, and reading them.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use usher_runtime::Secret;

use super::table::Table;

const SECRET_MAX_BYTES: u64 = 64 * 1024;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; one trailing line break is stripped.
    File {
        /// Its path.
        path: PathBuf,
        /// Accepts a world-readable file: the operator may not control the mode of a mount.
        shared: bool,
    },
}

impl SecretSource {
    /// Reads `{ env = "X" }` or `{ file = "path" }`; `folder` is the base of relative paths.
    pub(crate) fn read(
        table: Table<'_>,
        folder: &Path,
        at: &std::ops::Range<usize>,
    ) -> Option<Self> {
        let env = table.string("env").map(|env| Self::Env(env.value.to_owned()));
        let shared = table.boolean("shared");
        let file = table.string("file").map(|file| {
            let (path, shared) = (folder.join(file.value), shared.unwrap_or(false));
            Self::File { path, shared }
        });
        if shared.is_some() && env.is_some() {
            let what = "shared is about files, and this secret comes from the environment";
            table.source().problem(at, what, Some("leave shared out".to_owned()));
        }
        let source = match (env, file) {
            (Some(source), None) | (None, Some(source)) => Some(source),
            (None, None) | (Some(_), Some(_)) => {
                let what = format!("[{}] must say where the secret comes from", table.name());
                let hint = "use either env = \"VARIABLE\" or file = \"PATH\"".to_owned();
                table.source().problem(at, what, Some(hint));
                None
            }
        };
        table.finish();
        source
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// It is missing or unreadable, or its file's mode is too permissive. The second string is a
    /// hint.
    pub(crate) fn fetch(&self) -> Result<Secret, (String, String)> {
        match self {
            Self::Env(name) => std::env::var(name).map(Secret::new).map_err(|_| {
                (
                    format!("environment variable {name} is not set, or not UTF-8"),
                    "set it for the router's process".to_owned(),
                )
            }),
            Self::File { path, shared } => fetch_file(path, *shared),
        }
    }
}

fn fetch_file(path: &Path, is_shared: bool) -> Result<Secret, (String, String)> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        (format!("{shown}: {error}"), "make the file readable for the router's user".to_owned())
    };
    // A pipe or device could block forever.
    let is_file = std::fs::metadata(path).map_err(failed)?.is_file();
    if !is_file {
        return Err((format!("{shown} is not a file"), "name a regular file".to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    // Group read is allowed: containers get secrets that way from another user.
    if mode & 0o022 != 0 || (mode & 0o004 != 0 && !is_shared) {
        let (who, what) =
            if mode & 0o022 != 0 { ("others", "changed") } else { ("everybody", "read") };
        return Err((
            format!("{shown} can be {what} by {who} (mode {:04o})", mode & 0o7777),
            format!(
                "chmod 600 {shown}; where its mode is not yours to set, as with a mounted secret, add \
                 shared = true"
            ),
        ));
    }
    let mut text = String::new();
    file.take(SECRET_MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SECRET_MAX_BYTES {
        return Err((
            format!("{shown} has more than {SECRET_MAX_BYTES} bytes"),
            "name a file that holds the secret alone".to_owned(),
        ));
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(secret.strip_suffix('\r').unwrap_or(secret)))
}
