//! From what a replay or a dry run came to, to the shapes.

use usher_broker::{self as broker, Changes, Disposition};
use usher_event::{BlobChange, Failure, StateWrite};

use super::{DryRun, DryRunBlob, DryRunEmission, DryRunFailure, DryRunWrite, Replayed};

impl From<broker::Replayed> for Replayed {
    fn from(replayed: broker::Replayed) -> Self {
        let broker::Replayed { events, pending, dead, to, next } = replayed;
        Self { events, pending, dead, to, next }
    }
}

impl DryRun {
    /// What became of the event with this sequence and type.
    pub(crate) fn new(sequence: u64, ty: String, run: usher_router::DryRun) -> Self {
        let (verdict, failure, changes) = match run.disposition {
            Disposition::Ack(changes) => ("ack", None, changes),
            Disposition::Retry { failure, after } => {
                let after_ms = after.map(|after| whole(after.as_millis()));
                ("retry", Some(shown(failure, after_ms)), Changes::default())
            }
            Disposition::Reject { failure } => {
                ("reject", Some(shown(failure, None)), Changes::default())
            }
            Disposition::Release => ("retry", None, Changes::default()),
        };
        let Changes { emissions, writes, blobs, .. } = changes;
        Self {
            sequence,
            ty,
            digest: run.digest,
            version: run.version,
            verdict: verdict.to_owned(),
            failure,
            took_us: whole(run.took.as_micros()),
            emissions: emissions.into_iter().map(Into::into).collect(),
            writes: writes.into_iter().map(Into::into).collect(),
            blobs: blobs.into_iter().map(Into::into).collect(),
        }
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn shown(failure: Failure, after_ms: Option<u64>) -> DryRunFailure {
    let Failure { class, reason, backtrace } = failure;
    DryRunFailure { class: class.as_str().to_owned(), reason, backtrace, after_ms }
}

impl From<broker::NewEvent> for DryRunEmission {
    fn from(new: broker::NewEvent) -> Self {
        let delay_ms = new.delay.map(|delay| whole(delay.as_millis()));
        Self { delay_ms, event: new.event.into() }
    }
}

impl From<StateWrite> for DryRunWrite {
    fn from(write: StateWrite) -> Self {
        Self {
            bucket: write.address.bucket.to_string(),
            key: write.address.key.to_string(),
            size_bytes: write.value.map(|value| value.len() as u64),
        }
    }
}

impl From<BlobChange> for DryRunBlob {
    fn from(change: BlobChange) -> Self {
        match change {
            BlobChange::Put(info) => Self {
                digest: info.digest,
                size_bytes: Some(info.size_bytes),
                content_type: Some(info.content_type),
            },
            BlobChange::Delete(digest) => Self { digest, size_bytes: None, content_type: None },
        }
    }
}
