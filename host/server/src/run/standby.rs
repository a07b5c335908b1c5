//! A node of a router whose journal is on JetStream, until it owns that: its tables follow the owner's
//! commits, it answers reads from them and hands other requests on to the owner, handles deliveries for the
//! owner, and takes over when that has gone.

use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use usher_broker::{
    EmbeddedBroker, OpenError, Options, SharedBlobs, Standby, StandbyLog, StandbyStores,
};
use usher_config::{Config, Listen, LiveConfig};
use usher_event::{Digest, Tracing};
use usher_executors::{Executor, Introduction, Report};
use usher_jetstream::{JetStreamJournal, JetStreamOptions, Owner};
use usher_journal::JournalError;
use usher_runtime::Runtime;

use super::versions::Versions;
use crate::access::{self, Access};

/// How long a standby gathers records before it takes them in: the tables of one that takes in each by
/// itself cost it as much CPU as the records do.
const GATHER: Duration = Duration::from_millis(2);

/// How long a node listens for another of its name: each tells something more than twice in that time.
const NAMESAKE_AFTER: Duration = Duration::from_millis(700);

/// A broker whose journal is on JetStream.
pub(super) struct Owned {
    pub(super) broker: Arc<EmbeddedBroker>,
    pub(super) journal: Arc<JetStreamJournal>,
}

/// What a standby runs plugins with.
pub(super) struct PluginRunner {
    pub(super) runtime: Arc<Runtime>,
    pub(super) config: Arc<LiveConfig>,
    pub(super) tracing: Tracing,
    pub(super) guests: Handle,
    /// Folder of the compiled components.
    pub(super) cache: PathBuf,
    /// Whether an operator wants this node to take no deliveries.
    pub(super) is_drained: Arc<AtomicBool>,
    /// What this node tells the owner of itself.
    pub(super) introduction: Introduction,
}

impl PluginRunner {
    /// What handles deliveries for the owner.
    fn executor(
        &self,
        stores: StandbyStores,
        journal: &JetStreamJournal,
    ) -> anyhow::Result<Arc<Executor>> {
        let Self { runtime, config, tracing, guests, cache, is_drained, introduction } = self;
        // The data folder is locked by now.
        runtime.open_cache(cache).map_err(|error| anyhow!("{error}"))?;
        Ok(Executor::new(
            Arc::new(journal.link()),
            introduction.clone(),
            Arc::clone(runtime),
            Arc::clone(config),
            stores,
            tracing.clone(),
            guests.clone(),
            Arc::clone(is_drained),
        ))
    }
}

/// What a standby answers clients with.
pub(super) struct Answers {
    /// What is read here.
    pub(super) log: Arc<StandbyLog>,
    access: Arc<Access>,
    /// Where this node listens.
    places: Vec<Listen>,
    /// The data folder.
    data: PathBuf,
    /// The document of tokens that `access` has.
    tokens: Mutex<Option<Option<Bytes>>>,
    /// Counts changes of what is kept in the journal as documents.
    changes: watch::Sender<u64>,
    /// The journal, once it is open.
    journal: Mutex<Weak<JetStreamJournal>>,
}

impl Answers {
    pub(super) fn new(access: Arc<Access>, config: &Config) -> anyhow::Result<Arc<Self>> {
        let log = Arc::new(StandbyLog::new().map_err(|error| anyhow!("{error}"))?);
        let (tokens, changes, journal) = Default::default();
        let (places, data) = (config.listen.clone(), config.data.clone());
        Ok(Arc::new(Self { log, access, places, data, tokens, changes, journal }))
    }

    /// Takes what is kept in the journal as documents, of which these are the tokens.
    fn has_changed(&self, tokens: Option<Bytes>) -> anyhow::Result<()> {
        self.changes.send_modify(|count| *count += 1);
        let mut known = lock(&self.tokens);
        let is_known = known.as_ref() == Some(&tokens);
        // Until they have moved into the journal the owner tells who may ask what.
        if is_known || Access::is_to_migrate(&self.data, tokens.as_deref())? {
            return Ok(());
        }
        self.access.take(tokens.as_deref())?;
        *known = Some(tokens);
        self.access.check_places(&self.places)
    }

    /// The owner of the journal, as far as this node knows.
    pub(super) fn owner(&self) -> Option<Owner> {
        lock(&self.journal).upgrade()?.owner()
    }
}

/// Opens the data folder and follows the journal until this node owns it. Dropping it gives up.
pub(super) async fn own(
    options: Options,
    place: JetStreamOptions,
    answers: &Answers,
    plugins: &PluginRunner,
) -> anyhow::Result<Owned> {
    let (data, mut is_first) = (options.data.clone(), true);
    loop {
        let (options, place) = (options.clone(), place.clone());
        let opening = spawn_blocking(move || open(options, place, |_| Ok(())));
        let (standby, journal) = opening.await??;
        *lock(&answers.journal) = Arc::downgrade(&journal);
        if std::mem::take(&mut is_first) {
            check_name(&journal).await?;
        }
        let blobs = Arc::new(SharedByNodes::of(&journal));
        let (standby, stores) = standby.with_log(&answers.log, blobs);
        let executor = plugins.executor(stores, &journal)?;
        let questions = journal.link().questions().await?;
        let versions = Versions {
            data: data.clone(),
            runtime: &plugins.runtime,
            log: &*answers.log,
            journal: &journal,
            refused: Mutex::default(),
        };
        let standby = tokio::select! {
            standby = follow(standby, &journal, answers) => standby?,
            never = Arc::clone(&executor).run(questions) => match never {},
            never = versions.follow(answers.changes.subscribe()) => match never {},
        };
        executor.end().await;
        drop(executor);
        match spawn_blocking(move || standby.claim()).await? {
            Ok(broker) => {
                tracing::info!(node = journal.node(), "this node owns the journal");
                return Ok(Owned { broker, journal });
            }
            Err(OpenError::Refused { source: JournalError::Fenced { newer, .. }, .. }) => {
                tracing::info!(epoch = newer, "another node owns the journal");
                until_closed(journal).await;
            }
            Err(error) => return Err(anyhow!("{error}")),
        }
    }
}

/// Refuses to go on where another node has this one's name. Before this one tells anything itself.
async fn check_name(journal: &JetStreamJournal) -> anyhow::Result<()> {
    let name = journal.node();
    let mut told = journal.link().told().await?;
    let namesake = async {
        while let Some(told) = told.next().await {
            if let Some(report) = Report::read(&told.asked).filter(|report| report.node == name) {
                return report.introduction.url;
            }
        }
        pending().await
    };
    let url = match timeout(NAMESAKE_AFTER, namesake).await {
        Ok(url) => url,
        Err(_) => match journal.owner() {
            Some(owner) if owner.node == name && !owner.is_leaving => owner.url,
            _ => return Ok(()),
        },
    };
    let url = url.unwrap_or_else(|| "an address that it doesn't tell".to_owned());
    Err(anyhow!("another node named {name} is at {url}; give each node its own [journal] node"))
}

/// Closes a journal and waits until it isn't used any more: two would write to the same replica. What still reads a
/// blob is told that it is over.
async fn until_closed(journal: Arc<JetStreamJournal>) {
    journal.stop();
    let used = Arc::downgrade(&journal);
    drop(journal);
    while used.strong_count() > 0 {
        tokio::time::sleep(GATHER).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the data folder with its replica of the journal; `before` gets the replica's folder first.
pub(crate) fn open(
    options: Options,
    place: JetStreamOptions,
    before: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<(Standby, Arc<JetStreamJournal>)> {
    let (mut opened, mut refused) = (None, None);
    let standby = Standby::open(options, |folder, local| {
        if let Err(error) = before(folder) {
            let what = error.to_string();
            refused = Some(error);
            return Err(JournalError::Failed(what));
        }
        let journal = Arc::new(JetStreamJournal::open(folder, local, place)?);
        opened = Some(Arc::clone(&journal));
        Ok(journal)
    });
    // It isn't the folder's.
    if let Some(refused) = refused {
        return Err(refused);
    }
    let standby = standby.map_err(|error| anyhow!("{error}"))?;
    let journal = opened.ok_or_else(|| anyhow!("the journal was not opened"))?;
    Ok((standby, journal))
}

/// Blobs beside the journal, which this doesn't keep open: who closes it opens its folder again.
pub(crate) struct SharedByNodes(Weak<JetStreamJournal>);

impl SharedByNodes {
    pub(crate) fn of(journal: &Arc<JetStreamJournal>) -> Self {
        Self(Arc::downgrade(journal))
    }

    fn journal(&self) -> io::Result<Arc<JetStreamJournal>> {
        self.0.upgrade().ok_or_else(|| io::Error::other("the journal is closed"))
    }
}

impl SharedBlobs for SharedByNodes {
    fn has_put(&self, digest: &Digest) -> bool {
        self.0.upgrade().is_some_and(|journal| journal.has_put_blob(&digest.to_string()))
    }

    fn put(&self, digest: &Digest, content: &[u8]) -> io::Result<()> {
        self.journal()?.put_blob(&digest.to_string(), content).map_err(io::Error::other)
    }

    fn get(&self, digest: &Digest) -> io::Result<Option<Bytes>> {
        self.journal()?.blob(&digest.to_string()).map_err(io::Error::other)
    }

    fn remove(&self, digest: &Digest) -> io::Result<()> {
        self.journal()?.remove_blob(&digest.to_string()).map_err(io::Error::other)
    }

    fn list(&self) -> io::Result<Vec<Digest>> {
        let names = self.journal()?.blobs().map_err(io::Error::other)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

/// Follows the journal until it is this node's turn.
async fn follow(
    mut standby: Standby,
    journal: &JetStreamJournal,
    answers: &Answers,
) -> anyhow::Result<Standby> {
    let mut changes = journal.changes();
    let mut vacant = std::pin::pin!(journal.until_vacant());
    let (mut told, mut trimmed, mut has_read) = (None, 0, false);
    loop {
        if let Some(reason) = journal.failure() {
            return Err(anyhow!("{reason}"));
        }
        let owner = journal.owner();
        let name = owner.as_ref().map(|owner| owner.node.clone());
        if name.is_some() && name != told {
            tracing::info!(owner = name, "standby: this node follows the journal");
            told = name;
        }
        let start = owner.map_or(0, |owner| owner.start);
        let is_trim_due = start > std::mem::replace(&mut trimmed, start);
        let is_first = !std::mem::replace(&mut has_read, true);
        let caught_up = spawn_blocking(move || {
            let has_changed = standby.catch_up()?;
            if is_trim_due {
                standby.trim(start)?;
            }
            let tokens = match has_changed || is_first {
                true => Some(standby.document(access::DOCUMENT)?),
                false => None,
            };
            Ok::<_, OpenError>((standby, tokens))
        });
        let (now, changed) = caught_up.await?.map_err(|error| anyhow!("{error}"))?;
        standby = now;
        if let Some(tokens) = changed {
            answers.has_changed(tokens)?;
        }
        tokio::select! {
            biased;
            () = &mut vacant => return Ok(standby),
            () = changes.next() => {}
        }
        // Records that come close together are taken in together.
        tokio::time::sleep(GATHER).await;
    }
}
