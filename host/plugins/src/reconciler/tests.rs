//! Runs the reconciler on a real plugins folder. The plugins are built from tests/guests by
//! `cargo xtask plugins`.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use usher_broker::traits::*;
use usher_broker::{Actor, EmbeddedBroker, Options};
use usher_event::Event;
use usher_router::Router;
use usher_runtime::{Runtime, RuntimeOptions};

use super::*;
use crate::{Control, PluginRecords, RefusalCache};
use usher_api::{Plugin, PluginState};
use usher_config::{Config, Flags, LiveConfig, load};

/// Test timeout. Tests that pass never wait for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running reconciler with a folder of its own.
struct World {
    folder: TempDir,
    data: TempDir,
    broker: Arc<dyn Broker>,
    registry: Arc<Registry>,
    control: Control,
    live: Arc<LiveConfig>,
    stop: watch::Sender<bool>,
    reconciler: JoinHandle<()>,
}

impl World {
    /// Starts with these files, as (name in the folder, guest).
    async fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (file, guest) in files {
            std::fs::copy(path_of(guest), folder.path().join(file)).unwrap();
        }
        let plugins = folder.path().to_owned();
        Self::at(folder, &plugins).await
    }

    /// Starts with this plugins folder.
    async fn at(folder: TempDir, plugins: &Path) -> Self {
        let live = Arc::new(LiveConfig::new(Arc::new(config(plugins))));
        let broker: Arc<dyn Broker> = EmbeddedBroker::in_memory(Options::new("")).unwrap();
        let router = Arc::new(Router::new(broker.clone(), Handle::current()));
        let registry = Arc::new(Registry::new(Arc::clone(&router)));
        let runtime = Runtime::new(RuntimeOptions { max_instances: 20, ..Default::default() });
        let data = tempfile::tempdir().unwrap();
        let records = Arc::new(PluginRecords::open(data.path(), broker.clone()).await.unwrap());
        let installer = Installer::new(
            Arc::new(runtime.unwrap()),
            Arc::clone(&router),
            Arc::clone(&broker),
            Arc::clone(&live),
            Arc::clone(&records),
            Arc::new(RefusalCache::in_memory()),
        );
        let (rollbacks, wanted) = mpsc::channel(1);
        let control = Control::new(router, broker.clone(), records, rollbacks);
        let reconciler = Reconciler::new(
            plugins.to_owned(),
            Arc::clone(&registry),
            Arc::new(installer),
            Handle::current(),
            wanted,
        );
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = oneshot::channel();
        let reconciler = tokio::spawn(reconciler.run(ready, stopped));
        timeout(PATIENCE, is_ready).await.unwrap().unwrap();
        Self { folder, data, broker, registry, control, live, stop, reconciler }
    }

    fn data(&self) -> &Path {
        self.data.path()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Puts a guest into the folder atomically, by a rename.
    fn put(&self, file: &str, guest: &str) {
        std::fs::copy(path_of(guest), self.path("upload.tmp")).unwrap();
        std::fs::rename(self.path("upload.tmp"), self.path(file)).unwrap();
    }

    /// Waits until the plugin of this file meets `condition`.
    async fn until(&self, file: &str, condition: impl Fn(&Plugin) -> bool) -> Plugin {
        let waiting = async {
            loop {
                let of_file = |status: &Plugin| status.file == file && condition(status);
                if let Some(status) = self.registry.status().into_iter().find(of_file) {
                    return status;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(status) => status,
            Err(_) => panic!("{file} never got there: {:#?}", self.registry.status()),
        }
    }

    async fn serves(&self, file: &str, version: &str) -> Plugin {
        let serves = |status: &Plugin| {
            status.state == PluginState::Serving && status.version.as_deref() == Some(version)
        };
        self.until(file, serves).await
    }

    /// Renames files, one right after the other.
    fn rename(&self, names: &[(&str, &str)]) {
        for (from, to) in names {
            std::fs::rename(self.path(from), self.path(to)).unwrap();
        }
    }

    /// Waits until this file serves this plugin.
    async fn holds(&self, file: &str, plugin: &str) -> Plugin {
        let holds = |status: &Plugin| {
            status.state == PluginState::Serving
                && status.name.as_ref().is_some_and(|name| name.as_str() == plugin)
        };
        self.until(file, holds).await
    }

    /// Publishes an event for the guest `echo` and waits for its emission.
    async fn echoes(&self, id: &str) {
        let sequence = self.broker.publish(vec![to_echo(id)]).await.unwrap()[0].sequence;
        let answered = async {
            while self.broker.flow(sequence).await.unwrap().unwrap().events.len() < 2 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, answered).await.is_err() {
            let subscriptions = self.broker.subscriptions().await.unwrap();
            panic!("no answer: {:#?} {subscriptions:#?}", self.registry.status());
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        timeout(PATIENCE, self.reconciler).await.unwrap().unwrap();
    }
}

fn to_echo(id: &str) -> Event {
    Event::builder(id, "/test", "test.echo").data("{}").build().unwrap()
}

fn config(folder: &Path) -> Config {
    let flags =
        Flags { data: Some("unused".into()), plugins: Some(folder.to_owned()), ..Flags::default() };
    load(&flags).unwrap()
}

fn path_of(guest: &str) -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    let guests = std::env::var_os("USHER_GUESTS").map_or_else(default, PathBuf::from);
    let path = guests.join(format!("{guest}.wasm"));
    assert!(path.exists(), "{} is missing: run `cargo xtask plugins` first", path.display());
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_at_the_start_serves_or_is_refused_when_ready() {
    let world = World::with(&[("a.wasm", "echo"), ("b.wasm", "describe-trap")]).await;
    let status = world.registry.status();
    let states: Vec<_> = status.iter().map(|one| (one.file.as_str(), one.state)).collect();
    assert_eq!(states, [("a.wasm", PluginState::Serving), ("b.wasm", PluginState::Refused)]);
    world.echoes("1").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_appears_is_overwritten_and_goes() {
    let world = World::with(&[]).await;
    world.put("echo.wasm", "echo");
    world.serves("echo.wasm", "1.0.0").await;
    world.echoes("1").await;
    // Overwritten in place this time, so that partial contents are visible.
    std::fs::copy(path_of("echo-v2"), world.path("echo.wasm")).unwrap();
    world.serves("echo.wasm", "2.0.0").await;
    world.echoes("2").await;
    std::fs::remove_file(world.path("echo.wasm")).unwrap();
    world.until("echo.wasm", |status| status.state == PluginState::Removed).await;
    // Its events wait, and are handled when it is back, even under another name.
    let sequence = world.broker.publish(vec![to_echo("3")]).await.unwrap()[0].sequence;
    world.put("other.wasm", "echo");
    world.serves("other.wasm", "1.0.0").await;
    world.echoes("4").await;
    assert_eq!(world.broker.flow(sequence).await.unwrap().unwrap().events.len(), 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_changes_nothing_and_says_why_until_it_is_mended() {
    let world = World::with(&[("echo.wasm", "echo")]).await;
    let whole = std::fs::read(path_of("echo-v2")).unwrap();
    std::fs::write(world.path("echo.wasm"), &whole[..whole.len() / 2]).unwrap();
    let status = world.until("echo.wasm", |status| status.refused.is_some()).await;
    assert_eq!((status.state, status.version.as_deref()), (PluginState::Serving, Some("1.0.0")));
    let reason = status.refused.unwrap().reason;
    assert!(reason.contains("echo.wasm") && reason.contains("truncated"), "{reason}");
    world.echoes("1").await;
    // Restored to the serving bytes: nothing to load, and the refusal is cleared.
    world.put("echo.wasm", "echo");
    world.until("echo.wasm", |status| status.refused.is_none()).await;
    std::fs::write(world.path("echo.wasm"), &whole).unwrap();
    let status = world.serves("echo.wasm", "2.0.0").await;
    assert_eq!(status.refused, None);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_file_is_the_same_plugin() {
    let world = World::with(&[("a.wasm", "echo")]).await;
    world.echoes("1").await;
    std::fs::rename(world.path("a.wasm"), world.path("b.wasm")).unwrap();
    let status = world.until("b.wasm", |_| true).await;
    // Not reloaded: its counters are kept.
    assert_eq!((status.state, status.stats.handled), (PluginState::Serving, 1));
    assert_eq!(world.registry.status().len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_exchange_their_names_are_the_same_plugins() {
    let world = World::with(&[("a.wasm", "echo"), ("b.wasm", "hop")]).await;
    world.echoes("1").await;
    world.rename(&[("a.wasm", "c.tmp"), ("b.wasm", "a.wasm"), ("c.tmp", "b.wasm")]);
    let echo = world.holds("b.wasm", "echo").await;
    // Not reloaded: its counters are kept.
    assert_eq!(echo.stats.handled, 1);
    world.holds("a.wasm", "hop").await;
    // A rename chain: the second takes the name that the first gave up.
    world.rename(&[("b.wasm", "c.wasm"), ("a.wasm", "b.wasm")]);
    world.holds("b.wasm", "hop").await;
    assert_eq!(world.holds("c.wasm", "echo").await.stats.handled, 1);
    assert_eq!(world.registry.status().len(), 2, "{:#?}", world.registry.status());
    world.echoes("2").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_exchange_their_plugins_serve_in_the_end() {
    let world = World::with(&[("a.wasm", "echo"), ("b.wasm", "hop")]).await;
    // Overwritten, not renamed: only the contents tell which file holds which plugin.
    world.put("a.wasm", "hop");
    world.put("b.wasm", "echo-v2");
    world.holds("a.wasm", "hop").await;
    world.serves("b.wasm", "2.0.0").await;
    let status = world.registry.status();
    assert_eq!(status.len(), 2, "{status:#?}");
    assert!(status.iter().all(|status| status.refused.is_none()), "{status:#?}");
    world.echoes("1").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_renamed_over_another_takes_its_place() {
    let world = World::with(&[("a.wasm", "echo"), ("b.wasm", "hop")]).await;
    world.rename(&[("a.wasm", "b.wasm")]);
    world.holds("b.wasm", "echo").await;
    let hop = |status: &&Plugin| status.name.as_ref().is_some_and(|n| n.as_str() == "hop");
    let removed = || world.registry.status().iter().find(hop).unwrap().state;
    let waiting = async {
        while removed() != PluginState::Removed {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_for_a_passing_reason_is_tried_again() {
    let world = World::with(&[("loop.wasm", "describe-loop")]).await;
    let first = world.until("loop.wasm", |status| status.refused.is_some()).await.refused.unwrap();
    assert!(first.reason.ends_with("it will be tried again"), "{}", first.reason);
    let later =
        |status: &Plugin| status.refused.as_ref().is_some_and(|refused| refused.time > first.time);
    world.until("loop.wasm", later).await;

    // The broker is at its limit of subscriptions until the operator removes one.
    let filter = usher_filter::Filter::parse(r#"{"exact":{"type":"t"}}"#).unwrap();
    let subscribed = |n: usize| {
        world.broker.subscribe(usher_broker::Subscription {
            name: format!("other/s{n}").parse().unwrap(),
            filter: filter.clone(),
            start: usher_broker::Start::Latest,
            order: usher_broker::Order::None,
            retry: usher_broker::RetryPolicy::default(),
            max_in_flight: 1,
            pace: Default::default(),
            projection: Default::default(),
            expires: false,
        })
    };
    // As many at once as share a commit well.
    let taken = stream::iter((0..usher_broker::SUBSCRIPTIONS_MAX).map(subscribed));
    taken.buffer_unordered(512).try_for_each(|()| ready(Ok(()))).await.unwrap();
    assert!(subscribed(usher_broker::SUBSCRIPTIONS_MAX).await.is_err());
    world.put("echo.wasm", "echo");
    let status = world.until("echo.wasm", |status| status.state == PluginState::Refused).await;
    let reason = status.reason.unwrap();
    assert!(reason.ends_with("it will be tried again"), "{reason}");
    world.broker.unsubscribe(&"other/s0".parse().unwrap()).await.unwrap();
    world.serves("echo.wasm", "1.0.0").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_plugin_leaves_its_numbers_and_nothing_else() {
    let world = World::with(&[("a.wasm", "echo")]).await;
    world.echoes("1").await;
    let listener = world.registry.listener_of(&"echo".parse().unwrap());
    assert!(listener.upgrade().is_some());
    std::fs::remove_file(world.path("a.wasm")).unwrap();
    let status = world.until("a.wasm", |status| status.state == PluginState::Removed).await;
    assert_eq!((status.stats.handled, status.stats.instances), (1, 0));
    let dropped = async {
        while listener.upgrade().is_some() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, dropped).await.expect("the listener is kept");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_belongs_to_one_file_at_a_time() {
    let world = World::with(&[("a.wasm", "echo")]).await;
    world.put("b.wasm", "echo-v2");
    let status = world.until("b.wasm", |status| status.state == PluginState::Refused).await;
    let reason = status.reason.unwrap();
    assert!(reason.contains("that name is taken by a.wasm"), "{reason}");
    world.serves("a.wasm", "1.0.0").await;
    std::fs::remove_file(world.path("a.wasm")).unwrap();
    world.serves("b.wasm", "2.0.0").await;
    assert_eq!(world.registry.status().len(), 1);
    world.end().await;
}

/// What serves depends on what is in the folder, not on what was loaded first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_files_with_one_plugin_the_first_by_name_serves() {
    for round in 0..10 {
        let world = World::with(&[("echo-2.wasm", "echo-v2"), ("echo-1.wasm", "echo")]).await;
        let serving = |status: &Plugin| status.state == PluginState::Serving;
        let status = world.until("echo-1.wasm", serving).await;
        assert_eq!(status.version.as_deref(), Some("1.0.0"), "round {round}");
        let refused = world.until("echo-2.wasm", |status| status.reason.is_some()).await;
        let reason = refused.reason.unwrap();
        assert!(reason.contains("that name is taken by echo-1.wasm"), "{reason}");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_first_by_name_takes_over_and_gives_back() {
    let world = World::with(&[("b.wasm", "echo-v2")]).await;
    world.serves("b.wasm", "2.0.0").await;
    world.put("a.wasm", "echo");
    world.serves("a.wasm", "1.0.0").await;
    let refused = world.until("b.wasm", |status| status.state == PluginState::Refused).await;
    assert!(refused.reason.unwrap().contains("comes first by name"));
    std::fs::remove_file(world.path("a.wasm")).unwrap();
    world.serves("b.wasm", "2.0.0").await;
    world.end().await;
}

/// On a quiet topic no version ever acknowledges anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_nobody_used_do_not_add_up() {
    let world = World::with(&[("a.wasm", "echo")]).await;
    for round in 0..10 {
        let (guest, version) =
            if round % 2 == 0 { ("echo-v2", "2.0.0") } else { ("echo", "1.0.0") };
        // A custom section gives the same guest another digest.
        let mut bytes = std::fs::read(path_of(guest)).unwrap();
        bytes.extend([0, 3, 1, b'n', round]);
        std::fs::write(world.path("next"), bytes).unwrap();
        std::fs::rename(world.path("next"), world.path("a.wasm")).unwrap();
        world.serves("a.wasm", version).await;
    }
    let kept = async {
        loop {
            let files = std::fs::read_dir(world.data().join("plugins")).unwrap();
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            if names.filter(|name| name.ends_with(".wasm")).count() <= 3 {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, kept).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_may_come_to_hold_another_plugin() {
    let world = World::with(&[("a.wasm", "echo")]).await;
    world.put("a.wasm", "hop");
    let hop = |status: &Plugin| {
        status.name.as_ref().is_some_and(|name| name.as_str() == "hop")
            && status.state == PluginState::Serving
    };
    let serving = async {
        while !world.registry.status().iter().any(hop) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, serving).await.unwrap();
    let status = world.registry.status();
    assert_eq!(status[0].state, PluginState::Removed, "{status:#?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_vanishes_removes_nothing() {
    let world = World::with(&[("a.wasm", "echo")]).await;
    let aside = world.folder.path().with_extension("aside");
    std::fs::rename(world.folder.path(), &aside).unwrap();
    world.echoes("1").await;
    // Another folder in its place.
    std::fs::create_dir(world.folder.path()).unwrap();
    world.put("a.wasm", "echo-v2");
    world.serves("a.wasm", "2.0.0").await;
    std::fs::remove_dir_all(aside).unwrap();
    world.end().await;
}

/// As some editors save: write a new file, delete the old one, rename.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_editors_write_delete_rename_is_a_new_version() {
    let world = World::with(&[("echo.wasm", "echo")]).await;
    world.echoes("1").await;
    std::fs::copy(path_of("echo-v2"), world.path("echo.wasm~")).unwrap();
    std::fs::remove_file(world.path("echo.wasm")).unwrap();
    world.rename(&[("echo.wasm~", "echo.wasm")]);
    world.serves("echo.wasm", "2.0.0").await;
    world.echoes("2").await;
    assert_eq!(world.registry.status().len(), 1, "{:#?}", world.registry.status());
    world.end().await;
}

/// As in deployments that keep each release in a folder of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_symbolic_link_to_the_folder_may_be_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (release, guest) in [("one", "echo"), ("two", "echo-v2")] {
        std::fs::create_dir(path(release)).unwrap();
        std::fs::copy(path_of(guest), path(release).join("echo.wasm")).unwrap();
    }
    let (plugins, next) = (path("plugins"), path("next"));
    std::os::unix::fs::symlink(path("one"), &plugins).unwrap();
    std::os::unix::fs::symlink(path("two"), &next).unwrap();
    let world = World::at(folder, &plugins).await;
    world.serves("echo.wasm", "1.0.0").await;
    std::fs::rename(&next, &plugins).unwrap();
    world.serves("echo.wasm", "2.0.0").await;
    world.echoes("1").await;
    // From now on the other folder is the one that is watched.
    std::fs::copy(path_of("echo"), world.path("two/echo.wasm")).unwrap();
    world.serves("echo.wasm", "1.0.0").await;
    world.end().await;
}

/// As over a slow network: in pieces, each seen and refused before the next arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_copy_in_pieces_takes_over_once_it_is_whole() {
    let world = World::with(&[("echo.wasm", "echo")]).await;
    let whole = std::fs::read(path_of("echo-v2")).unwrap();
    let mut copied = std::fs::File::create(world.path("echo.wasm")).unwrap();
    let pieces: Vec<_> = whole.chunks(whole.len() / 4 + 1).collect();
    for (number, piece) in pieces.iter().enumerate() {
        std::io::Write::write_all(&mut copied, piece).unwrap();
        if number + 1 < pieces.len() {
            let length = pieces[..=number].iter().map(|piece| piece.len()).sum();
            let seen = Digest::of(&whole[..length]);
            let refused = |status: &Plugin| {
                status.refused.as_ref().is_some_and(|refused| refused.digest == Some(seen))
            };
            let status = world.until("echo.wasm", refused).await;
            assert_eq!(status.version.as_deref(), Some("1.0.0"));
            world.echoes(&number.to_string()).await;
        }
    }
    world.serves("echo.wasm", "2.0.0").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_traps_is_rolled_back_and_stays_off_until_its_file_changes() {
    let world = World::with(&[("echo.wasm", "echo")]).await;
    world.echoes("0").await;
    world.put("echo.wasm", "echo-trap");
    let tried = |status: &Plugin| status.version.as_deref() == Some("3.0.0");
    world.until("echo.wasm", tried).await;
    for id in 1..=5 {
        world.echoes(&id.to_string()).await;
    }
    let refused = |status: &Plugin| status.refused.is_some();
    let status = world.until("echo.wasm", refused).await;
    assert_eq!((status.state, status.version.as_deref()), (PluginState::Serving, Some("1.0.0")));
    let reason = status.refused.unwrap().reason;
    assert!(reason.starts_with("rolled back: 5 of its first 5 deliveries failed"), "{reason}");
    world.echoes("6").await;
    world.put("echo.wasm", "echo-v2");
    assert_eq!(world.serves("echo.wasm", "2.0.0").await.refused, None);

    let name = "echo".parse().unwrap();
    let outcomes: Vec<_> =
        world.control.history(&name).unwrap().iter().map(|past| past.outcome.as_str()).collect();
    assert_eq!(outcomes, ["loaded", "loaded", "rolled_back", "loaded"]);
    // Touched, with the same content.
    std::fs::File::options()
        .append(true)
        .open(world.path("echo.wasm"))
        .unwrap()
        .set_modified(std::time::SystemTime::now() + Duration::from_secs(1))
        .unwrap();
    let unchanged = async {
        let last = || world.control.history(&name).unwrap().pop().unwrap();
        while last().outcome.as_str() != "unchanged" {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, unchanged).await.unwrap();
    // Manual rollback: the first version was the last good one, and its bytes are still stored.
    let back = world.control.rollback(&Actor::local(), &name).await.unwrap();
    assert_eq!(back.digest, Some(Digest::of(&std::fs::read(path_of("echo")).unwrap())));
    world.serves("echo.wasm", "1.0.0").await;
    assert!(world.control.rollback(&Actor::local(), &name).await.is_err());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_configuration_is_in_force_at_once_and_a_bad_one_changes_nothing() {
    let world = World::with(&[("echo.wasm", "echo"), ("hop.wasm", "hop")]).await;
    let active = |status: &Plugin| status.subscriptions.len();
    assert_eq!(active(&world.serves("echo.wasm", "1.0.0").await), 1);
    let with = |text: &str| {
        let folder = world.folder.path();
        let file = world.path("usher.toml");
        std::fs::write(&file, text).unwrap();
        let flags = Flags {
            data: Some("unused".into()),
            plugins: Some(folder.to_owned()),
            config: Some(file),
            ..Flags::default()
        };
        load(&flags).map(|config| world.live.adopt(config))
    };
    let more = r#"plugin.echo.subscription.more.filter = { exact = { type = "b" } }"#;
    assert!(with(more).unwrap().is_new);
    world.until("echo.wasm", |status| active(status) == 2).await;
    world.echoes("1").await;
    // Refused as a whole.
    assert!(with("plugin.echo.subscription.more.filter = 1").is_err());
    assert!(with("plugin.echo.instances = 0").is_err());
    assert_eq!(active(&world.serves("echo.wasm", "1.0.0").await), 2);
    assert!(!with(more).unwrap().is_new);
    assert!(with("").unwrap().is_new);
    world.until("echo.wasm", |status| active(status) == 1).await;
    // The other plugin was not reinstalled.
    let hop = world.control.history(&"hop".parse().unwrap()).unwrap();
    assert_eq!(hop.len(), 1, "{hop:?}");
    world.end().await;
}
