//! Who may use the API: tokens of the data folder, tokens of the configuration, and what comes of
//! a secret that a caller presents.

mod failures;
mod kept;
mod token;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use usher_access::{Permissions, Scope, TokenHash, TokenSecret};
use usher_broker::{Actor, Clock};
use usher_config::{Listen, Proof, TokenConfig};
use usher_event::TokenName;
use usher_tls::Certificate;

#[cfg(test)]
pub(crate) use failures::FAILURES_MAX;
pub(crate) use failures::{Address, Failures, Noted};
use kept::Kept;
pub(crate) use token::Token;

/// Limit on tokens of the data folder, and likewise on those of the configuration. Every request
/// is compared with all of them.
const TOKENS_MAX: usize = 256;

/// The tokens.
pub(crate) struct Access {
    tokens: RwLock<Arc<[Arc<Token>]>>,
    kept: Kept,
    clock: Arc<dyn Clock>,
    /// Held while the tokens change, so that file and memory change in the same order.
    changing: tokio::sync::Mutex<()>,
}

/// A caller: who it is and what it may do.
#[derive(Clone)]
pub(crate) struct Identity {
    /// Named in the audit.
    pub(crate) actor: Actor,
    token: Option<Arc<Token>>,
}

/// Why a secret is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No token has it: it is wrong, or was revoked.
    Unknown,
    /// Its token has expired.
    Expired(TokenName),
}

/// Why a token was not created or revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("there is a token {0} already; revoke it first, or choose another name")]
    Exists(TokenName),
    #[error("there is no token {0}; see `usher tokens list`")]
    NotFound(TokenName),
    #[error("there are {TOKENS_MAX} tokens, as many as can be; revoke one first")]
    TooMany,
    #[error("the first token must have the scope admin, which creating others takes")]
    FirstNotAdmin,
    #[error("token {0} is the last one with the scope admin; create another first")]
    LastAdmin(TokenName),
    #[error("token {0} is part of the configuration; remove [token.{0}] there")]
    Configured(TokenName),
    #[error("token name {0:?} stands for callers without a token; choose another")]
    Reserved(TokenName),
    #[error("expires must be in the future")]
    Past,
    #[error("the data folder can't be written to: {0}")]
    Disk(#[from] io::Error),
    #[error("the system has no random numbers")]
    NoRandom,
}

impl Identity {
    /// A caller without a token, where none is asked for.
    pub(crate) fn local() -> Self {
        Self { actor: Actor::local(), token: None }
    }

    /// What it may do; `None` for everything.
    pub(crate) fn permissions(&self) -> Option<&Permissions> {
        self.token.as_deref().map(|token| &token.permissions)
    }

    /// Whether it may use a route that requires `scope`.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.permissions().is_none_or(|permissions| permissions.include(scope))
    }
}

impl Access {
    /// Reads the tokens of a data folder and adds those of the configuration.
    ///
    /// # Errors
    /// The file can't be read or is damaged: going on without it would open the API to all.
    pub(crate) fn open(
        data: &Path,
        configured: &BTreeMap<TokenName, TokenConfig>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let (kept, tokens) = Kept::open(data)?;
        let access = Self::new(kept, tokens, clock);
        access.adopt(configured);
        Ok(access)
    }

    /// Whether the router may listen there: callers from elsewhere need a token.
    pub(crate) fn check_places(&self, places: &[Listen]) -> anyhow::Result<()> {
        for place in places.iter().filter(|place| !place.is_local()) {
            if !self.is_required() {
                anyhow::bail!(
                    "{place} would serve everyone who reaches it, because there are no tokens: create \
                 one with `usher tokens new` while the router listens on loopback only, or add \
                 [token.NAME] to usher.toml, with a hash from `usher tokens hash`"
                );
            }
            if matches!(place, Listen::Tcp { is_tls: false, .. }) {
                tracing::warn!(
                    %place,
                    "serving others in plain text, tokens included: only a proxy with TLS may reach this"
                );
            }
        }
        Ok(())
    }

    /// Without tokens and without a file.
    #[cfg(test)]
    pub(crate) fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self::new(Kept::nowhere(), Vec::new(), clock)
    }

    fn new(kept: Kept, tokens: Vec<Token>, clock: Arc<dyn Clock>) -> Self {
        let tokens = tokens.into_iter().map(Arc::new).collect();
        Self { tokens: RwLock::new(tokens), kept, clock, changing: tokio::sync::Mutex::default() }
    }

    /// All tokens, by name.
    pub(crate) fn tokens(&self) -> Arc<[Arc<Token>]> {
        Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, mut tokens: Vec<Arc<Token>>) {
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens.into();
    }

    /// Whether callers need a token: as soon as there is one, expired or not.
    pub(crate) fn is_required(&self) -> bool {
        !self.tokens().is_empty()
    }

    /// The caller that presents `secret`. Takes the same time whichever token has it.
    pub(crate) fn identify(&self, secret: &[u8]) -> Result<Identity, Denied> {
        let (proof, tokens) = (Proof::Secret(TokenHash::of(secret)), self.tokens());
        let mut found = None;
        for token in tokens.iter().filter(|token| token.proof == proof) {
            found = Some(token);
        }
        self.identity(found.ok_or(Denied::Unknown)?)
    }

    /// The caller with this certificate, which has been verified; `None` if no token that is valid
    /// now names it.
    pub(crate) fn certified(&self, certificate: &Certificate) -> Option<Identity> {
        let tokens = self.tokens();
        let token = tokens.iter().find(|token| match &token.proof {
            Proof::Certificate(name) => certificate.covers(name),
            Proof::Secret(_) => false,
        });
        self.identity(token?).ok()
    }

    fn identity(&self, token: &Arc<Token>) -> Result<Identity, Denied> {
        let now_ms = self.clock.now_ms();
        if token.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
            return Err(Denied::Expired(token.name.clone()));
        }
        token.used(now_ms);
        Ok(Identity { actor: token.actor.clone(), token: Some(Arc::clone(token)) })
    }

    /// Replaces the tokens of the configuration. One of the data folder with the same name no
    /// longer counts.
    pub(crate) fn adopt(&self, configured: &BTreeMap<TokenName, TokenConfig>) {
        let before = self.tokens();
        let of_folder = before.iter().filter(|token| !token.is_configured()).filter(|token| {
            let is_hidden = configured.contains_key(&token.name);
            if is_hidden {
                tracing::warn!(
                    token = %token.name,
                    "the configuration has a token of the same name, which is used instead"
                );
            }
            !is_hidden
        });
        let of_config = configured.iter().map(|(name, config)| {
            let TokenConfig { proof, permissions, expires_ms } = config.clone();
            let last_used_ms = before
                .iter()
                .find(|token| token.name == *name)
                .and_then(|token| token.last_used_ms())
                .or_else(|| self.kept.last_used_ms(name));
            let last_used_ms = AtomicU64::new(last_used_ms.unwrap_or(0));
            let token = Token::new(name.clone(), proof, permissions);
            Arc::new(Token { expires_ms, last_used_ms, ..token })
        });
        self.set(of_folder.cloned().chain(of_config).collect());
    }

    /// Checks that a token may be created.
    ///
    /// # Errors
    /// Any but [`TokenError::Disk`].
    fn check_new(
        &self,
        name: &TokenName,
        permissions: &Permissions,
        expires_ms: Option<u64>,
    ) -> Result<(), TokenError> {
        let tokens = self.tokens();
        if name.as_str() == Actor::local().as_str() {
            return Err(TokenError::Reserved(name.clone()));
        }
        if tokens.iter().any(|token| token.name == *name) {
            return Err(TokenError::Exists(name.clone()));
        }
        if tokens.iter().filter(|token| !token.is_configured()).count() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        if tokens.is_empty() && !permissions.include(Scope::Admin) {
            return Err(TokenError::FirstNotAdmin);
        }
        match expires_ms {
            Some(expires_ms) if expires_ms <= self.clock.now_ms() => Err(TokenError::Past),
            _ => Ok(()),
        }
    }

    /// Creates a token and returns it with its secret, once it is fsynced. `record` runs once
    /// nothing but the disk can go wrong.
    ///
    /// # Errors
    /// Nothing has changed.
    pub(crate) async fn create<E: From<TokenError>>(
        &self,
        name: TokenName,
        permissions: Permissions,
        expires_ms: Option<u64>,
        record: impl Future<Output = Result<(), E>>,
    ) -> Result<(Arc<Token>, TokenSecret), E> {
        let _changing = self.changing.lock().await;
        self.check_new(&name, &permissions, expires_ms)?;
        let secret = TokenSecret::generate().ok_or(TokenError::NoRandom)?;
        record.await?;
        let created_ms = Some(self.clock.now_ms());
        let token = Token::new(name, Proof::Secret(secret.hash()), permissions);
        let token = Arc::new(Token { created_ms, expires_ms, ..token });
        let all: Vec<_> = self.tokens().iter().chain([&token]).cloned().collect();
        self.kept.write(&all).await.map_err(TokenError::from)?;
        self.set(all);
        Ok((token, secret))
    }

    /// Revokes a token; returns once that is fsynced. `record` runs once nothing but the disk can
    /// go wrong.
    ///
    /// # Errors
    /// Nothing has changed.
    pub(crate) async fn revoke<E: From<TokenError>>(
        &self,
        name: &TokenName,
        record: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let _changing = self.changing.lock().await;
        let tokens = self.tokens();
        let token = tokens.iter().find(|token| token.name == *name);
        let token = token.ok_or_else(|| TokenError::NotFound(name.clone()))?;
        if token.is_configured() {
            return Err(TokenError::Configured(name.clone()).into());
        }
        let now_ms = self.clock.now_ms();
        let is_admin = |token: &Arc<Token>| {
            token.permissions.include(Scope::Admin)
                && token.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms)
        };
        let rest: Vec<_> = tokens.iter().filter(|token| token.name != *name).cloned().collect();
        if is_admin(token) && !rest.iter().any(is_admin) {
            return Err(TokenError::LastAdmin(name.clone()).into());
        }
        record.await?;
        self.kept.write(&rest).await.map_err(TokenError::from)?;
        self.set(rest);
        Ok(())
    }

    /// Writes when tokens were last used, if that has changed.
    pub(crate) async fn flush(&self) {
        let _changing = self.changing.lock().await;
        if let Err(error) = self.kept.write_if_used(&self.tokens()).await {
            tracing::warn!(%error, "when tokens were last used can't be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use usher_broker::ManualClock;

    use super::*;

    const NOW_MS: u64 = 1_769_860_800_000;

    fn permissions(scopes: &[&str]) -> Permissions {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        Permissions { scopes, source_prefix: None }
    }

    async fn create(access: &Access, name: &str, scopes: &[&str]) -> Result<String, TokenError> {
        let recorded = async { Ok::<_, TokenError>(()) };
        let made = access.create(name.parse().unwrap(), permissions(scopes), None, recorded).await;
        made.map(|(_, secret)| secret.reveal().to_owned())
    }

    async fn revoke(access: &Access, name: &str) -> Result<(), TokenError> {
        access.revoke(&name.parse().unwrap(), async { Ok(()) }).await
    }

    fn open(folder: &Path, clock: &ManualClock) -> Access {
        Access::open(folder, &BTreeMap::new(), Arc::new(clock.clone())).unwrap()
    }

    #[tokio::test]
    async fn tokens_are_kept_as_hashes_and_found_again() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(NOW_MS));
        let access = open(folder.path(), &clock);
        assert!(!access.is_required());
        let early = create(&access, "shop", &["publish"]).await.unwrap_err();
        assert!(matches!(early, TokenError::FirstNotAdmin), "{early}");
        let admin = create(&access, "ops", &["admin"]).await.unwrap();
        let shop = create(&access, "shop", &["publish:ticket."]).await.unwrap();
        assert!(access.is_required());
        let text = std::fs::read_to_string(folder.path().join("tokens.json")).unwrap();
        assert!(!text.contains(&admin) && !text.contains(&shop), "{text}");

        let access = open(folder.path(), &clock);
        let identity = access.identify(shop.as_bytes()).unwrap();
        assert_eq!(identity.actor.as_str(), "shop");
        assert!(identity.may(Scope::Publish) && !identity.may(Scope::Read));
        assert!(access.identify(admin.as_bytes()).unwrap().may(Scope::Admin));
        assert_eq!(access.identify(b"usher_no").err(), Some(Denied::Unknown));
        assert_eq!(access.tokens()[0].last_used_ms(), Some(NOW_MS));
        access.flush().await;
        assert_eq!(open(folder.path(), &clock).tokens()[1].last_used_ms(), Some(NOW_MS));

        revoke(&access, "shop").await.unwrap();
        assert_eq!(access.identify(shop.as_bytes()).err(), Some(Denied::Unknown));
        assert_eq!(open(folder.path(), &clock).tokens().len(), 1);
    }

    #[tokio::test]
    async fn what_would_lock_everybody_out_is_refused() {
        let access = Access::in_memory(Arc::new(ManualClock::at(NOW_MS)));
        create(&access, "ops", &["admin"]).await.unwrap();
        create(&access, "shop", &["publish"]).await.unwrap();
        let refused = [
            revoke(&access, "ops").await.unwrap_err().to_string(),
            revoke(&access, "nothing").await.unwrap_err().to_string(),
            create(&access, "shop", &["read"]).await.unwrap_err().to_string(),
            create(&access, "local", &["read"]).await.unwrap_err().to_string(),
        ];
        let words = ["is the last one", "there is no token", "already", "stands for"];
        for (refusal, word) in refused.iter().zip(words) {
            assert!(refusal.contains(word), "{refusal}");
        }
        create(&access, "second", &["admin"]).await.unwrap();
        revoke(&access, "ops").await.unwrap();
        for n in access.tokens().len()..TOKENS_MAX {
            create(&access, &format!("t{n}"), &["read"]).await.unwrap();
        }
        let full = create(&access, "more", &["read"]).await.unwrap_err();
        assert!(matches!(full, TokenError::TooMany), "{full}");
    }

    #[tokio::test]
    async fn tokens_expire_and_stay_asked_for() {
        let clock = ManualClock::at(NOW_MS);
        let access = Access::in_memory(Arc::new(clock.clone()));
        let recorded = || async { Ok::<_, TokenError>(()) };
        let make = |expires_ms| {
            access.create("ops".parse().unwrap(), permissions(&["admin"]), expires_ms, recorded())
        };
        assert!(matches!(make(Some(NOW_MS)).await, Err(TokenError::Past)));
        let (_, secret) = make(Some(NOW_MS + 1)).await.unwrap();
        assert!(access.identify(secret.reveal().as_bytes()).is_ok());
        clock.advance(1);
        let expired = access.identify(secret.reveal().as_bytes()).err();
        assert_eq!(expired, Some(Denied::Expired("ops".parse().unwrap())));
        assert!(access.is_required());
    }

    #[tokio::test]
    async fn the_configuration_adds_and_revokes_its_own() {
        let access = Access::in_memory(Arc::new(ManualClock::at(NOW_MS)));
        let kept = create(&access, "ops", &["admin"]).await.unwrap();
        let secret = TokenSecret::generate().unwrap();
        let config = TokenConfig {
            proof: Proof::Secret(secret.hash()),
            permissions: permissions(&["read"]),
            expires_ms: None,
        };
        let configured = |name: &str| BTreeMap::from([(name.parse().unwrap(), config.clone())]);
        access.adopt(&configured("watch"));
        let identity = access.identify(secret.reveal().as_bytes()).unwrap();
        assert_eq!((identity.actor.as_str(), identity.may(Scope::Operate)), ("watch", false));
        let refused = revoke(&access, "watch").await.unwrap_err();
        assert!(matches!(refused, TokenError::Configured(_)), "{refused}");
        access.adopt(&configured("ops"));
        assert_eq!(access.identify(kept.as_bytes()).err(), Some(Denied::Unknown), "it is hidden");
        access.adopt(&BTreeMap::new());
        assert!(access.identify(secret.reveal().as_bytes()).is_err());
    }

    #[test]
    fn a_damaged_file_is_no_open_door() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokens.json"), "{").unwrap();
        let clock = Arc::new(ManualClock::at(NOW_MS));
        let error = Access::open(folder.path(), &BTreeMap::new(), clock).err().unwrap();
        assert!(error.to_string().contains("tokens.json"), "{error}");
    }
}
