//! Copies a local journal to a stream.

use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use usher_journal::{Entry, Journal as _, JournalError, LocalJournal, Record};

use crate::JetStreamOptions;
use crate::connect::connect;
use crate::journal::{executor, wait};
use crate::message::{Content, Message, Parts};
use crate::nats::JetStream;
use crate::stream::{Placed, Stream};

/// What a copy came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Records in the stream.
    pub records: u64,
    /// Those of them that were there before.
    pub known: u64,
}

/// Copies the journal in a folder to the stream of these options, which is created if missing. No process may
/// write to the folder. Resumes an interrupted copy. At the end
/// each record of the stream is compared with the journal's.
///
/// # Errors
/// The stream has something else, or a node has begun to write there.
pub fn copy_to_stream(folder: &Path, options: JetStreamOptions) -> Result<Copied, JournalError> {
    let Some(journal) = LocalJournal::read_only(folder)? else {
        return Err(JournalError::Failed(format!("there is no journal in {}", folder.display())));
    };
    let executor = executor()?;
    let copied = wait(&executor, async move {
        let client = connect(&options).await?;
        let (_go_on, is_stopping) = watch::channel(false);
        let stream = Stream::open(client, &options, Some(journal.id()), is_stopping).await?;
        copy(&journal, &stream).await
    });
    executor.shutdown_background();
    copied
}

async fn copy(journal: &LocalJournal, stream: &Stream<JetStream>) -> Result<Copied, JournalError> {
    if stream.id != journal.id() {
        return Err(stream.error("it is another journal; give journal.stream another name"));
    }
    let known = compare(journal, stream).await?;
    let (_, mut last) = stream.bounds().await?;
    let begin = journal.start() + known;
    for record in journal.read(begin, journal.end())? {
        let Record { position, epoch, first_sequence, events, payload } = record?;
        let entry = Entry { first_sequence, events, payload: &[&payload] };
        let frame = Bytes::from(Record::frame(&entry, position, epoch, &stream.id));
        for part in Message::parts(position, &frame, stream.part_max_bytes) {
            match stream.place(&part, last).await? {
                Placed::At(sequence) => last = sequence,
                Placed::Taken(_) | Placed::GivenUp => {
                    return Err(stream.error("somebody else writes to it meanwhile"));
                }
            }
        }
    }
    let records = compare(journal, stream).await?;
    if records != journal.end() - journal.start() {
        return Err(stream.error(format!("it has {records} of the journal's records")));
    }
    Ok(Copied { records, known })
}

/// Compares what the stream has with the journal, and returns how many records that is.
async fn compare(journal: &LocalJournal, stream: &Stream<JetStream>) -> Result<u64, JournalError> {
    let (mut next, last) = stream.bounds().await?;
    let mut known = journal.read(journal.start(), journal.end())?;
    let (mut parts, mut count) = (Parts::default(), 0);
    while next <= last {
        let mut messages = stream.messages(next).await?;
        while next <= last {
            let Some(arrival) = messages.next().await else { break };
            if arrival.sequence != next {
                break;
            }
            let record = match stream.known(next, arrival.stored)?.content {
                Content::Claim { node, .. } => {
                    return Err(stream.error(format!("node {node} has begun to write to it")));
                }
                Content::Part { number, of, frame } => {
                    parts.push((number, of), frame, &stream.id).map_err(|reason| {
                        stream.error(format!("message {next} is damaged: {reason}"))
                    })?
                }
            };
            next += 1;
            let Some(record) = record else { continue };
            if known.next().transpose()?.as_ref() != Some(&record) {
                let position = record.position;
                return Err(stream.error(format!("record {position} is not the journal's")));
            }
            count += 1;
        }
    }
    Ok(count)
}
