//! `[plugin.NAME]` tables: grants, limits and subscription overrides of one plugin.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use usher_broker::{IN_FLIGHT_MAX, Order, Pace, RetryPolicy, Start};
use usher_event::{PluginName, SubscriptionName};
use usher_filter::{Filter, Projection};
use usher_router::{BreakerPolicy, TrialPolicy};
use usher_runtime::{Grants, Isolation, Limits, Secret, capabilities};
use usher_tls::Roots;

use super::secrets::SecretSource;
use super::table::{At, Table, parse, read_file};
use super::{breaker, delivery, http_grants, limits, retry, trial, values};

const INSTANCES_MAX: usize = 256;
const ISOLATIONS: [(&str, Isolation); 2] = [("warm", Isolation::Warm), ("fresh", Isolation::Fresh)];
/// Bounds on `[plugin.NAME.config]`: number of settings, and size of each.
const SETTINGS_MAX: usize = 1_000;
const SETTING_MAX_BYTES: usize = 64 * 1024;
/// Bounds on `[plugin.NAME.subjects]`: number of rows, and size of each text.
const SUBJECTS_MAX: usize = 1_000;
const SUBJECT_MAX_BYTES: usize = 1_024;

/// The operator's settings for one plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// Maximum concurrent deliveries per subscription.
    pub instances: usize,
    /// Lifetime of its instances.
    pub isolation: Isolation,
    /// Granted capabilities.
    pub grants: Grants,
    /// Resource limits.
    pub limits: Limits,
    /// When its breaker opens, and when it is quarantined.
    pub breaker: BreakerPolicy,
    /// When a new version is rolled back; `None` for no trial.
    pub trial: Option<TrialPolicy>,
    /// What of an event's data it gets, whatever subscription the event is of.
    pub projection: Projection,
    /// Subscription overrides, by name within the plugin.
    pub subscriptions: BTreeMap<String, SubscriptionConfig>,
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            instances: 16,
            isolation: Isolation::default(),
            grants: Grants::default(),
            limits: Limits::default(),
            breaker: BreakerPolicy::default(),
            trial: Some(TrialPolicy::default()),
            projection: Projection::default(),
            subscriptions: BTreeMap::new(),
        }
    }
}

/// Maximum size of a file with subscriptions: a hundred thousand of a few lines each.
const SUBSCRIPTIONS_FILE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The operator's settings for one subscription.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubscriptionConfig {
    /// `None` for the plugin's own filter. Required if the plugin doesn't request the subscription.
    pub filter: Option<Filter>,
    /// Maximum deliveries in flight; `None` for what the plugin requests.
    pub max_in_flight: Option<u32>,
    /// Where it starts when it is new.
    pub start: Start,
    /// Delivery order.
    pub order: Order,
    /// How fast deliveries follow each other, and which are left out for newer ones.
    pub pace: Pace,
    /// What of an event's data the plugin gets.
    pub projection: Projection,
    /// Whether it is served at all.
    pub enabled: bool,
    /// Retry policy; `None` for the default one.
    pub retry: Option<RetryPolicy>,
    /// Whether retention may remove events that it has not settled.
    pub expires: bool,
}

/// Reads all `[plugin.NAME]` tables; `folder` is the base of relative paths.
pub(crate) fn read_all(
    table: &Table<'_>,
    folder: &Path,
    default_retry: &RetryPolicy,
) -> BTreeMap<PluginName, Arc<PluginConfig>> {
    let mut plugins = BTreeMap::new();
    for (name, table) in table.tables() {
        let checked = name.value.parse::<PluginName>();
        if let Err(error) = &checked {
            let hint = "use the name the plugin gives itself; usher inspect FILE.wasm shows it";
            table.source().problem(&name.span, error, Some(hint.to_owned()));
        }
        let plugin = read(table, folder, default_retry, checked.as_ref().ok());
        if let Ok(name) = checked {
            plugins.insert(name, Arc::new(plugin));
        }
    }
    plugins
}

fn read(
    table: Table<'_>,
    folder: &Path,
    default_retry: &RetryPolicy,
    name: Option<&PluginName>,
) -> PluginConfig {
    let default = PluginConfig::default();
    let secrets = table.table("secrets").map(|table| secrets(&table, folder)).unwrap_or_default();
    let roots = roots(&table, folder);
    let mut grants =
        table.table("grants").map(|table| read_grants(table, &secrets, roots)).unwrap_or_default();
    if let Some(table) = table.table("config") {
        grants = grants.with_config(settings(&table));
    }
    if let Some(table) = table.table("subjects") {
        grants = grants.with_subjects(subjects(&table));
    }
    let mut subscriptions = BTreeMap::new();
    if let Some(all) = table.table("subscription") {
        add_subscriptions(&all, default_retry, name, &mut subscriptions);
    }
    if let Some(file) = table.string("subscriptions_file") {
        let path = folder.join(file.value);
        match read_file(&path, SUBSCRIPTIONS_FILE_MAX_BYTES) {
            Ok(text) => {
                let problems = parse(&path, &text, |root| {
                    add_subscriptions(&root, default_retry, name, &mut subscriptions);
                });
                table.source().add(&file.span, problems);
            }
            Err(what) => {
                let hint = "name a TOML file with a table for each subscription".to_owned();
                let what = format!("{}: {what}", path.display());
                table.source().problem(&file.span, what, Some(hint));
            }
        }
    }
    let plugin = PluginConfig {
        instances: table.size("instances", 1..=INSTANCES_MAX).unwrap_or(default.instances),
        isolation: table.choice("isolation", &ISOLATIONS).unwrap_or_default(),
        grants,
        limits: table.table("limits").map(limits::read).unwrap_or_default(),
        breaker: {
            let policy = table.table("breaker");
            policy.map_or(default.breaker, |table| breaker::read(table, default.breaker))
        },
        trial: table.table("trial").map_or(default.trial, trial::read),
        projection: delivery::projection(&table),
        subscriptions,
    };
    table.finish();
    plugin
}

/// Reads the described secrets, whether or not they are granted.
fn secrets<'a>(table: &Table<'a>, folder: &Path) -> BTreeMap<&'a str, At<Option<SecretSource>>> {
    let read = |(name, table): (At<&'a str>, Table<'a>)| {
        let source = SecretSource::read(table, folder, &name.span);
        (name.value, At { value: source, span: name.span })
    };
    table.tables().into_iter().map(read).collect()
}

/// Reads `ca_file`.
pub(crate) fn roots(table: &Table<'_>, folder: &Path) -> Option<Roots> {
    let At { value, span } = table.string("ca_file")?;
    let read = Roots::read(&folder.join(value));
    let hint = "name a PEM file with the root certificates".to_owned();
    read.map_err(|error| table.source().problem(&span, error, Some(hint))).ok()
}

fn read_grants(
    table: Table<'_>,
    secrets: &BTreeMap<&str, At<Option<SecretSource>>>,
    roots: Option<Roots>,
) -> Grants {
    let source = table.source();
    let mut granted: BTreeMap<String, Secret> = BTreeMap::new();
    for At { value: name, span } in table.strings("secrets") {
        let Some(described) = secrets.get(name) else {
            let plugin = table.name().trim_end_matches(".grants");
            let hint = format!("add {name} = {{ env = \"{name}\" }} to [{plugin}.secrets]");
            source.problem(
                &span,
                format!("secret {name:?} is granted but not described"),
                Some(hint),
            );
            continue;
        };
        // An invalid description has been reported already.
        let Some(from) = &described.value else { continue };
        match from.fetch() {
            Ok(secret) => {
                granted.insert(name.to_owned(), secret);
            }
            Err((what, hint)) => {
                source.problem(&described.span, format!("secret {name:?}: {what}"), Some(hint));
            }
        }
    }
    let mut http = http_grants::read(&table);
    http.iter_mut().for_each(|grant| grant.roots.clone_from(&roots));
    let mut grants = Grants::default().with_secrets(granted).with_http(http);
    for name in capabilities().filter(|about| about.is_flag).filter_map(|about| about.name) {
        if table.boolean(name) == Some(true) {
            grants = grants.allowing(name);
        }
    }
    table.finish();
    grants
}

fn settings(table: &Table<'_>) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for (key, value) in table.entries() {
        match values::setting(value.get_ref()) {
            Some(text) if text.len() <= SETTING_MAX_BYTES && settings.len() < SETTINGS_MAX => {
                settings.insert(key.value.to_owned(), text);
            }
            Some(_) => {
                let what = format!(
                    "[{}] is too large: at most {SETTINGS_MAX} settings of {SETTING_MAX_BYTES} bytes",
                    table.name()
                );
                let hint = "shorten it or leave settings out; let the plugin fetch what is large";
                table.source().problem(&key.span, what, Some(hint.to_owned()));
            }
            None => {
                let found = value.get_ref().type_str();
                let what = format!("{} must be a string, number or boolean", key.value);
                let hint =
                    format!("plugins read text; write this {found} as a string, say in JSON");
                table.source().problem(&value.span(), what, Some(hint));
            }
        }
    }
    settings
}

/// Reads which types the subjects of messages stand for.
fn subjects(table: &Table<'_>) -> BTreeMap<String, String> {
    let mut types = BTreeMap::new();
    for (subject, value) in table.entries() {
        let hint =
            || Some("write it as \"images.created\" = \"com.example.image.created\"".to_owned());
        let Some(ty) = value.get_ref().as_str().filter(|ty| !ty.is_empty()) else {
            let what = format!("the type that {} stands for must be text", subject.value);
            table.source().problem(&value.span(), what, hint());
            continue;
        };
        if types.len() >= SUBJECTS_MAX || subject.value.len().max(ty.len()) > SUBJECT_MAX_BYTES {
            let what = format!(
                "[{}] is too large: at most {SUBJECTS_MAX} subjects of {SUBJECT_MAX_BYTES} bytes",
                table.name()
            );
            table.source().problem(&subject.span, what, None);
        } else if types.values().any(|other| other == ty) {
            let what = format!("two subjects stand for {ty}: an event of it has one subject only");
            table.source().problem(&value.span(), what, hint());
        } else {
            types.insert(subject.value.to_owned(), ty.to_owned());
        }
    }
    types
}

/// Reads a table for each subscription.
fn add_subscriptions(
    all: &Table<'_>,
    default_retry: &RetryPolicy,
    plugin: Option<&PluginName>,
    subscriptions: &mut BTreeMap<String, SubscriptionConfig>,
) {
    for (local, table) in all.tables() {
        let source = table.source();
        if let Some(Err(error)) = plugin.map(|plugin| SubscriptionName::new(plugin, local.value)) {
            let hint = "use the part behind the slash, as usher inspect FILE.wasm shows it";
            source.problem(&local.span, error, Some(hint.to_owned()));
        }
        let read = subscription(table, default_retry);
        if subscriptions.insert(local.value.to_owned(), read).is_some() {
            let hint = "keep one of them".to_owned();
            let what = format!("subscription {:?} is in the configuration already", local.value);
            source.problem(&local.span, what, Some(hint));
        }
    }
}

fn subscription(table: Table<'_>, default_retry: &RetryPolicy) -> SubscriptionConfig {
    let subscription = subscription_of(&table, default_retry);
    table.finish();
    subscription
}

/// Reads what a table says of a subscription, besides other things.
pub(crate) fn subscription_of(
    table: &Table<'_>,
    default_retry: &RetryPolicy,
) -> SubscriptionConfig {
    let order = delivery::order(table).unwrap_or_default();
    SubscriptionConfig {
        filter: values::filter(table),
        max_in_flight: table
            .integer("max_in_flight", 1..=u64::from(IN_FLIGHT_MAX))
            .and_then(|number| u32::try_from(number).ok()),
        start: delivery::start(table).unwrap_or_default(),
        pace: delivery::pace(table, &order),
        projection: delivery::projection(table),
        order,
        enabled: table.boolean("enabled").unwrap_or(true),
        retry: table.table("retry").map(|table| retry::read(table, default_retry)),
        expires: table.boolean("expires").unwrap_or(false),
    }
}
