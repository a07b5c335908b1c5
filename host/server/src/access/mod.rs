//! Who may use the API: tokens in the journal, which all nodes of a router have, tokens of the
//! configuration, and what comes of a secret that a caller presents.

mod failures;
mod kept;
mod token;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use anyhow::Context as _;
use tokio::task::spawn_blocking;
use usher_access::{Permissions, Scope, TokenHash, TokenSecret};
use usher_broker::{
    Actor, Broker, BrokerError, Change, Clock, Log, Operation, Operator, TokenChange,
};
use usher_config::{Listen, Proof, TokenConfig};
use usher_event::TokenName;
use usher_tls::Certificate;

#[cfg(test)]
pub(crate) use failures::FAILURES_MAX;
pub(crate) use failures::{Address, Failures, Noted};
pub(crate) use kept::DOCUMENT;
use kept::Kept;
pub(crate) use token::Token;

/// Limit on tokens in the journal, and likewise on those of the configuration. Every request is
/// compared with all of them.
const TOKENS_MAX: usize = 256;

/// The tokens.
pub(crate) struct Access {
    tokens: RwLock<Tokens>,
    clock: Arc<dyn Clock>,
    /// Held while those in the journal change, so that journal and memory change in the same order.
    changing: tokio::sync::Mutex<()>,
}

/// The tokens by where they come from.
#[derive(Default)]
struct Tokens {
    configured: Vec<Arc<Token>>,
    /// Those in the journal; `None` until they are known.
    kept: Option<Vec<Arc<Token>>>,
    /// When tokens were last used, as the journal has it.
    last_used_ms: BTreeMap<TokenName, u64>,
    /// All that count, by name: those of the configuration, and of the others those whose name isn't taken.
    all: Arc<[Arc<Token>]>,
}

impl Tokens {
    fn known(&self, name: &TokenName) -> Option<&Arc<Token>> {
        self.all.iter().find(|token| token.name == *name)
    }

    /// To be called once others have changed.
    fn refresh(&mut self) {
        let is_free =
            |name: &TokenName| !self.configured.iter().any(|configured| configured.name == *name);
        let kept = self.kept.iter().flatten().filter(|token| is_free(&token.name));
        let mut all: Vec<_> = self.configured.iter().chain(kept).cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        self.all = all.into();
    }
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
    /// With the tokens of the configuration. Until those in the journal are known as well, each caller needs a
    /// token.
    pub(crate) fn new(
        configured: &BTreeMap<TokenName, TokenConfig>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (tokens, changing) = Default::default();
        let access = Self { tokens, clock, changing };
        access.adopt(configured);
        access
    }

    /// Without any tokens.
    #[cfg(test)]
    pub(crate) fn without_tokens(clock: Arc<dyn Clock>) -> Self {
        let access = Self::new(&BTreeMap::new(), clock);
        access.take(None).unwrap();
        access
    }

    /// Reads the tokens in the journal.
    ///
    /// # Errors
    /// They can't be read: going on without them would open the API to all.
    pub(crate) async fn read(&self, log: &dyn Log) -> anyhow::Result<()> {
        let _changing = self.changing.lock().await;
        self.take(log.documents(DOCUMENT).await?.remove(DOCUMENT).as_deref())
    }

    /// Takes the tokens in the journal from their document, in place of those that it had before.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn take(&self, document: Option<&[u8]>) -> anyhow::Result<()> {
        let Kept { tokens: kept, last_used_ms } =
            Kept::read(document).context("the document of tokens")?;
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        for token in &kept {
            // This node may have answered itself since.
            let used_ms = tokens.known(&token.name).and_then(|known| known.last_used_ms());
            token.last_used_ms.fetch_max(used_ms.unwrap_or(0), Ordering::Relaxed);
        }
        tokens.kept = Some(kept.into_iter().map(Arc::new).collect());
        tokens.last_used_ms = last_used_ms;
        tokens.refresh();
        Ok(())
    }

    /// Moves the tokens of an earlier version, which had them in a file of the data folder, into the journal,
    /// if there are none yet.
    ///
    /// # Errors
    /// They can't be read, or the journal can't be written to.
    pub(crate) async fn migrate(data: &Path, broker: &dyn Broker) -> anyhow::Result<()> {
        let folder = data.to_owned();
        let file = spawn_blocking(move || Kept::read_file(&folder)).await??;
        let Some(Kept { tokens, last_used_ms }) = file else { return Ok(()) };
        match broker.documents(DOCUMENT).await?.is_empty() {
            true => {
                let tokens: Vec<_> = tokens.into_iter().map(Arc::new).collect();
                broker.keep(vec![kept::write(&tokens, last_used_ms)]).await?;
                tracing::info!(tokens = tokens.len(), "tokens.json is in the journal from now on");
            }
            // Those that were revoked since would be valid again.
            false => tracing::warn!(
                tokens = tokens.len(),
                "tokens.json is removed: the journal has tokens, which count instead"
            ),
        }
        let folder = data.to_owned();
        spawn_blocking(move || kept::remove_file(&folder)).await?
    }

    /// Whether a data folder has tokens that [`Access::migrate`] will move into a journal that has none.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn is_to_migrate(data: &Path, document: Option<&[u8]>) -> anyhow::Result<bool> {
        Ok(document.is_none() && kept::has_file(data)?)
    }

    /// Whether the router may listen there: callers from elsewhere need a token.
    ///
    /// # Errors
    /// There are no tokens.
    pub(crate) fn check_places(&self, places: &[Listen]) -> anyhow::Result<()> {
        match places.iter().find(|place| !place.is_local()) {
            Some(place) if !self.is_required() => anyhow::bail!(
                "{place} would serve everyone who reaches it, because there are no tokens: create \
                 one with `usher tokens new` while the router listens on loopback only, or add \
                 [token.NAME] to usher.toml, with a hash from `usher tokens hash`"
            ),
            _ => Ok(()),
        }
    }

    /// All tokens that count, by name.
    pub(crate) fn tokens(&self) -> Arc<[Arc<Token>]> {
        Arc::clone(&self.now().all)
    }

    fn now(&self) -> RwLockReadGuard<'_, Tokens> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether callers need a token: as soon as there is one, expired or not, or may be one.
    pub(crate) fn is_required(&self) -> bool {
        let tokens = self.now();
        !tokens.all.is_empty() || tokens.kept.is_none()
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

    /// The caller with this certificate, which was verified when it connected; `None` if it has expired since, or no
    /// token that is valid now names it.
    pub(crate) fn certified(&self, certificate: &Certificate) -> Option<Identity> {
        if !certificate.is_valid_at(self.clock.now_ms()) {
            return None;
        }
        let tokens = self.tokens();
        let token = tokens.iter().find(|token| match &token.proof {
            Proof::Certificate(name) => certificate.covers(name),
            Proof::Secret(_) => false,
        });
        self.identity(token?).ok()
    }

    /// Whether a caller that was identified before would be so now.
    pub(crate) fn still_knows(&self, identity: &Identity) -> bool {
        let Some(token) = &identity.token else { return !self.is_required() };
        let is_it =
            |known: &Token| known.proof == token.proof && known.permissions == token.permissions;
        let is_known = self.now().known(&token.name).is_some_and(|known| is_it(known));
        is_known && token.expires_ms.is_none_or(|expires_ms| expires_ms > self.clock.now_ms())
    }

    fn identity(&self, token: &Arc<Token>) -> Result<Identity, Denied> {
        let now_ms = self.clock.now_ms();
        if token.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
            return Err(Denied::Expired(token.name.clone()));
        }
        token.used(now_ms);
        Ok(Identity { actor: token.actor.clone(), token: Some(Arc::clone(token)) })
    }

    /// Replaces the tokens of the configuration. One in the journal with the same name doesn't count then.
    pub(crate) fn adopt(&self, configured: &BTreeMap<TokenName, TokenConfig>) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        for token in tokens.kept.iter().flatten().filter(|kept| configured.contains_key(&kept.name))
        {
            tracing::warn!(
                token = %token.name,
                "the configuration has a token of the same name, which is used instead"
            );
        }
        let of_config = configured.iter().map(|(name, config)| {
            let TokenConfig { proof, permissions, expires_ms } = config.clone();
            let last_used_ms = tokens.known(name).and_then(|token| token.last_used_ms());
            let last_used_ms = last_used_ms.or_else(|| tokens.last_used_ms.get(name).copied());
            let last_used_ms = AtomicU64::new(last_used_ms.unwrap_or(0));
            let token = Token::new(name.clone(), proof, permissions);
            Arc::new(Token { expires_ms, last_used_ms, ..token })
        });
        tokens.configured = of_config.collect();
        tokens.refresh();
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
        let tokens = self.now();
        let mut kept = tokens.kept.iter().flatten();
        if name.as_str() == Actor::local().as_str() {
            return Err(TokenError::Reserved(name.clone()));
        }
        if tokens.known(name).is_some() || kept.any(|token| token.name == *name) {
            return Err(TokenError::Exists(name.clone()));
        }
        if tokens.kept.as_ref().map_or(0, Vec::len) >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        if tokens.all.is_empty() && !permissions.include(Scope::Admin) {
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
        let kept = self.kept().into_iter().chain([Arc::clone(&token)]).collect();
        self.write(broker, by, change, kept).await?;
        Ok((token, secret))
    }

    /// The tokens in the journal.
    fn kept(&self) -> Vec<Arc<Token>> {
        self.now().kept.clone().unwrap_or_default()
    }

    /// When tokens were last used.
    fn used(&self) -> BTreeMap<TokenName, u64> {
        let tokens = self.tokens();
        let used =
            tokens.iter().filter_map(|token| Some((token.name.clone(), token.last_used_ms()?)));
        used.collect()
    }

    /// Makes a change of the tokens in the journal durable, and has it count.
    async fn write(
        &self,
        broker: &dyn Operator,
        by: &Actor,
        change: Change,
        kept: Vec<Arc<Token>>,
    ) -> Result<(), BrokerError> {
        let used = self.used();
        let document = kept::write(&kept, used.clone());
        broker.operate(by, Operation::Keep(change, vec![document])).await?;
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        (tokens.kept, tokens.last_used_ms) = (Some(kept), used);
        tokens.refresh();
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
        let token = self.now().known(name).cloned();
        let token = token.ok_or_else(|| TokenError::NotFound(name.clone()))?;
        if token.is_configured() {
            return Err(TokenError::Configured(name.clone()));
        }
        let now_ms = self.clock.now_ms();
        let is_admin = |token: &Arc<Token>| {
            token.permissions.include(Scope::Admin)
                && token.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms)
        };
        let mut rest = tokens.iter().filter(|token| token.name != *name);
        if is_admin(&token) && !rest.any(is_admin) {
            return Err(TokenError::LastAdmin(name.clone()));
        }
        let change = Change::Token { token: name.to_string(), change: TokenChange::Revoke };
        let rest = self.kept().into_iter().filter(|token| token.name != *name).collect();
        Ok(self.write(broker, by, change, rest).await?)
    }

    /// Writes when tokens were last used, if that has changed.
    pub(crate) async fn flush(&self, broker: &dyn Operator) {
        let _changing = self.changing.lock().await;
        let used = self.used();
        if self.now().kept.is_none() || self.now().last_used_ms == used {
            return;
        }
        match broker.keep(vec![kept::write(&self.kept(), used.clone())]).await {
            Ok(()) => {
                self.tokens.write().unwrap_or_else(PoisonError::into_inner).last_used_ms = used;
            }
            Err(error) => tracing::warn!(%error, "when tokens were last used can't be written"),
        }
    }
}

/// Warns of places where others are served in plain text.
pub(crate) fn warn_of(places: &[Listen]) {
    for place in places.iter().filter(|place| !place.is_local()) {
        if matches!(place, Listen::Tcp { is_tls: false, .. }) {
            tracing::warn!(
                %place,
                "serving others in plain text, tokens included: only a proxy with TLS may reach this"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use usher_broker::{
        Document, EmbeddedBroker, Lifecycle as _, ManualClock, MemoryDisk, Options,
    };

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
        let taken = scene.create("ops", &["read"]).await.unwrap_err();
        assert!(matches!(taken, TokenError::Exists(_)), "{taken}");
        // What is hidden isn't lost with the next change.
        access.flush(&*scene.broker).await;
        access.adopt(&BTreeMap::new());
        assert!(access.identify(secret.reveal().as_bytes()).is_err());
        assert!(access.identify(kept.as_bytes()).is_ok());
        access.read(&*scene.broker).await.unwrap();
        assert!(access.identify(kept.as_bytes()).is_ok());
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
    async fn a_file_of_an_earlier_version_moves_into_the_journal() {
        let (scene, folder) = (Scene::new().await, tempfile::tempdir().unwrap());
        let (access, broker) = (&scene.access, &*scene.broker);
        let file = folder.path().join("tokens.json");
        std::fs::write(&file, "{").unwrap();
        let error = format!("{:#}", Access::migrate(folder.path(), broker).await.unwrap_err());
        assert!(error.contains("tokens.json"), "{error}");

        let secret = TokenSecret::generate().unwrap();
        let row = serde_json::json!({
            "name": "ops", "hash": secret.hash(), "scopes": ["admin"], "source_prefix": null,
            "created_ms": NOW_MS, "expires_ms": null
        });
        let left = serde_json::json!({ "v": 1, "tokens": [row], "last_used_ms": {} }).to_string();
        std::fs::write(&file, &left).unwrap();
        assert!(Access::is_to_migrate(folder.path(), None).unwrap());
        Access::migrate(folder.path(), broker).await.unwrap();
        access.read(broker).await.unwrap();
        assert!(!file.exists());
        assert!(access.identify(secret.reveal().as_bytes()).unwrap().may(Scope::Admin));

        // Another node's, later: what was revoked stays so.
        scene.create("other", &["admin"]).await.unwrap();
        scene.revoke("ops").await.unwrap();
        std::fs::write(&file, &left).unwrap();
        let document = broker.documents(DOCUMENT).await.unwrap().remove(DOCUMENT);
        assert!(!Access::is_to_migrate(folder.path(), document.as_deref()).unwrap());
        Access::migrate(folder.path(), broker).await.unwrap();
        access.read(broker).await.unwrap();
        assert!(!file.exists());
        assert!(access.identify(secret.reveal().as_bytes()).is_err());
    }
}
