//! The committer's command queue: first in, first out, bounded by count and bytes. When full, it
//! refuses publishes and makes all other callers wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use usher_event::{Event, Identity, SubscriptionName};
use usher_filter::Filter;

use crate::api::{
    Actor, BrokerError, Document, Operated, Published, Schedule, ScheduleStatus, Settled,
    Subscription, SubscriptionStatus, Watch,
};
use crate::ledger::{DeliverySnapshot, Fetched, FlowSnapshot, PreparedSettlement};
use crate::operate::Prepared;

/// Maximum bytes of events per commit; the rest waits for the next.
const COMMIT_MAX_BYTES: usize = 8 * 1_024 * 1_024;

/// Maximum events and settlements per commit.
const COMMIT_MAX_ITEMS: usize = 4_096;

/// How long a refused producer should wait.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where a reply goes. Dropped without one only when the broker stops.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, BrokerError>>;

/// A command for the committer.
pub(crate) enum Command {
    Publish {
        events: Vec<(Event, Identity)>,
        reply: Reply<Vec<Published>>,
    },
    Settle {
        batch: Vec<PreparedSettlement>,
        reply: Reply<Vec<Settled>>,
    },
    Subscribe {
        subscription: Subscription,
        /// First sequence of a new subscription that starts at a time.
        first: Option<u64>,
        reply: Reply<()>,
    },
    Unsubscribe {
        name: SubscriptionName,
        /// The operator who asks for it; `None` for the router, which isn't recorded.
        by: Option<Actor>,
        reply: Reply<bool>,
    },
    Statuses {
        reply: Reply<Vec<SubscriptionStatus>>,
    },
    FlowSnapshot {
        flow: u64,
        sequences: Vec<u64>,
        reply: Reply<FlowSnapshot>,
    },
    Delivery {
        subscription: SubscriptionName,
        sequence: u64,
        reply: Reply<DeliverySnapshot>,
    },
    Operate {
        actor: Actor,
        operation: Prepared,
        reply: Reply<Operated>,
    },
    Keep {
        documents: Vec<Document>,
        reply: Reply<()>,
    },
    SetSchedules {
        schedules: Vec<Schedule>,
        reply: Reply<()>,
    },
    Schedules {
        reply: Reply<Vec<ScheduleStatus>>,
    },
    Watch {
        filter: Filter,
        reply: Reply<Watch>,
    },
    /// Result of a read that the ledger requested.
    Fetched(Result<Fetched, String>),
}

impl Command {
    fn items(&self) -> usize {
        match self {
            Self::Publish { events, .. } => events.len(),
            Self::Settle { batch, .. } => batch.len(),
            Self::Operate { operation: Prepared::Replay { found, .. }, .. } => {
                found.candidates.len()
            }
            _ => 1,
        }
    }
}

/// Shutdown phase of the intake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accepts commands.
    Open,
    /// Accepts no more commands; queued ones are still applied.
    Closing,
    /// Drops queued commands.
    Abandoned,
}

/// The command queue.
pub(crate) struct Intake {
    state: Mutex<Queue>,
    arrived: Condvar,
    space: Notify,
    max_commands: usize,
    max_bytes: usize,
}

struct Queue {
    commands: VecDeque<(Command, usize)>,
    bytes: usize,
    phase: Phase,
    /// Tickets of callers waiting for room, in arrival order: a large command must not starve
    /// behind smaller ones.
    line: VecDeque<u64>,
    next_ticket: u64,
    /// Whether the committer should return without waiting for a command.
    woken: bool,
    /// Whether the committer waits for `arrived`. Notifying it is a system call even if it doesn't.
    is_waited_for: bool,
}

impl Intake {
    pub(crate) fn new(max_commands: usize, max_bytes: usize) -> Self {
        let state = Queue {
            commands: VecDeque::new(),
            bytes: 0,
            phase: Phase::Open,
            line: VecDeque::new(),
            next_ticket: 0,
            woken: false,
            is_waited_for: false,
        };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            space: Notify::new(),
            max_commands: max_commands.max(1),
            max_bytes: max_bytes.max(1),
        }
    }

    /// Queues a command; fails if there is no room.
    pub(crate) fn try_push(&self, command: Command, bytes: usize) -> Result<(), BrokerError> {
        match self.offer(command, bytes, None) {
            Ok(()) => Ok(()),
            Err((_, Some(refused))) => Err(refused),
            Err((_, None)) => Err(BrokerError::Busy { retry_after: RETRY_AFTER }),
        }
    }

    /// Queues a command, waiting for room behind earlier callers. Cancel-safe: dropping the future
    /// queues nothing.
    pub(crate) async fn push(&self, mut command: Command, bytes: usize) -> Result<(), BrokerError> {
        match self.offer(command, bytes, None) {
            Ok(()) => return Ok(()),
            Err((_, Some(refused))) => return Err(refused),
            Err((back, None)) => command = back,
        }
        let place = Ticket::at_the_end_of(self);
        loop {
            let mut space = std::pin::pin!(self.space.notified());
            space.as_mut().enable();
            match self.offer(command, bytes, Some(place.ticket)) {
                Ok(()) => return Ok(()),
                Err((_, Some(refused))) => return Err(refused),
                Err((back, None)) => command = back,
            }
            space.await;
        }
    }

    /// Queues the result of a read that the ledger requested; the ledger bounds how many there are.
    pub(crate) fn push_fetched(&self, fetched: Result<Fetched, String>) {
        let mut state = self.state();
        if state.phase == Phase::Open {
            state.commands.push_back((Command::Fetched(fetched), 0));
            self.arrived(state);
        }
    }

    #[allow(clippy::result_large_err, reason = "the command goes back to whoever has it")]
    fn offer(
        &self,
        command: Command,
        bytes: usize,
        ticket: Option<u64>,
    ) -> Result<(), (Command, Option<BrokerError>)> {
        let mut state = self.state();
        if state.phase != Phase::Open {
            return Err((command, Some(BrokerError::Closed)));
        }
        // A command always fits if no bytes are queued, whatever its size; queries have size 0.
        let full = state.commands.len() >= self.max_commands
            || (bytes > 0 && state.bytes > 0 && state.bytes.saturating_add(bytes) > self.max_bytes);
        if full || state.line.front().is_some_and(|first| Some(*first) != ticket) {
            return Err((command, None));
        }
        state.bytes += bytes;
        state.commands.push_back((command, bytes));
        self.arrived(state);
        Ok(())
    }

    /// Moves queued commands to `into`, up to the limits of one commit. Waits for a command to
    /// arrive, for at most `wait` if given.
    pub(crate) fn take(&self, into: &mut Vec<Command>, wait: Option<Duration>) -> Phase {
        let mut state = self.state();
        if state.commands.is_empty() && state.phase == Phase::Open && !state.woken {
            let idle = |state: &mut Queue| {
                state.commands.is_empty() && state.phase == Phase::Open && !state.woken
            };
            state.is_waited_for = true;
            state = match wait {
                Some(wait) => {
                    let waited = self.arrived.wait_timeout_while(state, wait, idle);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    self.arrived.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
        (state.woken, state.is_waited_for) = (false, false);
        if state.phase == Phase::Abandoned {
            state.commands.clear();
            return Phase::Abandoned;
        }
        let (mut bytes, mut items) = (0, 0);
        while let Some((command, size)) = state.commands.pop_front() {
            state.bytes -= size;
            bytes += size;
            items += command.items();
            into.push(command);
            if bytes >= COMMIT_MAX_BYTES || items >= COMMIT_MAX_ITEMS {
                break;
            }
        }
        // Still open while commands are left.
        let phase = if state.commands.is_empty() { state.phase } else { Phase::Open };
        drop(state);
        self.space.notify_waiters();
        phase
    }

    /// Wakes the committer.
    pub(crate) fn wake(&self) {
        let mut state = self.state();
        state.woken = true;
        self.arrived(state);
    }

    /// Tells the committer that there is something to do.
    fn arrived(&self, mut state: MutexGuard<'_, Queue>) {
        let is_waited_for = std::mem::take(&mut state.is_waited_for);
        drop(state);
        if is_waited_for {
            self.arrived.notify_one();
        }
    }

    /// Closes the intake. [`Phase::Abandoned`] also drops queued commands, failing their callers.
    pub(crate) fn close(&self, phase: Phase) {
        let mut state = self.state();
        if state.phase != Phase::Abandoned {
            state.phase = phase;
        }
        let mut dropped = VecDeque::new();
        if state.phase == Phase::Abandoned {
            std::mem::swap(&mut dropped, &mut state.commands);
            state.bytes = 0;
        }
        self.arrived(state);
        // Outside the lock: dropping the replies wakes their receivers.
        drop(dropped);
        self.space.notify_waiters();
    }

    /// Number of queued commands.
    pub(crate) fn len(&self) -> usize {
        self.state().commands.len()
    }

    fn state(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line of callers waiting for room; given up on drop.
struct Ticket<'a> {
    intake: &'a Intake,
    ticket: u64,
}

impl<'a> Ticket<'a> {
    fn at_the_end_of(intake: &'a Intake) -> Self {
        let mut state = intake.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.line.push_back(ticket);
        Self { intake, ticket }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.intake.state().line.retain(|ticket| *ticket != self.ticket);
        // The next caller in line may fit now.
        self.intake.space.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn command() -> Command {
        Command::Statuses { reply: oneshot::channel().0 }
    }

    #[test]
    fn what_is_full_refuses() {
        let intake = Intake::new(2, 100);
        intake.try_push(command(), 1_000).unwrap();
        let refused = intake.try_push(command(), 1).unwrap_err();
        assert!(matches!(refused, BrokerError::Busy { .. }), "too many bytes");
        intake.try_push(command(), 0).unwrap();
        let refused = intake.try_push(command(), 0).unwrap_err();
        assert!(matches!(refused, BrokerError::Busy { .. }), "too many commands");
        let mut taken = Vec::new();
        assert_eq!(intake.take(&mut taken, None), Phase::Open);
        assert_eq!((taken.len(), intake.len()), (2, 0));
        intake.try_push(command(), 100).unwrap();
    }

    /// The committer waits without a limit here, so that a lost wake-up would hang.
    #[test]
    fn the_committer_is_woken_by_whatever_arrives() {
        let intake = Arc::new(Intake::new(10, 100));
        let (taken, woken) = std::sync::mpsc::channel();
        let committer = {
            let intake = Arc::clone(&intake);
            std::thread::spawn(move || {
                loop {
                    let mut commands = Vec::new();
                    let phase = intake.take(&mut commands, None);
                    taken.send((commands.len(), phase)).unwrap();
                    if phase != Phase::Open {
                        return;
                    }
                }
            })
        };
        for round in 0..1_000 {
            // In every other round the committer is most likely asleep, in the others on its way.
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            match round % 3 {
                0 => intake.try_push(command(), 0).unwrap(),
                1 => intake.push_fetched(Err("a test".to_owned())),
                _ => intake.wake(),
            }
            let (commands, phase) = woken.recv().unwrap();
            assert_eq!((commands, phase), (usize::from(round % 3 < 2), Phase::Open));
        }
        intake.close(Phase::Closing);
        assert_eq!(woken.recv().unwrap(), (0, Phase::Closing));
        committer.join().unwrap();
    }

    #[tokio::test]
    async fn who_waits_gets_in_when_there_is_room() {
        let intake = Arc::new(Intake::new(1, 100));
        intake.try_push(command(), 0).unwrap();
        let waiting = {
            let intake = Arc::clone(&intake);
            tokio::spawn(async move { intake.push(command(), 0).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        intake.take(&mut Vec::new(), None);
        waiting.await.unwrap().unwrap();
        assert_eq!(intake.len(), 1);
    }

    #[tokio::test]
    async fn who_came_first_gets_in_first() {
        let intake = Arc::new(Intake::new(10, 100));
        intake.try_push(command(), 60).unwrap();
        let large = {
            let intake = Arc::clone(&intake);
            tokio::spawn(async move { intake.push(command(), 80).await })
        };
        tokio::task::yield_now().await;
        // It would fit, but an earlier caller waits for more room.
        assert!(matches!(intake.try_push(command(), 1), Err(BrokerError::Busy { .. })));
        let small = {
            let intake = Arc::clone(&intake);
            tokio::spawn(async move { intake.push(command(), 10).await })
        };
        tokio::task::yield_now().await;
        assert!(!large.is_finished() && !small.is_finished());
        intake.take(&mut Vec::new(), None);
        large.await.unwrap().unwrap();
        small.await.unwrap().unwrap();
        intake.try_push(command(), 1).unwrap();
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_the_line() {
        let intake = Arc::new(Intake::new(1, 100));
        intake.try_push(command(), 0).unwrap();
        let waiting = {
            let intake = Arc::clone(&intake);
            tokio::spawn(async move { intake.push(command(), 0).await })
        };
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        intake.take(&mut Vec::new(), None);
        intake.try_push(command(), 0).unwrap();
    }

    #[tokio::test]
    async fn abandoning_tells_everyone_who_waits_for_an_answer() {
        let intake = Intake::new(10, 100);
        let (reply, answer) = oneshot::channel();
        intake.try_push(Command::Statuses { reply }, 0).unwrap();
        intake.close(Phase::Abandoned);
        assert!(answer.await.is_err());
        intake.close(Phase::Closing);
        assert_eq!(intake.take(&mut Vec::new(), None), Phase::Abandoned);
    }

    #[tokio::test]
    async fn closing_finishes_what_has_arrived() {
        let intake = Intake::new(10, 100);
        intake.try_push(command(), 0).unwrap();
        intake.close(Phase::Closing);
        assert!(matches!(intake.push(command(), 0).await, Err(BrokerError::Closed)));
        let mut taken = Vec::new();
        assert_eq!(intake.take(&mut taken, None), Phase::Closing);
        assert_eq!(taken.len(), 1);
        intake.close(Phase::Abandoned);
        assert_eq!(intake.take(&mut taken, None), Phase::Abandoned);
    }

    #[test]
    fn one_commit_takes_on_only_so_much() {
        let intake = Intake::new(10, usize::MAX);
        for _ in 0..3 {
            intake.try_push(command(), COMMIT_MAX_BYTES / 2 + 1).unwrap();
        }
        intake.close(Phase::Closing);
        let mut taken = Vec::new();
        assert_eq!(intake.take(&mut taken, None), Phase::Open);
        assert_eq!(taken.len(), 2);
        assert_eq!(intake.take(&mut taken, None), Phase::Closing);
    }
}
