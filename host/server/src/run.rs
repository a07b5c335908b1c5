//! `usher run`: opens everything in order, serves until told to stop, and closes in the reverse
//! order.
//!
//! Guests run on a separate executor so that they can't block the HTTP API, the timers or signal
//! handling, which run on the main one.

mod closing;
mod memory;
mod reload;
pub(crate) mod standby;
mod versions;

use std::convert::Infallible;
use std::future::pending;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::runtime::{Builder, Handle, Runtime as Executor};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use usher_access::TokenSecret;
use usher_broker::{Broker, Clock, EmbeddedBroker, Options, SystemClock};
use usher_event::Tracing;
use usher_executors::Introduction;
use usher_router::Router;
use usher_telemetry::Exporter;

use self::closing::{
    EXIT_CONFIG, EXIT_DONE, EXIT_FAILED, EXIT_POISONED, HTTP, Parts, WATCHER, Why, report, running,
};
use self::reload::reload;
use self::standby::{Answers, PluginRunner};
use crate::access::{self, Access};
use crate::cluster::Cluster;
use crate::descriptors::Descriptors;
use crate::http::{Forwarder, Front, Listener, Node, Served, Tls};
use crate::log_lines::LogLines;
use crate::running::{Gate, Readiness, Running};
use crate::samples::{self, Samples};
use crate::states;
use usher_config::{self as config, Config, Flags, Listen, LiveConfig, LogFormat};
use usher_plugins::sandbox;
use usher_plugins::{
    Control, Installer, PluginRecords, ROLLBACKS_QUEUED_MAX, Reconciler, RefusalCache, Registry,
    Sinks,
};

/// Timeout for executor threads to exit, as the last step of shutdown.
const THREADS_END: Duration = Duration::from_secs(2);

/// How long requests under way may take when a standby ends.
const STANDBY_DRAIN: Duration = Duration::from_secs(2);

/// How often it is written when tokens were last used.
const LAST_USED_EVERY: Duration = Duration::from_secs(300);

/// Folder of the compiled components, in the data folder.
pub(crate) const CACHE: &str = "cache";

/// Set in the environment of a router that ends with the process that started it, however that ends:
/// that of `usher dev`.
pub(crate) const END_WITH_PARENT: &str = "USHER_END_WITH_PARENT";

/// Set in the environment of the router of `usher dev`: a file with HTTP answers, and plugins are granted
/// what they ask for.
pub(crate) const STAND_INS: &str = "USHER_STAND_INS";

/// Runs the router; returns when it has stopped.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    #[cfg(target_os = "linux")]
    if std::env::var_os(END_WITH_PARENT).is_some() {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // Best effort: it is stopped in order where its parent ends in order.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
    }
    let (flags, are_defaults) = &flags.resolved_in(Path::new(""));
    if *are_defaults
        && let Some(plugins) = &flags.plugins
        && let Err(error) = std::fs::create_dir_all(plugins)
    {
        eprintln!("error: can't make the folder {}: {error}", plugins.display());
        eprintln!(" hint: name other folders with --data and --plugins");
        return ExitCode::from(EXIT_CONFIG);
    }
    let config = match config::load(flags) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let log_lines = start_log(&config);
    let descriptors = Descriptors::raise();
    match executors()
        .and_then(|(main, guests)| run_on(main, guests, config, flags, descriptors, log_lines))
    {
        Ok(Ended::With(code)) => ExitCode::from(code),
        Ok(Ended::Left) => {
            // The same process, so that what watches over it sees no end.
            let program = std::env::current_exe().ok().filter(|program| program.exists());
            let program = program.unwrap_or_else(sandbox::program);
            let error = Command::new(program).args(std::env::args_os().skip(1)).exec();
            tracing::error!(%error, "this node can't follow: the program can't be started again");
            ExitCode::from(EXIT_FAILED)
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// How a router ended.
enum Ended {
    /// With this exit code.
    With(u8),
    /// In order, and another node took over: this one is to follow.
    Left,
}

fn run_on(
    main: Executor,
    guests: Executor,
    config: Config,
    flags: &Flags,
    descriptors: Descriptors,
    log_lines: LogLines,
) -> anyhow::Result<Ended> {
    let guests_handle = guests.handle().clone();
    let ended =
        main.block_on(serve(Arc::new(config), flags, guests_handle, descriptors, log_lines));
    if matches!(ended, Ok(Ended::With(EXIT_POISONED))) {
        // Deliveries may still be in flight; they need no cleanup and end with the process.
        // Shutting an executor down drops its timers, and tasks that still use them would panic.
        std::mem::forget((guests, main));
        return ended;
    }
    // A thread may be blocked on a hung file system; it ends with the process.
    guests.shutdown_timeout(THREADS_END);
    main.shutdown_timeout(THREADS_END);
    ended
}

/// Starts the log; returns what keeps the lines of plugins.
fn start_log(config: &Config) -> LogLines {
    let targets = targets(&config.log);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log_lines = LogLines::default();
    let registry = tracing_subscriber::registry().with(targets).with(log_lines.clone());
    match config.log_format {
        LogFormat::Json => registry.with(layer.json()).init(),
        LogFormat::Text => {
            registry.with(layer.with_ansi(std::io::stderr().is_terminal())).init();
        }
    }
    log_lines
}

/// Builds the log filter. A bare level applies to Usher and its plugins; libraries are capped at
/// warnings unless named.
fn targets(log: &str) -> Targets {
    // Already validated with the configuration.
    let written: Targets = log.parse().unwrap_or_default();
    let Some(level) = written.default_level() else { return written };
    let named: Vec<_> = written.iter().map(|(target, level)| (target.to_owned(), level)).collect();
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("usher", level)
        .with_target("plugin", level)
        .with_targets(named)
}

fn executors() -> anyhow::Result<(Executor, Executor)> {
    let build = |name: &'static str| {
        Builder::new_multi_thread()
            .thread_name(name)
            .enable_all()
            .build()
            .with_context(|| format!("can't start the {name} threads"))
    };
    Ok((build("usher-main")?, build("usher-guests")?))
}

async fn serve(
    config: Arc<Config>,
    flags: &Flags,
    guests: Handle,
    descriptors: Descriptors,
    log_lines: LogLines,
) -> anyhow::Result<Ended> {
    let mut signals = Signals::new()?;
    let hangups = signal(SignalKind::hangup()).context("can't listen to signals")?;
    tracing::info!(
        version = usher_executors::VERSION,
        config = config.file.as_deref().map(|file| tracing::field::display(file.display())),
        data = %config.data.display(),
        plugins = %config.plugins.display(),
        "starting"
    );
    // Steps that can fail without touching the disk come first, so a failed start leaves no files.
    let (compiler, calls) = (config.compiler, descriptors.calls);
    let runtime = sandbox::set_up(compiler, config.max_instances, calls)
        .map_err(|error| anyhow!("{error}"))?;
    let runtime = Arc::new(runtime);
    let live = Arc::new(LiveConfig::new(Arc::clone(&config)));
    // Until this returns: nodes are heard while deliveries end, and a standby has its configuration read.
    let mut aside = JoinSet::new();
    aside.spawn(reload(flags.clone(), Arc::clone(&live), hangups));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let exporter = config.tracing.as_ref().map(Exporter::start).transpose()?.map(Arc::new);
    let tracing = exporter.clone().map_or_else(Tracing::default, |sink| Tracing::new(sink));
    let tls = config.tls.clone().map(|files| Tls::open(files, Arc::clone(&clock)));
    let tls = tls.transpose()?.map(Arc::new);
    let bound = match listen(&config.listen).await {
        Err(error) if !config.data.exists() => return Err(error),
        bound => bound,
    };
    let access = Arc::new(Access::new(&config.tokens, Arc::clone(&clock)));
    aside.spawn(adopt_tokens(Arc::clone(&access), Arc::clone(&live)));
    aside.spawn(watch_certificate(tls.clone()));
    access::warn_of(&config.listen);
    let connections = descriptors.connections(config.http.max_connections);
    let front = Front::new(Arc::clone(&access), tls.clone(), Arc::clone(&config), connections);
    let (stop, stopped) = watch::channel(false);
    // Open the data folder before reporting a bind error: a second instance then learns which
    // process holds the folder, not merely that the address is in use.
    let options = broker_options(&config, descriptors.store);
    let mut cluster = None;
    let (broker, places): (Arc<dyn Broker>, _) = match config.journal.clone() {
        None => {
            let opened = tokio::task::spawn_blocking(move || EmbeddedBroker::open(options)).await?;
            // The message already includes the causes.
            let broker: Arc<dyn Broker> = opened.map_err(|error| anyhow!("{error}"))?;
            match bound {
                Ok(listeners) => (broker, Places::Waiting(listeners)),
                Err(error) => {
                    broker.close().await?;
                    return Err(error);
                }
            }
        }
        Some(mut place) => {
            let listeners = bound?;
            place.url = place.url.or(listeners.iter().find_map(Listener::reachable_url));
            let secret = TokenSecret::generate().context("the system has no random numbers")?;
            let introduction =
                Introduction { url: place.url.clone(), secret_hash: Some(secret.hash()) };
            let plugins = PluginRunner {
                runtime: Arc::clone(&runtime),
                config: Arc::clone(&live),
                tracing: tracing.clone(),
                guests: guests.clone(),
                cache: config.data.join(CACHE),
                is_drained: Arc::default(),
                introduction,
            };
            let answers = Answers::new(Arc::clone(&access), &config)?;
            let known = Arc::clone(&answers);
            let (name, ca) = (place.node.clone(), place.ca.clone());
            let owner = move || known.owner();
            let forwarder = Forwarder::new(name, ca, tls.clone(), secret, owner);
            let (end, ended) = watch::channel(false);
            let node = Node::standby(Arc::clone(&front), Arc::clone(&answers.log) as _, ended);
            let router = crate::http::standby(node, Arc::new(forwarder));
            let (served, mut http) =
                begin_to_serve(listeners, Arc::clone(&front), router, &stopped)?;
            let owned = tokio::select! {
                ended = &mut http => {
                    report(HTTP, ended);
                    anyhow::bail!("the {HTTP} ended by itself; start the node again");
                }
                owned = standby::own(options, place, &answers, &plugins) => owned?,
                () = signals.next() => {
                    end.send_replace(true);
                    stop.send_replace(true);
                    // What is under way at the owner may take long.
                    let _ = timeout(STANDBY_DRAIN, &mut http).await;
                    tracing::info!("stopped");
                    return Ok(Ended::With(EXIT_DONE));
                }
            };
            let broker: Arc<dyn Broker> = owned.broker;
            cluster = Some(Cluster::new(owned.journal, &*broker, Handle::current()));
            (broker, Places::Served { served, http })
        }
    };
    let prepared = tokio::select! {
        prepared = prepare(&config, &broker, &access) => prepared,
        // What keeps the journal may have gone just now.
        () = signals.next() => return Ok(Ended::With(EXIT_FAILED)),
    };
    let records = match prepared {
        Ok(records) => Arc::new(records),
        Err(error) => {
            broker.close().await?;
            return Err(error);
        }
    };
    let data = config.data.clone();
    let refusal_cache =
        tokio::task::spawn_blocking(move || RefusalCache::open(&data, compiler)).await?;
    let refusal_cache = Arc::new(refusal_cache);
    runtime.open_cache(&config.data.join(CACHE)).map_err(|error| anyhow!("{error}"))?;

    let router = Arc::new(
        Router::new(broker.clone(), guests.clone())
            .with_drain(config.drain)
            .with_tracing(tracing.clone()),
    );
    let registry = Arc::new(Registry::new(Arc::clone(&router)));
    // Only `usher dev` sets both.
    let stand_ins = std::env::var_os(STAND_INS);
    let stand_ins = stand_ins.filter(|_| std::env::var_os(END_WITH_PARENT).is_some());
    if let Some(file) = &stand_ins {
        runtime.stand_in(file.into());
    }
    let installer = Installer::new(
        runtime,
        Arc::clone(&router),
        Arc::clone(&broker),
        Arc::clone(&live),
        Arc::clone(&records),
        refusal_cache,
    );
    let installer = match stand_ins {
        Some(_) => installer.for_development(),
        None => installer,
    };
    let installer = match &cluster {
        Some(cluster) => installer.with_nodes(Arc::clone(cluster.nodes())),
        None => installer,
    };
    let installer = Arc::new(installer);
    let (rollbacks, wanted) = mpsc::channel(ROLLBACKS_QUEUED_MAX);
    let plugins = config.plugins.clone();
    let reconciler = Reconciler::new(plugins, Arc::clone(&registry), installer, guests, wanted);
    let (sinks, gone) = Sinks::new(
        Arc::clone(&router),
        Arc::clone(&registry),
        Arc::clone(&records),
        Arc::clone(&live),
    );
    let app = Arc::new(Running {
        sinks: Arc::new(sinks),
        broker: Arc::clone(&broker),
        clock,
        control: Control::new(Arc::clone(&router), broker.clone(), records.clone(), rollbacks),
        cluster: cluster.clone(),
        router,
        plugins: registry,
        config,
        live: Arc::clone(&live),
        intake: Gate::default(),
        busy: Arc::clone(front.busy()),
        samples: Samples::default(),
        tracing,
        exporter,
        log_lines,
        readiness: Readiness::waiting("the plugins are being loaded"),
    });

    if let Some(cluster) = cluster.clone() {
        aside.spawn(async move { cluster.run(records).await });
    }
    let router = crate::http::owner(Arc::clone(&app), Arc::clone(&front), stopped.clone());
    let mut http = match places {
        Places::Served { served, http } => {
            served.switch_to(router);
            http
        }
        Places::Waiting(listeners) => begin_to_serve(listeners, front, router, &stopped)?.1,
    };
    let (ready, is_ready) = oneshot::channel();
    let mut reconciler = tokio::spawn(reconciler.run(ready, stopped));
    app.intake.open();

    let why = tokio::select! {
        () = signals.next() => Why::Asked,
        reason = until_poisoned(&*broker) => Why::StoreFailed(reason),
        reason = until_failed(cluster.as_deref()) => Why::StoreFailed(reason),
        () = until_leaving(cluster.as_deref()) => Why::Leaving,
        ended = &mut http => Why::ended(HTTP, ended),
        ended = &mut reconciler => Why::ended(WATCHER, ended),
        never = mark_ready(&app, is_ready) => match never {},
        never = app.sinks.run(&app.control, gone) => match never {},
        never = keep_last_used(&access, &*app.broker) => match never {},
        never = samples::keep(&app.samples, &*app.broker, &*app.clock) => match never {},
    };
    let is_leaving = matches!(why, Why::Leaving);
    let (http, reconciler) = (running(http), running(reconciler));
    let parts = Parts { app, access, stop, http, reconciler };
    tokio::select! {
        code = parts.stop(why) => Ok(match code {
            EXIT_DONE if is_leaving => Ended::Left,
            code => Ended::With(code),
        }),
        () = signals.next() => {
            tracing::warn!("second signal: exiting at once; work under way runs again after the next start");
            std::process::exit(i32::from(EXIT_FAILED))
        }
    }
}

/// Where clients come in.
enum Places {
    /// They wait until they are served.
    Waiting(Vec<Listener>),
    /// They were served while this node was a standby.
    Served { served: Arc<Served>, http: JoinHandle<()> },
}

/// Has requests answered by `router`, until `stop` turns true.
fn begin_to_serve(
    listeners: Vec<Listener>,
    front: Arc<Front>,
    router: axum::Router,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<(Arc<Served>, JoinHandle<()>)> {
    for listener in &listeners {
        tracing::info!(url = listener.url()?, "listening");
    }
    let served = Arc::new(Served::new(front, router));
    let serving = crate::http::serve(listeners, Arc::clone(&served), stop.clone());
    Ok((served, tokio::spawn(serving)))
}

/// Commits what a start commits, and reads what others than the broker keep in the journal.
async fn prepare(
    config: &Config,
    broker: &Arc<dyn Broker>,
    access: &Access,
) -> anyhow::Result<PluginRecords> {
    // First, since the first commit leaves out what a backup has and this router doesn't.
    broker.set_schedules(config.schedules.clone()).await?;
    Access::migrate(&config.data, &**broker).await.context("can't read the tokens")?;
    access.read(&**broker).await.context("can't read the tokens")?;
    access.check_places(&config.listen)?;
    let records = PluginRecords::open(&config.data, Arc::clone(broker)).await;
    records.context("can't read what is kept of plugins")
}

/// Listens at every place, or at none.
async fn listen(places: &[Listen]) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::with_capacity(places.len());
    for place in places {
        let listener = Listener::bind(place).await;
        listeners.push(listener.with_context(|| format!("can't listen on {place}"))?);
    }
    Ok(listeners)
}

/// Reads the certificate again whenever it changes. Never returns.
async fn watch_certificate(tls: Option<Arc<Tls>>) -> Infallible {
    match tls {
        Some(tls) => tls.watch().await,
        None => pending().await,
    }
}

fn broker_options(config: &Config, open_tables_max: usize) -> Options {
    Options {
        duplicates_window_events: config.broker.duplicates_window_events,
        duplicates_window: config.broker.duplicates_window,
        intake_max_commands: config.broker.intake_max_commands,
        intake_max_bytes: config.broker.intake_max_bytes,
        backlog_max_events: config.broker.backlog_max_events,
        disk_reserve_bytes: config.broker.disk_reserve_bytes,
        cache_bytes: config.broker.cache_bytes,
        open_tables_max,
        // One that was revoked since would be valid again.
        not_in_copies: vec![access::DOCUMENT.into()],
        retention: config.broker.retention,
        ..Options::new(&config.data)
    }
}

/// Waits until a journal that is elsewhere can't be used any more, as when another node has taken over.
async fn until_failed(cluster: Option<&Cluster>) -> String {
    match cluster {
        Some(cluster) => cluster.journal().until_failed().await,
        None => pending().await,
    }
}

/// Waits until an operator has another node take over.
async fn until_leaving(cluster: Option<&Cluster>) {
    match cluster {
        Some(cluster) => cluster.until_leaving().await,
        None => pending().await,
    }
}

/// Has tokens follow the configuration. Never returns.
async fn adopt_tokens(access: Arc<Access>, live: Arc<LiveConfig>) -> Infallible {
    let mut changes = live.changes();
    loop {
        if changes.changed().await.is_err() {
            return pending().await;
        }
        access.adopt(&live.now().tokens);
    }
}

/// Waits until the broker is poisoned; returns the reason.
async fn until_poisoned(broker: &dyn Broker) -> String {
    let mut poisoned = broker.poisoned();
    let reason = match poisoned.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone(),
        Err(_) => Some("its thread is gone".to_owned()),
    };
    reason.unwrap_or_default()
}

/// Writes when tokens were last used, now and then. Never returns.
async fn keep_last_used(access: &Access, broker: &dyn Broker) -> Infallible {
    loop {
        tokio::time::sleep(LAST_USED_EVERY).await;
        access.flush(broker).await;
    }
}

/// Marks the router ready once the plugins are loaded, then logs state changes. Never returns.
async fn mark_ready(app: &Running, is_ready: oneshot::Receiver<()>) -> Infallible {
    if is_ready.await.is_ok() {
        app.readiness.set(Ok(()));
        tracing::info!("ready");
        memory::give_back();
        return states::watch(app).await;
    }
    pending().await
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("can't listen to signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one. Cancel-safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::targets;

    #[test]
    fn a_plain_level_is_meant_for_usher_and_plugins() {
        let cases = [
            ("info", "usher_broker::engine", Level::INFO, true),
            ("info", "usher::run", Level::DEBUG, false),
            ("debug", "plugin", Level::DEBUG, true),
            ("info", "lsm_tree::db", Level::INFO, false),
            ("trace", "lsm_tree::db", Level::WARN, true),
            ("error", "usher", Level::WARN, false),
            ("error", "lsm_tree", Level::WARN, false),
            ("info,lsm_tree=debug", "lsm_tree::db", Level::DEBUG, true),
            ("info,plugin=off", "plugin", Level::ERROR, false),
            ("plugin=debug", "usher", Level::ERROR, false),
        ];
        for (log, target, level, expected) in cases {
            assert_eq!(
                targets(log).would_enable(target, &level),
                expected,
                "{log} {target} {level}"
            );
        }
    }
}
