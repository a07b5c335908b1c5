//! What `usher test` and `usher call` share: a sandbox like the router's, with a cache of compiled
//! components of the user's own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime as Executor};
use usher_cli::ui::CliError;
use usher_config::CompilerConfig;
use usher_plugins::sandbox;
use usher_runtime::{COMPONENT_MAX_BYTES, CompileBudget, Loaded, Runtime};

/// A sandbox and what it runs on.
pub(super) struct Workbench {
    pub(super) executor: Executor,
    runtime: Runtime,
}

/// Cores to run fixtures on.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Workbench {
    pub(super) fn new() -> Result<Self, CliError> {
        // Without a cache each run compiles; nothing else depends on it.
        Self::with_cache(cache_folder().as_deref()).or_else(|_| Self::with_cache(None))
    }

    /// With compiled components in a folder.
    pub(super) fn with_cache(folder: Option<&Path>) -> Result<Self, CliError> {
        let failed = |error: &dyn std::fmt::Display| CliError::new(error.to_string());
        let executor =
            Builder::new_multi_thread().enable_all().build().map_err(|error| failed(&error))?;
        let instances = u32::try_from(cores()).unwrap_or(1).saturating_add(1);
        let runtime = sandbox::set_up(CompilerConfig::default(), instances, 1)
            .map_err(|error| failed(&error))?;
        if let Some(folder) = folder {
            runtime.open_cache(folder).map_err(|error| failed(&error))?;
        }
        Ok(Self { executor, runtime })
    }

    /// Loads a component.
    pub(super) fn load(&self, file: &Path) -> Result<Loaded, CliError> {
        let content = read_component(file)
            .map_err(|error| CliError::new(format!("{}: {error}", file.display())))?;
        self.load_bytes(content.into(), &file.file_name().unwrap_or_default().to_string_lossy())
    }

    /// Loads the bytes of a component; a foreign one is named like its file.
    pub(super) fn load_bytes(&self, content: Bytes, file: &str) -> Result<Loaded, CliError> {
        let loading = self.runtime.load(content, file, CompileBudget::Patient);
        self.executor.block_on(loading).map_err(|error| CliError::new(error.to_string()))
    }
}

/// Reads at most one byte beyond the limit, so that loading refuses a file that is too large.
pub(super) fn read_component(file: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(file)?.take(COMPONENT_MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// The XDG Base Directory Specification's place for what can be made again.
fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("usher").join("compiled"))
}
