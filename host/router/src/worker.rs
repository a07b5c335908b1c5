//! A worker takes runs of deliveries and hands them to the listener one at a time, until its
//! dispatcher stops.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;
use usher_broker::{AFTER_MAX, BrokerError, Clock as _, Disposition, SystemClock};
use usher_event::{Delivery, Digest, Failure, FailureClass, Listener, Outcome, Verdict};

use crate::breaker::BreakerInput;
use crate::clock::CachedClock;
use crate::dispatch::{Dispatch, Phase};
use crate::recordings::Recorded;
use crate::run::{HandledBy, Run, RunSize};
use crate::spans::{self, SettlingSpan};
use crate::stats::RunStats;
use crate::swap::Hold;
use crate::verdict::{disposition, failure_of, verdict_of};

/// A delivery that takes longer than this is slow: the finished part of its run is settled and the
/// rest goes to other workers.
const SLOW_AFTER: Duration = Duration::from_millis(2);
/// Delay before leasing again after a broker error.
const LEASE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A worker ends that has waited this long.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Works until the dispatcher stops, leasing fails for good, or there has been nothing to do for a
/// while. Calls `wake` where it left something for others, who may have ended.
pub(crate) async fn work(dispatch: &Dispatch, wake: &(impl Fn() + Sync)) {
    let mut phase = dispatch.phase();
    let mut size = RunSize::default();
    let mut stamp = CachedClock::default();
    let mut changes = dispatch.ladder().changes();
    let mut machines = dispatch.at_once(1);
    loop {
        let leased = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
            leased = dispatch.next_run(size.deliveries(), &mut changes) => leased,
            // Its clock is read only once the others have nothing.
            () = async { sleep(IDLE_MAX).await } => return,
        };
        match leased {
            Ok((run, probing)) => {
                let is_probe = probing.is_some();
                let machines_now = dispatch.at_once(1);
                if machines_now > std::mem::replace(&mut machines, machines_now) {
                    // There may be more workers now.
                    wake();
                }
                handle_run(dispatch, wake, run, &mut phase, &mut size, &mut stamp, is_probe).await;
                drop(probing);
            }
            Err(error) if is_final(&error) => return dispatch.stopped_by(&error),
            Err(error) => {
                tracing::warn!(subscription = %dispatch.name(), %error, "leasing failed");
                tokio::select! {
                    _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
                    () = sleep(LEASE_RETRY_AFTER) => {}
                }
            }
        }
        // Listeners that never await would starve other tasks on this thread.
        yield_now().await;
    }
}

/// Whether leasing can no longer succeed.
fn is_final(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Poisoned(_) | BrokerError::Closed | BrokerError::NoSubscription(_))
}

async fn handle_run(
    dispatch: &Dispatch,
    wake: &(impl Fn() + Sync),
    mut run: Run,
    phase: &mut watch::Receiver<Phase>,
    size: &mut RunSize,
    stamp: &mut CachedClock,
    is_probe: bool,
) {
    let mut hold = dispatch.hold();
    let digest = hold.listener().digest();
    let mut tally = RunStats::default();
    let started = Instant::now();
    while *phase.borrow() == Phase::Serving
        && (is_probe || dispatch.ladder().is_free())
        && let Some((delivery, rest)) = run.advance()
    {
        let mut slow = Some(|| {
            if dispatch.hand_off(rest) {
                wake();
            }
        });
        let handled = handle(dispatch, delivery, &mut hold, phase, &mut slow, stamp).await;
        let Some(Handled { by, took, decision, span }) = handled else {
            tracing::warn!(
                subscription = %dispatch.name(),
                sequence = delivery.sequence,
                attempt = delivery.attempt,
                digest = %digest,
                "delivery abandoned at the end of the drain, it will run again"
            );
            break;
        };
        tally.handled += 1;
        tally.handle_time += took;
        let failed = matches!(decision, Disposition::Retry { .. } | Disposition::Reject { .. });
        let version = failed.then(|| by.version().into());
        run.finish(HandledBy { digest: by.digest(), version }, took, decision, span);
    }
    size.learn(tally.handled, started.elapsed());
    let (settlements, released) = run.end();
    tally.released = released;
    dispatch.add(&tally);
    // Keep the hold until the settlements are submitted: once drained, a version has none left.
    dispatch.submit(settlements).await;
    drop(hold);
}

struct Handled {
    by: Arc<dyn Listener>,
    took: Duration,
    decision: Disposition,
    span: Option<Box<SettlingSpan>>,
}

/// Runs a delivery; where a version on trial fails it, runs it again on the previous version.
/// `None` if the call was abandoned.
async fn handle(
    dispatch: &Dispatch,
    delivery: &mut Delivery,
    hold: &mut Hold,
    phase: &mut watch::Receiver<Phase>,
    slow: &mut Option<impl FnOnce()>,
    stamp: &mut CachedClock,
) -> Option<Handled> {
    dispatch.project(&mut delivery.event);
    let handled = handle_on(dispatch, delivery, hold, phase, slow, stamp).await?;
    let digest = handled.by.digest();
    let failed =
        failure_of(&handled.decision).filter(|failure| BreakerInput::of(failure.class).is_failed());
    if let Some(failure) = failed
        && let Some(mut before) = dispatch.stand_in(digest)
    {
        tracing::warn!(
            subscription = dispatch.name().as_str(),
            sequence = delivery.sequence,
            attempt = delivery.attempt,
            digest = %digest,
            class = failure.class.as_str(),
            reason = failure.reason.as_str(),
            backtrace = failure.backtrace.as_deref(),
            trace_id = delivery.trace_id(),
            "delivery failed on a version on trial; it runs again on the version before"
        );
        dispatch.count_failure(failure.class);
        let tried = failure.clone();
        let mut again = handle_on(dispatch, delivery, &mut before, phase, slow, stamp).await?;
        let took = handled.took + again.took;
        let Some(failed_again) = failure_of(&again.decision) else {
            dispatch.ladder().stood_in(digest, &tried, true);
            dispatch.note(delivery, again.by.digest(), &again.decision);
            return Some(Handled { took, ..again });
        };
        let told = both(failed_again, &*again.by, &tried, &*handled.by);
        if !dispatch.ladder().fallback_has_acked(digest) {
            // A previous version that has never acked proves nothing: the new one's verdict counts.
            let decision = with_reason(handled.decision, told);
            dispatch.note(delivery, digest, &decision);
            return Some(Handled { took, decision, ..handled });
        }
        let blamed = match BreakerInput::of(failed_again.class) {
            // Both failed, so probably the event's fault; or the cause is unknown.
            BreakerInput::Failed | BreakerInput::None => digest,
            BreakerInput::Answered => {
                dispatch.ladder().stood_in(digest, &tried, false);
                again.by.digest()
            }
        };
        again.decision = with_reason(again.decision, told);
        dispatch.note(delivery, blamed, &again.decision);
        return Some(Handled { took, ..again });
    }
    dispatch.note(delivery, digest, &handled.decision);
    Some(handled)
}

/// Runs a delivery on one version, and keeps what it was told.
async fn handle_on(
    dispatch: &Dispatch,
    delivery: &mut Delivery,
    hold: &mut Hold,
    phase: &mut watch::Receiver<Phase>,
    slow: &mut Option<impl FnOnce()>,
    stamp: &mut CachedClock,
) -> Option<Handled> {
    let by = Arc::clone(hold.listener());
    delivery.span = dispatch.tracing().begin_below(&delivery.event);
    let Some(outcome) = call(by.handle(delivery), hold, phase, slow).await else {
        if let Some(span) = delivery.span.take() {
            spans::abandon(span, delivery, &*by);
        }
        return None;
    };
    let (took, recording) = (outcome.took, outcome.recording.clone());
    let had_acked = outcome.verdict == Verdict::Ack;
    let mut decision = disposition(outcome, delivery, by.name(), hold.emissions(), stamp.now());
    let span = delivery.span.clone();
    let span = span.and_then(|span| spans::end(span, delivery, &*by, &decision));
    let recording = match &mut decision {
        Disposition::Reject { failure } if had_acked && recording.is_none() => {
            failure.recording = record(&*by, delivery, failure, hold, phase, slow, stamp).await;
            failure.recording.clone()
        }
        _ => recording,
    };
    if let Some(recording) = recording {
        let recorded = Recorded::new(delivery, &*by, &decision, recording, SystemClock.now_ms());
        dispatch.recordings().add(by.name(), recorded);
    }
    Some(Handled { by, took, decision, span })
}

/// Has a delivery whose emissions broke a rule run once more for its recording; `None` unless it fails
/// in the same way.
async fn record(
    by: &dyn Listener,
    delivery: &Delivery,
    failure: &Failure,
    hold: &mut Hold,
    phase: &mut watch::Receiver<Phase>,
    slow: &mut Option<impl FnOnce()>,
    stamp: &mut CachedClock,
) -> Option<Bytes> {
    let again = async {
        let none = || Outcome::without_effects(Verdict::Ack, Duration::ZERO);
        by.record(delivery).await.unwrap_or_else(none)
    };
    let outcome = call(again, hold, phase, slow).await?;
    let recording = outcome.recording.clone()?;
    let again = disposition(outcome, delivery, by.name(), hold.emissions(), stamp.now());
    let is_same = failure_of(&again)
        .is_some_and(|again| (again.class, &again.reason) == (failure.class, &failure.reason));
    is_same.then_some(recording)
}

/// Combines the reasons of two versions that failed one delivery, so that both are on record.
fn both(before: &Failure, old: &dyn Listener, tried: &Failure, new: &dyn Listener) -> String {
    format!(
        "version {} before it: {}: {}; version {}, which is on trial: {}: {}",
        old.version(),
        before.class,
        head(&before.reason),
        new.version(),
        tried.class,
        head(&tried.reason),
    )
}

/// Truncates a reason so that two of them fit into one.
fn head(reason: &str) -> &str {
    usher_event::text::head(reason, usher_event::limits::REASON_MAX_BYTES / 3)
}

fn with_reason(decision: Disposition, reason: String) -> Disposition {
    match decision {
        Disposition::Retry { failure, after } => {
            Disposition::Retry { failure: Failure { reason, ..failure }, after }
        }
        Disposition::Reject { failure } => {
            Disposition::Reject { failure: Failure { reason, ..failure } }
        }
        other => other,
    }
}

/// Awaits the listener; `None` if abandoned. Calls `slow` once after [`SLOW_AFTER`].
pub(crate) async fn call(
    handle: impl Future<Output = Outcome>,
    hold: &mut Hold,
    phase: &mut watch::Receiver<Phase>,
    slow: &mut Option<impl FnOnce()>,
) -> Option<Outcome> {
    let started = Instant::now();
    let handle = AssertUnwindSafe(handle).catch_unwind();
    let mut handle = pin!(handle);
    let ended = |result: Result<Outcome, Box<dyn Any + Send>>| {
        Some(result.unwrap_or_else(|panic| panicked(&*panic, started.elapsed())))
    };
    // Fast path: most calls never await, so they need no timer and no select.
    if let Poll::Ready(result) = poll_fn(|context| Poll::Ready(handle.as_mut().poll(context))).await
    {
        return ended(result);
    }
    let mut slow_after = pin!(sleep(SLOW_AFTER));
    loop {
        tokio::select! {
            biased;
            result = &mut handle => return ended(result),
            () = hold.abandoned() => return None,
            _ = phase.wait_for(|phase| *phase == Phase::Abandoning) => return None,
            () = &mut slow_after, if slow.is_some() => {
                if let Some(slow) = slow.take() {
                    slow();
                }
            }
        }
    }
}

/// Listeners must not panic; if one does, only this delivery fails.
fn panicked(panic: &(dyn Any + Send), took: Duration) -> Outcome {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no words");
    let failure = Failure::new(FailureClass::Host, format!("the listener panicked: {words}"));
    Outcome::without_effects(Verdict::Retry { failure, after: None }, took)
}

impl Dispatch {
    /// Reports the outcome of a delivery to the ladder; logs and counts a failure.
    fn note(&self, delivery: &Delivery, digest: Digest, disposition: &Disposition) {
        let sequence = delivery.sequence;
        let (verdict, failure) = verdict_of(disposition);
        let Some(failure) = failure else {
            if matches!(disposition, Disposition::Ack(_)) {
                self.ladder().acked(sequence, digest);
            }
            return;
        };
        self.count_failure(failure.class);
        match BreakerInput::of(failure.class) {
            BreakerInput::Answered => self.ladder().answered(sequence, digest),
            BreakerInput::Failed => self.ladder().failed(sequence, digest, failure),
            BreakerInput::None => {}
        }
        if let Disposition::Retry { after: Some(after), .. } = disposition
            && *after > AFTER_MAX
        {
            tracing::warn!(
                subscription = self.name().as_str(),
                sequence = delivery.sequence,
                asked_ms = usher_event::millis(*after),
                max_ms = AFTER_MAX.as_millis() as u64,
                "the wait asked for is too long and is cut"
            );
        }
        tracing::warn!(
            subscription = self.name().as_str(),
            sequence = delivery.sequence,
            attempt = delivery.attempt,
            verdict,
            class = failure.class.as_str(),
            reason = failure.reason.as_str(),
            backtrace = failure.backtrace.as_deref(),
            trace_id = delivery.trace_id(),
            "delivery failed"
        );
    }
}
