//! A router's files: data folder, plugins folder, configuration.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::artefacts;
use crate::usher::usher;

/// The folder of one router; removed when dropped, unless kept.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    // Removes the folder on drop.
    _temporary: Option<TempDir>,
}

impl Folder {
    /// Creates a temporary folder with a minimal configuration.
    ///
    /// # Errors
    /// The folder can't be created.
    pub fn new() -> Result<Self> {
        Self::with_config("", "")
    }

    /// Creates a temporary folder; see [`Self::configure`] for the arguments.
    ///
    /// # Errors
    /// The folder can't be created.
    pub fn with_config(top: &str, tables: &str) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("usher-test-").tempdir()?;
        let folder = Self { root: temporary.path().to_path_buf(), _temporary: Some(temporary) };
        folder.prepare(top, tables)?;
        Ok(folder)
    }

    /// Creates a folder inside `parent` that is kept.
    ///
    /// # Errors
    /// The folder can't be created.
    pub fn kept_in(parent: &Path, prefix: &str) -> Result<Self> {
        fs::create_dir_all(parent)?;
        let root = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?.keep();
        let folder = Self { root, _temporary: None };
        folder.prepare("", "")?;
        Ok(folder)
    }

    fn prepare(&self, top: &str, tables: &str) -> Result<()> {
        fs::create_dir_all(self.plugins())?;
        self.configure(top, tables)
    }

    /// Writes usher.toml: a free port on loopback, this folder's places and a log in JSON, then
    /// `top` (keys of the top level) and `tables`.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn configure(&self, top: &str, tables: &str) -> Result<()> {
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndata = {:?}\nplugins = {:?}\nlog = \"info\"\n\
             log_format = \"json\"\n{top}\n{tables}\n",
            self.data(),
            self.plugins(),
        );
        fs::write(self.config(), text).context("writing usher.toml")
    }

    /// Replaces the line `listen` of usher.toml.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn listen(&self, listen: &str) -> Result<()> {
        let text = fs::read_to_string(self.config())?;
        Ok(fs::write(self.config(), text.replace("listen = \"127.0.0.1:0\"", listen))?)
    }

    /// Creates a temporary folder whose router listens at `listen` (that line of usher.toml), and
    /// has a certificate for localhost and one token, for everything. Returns its secret, too.
    ///
    /// # Errors
    /// The folder can't be created, or the token.
    pub fn closed(listen: &str, tables: &str) -> Result<(Self, String)> {
        let folder = Self::new()?;
        folder.certify("localhost")?;
        let hashed = usher(&["tokens", "hash", "--json"], b"")?.json()?;
        let text = |name| hashed.get(name).and_then(Value::as_str).context("no token was made");
        let (hash, secret) = (text("hash")?, text("secret")?);
        let token = format!("[token.ops]\nhash = {hash:?}\nscopes = [\"admin\"]\n");
        folder.configure("", &format!("{tables}{token}"))?;
        folder.listen(listen)?;
        Ok((folder, secret.to_owned()))
    }

    /// Puts a certificate for `host` that is its own root, and its key, where [`Self::TLS`] names
    /// them.
    ///
    /// # Errors
    /// They can't be made or written.
    pub fn certify(&self, host: &str) -> Result<()> {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()])?;
        for (file, content) in
            [("router.key", made.signing_key.serialize_pem()), ("router.pem", made.cert.pem())]
        {
            let partial = self.root.join(format!("{file}.new"));
            fs::write(&partial, content)?;
            fs::rename(&partial, self.root.join(file))?;
        }
        Ok(())
    }

    /// The table that names the certificate.
    pub const TLS: &str = "[tls]\ncertificate_file = \"router.pem\"\nkey_file = \"router.key\"\n";

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The data folder; created by the router.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The plugins folder.
    pub fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.root.join("usher.toml")
    }

    /// Installs a component in the plugins folder, replacing any file of that name. Atomic: written
    /// to a temporary file and renamed.
    ///
    /// # Errors
    /// The component can't be copied.
    pub fn install(&self, component: &Path, file: &str) -> Result<PathBuf> {
        let partial = self.root.join(format!("{file}.partial"));
        let path = self.plugins().join(file);
        fs::copy(component, &partial)
            .with_context(|| format!("copying {}", component.display()))?;
        fs::rename(&partial, &path)?;
        Ok(path)
    }

    /// Installs guests from `tests/guests/` under their own names.
    ///
    /// # Errors
    /// One has not been built or can't be copied.
    pub fn install_guests(&self, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| {
            self.install(&artefacts::guest(name)?, &format!("{name}.wasm")).map(drop)
        })
    }

    /// Installs ticket plugins from `plugins/` under their own names.
    ///
    /// # Errors
    /// One has not been built or can't be copied.
    pub fn install_plugins(&self, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| {
            self.install(&artefacts::plugin(name)?, &format!("{name}.wasm")).map(drop)
        })
    }
}
