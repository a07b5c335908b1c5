//! Configuration and secrets (wasi:config/store). Secrets are readable by name but not listed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use usher_event::Given;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::bindings::config::{self, Error, Host as _};
use crate::capability::{About, Capability, Grants, Has, View, Viewed};
use crate::meter::GuestClock;
use crate::plugin::Plugin;
use crate::text;

const CONFIG: &str = "config";
const SECRETS: &str = "secrets";

/// Other versions of the interface in use, all of the same shape: wasmtime's and Spin's.
const OTHER_VERSIONS: [&str; 2] = ["0.2.0-rc.1", "0.2.0-draft-2024-09-27"];

/// How much of a key an error quotes.
const KEY_SHOWN_MAX_BYTES: usize = 64;

/// A secret value, redacted in `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret value.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The plain value. Only for the plugin that was granted it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Grants {
    /// Adds settings that the plugin can read and list.
    #[must_use]
    pub fn with_config(mut self, settings: BTreeMap<String, String>) -> Self {
        self.insert(CONFIG, settings);
        self
    }

    /// Adds secrets that the plugin can read by name.
    #[must_use]
    pub fn with_secrets(mut self, secrets: BTreeMap<String, Secret>) -> Self {
        if !secrets.is_empty() {
            self.insert(SECRETS, secrets);
        }
        self
    }

    /// Settings that the plugin can read; `None` if not granted.
    pub fn config(&self) -> Option<&BTreeMap<String, String>> {
        self.get(CONFIG)
    }

    /// A secret that the plugin can read.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.get::<BTreeMap<String, Secret>>(SECRETS).and_then(|secrets| secrets.get(name))
    }

    /// Settings, subjects and secrets as a fixture has them; each secret reads [`stand_in`].
    pub(crate) fn given(&self) -> Given {
        let secrets = self.get::<BTreeMap<String, Secret>>(SECRETS).into_iter().flatten();
        Given {
            config: self.config().cloned().unwrap_or_default(),
            subjects: self.subjects().cloned().unwrap_or_default(),
            secrets: secrets.map(|(name, _)| (name.clone(), stand_in(name))).collect(),
            ..Given::default()
        }
    }

    /// All secrets.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let secrets = self.get::<BTreeMap<String, Secret>>(SECRETS).into_iter();
        secrets.flat_map(|secrets| secrets.values()).map(Secret::expose)
    }
}

/// One instance's view of its configuration.
pub(crate) struct Config(Arc<Shared>);

/// A plugin's configuration.
pub(crate) struct Shared {
    plugin: Arc<Plugin>,
    grants: Grants,
}

impl Capability for Config {
    const ABOUT: &'static [About] = &[
        About {
            name: Some(CONFIG),
            interfaces: &["wasi:config/"],
            ability: "reads its configuration",
            is_flag: false,
        },
        About { name: Some(SECRETS), interfaces: &[], ability: "reads secrets", is_flag: false },
    ];

    type Service = ();
    type Shared = Shared;

    fn share(plugin: &Arc<Plugin>, grants: &Grants, (): ()) -> Shared {
        Shared { plugin: plugin.clone(), grants: grants.clone() }
    }

    fn new(shared: &Arc<Shared>, _: &Arc<GuestClock>) -> Self {
        Self(shared.clone())
    }

    /// All of it; of secrets the names only.
    fn link<T: Has<Self> + Send + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        config::add_to_linker::<_, Viewed<Self>>(linker, T::view)?;
        for version in OTHER_VERSIONS {
            let mut store = linker.instance(&format!("wasi:config/store@{version}"))?;
            store.func_wrap("get", |mut data: StoreContextMut<'_, T>, (key,): (String,)| {
                Ok((data.data_mut().view().get(key)?,))
            })?;
            store.func_wrap("get-all", |mut data: StoreContextMut<'_, T>, (): ()| {
                Ok((data.data_mut().view().get_all()?,))
            })?;
        }
        Ok(())
    }
}

/// What a recording has in place of a secret.
fn stand_in(name: &str) -> String {
    format!("[secret {name}]")
}

impl Shared {
    fn denied(&self, what: &str) -> Error {
        let remedy = "the keys it needs";
        Error::Upstream(self.plugin.deny(CONFIG, what, "config", remedy))
    }
}

impl config::Host for View<'_, Config> {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let shared = &self.capability.0;
        if let Some(secret) = shared.grants.secret(&key) {
            return Ok(Ok(Some(secret.expose().to_owned())));
        }
        Ok(match shared.grants.config() {
            Some(config) => Ok(config.get(&key).cloned()),
            None => {
                let key = text::escape(text::head(&key, KEY_SHOWN_MAX_BYTES)).into_owned();
                Err(shared.denied(&format!("config (key {key:?})")))
            }
        })
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        let shared = &self.capability.0;
        Ok(match shared.grants.config() {
            Some(config) => Ok(config.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
            None => Err(shared.denied("config")),
        })
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::component::ResourceTable;

    use super::*;
    use crate::testing::{clock, plugin};

    /// What a guest gets that is granted this.
    fn read<T>(
        grants: Grants,
        reading: impl FnOnce(&mut View<'_, Config>) -> T,
    ) -> (T, Arc<Plugin>) {
        let plugin = plugin();
        let shared = Arc::new(Config::share(&plugin, &grants, ()));
        let mut config = Config::new(&shared, &clock());
        let mut view = View { capability: &mut config, table: &mut ResourceTable::new() };
        (reading(&mut view), plugin)
    }

    #[test]
    fn settings_and_secrets_are_read_by_name_and_only_settings_are_listed() {
        let settings = [("gateway".to_owned(), "http://127.0.0.1:1".to_owned())].into();
        let secrets = [("KEY".to_owned(), Secret::new("hunter2"))].into();
        let grants = Grants::default().with_config(settings).with_secrets(secrets);
        read(grants, |config| {
            let mut get = |key: &str| config.get(key.to_owned()).unwrap().unwrap();
            assert_eq!(get("gateway").as_deref(), Some("http://127.0.0.1:1"));
            assert_eq!(get("KEY").as_deref(), Some("hunter2"));
            assert_eq!(get("missing"), None);
            let all = config.get_all().unwrap().unwrap();
            assert_eq!(all, [("gateway".to_owned(), "http://127.0.0.1:1".to_owned())]);
        });
    }

    #[test]
    fn without_a_grant_the_error_says_what_to_write() {
        let ((), plugin) = read(Grants::default(), |config| {
            let Err(Error::Upstream(words)) = config.get("gateway".to_owned()).unwrap() else {
                panic!("expected a denial")
            };
            assert_eq!(
                words,
                "config (key \"gateway\") is not granted: add the keys it needs to \
                 [plugin.tested.config] in usher.toml"
            );
            assert!(config.get_all().unwrap().is_err());
        });
        assert_eq!(plugin.denials.counts(), [(CONFIG, 2)].into());
    }

    #[test]
    fn secrets_are_not_shown() {
        let secrets = [("KEY".to_owned(), Secret::new("hunter2"))].into();
        let grants = Grants::default().with_secrets(secrets);
        assert!(!format!("{grants:?}").contains("hunter2"));
    }
}
