//! Blobs (usher:plugin/blobs). Content is written to disk immediately, off the executor; the
//! plugin's reference to it is staged and committed with the acknowledgement.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use usher_event::{BlobChange, BlobInfo, BlobStore, Digest, PluginName, StagedBlob, StoreError};
use wasmtime::component::{HasData, Linker};

use crate::bindings::blobs::{self, Blob, Error, Info};
use crate::guest::Guest;
use crate::limits::size;
use crate::plugin::Plugin;
use crate::{Grant, text};

/// Blobs in one page of a listing.
const PAGE_BLOBS: usize = 100;
/// Changes one delivery may stage.
const CHANGES_MAX: usize = 1_000;
/// Longest media type.
const CONTENT_TYPE_MAX_BYTES: usize = 256;

/// One instance's blobs.
pub(crate) struct Blobs {
    plugin: Arc<Plugin>,
    /// Changes of the current delivery; the last put or delete of a digest wins.
    staged: BTreeMap<Digest, Staged>,
    limit_reached: Option<String>,
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

impl Blobs {
    pub(crate) fn new(plugin: &Arc<Plugin>) -> Self {
        let plugin = plugin.clone();
        Self { plugin, staged: BTreeMap::new(), limit_reached: None }
    }

    /// Resets for a new delivery.
    pub(crate) fn begin(&mut self) {
        self.clear();
        self.limit_reached = None;
    }

    /// Discards staged changes.
    pub(crate) fn clear(&mut self) {
        self.staged.clear();
    }

    /// Takes the first limit this delivery exceeded; if there is one, its changes are incomplete.
    pub(crate) fn limit_reached(&mut self) -> Option<String> {
        self.limit_reached.take()
    }

    /// Takes the staged changes, and the guards that keep their content on disk until the commit.
    pub(crate) fn take(&mut self) -> (Vec<BlobChange>, Vec<StagedBlob>) {
        let (mut changes, mut contents) = (Vec::new(), Vec::new());
        for (digest, staged) in std::mem::take(&mut self.staged) {
            changes.push(match staged {
                Staged::Put(info, _, content) => {
                    contents.push(content);
                    BlobChange::Put(info)
                }
                Staged::Delete => BlobChange::Delete(digest),
            });
        }
        (changes, contents)
    }

    fn granted(&self) -> Result<(PluginName, Arc<dyn BlobStore>), Error> {
        self.plugin.blobs.clone().ok_or_else(|| {
            Error::Denied(self.plugin.deny(Grant::Blobs, "blobs", "grants", "blobs = true"))
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
        let limits = &self.plugin.limits;
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
            let (content, plugin) = (content.clone(), self.plugin.clone());
            move || {
                let room = match plugin.stage_blob(store.kept_bytes(&name)?, size_bytes) {
                    Ok(room) => room,
                    Err(error) => return Ok(Err(error)),
                };
                let written = store.write(&content)?;
                // The reservation is released together with the guard of the content.
                Ok(Ok(StagedBlob::new(written.digest(), (written, room))))
            }
        })
        .await?;
        let written = written.map_err(|error| self.refuse(error.to_string()))?;
        let digest = written.digest();
        let info = BlobInfo { digest, size_bytes, content_type };
        self.stage(digest, Staged::Put(info, content, written))?;
        Ok(digest.to_string())
    }

    async fn get(&mut self, digest: &str) -> Result<Option<Blob>, Error> {
        let (_, store) = self.granted()?;
        let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
        if let Some(Staged::Put(info, content, _)) = self.staged.get(&digest) {
            return Ok(Some(blob(info, content)));
        }
        let found = blocking(move || store.read(&digest)).await?;
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

impl HasData for Blobs {
    type Data<'a> = &'a mut Self;
}

impl blobs::Host for Blobs {
    async fn put(&mut self, content: Vec<u8>, content_type: String) -> Answer<String> {
        Ok(Self::put(self, content, content_type).await)
    }

    async fn get(&mut self, digest: String) -> Answer<Option<Blob>> {
        Ok(Self::get(self, &digest).await)
    }

    async fn list(&mut self, after: Option<String>) -> Answer<Vec<Info>> {
        Ok(Self::list(self, after.as_deref()).await)
    }

    async fn delete(&mut self, digest: String) -> Answer<()> {
        Ok(Self::delete(self, &digest))
    }
}

/// Links usher:plugin/blobs.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    blobs::add_to_linker::<_, Blobs>(linker, |guest| &mut guest.blobs)
}
