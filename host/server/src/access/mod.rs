//! Who may use the API: tokens in the journal, which all nodes of a router have, tokens of the
//! configuration, and what comes of a secret that a caller presents.

mod failures;
mod kept;
mod token;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::Context as _;
use tokio::task::spawn_blocking;
use usher_access::{Permissions, Scope, TokenHash, TokenSecret};
use usher_broker::{
    Actor, Broker, BrokerError, Change, Clock, Document, Log, Operation, Operator, TokenChange,
};
use usher_config::{Listen, Proof, TokenConfig};
use usher_event::TokenName;
use usher_tls::Certificate;

#[cfg(test)]
pub(crate) use failures::FAILURES_MAX;
pub(crate) use failures::{Address, Failures, Noted};
pub(crate) use kept::leave_out;
use kept::{DOCUMENT, Kept, document as document_of};
pub(crate) use token::Token;

/// Limit on tokens in the journal, and likewise on those of the configuration. Every request is
/// compared with all of them.
const TOKENS_MAX: usize = 256;

/// The tokens.
pub(crate) struct Access {
    tokens: RwLock<Arc<[Arc<Token>]>>,
    /// When tokens were last used, as the journal has it; `None` until that has been read.
    last_used_ms: Mutex<Option<BTreeMap<TokenName, u64>>>,
    clock: Arc<dyn Clock>,
    /// Held while the tokens change, so that journal and memory change in the same order.
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
    #[error(transparent)]
    Broker(#[from] BrokerError),
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
    /// With the tokens of the configuration. Until those in the journal are read as well, each caller
    /// needs a token.
    pub(crate) fn new(
        configured: &BTreeMap<TokenName, TokenConfig>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (tokens, last_used_ms, changing) = Default::default();
        let access = Self { tokens, last_used_ms, clock, changing };
        access.adopt(configured);
        access
    }

    /// Without any tokens.
    #[cfg(test)]
    pub(crate) fn without_tokens(clock: Arc<dyn Clock>) -> Self {
        let access = Self::new(&BTreeMap::new(), clock);
        access.take(Kept::default());
        access
    }

    /// Reads the tokens in the journal, in place of those that it had before.
    ///
    /// # Errors
    /// They can't be read: going on without them would open the API to all.
    pub(crate) async fn read(&self, log: &dyn Log) -> anyhow::Result<()> {
        let _changing = self.changing.lock().await;
        let document = log.documents(DOCUMENT).await?.remove(DOCUMENT);
        let kept = Kept::read(document.as_deref()).context("the document of tokens")?;
        self.take(kept);
        Ok(())
    }

    fn take(&self, kept: Kept) {
        let before = self.tokens();
        let configured = before.iter().filter(|token| token.is_configured()).cloned();
        let is_hidden = |token: &Token| {
            before.iter().any(|other| other.is_configured() && other.name == token.name)
        };
        let Kept { tokens, last_used_ms } = kept;
        for token in &tokens {
            // This node may have answered itself since.
            let known = before.iter().find(|known| known.name == token.name);
            let used_ms = known.and_then(|known| known.last_used_ms()).unwrap_or(0);
            token.last_used_ms.fetch_max(used_ms, Ordering::Relaxed);
        }
        let tokens = tokens.into_iter().filter(|token| !is_hidden(token)).map(Arc::new);
        self.set(configured.chain(tokens).collect());
        *self.written() = Some(last_used_ms);
    }

    /// Brings the tokens in the journal in line with a data folder: if that is a copy, they are removed. Those
    /// that an earlier version has kept there move into the journal; one whose name is taken is left out.
    ///
    /// # Errors
    /// They can't be read, or the journal can't be written to.
    pub(crate) async fn adopt_left(&self, data: &Path, broker: &dyn Broker) -> anyhow::Result<()> {
        let folder = data.to_owned();
        if spawn_blocking(move || kept::are_left_out(&folder)).await?? {
            broker.keep(vec![Document { name: DOCUMENT.into(), content: None }]).await?;
            tracing::info!("this was a backup: the tokens in its journal don't count any more");
            let folder = data.to_owned();
            spawn_blocking(move || kept::were_left_out(&folder)).await??;
        }
        let folder = data.to_owned();
        let left = spawn_blocking(move || Kept::left_in(&folder)).await??;
        let Some(left) = left else { return Ok(()) };
        let document = broker.documents(DOCUMENT).await?.remove(DOCUMENT);
        let kept = Kept::read(document.as_deref()).context("the document of tokens")?;
        let (mut tokens, mut left_out) = (kept.tokens, Vec::new());
        for token in left.tokens {
            match tokens.iter().any(|other| other.name == token.name) {
                true => left_out.push(token.name.to_string()),
                false => tokens.push(token),
            }
        }
        let tokens: Vec<_> = tokens.into_iter().map(Arc::new).collect();
        broker.keep(vec![document_of(&tokens).0]).await?;
        tracing::info!(
            tokens = tokens.len(),
            left_out = left_out.join(", "),
            "tokens.json is in the journal from now on"
        );
        let folder = data.to_owned();
        spawn_blocking(move || Kept::remove_left(&folder)).await?
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

    /// All tokens, by name.
    pub(crate) fn tokens(&self) -> Arc<[Arc<Token>]> {
        Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, mut tokens: Vec<Arc<Token>>) {
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens.into();
    }

    /// Whether callers need a token: as soon as there is one, expired or not, or may be one.
    pub(crate) fn is_required(&self) -> bool {
        !self.tokens().is_empty() || self.written().is_none()
    }

    fn written(&self) -> MutexGuard<'_, Option<BTreeMap<TokenName, u64>>> {
        self.last_used_ms.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Replaces the tokens of the configuration. One in the journal with the same name no longer
    /// counts.
    pub(crate) fn adopt(&self, configured: &BTreeMap<TokenName, TokenConfig>) {
        let before = self.tokens();
        let of_journal = before.iter().filter(|token| !token.is_configured()).filter(|token| {
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
                .or_else(|| self.written().as_ref()?.get(name).copied());
            let last_used_ms = AtomicU64::new(last_used_ms.unwrap_or(0));
            let token = Token::new(name.clone(), proof, permissions);
            Arc::new(Token { expires_ms, last_used_ms, ..token })
        });
        self.set(of_journal.cloned().chain(of_config).collect());
    }

    /// Checks that a token may be created.
    ///
    /// # Errors
    /// Any but [`TokenError::Broker`].
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

    /// Creates a token and returns it with its secret, once it is fsynced and recorded.
    ///
    /// # Errors
    /// Nothing has changed.
    pub(crate) async fn create(
        &self,
        broker: &dyn Operator,
        by: &Actor,
        name: TokenName,
        permissions: Permissions,
        expires_ms: Option<u64>,
    ) -> Result<(Arc<Token>, TokenSecret), TokenError> {
        let _changing = self.changing.lock().await;
        self.check_new(&name, &permissions, expires_ms)?;
        let secret = TokenSecret::generate().ok_or(TokenError::NoRandom)?;
        let change = Change::Token { token: name.to_string(), change: TokenChange::Create };
        let created_ms = Some(self.clock.now_ms());
        let token = Token::new(name, Proof::Secret(secret.hash()), permissions);
        let token = Arc::new(Token { created_ms, expires_ms, ..token });
        let all: Vec<_> = self.tokens().iter().chain([&token]).cloned().collect();
        self.write(broker, by, change, all).await?;
        Ok((token, secret))
    }

    /// Makes a change durable, and has it count.
    async fn write(
        &self,
        broker: &dyn Operator,
        by: &Actor,
        change: Change,
        tokens: Vec<Arc<Token>>,
    ) -> Result<(), BrokerError> {
        let (document, last_used_ms) = document_of(&tokens);
        broker.operate(by, Operation::Keep(change, vec![document])).await?;
        self.set(tokens);
        *self.written() = Some(last_used_ms);
        Ok(())
    }

    /// Revokes a token; returns once that is fsynced and recorded.
    ///
    /// # Errors
    /// Nothing has changed.
    pub(crate) async fn revoke(
        &self,
        broker: &dyn Operator,
        by: &Actor,
        name: &TokenName,
    ) -> Result<(), TokenError> {
        let _changing = self.changing.lock().await;
        let tokens = self.tokens();
        let token = tokens.iter().find(|token| token.name == *name);
        let token = token.ok_or_else(|| TokenError::NotFound(name.clone()))?;
        if token.is_configured() {
            return Err(TokenError::Configured(name.clone()));
        }
        let now_ms = self.clock.now_ms();
        let is_admin = |token: &Arc<Token>| {
            token.permissions.include(Scope::Admin)
                && token.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms)
        };
        let rest: Vec<_> = tokens.iter().filter(|token| token.name != *name).cloned().collect();
        if is_admin(token) && !rest.iter().any(is_admin) {
            return Err(TokenError::LastAdmin(name.clone()));
        }
        let change = Change::Token { token: name.to_string(), change: TokenChange::Revoke };
        Ok(self.write(broker, by, change, rest).await?)
    }

    /// Writes when tokens were last used, if that has changed.
    pub(crate) async fn flush(&self, broker: &dyn Operator) {
        let _changing = self.changing.lock().await;
        let (document, last_used_ms) = document_of(&self.tokens());
        if self.written().as_ref() == Some(&last_used_ms) {
            return;
        }
        match broker.keep(vec![document]).await {
            Ok(()) => *self.written() = Some(last_used_ms),
            Err(error) => tracing::warn!(%error, "when tokens were last used can't be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use usher_broker::{EmbeddedBroker, Lifecycle as _, ManualClock, MemoryDisk, Options};

    use super::*;

    const NOW_MS: u64 = 1_769_860_800_000;

    fn permissions(scopes: &[&str]) -> Permissions {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        Permissions { scopes, source_prefix: None }
    }

    /// Tokens, and the broker that keeps them.
    struct Scene {
        access: Access,
        broker: Arc<EmbeddedBroker>,
        clock: ManualClock,
    }

    impl Scene {
        async fn open(disk: &MemoryDisk, clock: &ManualClock) -> Self {
            let broker = EmbeddedBroker::on(disk, Options::new("")).unwrap();
            let access = Access::new(&BTreeMap::new(), Arc::new(clock.clone()));
            assert!(access.is_required(), "there may be tokens");
            access.read(&*broker).await.unwrap();
            Self { access, broker, clock: clock.clone() }
        }

        async fn new() -> Self {
            Self::open(&MemoryDisk::default(), &ManualClock::at(NOW_MS)).await
        }

        async fn reopened(self, disk: &MemoryDisk) -> Self {
            self.broker.close().await.unwrap();
            drop(self.broker);
            Self::open(disk, &self.clock).await
        }

        async fn make(
            &self,
            name: &str,
            scopes: &[&str],
            expires_ms: Option<u64>,
        ) -> Result<String, TokenError> {
            let (name, by) = (name.parse().unwrap(), Actor::local());
            let permissions = permissions(scopes);
            let made = self.access.create(&*self.broker, &by, name, permissions, expires_ms).await;
            made.map(|(_, secret)| secret.reveal().to_owned())
        }

        async fn create(&self, name: &str, scopes: &[&str]) -> Result<String, TokenError> {
            self.make(name, scopes, None).await
        }

        async fn revoke(&self, name: &str) -> Result<(), TokenError> {
            self.access.revoke(&*self.broker, &Actor::local(), &name.parse().unwrap()).await
        }
    }

    #[tokio::test]
    async fn tokens_are_kept_as_hashes_and_found_again() {
        let disk = MemoryDisk::default();
        let scene = Scene::open(&disk, &ManualClock::at(NOW_MS)).await;
        assert!(!scene.access.is_required());
        let early = scene.create("shop", &["publish"]).await.unwrap_err();
        assert!(matches!(early, TokenError::FirstNotAdmin), "{early}");
        let admin = scene.create("ops", &["admin"]).await.unwrap();
        let shop = scene.create("shop", &["publish:ticket."]).await.unwrap();
        assert!(scene.access.is_required());
        let kept = &scene.broker.documents("").await.unwrap()[DOCUMENT];
        let text = String::from_utf8_lossy(kept);
        assert!(!text.contains(&admin) && !text.contains(&shop), "{text}");
        let audit = scene.broker.audit(None, 10).await.unwrap();
        assert_eq!(audit.len(), 2, "{audit:?}");

        let scene = scene.reopened(&disk).await;
        let access = &scene.access;
        let identity = access.identify(shop.as_bytes()).unwrap();
        assert_eq!(identity.actor.as_str(), "shop");
        assert!(identity.may(Scope::Publish) && !identity.may(Scope::Read));
        assert!(access.identify(admin.as_bytes()).unwrap().may(Scope::Admin));
        assert_eq!(access.identify(b"usher_no").err(), Some(Denied::Unknown));
        assert_eq!(access.tokens()[0].last_used_ms(), Some(NOW_MS));
        access.flush(&*scene.broker).await;
        let scene = scene.reopened(&disk).await;
        assert_eq!(scene.access.tokens()[1].last_used_ms(), Some(NOW_MS));

        scene.revoke("shop").await.unwrap();
        assert_eq!(scene.access.identify(shop.as_bytes()).err(), Some(Denied::Unknown));
        let scene = scene.reopened(&disk).await;
        assert_eq!(scene.access.tokens().len(), 1);
    }

    #[tokio::test]
    async fn what_would_lock_everybody_out_is_refused() {
        let scene = Scene::new().await;
        scene.create("ops", &["admin"]).await.unwrap();
        scene.create("shop", &["publish"]).await.unwrap();
        let refused = [
            scene.revoke("ops").await.unwrap_err().to_string(),
            scene.revoke("nothing").await.unwrap_err().to_string(),
            scene.create("shop", &["read"]).await.unwrap_err().to_string(),
            scene.create("local", &["read"]).await.unwrap_err().to_string(),
        ];
        let words = ["is the last one", "there is no token", "already", "stands for"];
        for (refusal, word) in refused.iter().zip(words) {
            assert!(refusal.contains(word), "{refusal}");
        }
        scene.create("second", &["admin"]).await.unwrap();
        scene.revoke("ops").await.unwrap();
        for n in scene.access.tokens().len()..TOKENS_MAX {
            scene.create(&format!("t{n}"), &["read"]).await.unwrap();
        }
        let full = scene.create("more", &["read"]).await.unwrap_err();
        assert!(matches!(full, TokenError::TooMany), "{full}");
    }

    #[tokio::test]
    async fn tokens_expire_and_stay_asked_for() {
        let scene = Scene::new().await;
        let made = scene.make("ops", &["admin"], Some(NOW_MS)).await;
        assert!(matches!(made, Err(TokenError::Past)));
        let secret = scene.make("ops", &["admin"], Some(NOW_MS + 1)).await.unwrap();
        assert!(scene.access.identify(secret.as_bytes()).is_ok());
        scene.clock.advance(1);
        let expired = scene.access.identify(secret.as_bytes()).err();
        assert_eq!(expired, Some(Denied::Expired("ops".parse().unwrap())));
        assert!(scene.access.is_required());
    }

    #[tokio::test]
    async fn the_configuration_adds_and_revokes_its_own() {
        let scene = Scene::new().await;
        let kept = scene.create("ops", &["admin"]).await.unwrap();
        let access = &scene.access;
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
        let refused = scene.revoke("watch").await.unwrap_err();
        assert!(matches!(refused, TokenError::Configured(_)), "{refused}");
        access.adopt(&configured("ops"));
        assert_eq!(access.identify(kept.as_bytes()).err(), Some(Denied::Unknown), "it is hidden");
        access.read(&*scene.broker).await.unwrap();
        assert_eq!(access.identify(kept.as_bytes()).err(), Some(Denied::Unknown), "still");
        access.adopt(&BTreeMap::new());
        assert!(access.identify(secret.reveal().as_bytes()).is_err());
    }

    #[tokio::test]
    async fn a_damaged_document_is_no_open_door() {
        let scene = Scene::new().await;
        let content = Some(Bytes::from_static(b"{"));
        let damaged = Document { name: DOCUMENT.into(), content };
        scene.broker.keep(vec![damaged]).await.unwrap();
        let access = Access::new(&BTreeMap::new(), Arc::new(scene.clock.clone()));
        let error = format!("{:#}", access.read(&*scene.broker).await.unwrap_err());
        assert!(error.contains("document of tokens") && access.is_required(), "{error}");
    }

    #[tokio::test]
    async fn a_copy_forgets_the_tokens() {
        let (scene, folder) = (Scene::new().await, tempfile::tempdir().unwrap());
        let (access, broker) = (&scene.access, &*scene.broker);
        scene.create("ops", &["admin"]).await.unwrap();
        access.adopt_left(folder.path(), broker).await.unwrap();
        access.read(broker).await.unwrap();
        assert_eq!(access.tokens().len(), 1, "it is no copy");
        leave_out(folder.path()).unwrap();
        access.adopt_left(folder.path(), broker).await.unwrap();
        access.read(broker).await.unwrap();
        assert!(access.tokens().is_empty() && broker.documents("").await.unwrap().is_empty());
        // Once: those that are made from now on stay.
        scene.create("new", &["admin"]).await.unwrap();
        access.adopt_left(folder.path(), broker).await.unwrap();
        access.read(broker).await.unwrap();
        assert_eq!(access.tokens().len(), 1);
    }

    #[tokio::test]
    async fn a_file_of_an_earlier_version_moves_into_the_journal() {
        let (scene, folder) = (Scene::new().await, tempfile::tempdir().unwrap());
        let (access, broker) = (&scene.access, &*scene.broker);
        let file = folder.path().join("tokens.json");
        std::fs::write(&file, "{").unwrap();
        let error = format!("{:#}", access.adopt_left(folder.path(), broker).await.unwrap_err());
        assert!(error.contains("tokens.json"), "{error}");

        let here = scene.create("ops", &["admin"]).await.unwrap();
        let (there, other) = (TokenSecret::generate().unwrap(), TokenSecret::generate().unwrap());
        let row = |name: &str, secret: &TokenSecret| {
            serde_json::json!({
                "name": name, "hash": secret.hash(), "scopes": ["read"], "source_prefix": null,
                "created_ms": NOW_MS, "expires_ms": null
            })
        };
        let tokens = [row("ops", &there), row("watch", &other)];
        let left = serde_json::json!({ "v": 1, "tokens": tokens, "last_used_ms": {} });
        std::fs::write(&file, left.to_string()).unwrap();
        access.adopt_left(folder.path(), broker).await.unwrap();
        access.read(broker).await.unwrap();
        assert!(!file.exists());
        assert!(access.identify(here.as_bytes()).unwrap().may(Scope::Admin));
        assert!(access.identify(other.reveal().as_bytes()).unwrap().may(Scope::Read));
        assert!(access.identify(there.reveal().as_bytes()).is_err(), "the name was taken");
    }
}
