//! Runs rounds on data folders that are reused for many rounds.

mod cluster;
mod full;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::load::{Answer, Answers, publish};
use super::log::{Entry, read};
use super::model::Model;
use super::plan::{self, Kind, Planned};
use super::points::{Again, Point};
use super::power::{Disk, clear_leftovers};
use super::process::{Process, wait_for};
use super::seed::Choices;
use super::world::{Parts, World};
use crate::artefacts::target_dir;
use crate::folder::Folder;
use crate::http::Client;

pub use cluster::run_cluster;
pub use full::run_full;

/// Rounds on one data folder, before a fresh one is used.
const FOLDER_ROUNDS: u32 = 250;
/// Interval, in rounds, at which the whole log is re-read, not only the new part.
const WHOLE_ROUNDS: u32 = 50;
/// Number of concurrent producers.
const PRODUCERS: usize = 2;
/// Earlier events resent in each round.
const RESENT: u64 = 5;

/// How the router is crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// Cut the power of its disk, then SIGKILL.
    Power,
}

/// Totals of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Rounds run.
    pub rounds: u32,
    /// Times a router was crashed.
    pub faults: u32,
    /// Events acknowledged before a crash.
    pub acknowledged: usize,
    /// Log entries checked.
    pub checked: usize,
    /// Requests the gateway received more than once, with the same key.
    pub repeated: u32,
}

impl Summary {
    /// Adds a round that ended well, with the events acknowledged and checked in it; returns what is said of it.
    fn add(
        &mut self,
        round: u32,
        shown: &str,
        scenario: &Scenario,
        (acknowledged, checked): (usize, usize),
        start: Instant,
    ) -> String {
        self.rounds += 1;
        self.acknowledged += acknowledged;
        self.checked += checked;
        format!(
            "round {round:>4}  {shown:<49} acknowledged {acknowledged:>2} of {:>2}, checked \
             {checked:>2} events  {:.2} s",
            scenario.planned.len(),
            start.elapsed().as_secs_f64(),
        )
    }
}

/// Runs these rounds with `binary`, by default the one under test, and reports each round through
/// `say`.
///
/// # Errors
/// A check failed or couldn't be made; the error names the round.
pub fn run(
    fault: Fault,
    seed: u64,
    binary: Option<&Path>,
    rounds: impl IntoIterator<Item = u32>,
    mut say: impl FnMut(&str),
) -> Result<Summary> {
    clear_leftovers(&target_dir().join("crash"))?;
    let parts = Parts::gather(binary)?;
    let mut summary = Summary::default();
    let done = run_rounds(&parts, fault, seed, rounds, &mut summary, &mut say);
    done.with_context(|| format!("what it was about lies in {}", parts.root().display()))?;
    parts.remove()?;
    Ok(summary)
}

fn run_rounds(
    parts: &Parts,
    fault: Fault,
    seed: u64,
    rounds: impl IntoIterator<Item = u32>,
    summary: &mut Summary,
    say: &mut impl FnMut(&str),
) -> Result<()> {
    let mut stage: Option<Stage<'_>> = None;
    for round in rounds {
        let mut current = match stage.take() {
            Some(stage) if stage.rounds < FOLDER_ROUNDS => stage,
            before => {
                before.map(|stage| stage.leave(summary)).transpose()?;
                Stage::new(parts, fault, seed)?
            }
        };
        current.round(round, summary, say).with_context(|| format!("round {round}"))?;
        stage = Some(current);
    }
    stage.map(|stage| stage.leave(summary)).transpose()?;
    Ok(())
}

/// A data folder, and the rounds on it.
struct Stage<'p> {
    // Fields drop in order: the router before its disk.
    running: Option<(Process, Client)>,
    world: World,
    model: Model,
    parts: &'p Parts,
    seed: u64,
    rounds: u32,
    /// The installed version of echo.
    echo: &'static str,
    /// All events published so far, except those that only fill the disk.
    history: Vec<Planned>,
}

/// What happens in a round.
struct Scenario {
    choices: Choices,
    point: Point,
    planned: Vec<Planned>,
    producers: Vec<Vec<Vec<Planned>>>,
    power: PowerCut,
}

/// What the router does while the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PowerCut {
    /// It is frozen (SIGSTOP): each of its disk operations has completed or never started.
    Frozen,
    /// It keeps running on the failing disk for `linger`.
    Running { linger: Duration },
}

impl Scenario {
    fn of(seed: u64, round: u32) -> Self {
        let mut choices = Choices::of(seed, round);
        let point = Point::choose(&mut choices);
        let planned = plan::of_round(&mut choices, round, point == Point::Gateway);
        let mut producers = vec![Vec::new(); PRODUCERS];
        let requests = plan::requests(&mut choices, planned.clone());
        for (number, request) in requests.into_iter().enumerate() {
            if let Some(producer) = producers.get_mut(number % PRODUCERS) {
                producer.push(request);
            }
        }
        let power = match choices.below(4) {
            0 | 1 => PowerCut::Frozen,
            2 => PowerCut::Running { linger: Duration::ZERO },
            _ => PowerCut::Running { linger: Duration::from_micros(choices.below(20_000)) },
        };
        Self { choices, point, planned, producers, power }
    }
}

impl<'p> Stage<'p> {
    fn new(parts: &'p Parts, fault: Fault, seed: u64) -> Result<Self> {
        let world = World::new(parts, |folder| match fault {
            Fault::Kill => Ok(None),
            Fault::Power => {
                let image = folder.root().join("disk.img");
                Ok(Some(Disk::image(image, &folder.data())?))
            }
        })?;
        Ok(Self::with(world, parts, seed))
    }

    fn with(world: World, parts: &'p Parts, seed: u64) -> Self {
        Self {
            running: None,
            world,
            model: Model::default(),
            parts,
            seed,
            rounds: 0,
            echo: "echo",
            history: Vec::new(),
        }
    }

    fn round(
        &mut self,
        round: u32,
        summary: &mut Summary,
        say: &mut impl FnMut(&str),
    ) -> Result<()> {
        let start = Instant::now();
        let mut scenario = Scenario::of(self.seed, round);
        let shown = scenario.point.describe();
        let (acknowledged, checked) =
            self.play(&mut scenario, summary).with_context(|| shown.clone())?;
        self.rounds += 1;
        if self.rounds.is_multiple_of(WHOLE_ROUNDS)
            && let Some((_, client)) = &self.running
        {
            self.check_whole(client)?;
        }
        say(&summary.add(round, &shown, &scenario, (acknowledged, checked), start));
        Ok(())
    }

    /// Plays a round to the end; returns the number of events acknowledged before the fault, and
    /// the number checked.
    fn play(&mut self, scenario: &mut Scenario, summary: &mut Summary) -> Result<(usize, usize)> {
        let mut problems = Vec::new();
        let answers = Answers::default();
        let cut = self.fault(scenario, &answers, &mut problems)?;
        summary.faults += 1;
        let answers = answers.into_answers();
        let acknowledged = answers.len();
        for answer in answers.iter().filter(|answer| !cut.leaves_in_doubt(answer)) {
            problems.extend(self.model.acknowledge(&answer.receipt));
        }

        match scenario.point {
            Point::Start(_, again) => {
                for _ in 0..again.times {
                    let process = self.world.spawn()?;
                    self.fault_at_start(process, again, scenario.power, &mut problems)?;
                }
                summary.faults += again.times;
            }
            Point::Birth(_, again) => {
                self.birth(again, scenario.power, &mut problems)?;
                summary.faults += again.times;
            }
            _ => {}
        }
        let process = self.world.spawn()?;
        let client = process.ready()?;
        if scenario.point == Point::HalfFile {
            self.world.folder.install(&self.parts.component(self.echo), "echo.wasm")?;
        }
        let new = self.settled(&process, &client, scenario, &mut problems)?;
        let checked = self.compare(&client, scenario, &new, &mut problems)?;
        problems.extend(process.panic());
        self.running = Some((process, client));
        tell(&problems)?;
        Ok((acknowledged, checked))
    }

    /// Publishes everything again and waits until it is settled; returns the new log entries.
    fn settled(
        &mut self,
        process: &Process,
        client: &Client,
        scenario: &mut Scenario,
        problems: &mut Vec<String>,
    ) -> Result<Vec<Entry>> {
        self.resend(client, scenario, problems)?;
        self.settle(client, &scenario.planned, process)
    }

    /// Compares the new log entries, and what they led to, with the model; returns how many there are.
    fn compare(
        &mut self,
        client: &Client,
        scenario: &Scenario,
        new: &[Entry],
        problems: &mut Vec<String>,
    ) -> Result<usize> {
        problems.extend(self.model.grow(&scenario.planned, new));
        self.check_inside(client, new, problems)?;
        self.check_outside(&scenario.planned, problems)?;
        let small = |planned: &&Planned| !matches!(planned.kind, Kind::Fill { .. });
        self.history.extend(scenario.planned.iter().filter(small).cloned());
        Ok(new.len())
    }

    /// Publishes the load and ends the router at the chosen point.
    fn fault(
        &mut self,
        scenario: &Scenario,
        answers: &Answers,
        problems: &mut Vec<String>,
    ) -> Result<Cut> {
        let (mut process, client) = match self.running.take() {
            Some(running) => running,
            None => {
                let process = self.world.spawn()?;
                let client = process.ready()?;
                (process, client)
            }
        };
        let other_echo = if self.echo == "echo" { "echo-v2" } else { "echo" };
        let component = self.parts.component(other_echo);
        let mails = self.model.mails();
        self.world.gateway.hold();
        let ended = thread::scope(|scope| {
            for requests in &scenario.producers {
                scope.spawn(|| answers.produce(&client, requests));
            }
            let world = &self.world;
            let reached =
                scenario.point.reach(world, &mut process, answers, PRODUCERS, mails, &component);
            // Also on error: the producers end with the router.
            let ended = end(world, &mut process, scenario.power);
            reached.map(|()| ended)?
        })?;
        let Ended { before: ended, cut } = ended;
        let may_end = matches!(scenario.point, Point::Shutdown { .. });
        if let Some(status) = ended
            && !(may_end && status.success())
        {
            let tail = process.tail(20);
            problems.push(format!("the router ended by itself with {status}:\n{tail}"));
        }
        problems.extend(process.panic());
        if matches!(scenario.point, Point::Swap(_) | Point::HalfFile) {
            self.echo = other_echo;
        }
        self.world.gateway.release();
        self.restore()?;
        Ok(cut)
    }

    /// Ends a router before it is ready.
    fn fault_at_start(
        &mut self,
        mut process: Process,
        again: Again,
        power: PowerCut,
        problems: &mut Vec<String>,
    ) -> Result<()> {
        process.wait_for_lines(1);
        thread::sleep(again.after);
        if let Some(status) = end(&self.world, &mut process, power)?.before {
            let tail = process.tail(20);
            problems.push(format!("the router ended at start with {status}:\n{tail}"));
        }
        problems.extend(process.panic());
        self.restore()
    }

    /// Crashes routers while they create a data folder on the same disk; the next one takes it
    /// over.
    fn birth(&mut self, again: Again, power: PowerCut, problems: &mut Vec<String>) -> Result<()> {
        let folder = Folder::kept_in(self.parts.root(), "birth-")?;
        let data = self.world.folder.data().join("birth");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::create_dir(&data)?;
        self.world.disk.as_ref().map_or(Ok(()), Disk::sync)?;
        symlink(&data, folder.data())?;
        for _ in 0..again.times {
            let process = Process::spawn(&self.parts.binary(), &folder)?;
            self.fault_at_start(process, again, power, problems)?;
        }
        let mut process = Process::spawn(&self.parts.binary(), &folder)?;
        let client = process.ready().context("after its first start was cut off")?;
        let receipt = client.publish_new("test.first", "first", &Value::Null)?;
        ensure!(receipt.sequence == 1 && !receipt.duplicate, "in a new folder: {receipt:?}");
        process.terminate()?;
        let status = process.exited()?;
        ensure!(status.success(), "its first stop: {status}\n{}", process.tail(20));
        fs::remove_dir_all(folder.root())?;
        Ok(())
    }

    fn restore(&mut self) -> Result<()> {
        self.world.disk.as_mut().map_or(Ok(()), Disk::restore)
    }

    /// Resends all events of the round, like a producer that lost its acknowledgements, and some of
    /// earlier rounds.
    fn resend(
        &mut self,
        client: &Client,
        scenario: &mut Scenario,
        problems: &mut Vec<String>,
    ) -> Result<()> {
        let mut resent = Vec::new();
        for _ in 0..RESENT {
            let number = scenario.choices.below(self.history.len() as u64);
            resent.extend(usize::try_from(number).ok().and_then(|n| self.history.get(n)).cloned());
        }
        let earlier = resent.len();
        resent.extend(scenario.planned.iter().cloned());
        let receipts = match self.world.is_cluster() {
            false => publish(client, &resent)?,
            // Servers that have just begun have no leader yet.
            true => wait_for("events to be accepted", || Ok(publish(client, &resent).ok()))?,
        };
        ensure!(receipts.len() == resent.len(), "{} receipts for {}", receipts.len(), resent.len());
        for (number, (receipt, planned)) in receipts.iter().zip(&resent).enumerate() {
            if receipt.id != planned.id {
                problems.push(format!("the receipt of {} is for {}", planned.id, receipt.id));
            }
            if number < earlier && !receipt.duplicate {
                problems.push(format!("{} is forgotten: taken in anew", planned.id));
            }
            problems.extend(self.model.acknowledge(receipt));
        }
        Ok(())
    }

    /// Waits until everything is settled; returns the new log entries.
    fn settle(
        &self,
        client: &Client,
        planned: &[Planned],
        process: &Process,
    ) -> Result<Vec<Entry>> {
        let wanted: usize = planned.iter().map(|planned| planned.flow().len()).sum();
        let mut new: Vec<Entry> = Vec::new();
        let grow = |new: &mut Vec<Entry>| -> Result<()> {
            let next = new.last().map_or(self.model.next(), |entry| entry.sequence + 1);
            new.extend(read(client, next)?);
            Ok(())
        };
        let settled = wait_for("everything to settle", || {
            if !is_quiet(client)? {
                return Ok(None);
            }
            grow(&mut new)?;
            Ok((new.len() >= wanted).then_some(()))
        });
        if let Err(error) = settled {
            let subscriptions = client.get_json("/subscriptions").unwrap_or_default();
            let mut seen = Model::default();
            let wrong = seen.grow(planned, &new).join("\n  ");
            let tail = process.tail(20);
            bail!(
                "{error:#}: {} of {wanted} events\n  {wrong}\n{subscriptions}\n{tail}",
                new.len()
            );
        }
        grow(&mut new)?;
        Ok(new)
    }

    /// Checks state, dead letters and blobs.
    fn check_inside(
        &mut self,
        client: &Client,
        new: &[Entry],
        problems: &mut Vec<String>,
    ) -> Result<()> {
        let wanted = self.model.revenue_cents();
        let found = self.world.revenue_cents()?;
        if found != wanted {
            problems.push(format!("sales earned {found:?} instead of {wanted:?}"));
        }
        let wanted = self.model.abandoned();
        let found = dead_letters(client)?;
        if found.len() != wanted || found.iter().any(|name| name != "printer/abandoned") {
            problems.push(format!("dead letters are {found:?} instead of {wanted} abandoned"));
        }
        for (digest, size_bytes) in new.iter().filter_map(|entry| entry.pdf.as_ref()) {
            let blob = client.get(&format!("/blobs/{digest}"))?;
            let is_right = blob.status == 200
                && blob.body.len() as u64 == *size_bytes
                && blob.body.starts_with(b"%PDF-");
            if !is_right {
                let (status, len) = (blob.status, blob.body.len());
                problems.push(format!("blob {digest}: {status}, {len} of {size_bytes} bytes"));
            }
        }
        Ok(())
    }

    /// Checks that gateway and mail API saw one key per order.
    fn check_outside(&self, planned: &[Planned], problems: &mut Vec<String>) -> Result<()> {
        let charges = self.world.gateway.charges();
        let mails = self.world.mails()?;
        for planned in planned {
            let Kind::Purchase(order) = &planned.kind else { continue };
            let id = &planned.id;
            let keys: Vec<_> = charges.iter().filter(|charge| charge.order == *id).collect();
            let is_right = matches!(
                keys.as_slice(),
                [charge] if charge.charge.is_some() == order.is_paid()
            );
            if !is_right {
                problems.push(format!("{id}: the gateway knows {keys:?}"));
            }
            let keys = mails.get(&order.address(id)).map_or(0, Vec::len);
            if keys != usize::from(order.is_mailed()) {
                problems.push(format!("{id}: {keys} mails"));
            }
        }
        if charges.len() != self.model.purchases() {
            let (found, wanted) = (charges.len(), self.model.purchases());
            problems.push(format!("{found} keys at the gateway for {wanted} purchases"));
        }
        let found: usize = mails.values().map(Vec::len).sum();
        if found != self.model.mails() {
            problems.push(format!("{found} mails instead of {}", self.model.mails()));
        }
        Ok(())
    }

    /// Checks that the whole log is as it was when each round was checked.
    fn check_whole(&self, client: &Client) -> Result<()> {
        let found = read(client, 1)?;
        let known = self.model.entries();
        if let Some((found, known)) = found.iter().zip(known).find(|(found, known)| found != known)
        {
            bail!("the log has changed: {found:?} instead of {known:?}");
        }
        ensure!(found.len() == known.len(), "{} of {} events left", found.len(), known.len());
        Ok(())
    }

    /// Checks the whole log and stops the router in an orderly way.
    fn leave(mut self, summary: &mut Summary) -> Result<()> {
        if let Some((mut process, client)) = self.running.take() {
            self.check_whole(&client).context("at the end")?;
            process.terminate()?;
            let status = process.exited()?;
            ensure!(status.success(), "the last stop: {status}\n{}", process.tail(20));
        }
        self.count_repeated(summary);
        Ok(())
    }

    /// Adds up requests that the gateway got more than once.
    fn count_repeated(&self, summary: &mut Summary) {
        let repeated = |charge: &crate::stand_ins::Charge| match charge.card.as_str() {
            "tok_flaky" => charge.calls.saturating_sub(3),
            _ => charge.calls.saturating_sub(1),
        };
        summary.repeated += self.world.gateway.charges().iter().map(repeated).sum::<u32>();
    }
}

/// How the router was ended.
struct Ended {
    /// Its exit status, if it exited before the crash.
    before: Option<ExitStatus>,
    cut: Cut,
}

/// The interval in which the power was cut, if it was.
///
/// A request in flight at that moment may be acknowledged and lost through no fault of the router:
/// an fdatasync concurrent with `EXT4_IOC_SHUTDOWN` occasionally returns success although its write
/// is lost (Linux 6.18: 5 of 300 cuts of a bare write-and-fdatasync loop, each time the call that
/// ran during the ioctl). Real disks don't do that. A call that begins after the cut always fails,
/// and whatever was acknowledged before it must be there.
#[derive(Clone, Copy)]
struct Cut(Option<(Instant, Instant)>);

impl Cut {
    fn leaves_in_doubt(self, answer: &Answer) -> bool {
        self.0.is_some_and(|(begun, done)| answer.answered >= begun && answer.asked <= done)
    }
}

/// Cuts the power of the disk, if there is one, then kills the router.
fn end(world: &World, process: &mut Process, power: PowerCut) -> Result<Ended> {
    let Some(disk) = &world.disk else {
        return Ok(Ended { before: process.kill()?, cut: Cut(None) });
    };
    let before = process.ended()?;
    let cut = match power {
        PowerCut::Frozen => {
            // No call is in flight, so everything acknowledged must be there.
            process.freeze()?;
            disk.cut()?;
            Cut(None)
        }
        PowerCut::Running { linger } => {
            let begun = Instant::now();
            disk.cut()?;
            let done = Instant::now();
            // Anything it acknowledges from now on would be found missing.
            thread::sleep(linger);
            Cut(Some((begun, done)))
        }
    };
    process.kill()?;
    Ok(Ended { before, cut })
}

/// Whether all subscriptions are idle.
fn is_quiet(client: &Client) -> Result<bool> {
    let body = client.get_json("/subscriptions")?;
    let subscriptions = body.get("subscriptions").and_then(Value::as_array);
    let is_idle = |subscription: &Value| {
        ["lag", "in_flight", "retrying"]
            .iter()
            .all(|name| subscription.get(name).and_then(Value::as_u64) == Some(0))
    };
    Ok(subscriptions.context("no subscriptions")?.iter().all(is_idle))
}

/// The subscriptions of all dead letters.
fn dead_letters(client: &Client) -> Result<Vec<String>> {
    let mut found: BTreeMap<u64, String> = BTreeMap::new();
    loop {
        let after = found.last_key_value().map_or(0, |(id, _)| *id);
        let page = client.get_json(&format!("/dead-letters?after={after}&max=1000"))?;
        let listed = page.get("dead_letters").and_then(Value::as_array).context("no list")?;
        if listed.is_empty() {
            return Ok(found.into_values().collect());
        }
        for letter in listed {
            let id = letter.get("id").and_then(Value::as_u64).context("no id")?;
            let subscription = letter.get("subscription").and_then(Value::as_str);
            found.insert(id, subscription.context("no subscription")?.to_owned());
        }
    }
}

fn tell(problems: &[String]) -> Result<()> {
    ensure!(problems.is_empty(), "{} violations:\n  {}", problems.len(), problems.join("\n  "));
    Ok(())
}
