use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle as Tasks;
use tokio::sync::Semaphore;
use usher_access::TokenSecret;
use usher_broker::StateVersion;
use usher_event::{
    BlobInfo, BlobStore, Effects, Emission, Event, Failure, FailureClass, StagedBlob, StoreError,
    Verdict,
};
use usher_jetstream::LinkError;

use super::*;
use crate::link::Asks;
use crate::report::{Introduction, PluginThere, Report, SILENT_AFTER};
use crate::wire::{Answered, Asked, decode, encode};

const SLOW: Duration = Duration::from_millis(8);

/// What a node does with a delivery.
#[derive(Clone)]
enum There {
    Handles,
    /// Once the semaphore has a permit.
    HandlesLate(Arc<Semaphore>),
    Refuses(Refused),
    NeverAnswers,
    IsAway,
    Garbles,
    Stages(&'static [u8]),
}

/// Nodes by name, and what they were asked.
#[derive(Default)]
struct FakeLink {
    nodes: Mutex<BTreeMap<String, There>>,
    handled: AtomicUsize,
    prepared: AtomicUsize,
}

impl FakeLink {
    fn set(&self, node: &str, there: There) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), there);
    }
}

#[async_trait]
impl Asks for FakeLink {
    fn node(&self) -> &str {
        "a"
    }

    fn message_max_bytes(&self) -> usize {
        1 << 20
    }

    async fn ask(&self, node: &str, question: Bytes, _: Duration) -> Result<Bytes, LinkError> {
        let there = self.nodes.lock().unwrap().get(node).cloned().ok_or(LinkError::Away)?;
        let answered = match decode::<Asked>(&question).unwrap() {
            Asked::Prepare { from, .. } => {
                assert_eq!(from, "a");
                self.prepared.fetch_add(1, Ordering::Relaxed);
                Answered::Done
            }
            Asked::Handle(handle) => {
                self.handled.fetch_add(1, Ordering::Relaxed);
                let delivery = handle.delivery(&usher_event::Tracing::default()).unwrap();
                assert_eq!((delivery.sequence, delivery.event.id()), (7, "7"));
                assert_eq!(handle.owner(), StateVersion { epoch: 3, version: 9, position: 12 });
                match there {
                    There::Handles => done_at(node, Vec::new()),
                    There::HandlesLate(turn) => {
                        turn.acquire().await.unwrap().forget();
                        done_at(node, Vec::new())
                    }
                    There::Refuses(refused) => Answered::Refused(refused),
                    There::NeverAnswers => pending().await,
                    There::IsAway => return Err(LinkError::Away),
                    There::Garbles => return Ok(Bytes::from_static(b"\xff\xff\xff")),
                    There::Stages(content) => done_at(node, vec![Bytes::from_static(content)]),
                }
            }
            other => panic!("{other:?}"),
        };
        Ok(encode(&answered).unwrap())
    }

    async fn tell(&self, _: Bytes) -> Result<(), LinkError> {
        Ok(())
    }
}

fn acked_at(node: &str) -> Outcome {
    let emission = Emission { ty: node.to_owned(), ..Emission::default() };
    let effects = Effects { emissions: vec![emission], ..Effects::default() };
    Outcome { verdict: Verdict::Ack, effects, took: SLOW, recording: None }
}

fn done_at(node: &str, staged: Vec<Bytes>) -> Answered {
    Answered::Outcome { outcome: Box::new(acked_at(node)), staged }
}

/// The listener of this node.
struct Here {
    name: PluginName,
    took: Duration,
}

#[async_trait]
impl Listener for Here {
    fn name(&self) -> &PluginName {
        &self.name
    }

    fn version(&self) -> &str {
        "1"
    }

    fn digest(&self) -> Digest {
        Digest::of(b"p")
    }

    async fn handle(&self, _: &Delivery) -> Outcome {
        tokio::time::sleep(self.took).await;
        Outcome { took: self.took, ..acked_at("here") }
    }
}

/// Blobs in memory.
#[derive(Default)]
struct Staging(Mutex<Vec<Digest>>);

impl BlobStore for Staging {
    fn write(&self, content: &[u8]) -> Result<StagedBlob, StoreError> {
        if content.is_empty() {
            return Err(StoreError("the disk is full".to_owned()));
        }
        self.0.lock().unwrap().push(Digest::of(content));
        Ok(StagedBlob::new(Digest::of(content), ()))
    }

    fn read(&self, _: &Digest) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        Ok(None)
    }

    fn list(
        &self,
        _: &PluginName,
        _: Option<&Digest>,
        _: usize,
    ) -> Result<Vec<BlobInfo>, StoreError> {
        Ok(Vec::new())
    }

    fn kept_bytes(&self, _: &PluginName) -> Result<u64, StoreError> {
        Ok(0)
    }
}

struct Owner {
    link: Arc<FakeLink>,
    nodes: Arc<Nodes>,
    staging: Arc<Staging>,
    spread: Arc<Spread>,
}

impl Owner {
    fn new(took: Duration) -> Self {
        let (link, staging) = (Arc::<FakeLink>::default(), Arc::<Staging>::default());
        let committed = || StateVersion { epoch: 3, version: 9, position: 12 };
        let asks = Arc::clone(&link) as Arc<dyn Asks>;
        let nodes = Nodes::new(asks, Arc::clone(&staging) as _, Tasks::current(), committed);
        let here = Arc::new(Here { name: "p".parse().unwrap(), took });
        let spread = Spread::new(here, &PluginConfig::default(), Arc::clone(&nodes));
        Self { link, nodes, staging, spread: Arc::new(spread) }
    }

    /// One that has handled a slow delivery itself.
    async fn warm() -> Self {
        let owner = Self::new(SLOW);
        assert_eq!(owner.handle().await, "here");
        owner
    }

    /// A node tells that it is there, with the plugin or a problem.
    fn hears(&self, node: &str, problem: Option<&str>) {
        let PluginVersion { plugin, digest, settings } = self.spread.version.clone();
        let problem = problem.map(str::to_owned);
        let plugins = vec![PluginThere { plugin, digest, settings, problem }];
        self.nodes.heard(&Report { plugins, ..report(node) }.write());
    }

    /// Where the next delivery is handled.
    async fn handle(&self) -> String {
        let outcome = self.spread.handle(&delivery()).await;
        outcome.effects.emissions[0].ty.clone()
    }

    /// Where the next delivery is handled while this node is at one.
    async fn handle_beside(&self) -> String {
        let spread = Arc::clone(&self.spread);
        let _running = Running::new(&spread.running_here);
        self.handle().await
    }

    fn given_up(&self) -> u64 {
        self.nodes.status().iter().map(|node| node.given_up).sum()
    }
}

fn report(node: &str) -> Report {
    Report {
        node: node.to_owned(),
        version: "1".to_owned(),
        introduction: Introduction::default(),
        position: 0,
        is_drained: false,
        running: Vec::new(),
        plugins: Vec::new(),
    }
}

#[tokio::test]
async fn a_node_is_known_by_the_secret_whose_hash_it_told_last() {
    let owner = Owner::new(SLOW);
    let [one, other] = [(); 2].map(|()| TokenSecret::generate().unwrap());
    let known = || [&one, &other].map(|secret| owner.nodes.authenticates(&secret.hash()));
    for (told, expected) in [
        (None, [false, false]),
        (Some(&one), [true, false]),
        (Some(&other), [false, true]),
        (None, [false, false]),
    ] {
        let secret_hash = told.map(TokenSecret::hash);
        let introduction = Introduction { secret_hash, ..Introduction::default() };
        owner.nodes.heard(&Report { introduction, ..report("b") }.write());
        assert_eq!(known(), expected);
    }
}

/// Nodes of two versions see each other while versions change.
#[test]
fn a_report_of_a_version_without_secrets_is_read() {
    let told = r#"{"node":"b","version":"0.0.9","url":"http://10.0.0.2:7171","position":7,
        "is_drained":false,"running":[1],"plugins":[]}"#;
    let read = Report::read(told.as_bytes()).unwrap();
    let url = Some("http://10.0.0.2:7171".to_owned());
    assert_eq!(read.introduction, Introduction { url, secret_hash: None });
    assert_eq!((read.position, read.running), (7, vec![1]));
}

fn delivery() -> Delivery {
    Delivery {
        sequence: 7,
        event: Event::builder("7", "/s", "t").build().unwrap(),
        subscription: "p/s".parse().unwrap(),
        attempt: 1,
        flow: 7,
        depth: 0,
        replay: None,
        is_dry_run: false,
        span: None,
    }
}

#[tokio::test(start_paused = true)]
async fn quick_deliveries_stay_here() {
    let owner = Owner::new(Duration::from_micros(100));
    owner.link.set("b", There::Handles);
    owner.hears("b", None);
    for _ in 0..20 {
        assert_eq!(owner.handle_beside().await, "here");
    }
    assert_eq!((owner.spread.at_once(4), owner.link.prepared.load(Ordering::Relaxed)), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_is_asked_to_have_a_slow_plugin_and_then_gets_its_share() {
    let owner = Owner::warm().await;
    owner.link.set("b", There::Handles);
    owner.nodes.heard(&report("b").write());
    assert_eq!(owner.spread.at_once(4), 4);
    tokio::time::sleep(Duration::from_millis(1)).await;
    // Not again and again.
    assert_eq!(owner.spread.at_once(4), 4);
    assert_eq!(owner.link.prepared.load(Ordering::Relaxed), 1);
    owner.hears("b", None);
    assert_eq!(owner.spread.at_once(4), 10);
    assert_eq!((owner.handle().await, owner.handle_beside().await), ("here".into(), "b".into()));
    assert_eq!(owner.nodes.status()[0].handled, 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_the_least_to_do_gets_the_next() {
    let owner = Owner::warm().await;
    let turn = Arc::new(Semaphore::new(0));
    for node in ["b", "c"] {
        owner.link.set(node, There::HandlesLate(Arc::clone(&turn)));
        owner.hears(node, None);
    }
    let owner = Arc::new(owner);
    let tasks: Vec<_> = (0..9)
        .map(|_| {
            let owner = Arc::clone(&owner);
            tokio::spawn(async move { owner.handle().await })
        })
        .collect();
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    let running: Vec<u64> = owner.nodes.status().iter().map(|node| node.running).collect();
    assert_eq!((running, owner.spread.running_here.load(Ordering::Relaxed)), (vec![3, 3], 3));
    turn.add_permits(6);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(owner.nodes.status().iter().all(|node| node.running == 0 && node.handled == 3));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_does_not_handle_is_handled_here() {
    for there in [
        There::Refuses(Refused::NotReady),
        There::Refuses(Refused::Behind),
        There::Refuses(Refused::Overtaken),
        There::IsAway,
        There::Garbles,
        // Its content can't be staged.
        There::Stages(b""),
    ] {
        let owner = Owner::warm().await;
        owner.link.set("b", there);
        owner.hears("b", None);
        assert_eq!((owner.handle_beside().await, owner.given_up()), ("here".into(), 1));
        // It isn't asked again at once.
        assert_eq!((owner.handle_beside().await, owner.given_up()), ("here".into(), 1));
        owner.link.set("b", There::Handles);
        tokio::time::sleep(Duration::from_secs(1)).await;
        owner.hears("b", None);
        assert_eq!(owner.handle_beside().await, "b");
    }
}

/// A question that is lost, or its answer, is no wait: the node says what it has.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_a_node_does_not_have_is_handled_here() {
    let owner = Arc::new(Owner::warm().await);
    owner.link.set("b", There::NeverAnswers);
    let PluginVersion { plugin, digest, settings } = owner.spread.version.clone();
    let plugins = vec![PluginThere { plugin, digest, settings, problem: None }];
    let tells = |running: Vec<u64>| {
        let told = Report { plugins: plugins.clone(), running, ..report("b") };
        owner.nodes.heard(&told.write());
    };
    tells(Vec::new());
    let handling = {
        let owner = Arc::clone(&owner);
        tokio::spawn(async move { owner.handle_beside().await })
    };
    // While it has it, it is waited for.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        tells(vec![3 << 40]);
    }
    assert!(!handling.is_finished());
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        tells(vec![(3 << 40) + 1]);
    }
    assert!(handling.is_finished());
    assert_eq!((handling.await.unwrap(), owner.given_up()), ("here".into(), 1));
}

/// An answer that comes once it was given up is not used.
#[tokio::test(start_paused = true)]
async fn a_node_that_falls_silent_is_given_up() {
    let owner = Owner::warm().await;
    let turn = Arc::new(Semaphore::new(0));
    for there in [There::NeverAnswers, There::HandlesLate(Arc::clone(&turn))] {
        owner.link.set("b", there);
        tokio::time::sleep(Duration::from_secs(1)).await;
        owner.hears("b", None);
        let begun = tokio::time::Instant::now();
        assert_eq!(owner.handle_beside().await, "here");
        let took = begun.elapsed();
        assert!(took >= SILENT_AFTER && took < SILENT_AFTER * 2, "{took:?}");
    }
    turn.add_permits(1);
    tokio::task::yield_now().await;
    assert_eq!((owner.given_up(), owner.link.handled.load(Ordering::Relaxed)), (2, 2));
    assert!(!owner.nodes.status()[0].is_there);
    assert_eq!(owner.spread.at_once(4), 4);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_drained_or_has_a_problem_gets_nothing() {
    let owner = Owner::warm().await;
    owner.link.set("b", There::Handles);
    owner.hears("b", Some("other settings"));
    assert_eq!((owner.spread.at_once(4), owner.handle_beside().await), (4, "here".into()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(owner.link.prepared.load(Ordering::Relaxed), 0, "it has said why not");
    let PluginVersion { plugin, digest, settings } = owner.spread.version.clone();
    let plugins = vec![PluginThere { plugin, digest, settings, problem: None }];
    let drained = Report { plugins, is_drained: true, ..report("b") };
    owner.nodes.heard(&drained.write());
    assert_eq!((owner.spread.at_once(4), owner.handle_beside().await), (4, "here".into()));
    owner.hears("b", None);
    assert_eq!(owner.handle_beside().await, "b");
}

#[tokio::test(start_paused = true)]
async fn a_version_whose_outcomes_are_too_large_stays_here() {
    let owner = Owner::warm().await;
    let refused = Refused::TooLarge { bytes: 2 << 20, max_bytes: 1 << 20 };
    owner.link.set("b", There::Refuses(refused));
    owner.hears("b", None);
    assert_eq!(owner.handle_beside().await, "here");
    tokio::time::sleep(Duration::from_secs(1)).await;
    owner.hears("b", None);
    assert_eq!((owner.spread.at_once(4), owner.handle_beside().await), (4, "here".into()));
    assert_eq!(owner.given_up(), 1);
}

#[tokio::test(start_paused = true)]
async fn blobs_of_another_node_are_staged_here() {
    let owner = Owner::warm().await;
    owner.link.set("b", There::Stages(b"ticket"));
    owner.hears("b", None);
    let spread = Arc::clone(&owner.spread);
    let _running = Running::new(&spread.running_here);
    let outcome = spread.handle(&delivery()).await;
    let staged: Vec<_> = outcome.effects.staged.iter().map(StagedBlob::digest).collect();
    assert_eq!(staged, [Digest::of(b"ticket")]);
    assert_eq!(*owner.staging.0.lock().unwrap(), staged);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_is_run_here() {
    let owner = Owner::warm().await;
    owner.link.set("b", There::Handles);
    owner.hears("b", None);
    let spread = Arc::clone(&owner.spread);
    let _running = Running::new(&spread.running_here);
    let dry = Delivery { is_dry_run: true, ..delivery() };
    assert_eq!(spread.handle(&dry).await.effects.emissions[0].ty, "here");
}

/// More than there may be: silent ones give way, others are not taken in.
#[tokio::test(start_paused = true)]
async fn nodes_are_limited() {
    let owner = Owner::new(SLOW);
    let names = || owner.nodes.status().into_iter().map(|node| node.report.node);
    for number in 0..=crate::NODES_MAX {
        owner.nodes.heard(&report(&format!("n{number}")).write());
    }
    assert_eq!(names().count(), crate::NODES_MAX);
    tokio::time::sleep(SILENT_AFTER).await;
    owner.nodes.heard(&report("late").write());
    assert_eq!(names().collect::<Vec<_>>(), ["late"]);
    owner.nodes.heard(b"{}");
    owner.nodes.heard(&report("a").write());
    assert_eq!(names().count(), 1);
}

/// What an outcome may hold is handed over as it is.
#[test]
fn outcomes_are_handed_over_whole() {
    use usher_event::{BlobChange, StateAddress, StateRead, StateWrite, Value};
    let address =
        StateAddress { plugin: "p".parse().unwrap(), bucket: "b".into(), key: "k".into() };
    let emission = Emission {
        ty: "t".to_owned(),
        subject: Some("s".to_owned()),
        datacontenttype: Some("application/json".to_owned()),
        dataschema: None,
        extensions: vec![("n".to_owned(), Value::Integer(-1))],
        data: Some(Bytes::from_static(b"\0\xff")),
        delay_ms: Some(5),
    };
    let info =
        BlobInfo { digest: Digest::of(b"x"), size_bytes: 1, content_type: "text/plain".to_owned() };
    let effects = Effects {
        emissions: vec![emission],
        reads: vec![
            StateRead::Key { address: address.clone(), version: 4 },
            StateRead::Bucket { plugin: "p".parse().unwrap(), bucket: "b".into(), version: 5 },
        ],
        writes: vec![StateWrite {
            address,
            value: Some(Bytes::from_static(b"v")),
            previous_bytes: Some(3),
        }],
        blobs: vec![BlobChange::Put(info), BlobChange::Delete(Digest::of(b"y"))],
        ..Effects::default()
    };
    let failure = Failure {
        backtrace: Some("at".to_owned()),
        recording: Some(Bytes::from_static(b"{}")),
        ..Failure::new(FailureClass::Trap, "unreachable")
    };
    for verdict in [
        Verdict::Ack,
        Verdict::Retry { failure: failure.clone(), after: Some(Duration::from_millis(9)) },
        Verdict::Reject { failure },
    ] {
        let (effects, recording) = (effects.clone(), Some(Bytes::from_static(b"{\"a\":1}")));
        let outcome = Outcome { verdict, effects, took: Duration::from_micros(77), recording };
        let sent = Answered::Outcome { outcome: Box::new(outcome.clone()), staged: Vec::new() };
        let read = decode::<Answered>(&encode(&sent).unwrap()).unwrap();
        let Answered::Outcome { outcome: read, .. } = read else { panic!("{read:?}") };
        assert_eq!(format!("{read:?}"), format!("{outcome:?}"));
    }
}
