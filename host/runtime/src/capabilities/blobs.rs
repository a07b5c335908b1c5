//! Blobs (usher:plugin/blobs). Content is written to disk immediately, off the executor; the
//! plugin's reference to it is staged and committed with the acknowledgement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::task::spawn_blocking;
use usher_event::{
    BlobChange, BlobInfo, BlobStore, Content, Delivery, Digest, Effects, Given, GivenBlob,
    GivenListing, PluginName, QuotaError, StagedBlob, StoreError,
};
use wasmtime::component::Linker;

use crate::bindings::blobs::{self, Blob, Error, Info};
use crate::capability::{About, Capability, Grants, Has, View, Viewed};
use crate::limits::size;
use crate::meter::GuestClock;
use crate::plugin::Plugin;
use crate::text;

const NAME: &str = "blobs";

/// Blobs in one page of a listing.
const PAGE_BLOBS: usize = 100;
/// Changes one delivery may stage.
const CHANGES_MAX: usize = 1_000;
/// What a listed blob takes in a recording.
const SEEN_BYTES: u64 = 128;
/// Longest media type.
const CONTENT_TYPE_MAX_BYTES: usize = 256;

/// One instance's blobs.
pub(crate) struct Blobs {
    shared: Arc<Shared>,
    /// Changes of the current delivery; the last put or delete of a digest wins.
    staged: BTreeMap<Digest, Staged>,
    /// Committed blobs that the current delivery has read or listed, where that is recorded.
    seen: BTreeMap<Digest, Seen>,
    /// How much more of them may be kept; `None` once something was left out.
    seen_left_bytes: Option<u64>,
    limit_reached: Option<String>,
}

/// A committed blob, as the delivery saw it.
struct Seen {
    info: BlobInfo,
    /// `None` if it was only listed.
    content: Option<Bytes>,
    is_own: bool,
}

/// A plugin's blobs.
pub(crate) struct Shared {
    plugin: Arc<Plugin>,
    /// Set if blobs are granted.
    store: Option<(PluginName, Arc<dyn BlobStore>)>,
    /// Bytes that its deliveries have put but not yet committed.
    staged_bytes: AtomicU64,
}

/// Reservation for a staged blob; released on drop.
struct Reservation {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.staged_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Shared {
    /// Reserves `more_bytes` for a staged blob, if they fit the quota together with all other
    /// staged bytes and the committed `kept_bytes`.
    ///
    /// # Errors
    /// The quota would be exceeded.
    fn reserve(
        self: &Arc<Self>,
        kept_bytes: u64,
        more_bytes: u64,
    ) -> Result<Reservation, QuotaError> {
        let quota = self.plugin.limits.quota();
        let add = |staged_bytes: u64| {
            let staged_bytes = staged_bytes.saturating_add(more_bytes);
            let after_bytes = kept_bytes.saturating_add(staged_bytes);
            quota.check_blobs(kept_bytes, after_bytes).is_ok().then_some(staged_bytes)
        };
        match self.staged_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Reservation { shared: Arc::clone(self), bytes: more_bytes }),
            Err(_) => Err(QuotaError::Blobs { limit_bytes: quota.blobs_bytes }),
        }
    }
}

/// Staged change of one digest.
enum Staged {
    /// On disk but not committed, so the store can't return it yet: keeps the content for reads by
    /// the same delivery.
    Put(BlobInfo, Bytes, StagedBlob),
    Delete,
}

impl Staged {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::Put(info, ..) => info.size_bytes,
            Self::Delete => 0,
        }
    }
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Capability for Blobs {
    const ABOUT: &'static [About] = &[About {
        name: Some(NAME),
        interfaces: &["usher:plugin/blobs"],
        ability: "puts blobs, and reads those of all plugins",
        is_flag: true,
    }];

    type Service = Option<(PluginName, Arc<dyn BlobStore>)>;
    type Shared = Shared;

    fn share(plugin: &Arc<Plugin>, grants: &Grants, store: Self::Service) -> Shared {
        let store = store.filter(|_| grants.contains(NAME));
        Shared { plugin: plugin.clone(), store, staged_bytes: AtomicU64::new(0) }
    }

    fn new(shared: &Arc<Shared>, _: &Arc<GuestClock>) -> Self {
        Self {
            shared: shared.clone(),
            staged: BTreeMap::new(),
            seen: BTreeMap::new(),
            seen_left_bytes: None,
            limit_reached: None,
        }
    }

    fn link<T: Has<Self> + Send + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        blobs::add_to_linker::<_, Viewed<Self>>(linker, T::view)
    }

    fn begin(&mut self, _: &Delivery) {
        self.staged.clear();
        self.seen.clear();
        self.seen_left_bytes = Some(self.shared.plugin.limits.recording_bytes);
        self.limit_reached = None;
    }

    fn record(&mut self, given: &mut Given) {
        let blob = |(digest, seen): (&Digest, &Seen)| GivenBlob {
            content_type: seen.info.content_type.clone(),
            content: seen.content.as_deref().map(Content::of),
            listed: seen
                .content
                .is_none()
                .then_some(GivenListing { digest: *digest, size_bytes: seen.info.size_bytes }),
            own: seen.is_own,
        };
        given.is_cut |= self.seen_left_bytes.is_none();
        given.blobs = self.seen.iter().map(blob).collect();
    }

    fn end(&mut self) {
        self.staged.clear();
        self.seen.clear();
    }

    fn limit_reached(&mut self) -> Option<String> {
        self.limit_reached.take()
    }

    /// The guards keep the content on disk until the commit.
    fn take(&mut self, effects: &mut Effects) {
        for (digest, staged) in std::mem::take(&mut self.staged) {
            effects.blobs.push(match staged {
                Staged::Put(info, _, content) => {
                    effects.staged.push(content);
                    BlobChange::Put(info)
                }
                Staged::Delete => BlobChange::Delete(digest),
            });
        }
    }
}

impl Blobs {
    fn granted(&self) -> Result<(PluginName, Arc<dyn BlobStore>), Error> {
        self.shared.store.clone().ok_or_else(|| {
            Error::Denied(self.shared.plugin.deny(NAME, "blobs", "grants", "blobs = true"))
        })
    }

    fn refuse(&mut self, words: String) -> Error {
        self.limit_reached.get_or_insert_with(|| words.clone());
        Error::Limit(words)
    }

    fn stage(&mut self, digest: Digest, change: Staged) -> Result<(), Error> {
        if self.staged.len() >= CHANGES_MAX && !self.staged.contains_key(&digest) {
            return Err(self.refuse(format!("one delivery may change {CHANGES_MAX} blobs")));
        }
        self.staged.insert(digest, change);
        Ok(())
    }

    async fn put(&mut self, content: Vec<u8>, content_type: String) -> Result<String, Error> {
        let (name, store) = self.granted()?;
        let limits = &self.shared.plugin.limits;
        if content.len() > size(limits.blob_bytes) {
            let words =
                format!("the blob has {} bytes, the limit is {}", content.len(), limits.blob_bytes);
            return Err(self.refuse(words));
        }
        let printable = content_type.bytes().all(|b| (b' '..=b'~').contains(&b));
        if content_type.is_empty() || content_type.len() > CONTENT_TYPE_MAX_BYTES || !printable {
            let words = format!(
                "the content type {:?} is not one: use 1 to {CONTENT_TYPE_MAX_BYTES} printable \
                 ASCII characters",
                text::head(&content_type, 64)
            );
            return Err(Error::Limit(words));
        }
        let size_bytes = content.len() as u64;
        let staged_bytes = self.staged.values().map(Staged::size_bytes).sum::<u64>();
        if staged_bytes + size_bytes > limits.delivery_blob_bytes {
            let limit_bytes = limits.delivery_blob_bytes;
            return Err(self.refuse(format!("one delivery may put {limit_bytes} bytes of blobs")));
        }
        let content = Bytes::from(content);
        let written = blocking({
            let (content, shared) = (content.clone(), self.shared.clone());
            move || {
                let reservation = match shared.reserve(store.kept_bytes(&name)?, size_bytes) {
                    Ok(reservation) => reservation,
                    Err(error) => return Ok(Err(error)),
                };
                let written = store.write(&content)?;
                // The reservation is released together with the guard of the content.
                Ok(Ok(StagedBlob::new(written.digest(), (written, reservation))))
            }
        })
        .await?;
        let written = written.map_err(|error| self.refuse(error.to_string()))?;
        let digest = written.digest();
        let info = BlobInfo { digest, size_bytes, content_type };
        self.stage(digest, Staged::Put(info, content, written))?;
        Ok(digest.to_string())
    }

    /// Notes what the delivery saw of a committed blob; without content, that it was listed.
    fn see(&mut self, info: &BlobInfo, content: Option<&Bytes>) {
        let more_bytes = content.map_or(SEEN_BYTES, |content| content.len() as u64);
        let left_bytes = self.seen_left_bytes.and_then(|left| left.checked_sub(more_bytes));
        self.seen_left_bytes = left_bytes;
        if left_bytes.is_none() {
            return;
        }
        let (info, none) = (info.clone(), None);
        let seen =
            self.seen.entry(info.digest).or_insert(Seen { info, content: none, is_own: false });
        match content {
            Some(content) => seen.content = Some(content.clone()),
            None => seen.is_own = true,
        }
    }

    async fn get(&mut self, digest: &str) -> Result<Option<Blob>, Error> {
        let (_, store) = self.granted()?;
        let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
        if let Some(Staged::Put(info, content, _)) = self.staged.get(&digest) {
            return Ok(Some(blob(info, content)));
        }
        let found = blocking(move || store.read(&digest)).await?;
        if let Some((info, content)) = &found {
            self.see(info, Some(content));
        }
        Ok(found.map(|(info, content)| blob(&info, &content)))
    }

    async fn list(&mut self, after: Option<&str>) -> Result<Vec<Info>, Error> {
        let (name, store) = self.granted()?;
        let after = match after.map(str::parse::<Digest>) {
            None => None,
            Some(Ok(digest)) => Some(digest),
            Some(Err(error)) => return Err(Error::Limit(error.to_string())),
        };
        // Staged deletions shorten a page: read until it is full or the listing ends.
        let mut page = BTreeMap::new();
        let mut cursor = after;
        let mut is_end = false;
        while page.len() < PAGE_BLOBS && !is_end {
            let committed = blocking({
                let (name, store) = (name.clone(), store.clone());
                move || store.list(&name, cursor.as_ref(), PAGE_BLOBS)
            })
            .await?;
            is_end = committed.len() < PAGE_BLOBS;
            cursor = committed.last().map(|info| info.digest).or(cursor);
            committed.iter().for_each(|info| self.see(info, None));
            let kept = committed
                .into_iter()
                .filter(|info| !matches!(self.staged.get(&info.digest), Some(Staged::Delete)));
            page.extend(kept.map(|info| (info.digest, info)));
        }
        for (digest, staged) in &self.staged {
            let in_page = after.is_none_or(|after| *digest > after)
                && (is_end || cursor.is_some_and(|cursor| *digest <= cursor));
            if let Staged::Put(info, ..) = staged
                && in_page
            {
                page.insert(*digest, info.clone());
            }
        }
        Ok(page.values().take(PAGE_BLOBS).map(self::info).collect())
    }

    fn delete(&mut self, digest: &str) -> Result<(), Error> {
        self.granted()?;
        match digest.parse::<Digest>() {
            Ok(digest) => self.stage(digest, Staged::Delete),
            Err(_) => Ok(()),
        }
    }
}

/// Runs blocking disk I/O off the executor.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Error> {
    match spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Error::Unavailable(error.0)),
        Err(_) => Err(Error::Unavailable("the router is shutting down".to_owned())),
    }
}

fn info(info: &BlobInfo) -> Info {
    Info {
        digest: info.digest.to_string(),
        size_bytes: info.size_bytes,
        content_type: info.content_type.clone(),
    }
}

fn blob(info: &BlobInfo, content: &[u8]) -> Blob {
    Blob { info: self::info(info), content: content.to_vec() }
}

impl blobs::Host for View<'_, Blobs> {
    async fn put(&mut self, content: Vec<u8>, content_type: String) -> Answer<String> {
        Ok(self.capability.put(content, content_type).await)
    }

    async fn get(&mut self, digest: String) -> Answer<Option<Blob>> {
        Ok(self.capability.get(&digest).await)
    }

    async fn list(&mut self, after: Option<String>) -> Answer<Vec<Info>> {
        Ok(self.capability.list(after.as_deref()).await)
    }

    async fn delete(&mut self, digest: String) -> Answer<()> {
        Ok(self.capability.delete(&digest))
    }
}
