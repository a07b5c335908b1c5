//! Configuration and secrets (wasi:config/store). Secrets are readable by name but not listed.

use std::sync::Arc;

use wasmtime::component::{HasData, Linker};

use crate::bindings::config::{self, Error};
use crate::guest::Guest;
use crate::plugin::Plugin;
use crate::{Grant, text};

/// How much of a key an error quotes.
const KEY_SHOWN_MAX_BYTES: usize = 64;

/// One instance's view of its configuration.
pub(crate) struct Config {
    plugin: Arc<Plugin>,
}

impl Config {
    pub(crate) fn new(plugin: &Arc<Plugin>) -> Self {
        Self { plugin: plugin.clone() }
    }

    fn denied(&self, what: &str) -> Error {
        let remedy = "the keys it needs";
        Error::Upstream(self.plugin.deny(Grant::Config, what, "config", remedy))
    }
}

impl HasData for Config {
    type Data<'a> = &'a mut Self;
}

impl config::Host for Config {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let grants = &self.plugin.grants;
        if let Some(secret) = grants.secrets.get(&key) {
            return Ok(Ok(Some(secret.expose().to_owned())));
        }
        Ok(match &grants.config {
            Some(config) => Ok(config.get(&key).cloned()),
            None => {
                let key = text::escape(text::head(&key, KEY_SHOWN_MAX_BYTES)).into_owned();
                Err(self.denied(&format!("config (key {key:?})")))
            }
        })
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        Ok(match &self.plugin.grants.config {
            Some(config) => Ok(config.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
            None => Err(self.denied("config")),
        })
    }
}

/// Links wasi:config.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    config::add_to_linker::<_, Config>(linker, |guest| &mut guest.config)
}

#[cfg(test)]
mod tests {
    use config::Host as _;

    use super::*;
    use crate::testing::plugin;
    use crate::{Grants, Secret};

    #[test]
    fn settings_and_secrets_are_read_by_name_and_only_settings_are_listed() {
        let plugin = plugin(Grants {
            config: Some([("gateway".to_owned(), "http://127.0.0.1:1".to_owned())].into()),
            secrets: [("KEY".to_owned(), Secret::new("hunter2"))].into(),
            ..Grants::default()
        });
        let mut config = Config::new(&plugin);
        let mut get = |key: &str| config.get(key.to_owned()).unwrap().unwrap();
        assert_eq!(get("gateway").as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(get("KEY").as_deref(), Some("hunter2"));
        assert_eq!(get("missing"), None);
        let all = config.get_all().unwrap().unwrap();
        assert_eq!(all, [("gateway".to_owned(), "http://127.0.0.1:1".to_owned())]);
    }

    #[test]
    fn without_a_grant_the_error_says_what_to_write() {
        let plugin = plugin(Grants::default());
        let mut config = Config::new(&plugin);
        let Err(Error::Upstream(words)) = config.get("gateway".to_owned()).unwrap() else {
            panic!("expected a denial")
        };
        assert_eq!(
            words,
            "config (key \"gateway\") is not granted: add the keys it needs to \
             [plugin.tested.config] in usher.toml"
        );
        assert!(config.get_all().unwrap().is_err());
        let counts: Vec<_> = plugin.denials.counts().collect();
        assert_eq!(counts.first(), Some(&(Grant::Config, 2)));
    }
}
