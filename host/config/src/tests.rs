//! Valid and invalid configuration files, and the problems reported.

use std::time::Duration;

use usher_broker::{Debounce, Rate, Start};
use usher_event::FailureClass;
use usher_runtime::Isolation;
use usher_sinks::BatchRule;

use super::super::Listen;
use super::*;

/// Flags with an existing plugins folder; the data folder need not exist.
fn flags() -> Flags {
    Flags {
        data: Some(std::env::temp_dir().join("usher-data-that-is-not-made")),
        plugins: Some(std::env::temp_dir()),
        ..Flags::default()
    }
}

fn good(text: &str) -> Config {
    check(Purpose::Run, &flags(), Some(Path::new("conf/usher.toml")), text)
        .unwrap_or_else(|p| panic!("{p}"))
}

fn problems(flags: &Flags, text: &str) -> Vec<String> {
    match check(Purpose::Run, flags, Some(Path::new("usher.toml")), text) {
        Ok(_) => Vec::new(),
        Err(ConfigProblems(problems)) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = good("");
    assert_eq!(shown(&config.listen), ["http://127.0.0.1:7171"]);
    assert_eq!(config.retry, RetryPolicy::default());
    assert_eq!(config.http, HttpConfig::default());
    assert_eq!(config.log, "info");
    assert!(config.plugin.is_empty());
}

#[test]
fn everything_can_be_written() {
    let config = good(
        r#"
        listen = "[::1]:0"
        data = "d"
        log = "warn,plugin=debug"
        log_format = "json"
        drain_ms = 1_500

        [http]
        max_body_bytes = 0x1000
        header_timeout_ms = 100
        body_timeout_ms = 200
        max_connections = 7

        [compiler]
        memory_bytes = 536870912
        wall_ms = 5000

        [broker]
        duplicates_window_events = 5000
        duplicates_window_ms = 60000
        intake_max_commands = 100
        intake_max_bytes = 1048576
        backlog_max_events = 5000
        disk_reserve_bytes = 0
        cache_bytes = 2097152

        [retention]
        max_age_ms = 60000
        max_bytes = 1048576

        [retry.trap]
        max_attempts = 3

        [retry]
        first_delay_ms = 10
        factor = 3
        max_delay_ms = 100
        jitter = 0.5
        max_attempts = 4
        max_age_ms = 60000

        [plugin.payment]
        instances = 2
        isolation = "fresh"
        [plugin.payment.grants]
        http = [
            "https://pay.example.com/v1",
            "http://127.0.0.1:9001",
            { url = "https://db.internal", addresses = ["10.0.0.0/8", "fd00::1"] },
        ]
        state = true
        blobs = true
        [plugin.payment.config]
        gateway = "http://127.0.0.1:9001"
        tries = 3
        [plugin.payment.limits]
        cpu_ms = 500
        [plugin.payment.subscription.purchases]
        filters = [{ exact = { type = "a" } }, { not = { prefix = { source = "/x" } } }]
        max_in_flight = 1
        start = "earliest"
        expires = true
        retry = { max_attempts = 2, trap = { first_delay_ms = 20 }, host = { max_attempts = 9 } }
        [plugin.payment.subscription.refunds]
        enabled = false
        "#,
    );
    assert_eq!(shown(&config.listen), ["http://[::1]:0"]);
    // The flag takes precedence.
    assert_ne!(config.data, Path::new("conf/d"));
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.drain, Duration::from_millis(1_500));
    assert_eq!(config.http.max_body_bytes, 4_096);
    assert_eq!(config.http.max_connections, Some(7));
    assert_eq!((config.compiler.memory_bytes, config.compiler.wall_ms), (536_870_912, 5_000));
    assert_eq!(config.broker.duplicates_window_events, 5_000);
    assert_eq!(config.broker.duplicates_window, Some(Duration::from_secs(60)));
    assert_eq!(config.broker.backlog_max_events, Some(5_000));
    let retention = config.broker.retention;
    assert_eq!(retention.max_age, Some(Duration::from_secs(60)));
    assert_eq!((retention.max_bytes, config.broker.disk_reserve_bytes), (Some(1_048_576), 0));
    assert_eq!(config.retry.max_attempts, 4);
    let payment = &config.plugin[&"payment".parse().unwrap()];
    assert_eq!((payment.instances, payment.isolation), (2, Isolation::Fresh));
    let http: Vec<_> = payment.grants.http().iter().map(ToString::to_string).collect();
    assert_eq!(
        http,
        ["https://pay.example.com/v1", "http://127.0.0.1:9001", "https://db.internal"]
    );
    let ranges: Vec<_> = payment
        .grants
        .http()
        .iter()
        .flat_map(|grant| &grant.addresses)
        .map(ToString::to_string)
        .collect();
    assert_eq!(ranges, ["10.0.0.0/8", "fd00::1"]);
    assert!(payment.grants.contains("state") && payment.grants.contains("blobs"));
    assert_eq!(payment.grants.config().unwrap()["tries"], "3");
    assert_eq!(payment.limits.cpu_ms, 500);
    let purchases = &payment.subscriptions["purchases"];
    assert_eq!((purchases.max_in_flight, purchases.start), (Some(1), Start::Earliest));
    assert!(purchases.expires && !payment.subscriptions["refunds"].expires);
    // Keys missing in a retry table are taken from [retry].
    let retry = purchases.retry.as_ref().unwrap();
    assert_eq!((retry.max_attempts, retry.first_delay), (2, Duration::from_millis(10)));
    assert!(purchases.enabled && !payment.subscriptions["refunds"].enabled);
    let trap = retry.classes[&FailureClass::Trap];
    let own = (trap.max_attempts, trap.first_delay, trap.max_delay, trap.factor);
    let (attempts, delay) = (Some(3), Some(Duration::from_millis(20)));
    assert_eq!(own, (attempts, delay, None, None));
    assert_eq!(retry.classes[&FailureClass::Host].max_attempts, Some(9));
    assert_eq!(config.retry.classes[&FailureClass::Trap].first_delay, None);
}

#[test]
fn paths_in_the_file_start_at_its_folder() {
    let flags = Flags { data: None, ..flags() };
    let config =
        check(Purpose::Run, &flags, Some(Path::new("conf/usher.toml")), r#"data = "d""#).unwrap();
    assert_eq!(config.data, Path::new("conf/d"));
}

#[test]
fn all_problems_are_reported_at_once_with_line_and_hint() {
    let found = problems(
        &flags(),
        r#"lisen = "127.0.0.1:1"
listen = "0.0.0.0:7171"
drain_ms = "soon"
[http]
max_body_bytes = 1
[plugin.Payment]
[plugin.printer.grants]
htp = []
http = ["example.com"]
[plugin.printer.limits]
memory_bytes = 99999999999
[plugin.printer.subscription.tickets]
filter = { exact = { type = "" } }
start = "yesterday"
"#,
    );
    let expected: [(&str, &[&str]); 10] = [
        ("usher.toml:1:1: ", &["unknown key \"lisen\"", "did you mean \"listen\"?"]),
        ("usher.toml:2:10: ", &["0.0.0.0:7171 would serve others", "tls = \"off\""]),
        ("usher.toml:3:12: ", &["drain_ms must be a whole number, found a string"]),
        ("usher.toml:5:18: ", &["max_body_bytes = 1 is out of range", "use 1024 to"]),
        ("usher.toml:6:9: ", &["plugin name \"Payment\" is not valid"]),
        ("usher.toml:8:1: ", &["unknown key \"htp\" in [plugin.printer.grants]", "\"http\"?"]),
        ("usher.toml:9:9: ", &["\"example.com\" is not an origin"]),
        ("usher.toml:11:16: ", &["memory_bytes = 99999999999 is out of range"]),
        ("usher.toml:13:10: ", &["filter, at exact"]),
        ("usher.toml:14:9: ", &["start can't be \"yesterday\"", "use \"latest\", \"earliest\", {"]),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (problem, (place, words)) in found.iter().zip(expected) {
        assert!(problem.starts_with(place), "{problem}\nshould start with {place}");
        for word in words {
            assert!(problem.contains(word), "{problem}\nshould contain {word}");
        }
    }
}

#[test]
fn syntax_errors_have_a_place() {
    let found = problems(&flags(), "a = \n[http\nlisten = 3\n");
    assert!(found.iter().any(|problem| problem.starts_with("usher.toml:1:")), "{found:?}");
    assert!(found.iter().any(|problem| problem.starts_with("usher.toml:2:")), "{found:?}");
}

#[test]
fn flags_win_and_their_problems_name_them() {
    let flags = Flags {
        listen: vec!["nowhere".to_owned()],
        data: None,
        plugins: Some("/does/not/exist".into()),
        log: Some("plugin=loud".to_owned()),
        drain_ms: Some(DRAIN_MAX_MS + 1),
        ..Flags::default()
    };
    let found = problems(&flags, "listen = \"127.0.0.1:1\"");
    for flag in ["--listen: ", "--data: ", "--plugins: ", "--log: ", "--drain-ms: "] {
        assert!(found.iter().any(|problem| problem.starts_with(flag)), "{flag}: {found:#?}");
    }
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn limits_on_a_part_beyond_the_whole_are_refused() {
    for (limits, place, words) in [
        (
            "cpu_ms = 300\nwall_ms = 200",
            ":2:10: ",
            "cpu_ms = 300 can never be reached: wall_ms is 200",
        ),
        ("cpu_ms = 60000", ":2:10: ", "wall_ms is 30000"),
        ("recycle_memory_bytes = 134217729", ":2:24: ", "memory_bytes is 134217728"),
        ("http_connect_ms = 20000", ":2:19: ", "http_total_ms is 10000"),
        ("state_value_bytes = 9\nstate_bytes = 8", ":2:21: ", "raise state_bytes to 9 or more"),
        ("blob_bytes = 67108864", ":2:14: ", "delivery_blob_bytes is 33554432"),
        ("blobs_bytes = 8\ndelivery_blob_bytes = 9\nblob_bytes = 7", ":3:23: ", "blobs_bytes is 8"),
    ] {
        let found = problems(&flags(), &format!("[plugin.a.limits]\n{limits}\n"));
        assert_eq!(found.len(), 1, "{limits}: {found:?}");
        assert!(found[0].contains(place) && found[0].contains(words), "{limits}: {found:?}");
        assert!(found[0].contains("hint: "), "{limits}: {found:?}");
    }
    for limits in ["wall_ms = 100", "state_bytes = 0", "blobs_bytes = 0", "cpu_ms = 9\nwall_ms = 9"]
    {
        let found = problems(&flags(), &format!("[plugin.a.limits]\n{limits}\n"));
        assert!(found.iter().all(|problem| !problem.contains("never")), "{limits}: {found:?}");
    }
}

#[test]
fn no_plugin_may_have_all_the_room_for_timers() {
    let (most, all) = (usher_runtime::Limits::CEILING.delayed_emissions, usher_broker::DELAYED_MAX);
    assert!(most < all as u64, "{most} of {all}");
}

#[test]
fn every_limit_is_taken_within_its_range_and_nowhere_else() {
    for row in usher_runtime::Limits::ROWS {
        let said = |value: u64| {
            problems(&flags(), &format!("[plugin.a.limits]\n{} = {value}\n", row.name)).concat()
        };
        for value in [row.min, row.max] {
            assert!(!said(value).contains("out of range"), "{}", said(value));
        }
        for value in [row.min.checked_sub(1), row.max.checked_add(1)].into_iter().flatten() {
            let words = format!("{} = {value} is out of range", row.name);
            assert!(said(value).contains(&words), "{}", said(value));
        }
    }
}

#[test]
fn every_problem_has_a_hint() {
    let setting = "x".repeat(70_000);
    for text in [
        "listen = 1",
        "drain_ms = \"1\"",
        "retry = { factor = \"2\" }",
        "retry = { reject = { max_attempts = 2 } }",
        "retry = { trap = { max_age_ms = 2 } }",
        "plugin = 1",
        "http = []",
        "a = ",
        "[plugin.Bad]",
        "[plugin.a]\nisolation = \"cold\"",
        "[plugin.a.subjects]\nx = 1",
        "[plugin.a.subjects]\nx = \"\"",
        "[plugin.a.subjects]\nx = \"t\"\ny = \"t\"",
        "[plugin.a.subscription.Bad]",
        "[plugin.a.grants]\nhttp = \"x\"",
        "[plugin.a.breaker]\nfailures = 0",
        "[plugin.a.breaker]\nfirst_wait_ms = 4000",
        "[plugin.a.breaker]\nquarantine = 1",
        "[plugin.a.trial]\nfailures = 21",
        "[plugin.a.trial]\ndeliveries = 4",
        "[plugin.a.grants]\nhttp = [1]",
        "[plugin.a.grants]\nhttp = [{ addresses = [\"10.0.0.0/8\"] }]",
        "[plugin.a.grants]\nhttp = [{ url = \"https://a\", address = \"10.0.0.1\" }]",
        "[plugin.a.grants]\nhttp = [{ url = \"https://a\", addresses = [\"10.0.0.1/8\"] }]",
        "[plugin.a.grants]\nhttp = [{ url = \"https://10.0.0.1\", addresses = [\"10.0.0.0/8\"] }]",
        "[plugin.a.grants]\nhttp = [\"https://a/b/../c\"]",
        "[plugin.a.grants]\nhttp = [\"pay.example.com\"]",
        "[plugin.a.grants]\nstate = 1",
        &format!("[plugin.a.config]\nk = {setting:?}"),
    ] {
        let found = problems(&flags(), text);
        let cut: String = text.chars().take(60).collect();
        assert!(!found.is_empty(), "{cut}");
        for problem in found {
            assert!(problem.contains("\n  hint: "), "{cut}: {problem}");
        }
    }
}

#[test]
fn impossible_retries_are_refused() {
    let found = problems(&flags(), "[retry]\nfirst_delay_ms = 5000\nmax_delay_ms = 1000\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("usher.toml:2:18: first_delay_ms = 5000 is longer"), "{found:?}");
}

#[test]
fn secrets_come_from_private_files_and_stay_secret() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "hunter2\n").unwrap();
    let text = format!(
        "[plugin.pay.grants]\nsecrets = [\"KEY\"]\n[plugin.pay.secrets]\nKEY = {{ file = {file:?} }}\n"
    );
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let found = problems(&flags(), &text);
    assert!(found.len() == 1 && found[0].contains("hint: chmod 600"), "{found:?}");

    // Modes of mounted secrets: readable by a group, and by all.
    let shared = text.replace("} }", "}").replace(" }", ", shared = true }");
    for (mode, text, is_good) in [
        (0o600, &text, true),
        (0o440, &text, true),
        (0o640, &text, true),
        (0o444, &text, false),
        (0o444, &shared, true),
        (0o644, &shared, true),
        (0o660, &text, false),
        (0o666, &shared, false),
    ] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        if !is_good {
            let found = problems(&flags(), text);
            assert!(found.len() == 1 && found[0].contains("shared = true"), "{mode:o}: {found:?}");
            continue;
        }
        let config = good(text);
        let grants = &config.plugin[&"pay".parse().unwrap()].grants;
        assert_eq!(grants.secret("KEY").unwrap().expose(), "hunter2", "{mode:o}");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

#[test]
fn secrets_that_are_not_there_are_reported() {
    let found = problems(
        &flags(),
        r#"[plugin.pay.grants]
secrets = ["ONE", "TWO", "THREE"]
[plugin.pay.secrets]
ONE = { env = "USHER_TEST_VARIABLE_THAT_IS_NOT_SET" }
THREE = { env = "X", file = "y" }
"#,
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].contains("\"TWO\" is granted but not described"), "{}", found[0]);
    assert!(found[1].contains("USHER_TEST_VARIABLE_THAT_IS_NOT_SET is not set"), "{}", found[1]);
    assert!(found[2].contains("use either env"), "{}", found[2]);
}

#[test]
fn a_level_that_is_none_is_an_error() {
    for log in ["bogus", "info,bogus", "info,plugin=loud", ""] {
        let found = problems(&flags(), &format!("log = {log:?}"));
        assert_eq!(found.len(), 1, "{log}: {found:?}");
    }
    for log in ["off", "WARN", "info,plugin=debug", "usher=trace"] {
        assert_eq!(problems(&flags(), &format!("log = {log:?}")), Vec::<String>::new(), "{log}");
    }
}

#[test]
fn only_a_router_needs_a_data_folder() {
    let flags = Flags { data: None, ..flags() };
    let said = load(&flags).unwrap_err().to_string();
    assert!(said.contains("no data folder is given"), "{said}");
    assert!(load_to_check(&flags).is_ok());
    let empty = Flags { plugins: None, ..flags };
    assert!(load_to_check(&empty).unwrap_err().to_string().contains("no plugins folder is given"));
}

#[test]
fn subscriptions_may_stand_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.toml");
    let main = folder.path().join("usher.toml");
    let text = "[plugin.a]\nsubscriptions_file = \"rows.toml\"\n[plugin.a.subscription.own]\n";
    let read = || check(Purpose::Run, &flags(), Some(&main), text);
    let row = |n: u32| {
        format!("[s{n}]\nfilter = {{ data = {{ \"/n\" = {n} }} }}\nstart = \"earliest\"\n")
    };
    std::fs::write(&rows, (0..2_000).map(row).collect::<String>()).unwrap();
    let config = read().unwrap_or_else(|problems| panic!("{problems}"));
    let all = &config.plugin[&"a".parse().unwrap()].subscriptions;
    assert_eq!(all.len(), 2_001);
    assert_eq!(all["s7"].start, Start::Earliest);
    assert_eq!(all["s7"].filter.as_ref().unwrap().to_string(), r#"{"data":{"/n":7}}"#);

    // Its problems have their place in it.
    std::fs::write(&rows, "[own]\n[s1]\nfilter = { sql = \"type\" }\nstrat = 1\n[s 2]\n").unwrap();
    let problems = read().unwrap_err().to_string();
    for expected in [
        "rows.toml:1:2: subscription \"own\" is in the configuration already",
        "rows.toml:4:1: unknown key \"strat\" in [s1]",
        "rows.toml:5:",
    ] {
        assert!(problems.contains(expected), "{expected}\n{problems}");
    }
    std::fs::remove_file(&rows).unwrap();
    let problems = read().unwrap_err().to_string();
    assert!(
        problems.contains("usher.toml:2:22: ") && problems.contains("can't be read"),
        "{problems}"
    );
}

fn shown(listen: &[Listen]) -> Vec<String> {
    listen.iter().map(ToString::to_string).collect()
}

#[test]
fn places_to_listen_go_with_the_certificate() {
    let tls = "[tls]\ncertificate_file = \"c.pem\"\nkey_file = \"c.key\"\n";
    let many = "listen = [\"127.0.0.1:1\", \"http://[::1]:2\", \"0.0.0.0:3\", \"unix:s.sock\"]\n";
    let config = good(&format!("{many}{tls}"));
    let expected =
        ["https://127.0.0.1:1", "http://[::1]:2", "https://0.0.0.0:3", "unix:conf/s.sock"];
    assert_eq!(shown(&config.listen), expected);
    assert_eq!(config.tls.unwrap().key_file, Path::new("conf/c.key"));
    let config = good("listen = \"0.0.0.0:3\"\ntls = \"off\"\n");
    assert_eq!((shown(&config.listen), config.tls), (vec!["http://0.0.0.0:3".to_owned()], None));

    for (text, what) in [
        ("listen = \"0.0.0.0:3\"\n", "plain text"),
        ("listen = \"https://127.0.0.1:3\"\n", "needs a certificate"),
        ("listen = \"https://127.0.0.1:3\"\ntls = \"off\"\n", "needs a certificate"),
        ("listen = \"ftp://127.0.0.1:3\"\n", "listen can't be"),
        ("listen = \"unix:\"\n", "listen can't be"),
        ("listen = \"localhost:3\"\n", "listen can't be"),
        ("listen = [\"127.0.0.1:3\", \"127.0.0.1:3\"]\n", "twice"),
        ("listen = [3]\n", "must be a string"),
        ("tls = \"on\"\n", "tls can't be"),
        ("[tls]\nkey_file = \"k\"\n", "needs certificate_file"),
        (&format!("{tls}client_certificates = \"required\"\n"), "needs client_ca_file"),
    ] {
        let found = problems(&flags(), text).concat();
        assert!(found.contains(what), "{text}: {found}");
    }
    let found = problems(&flags(), &format!("listen = \"http://0.0.0.0:3\"\n{tls}")).concat();
    assert!(found.contains("plain text"), "{found}");
}

#[test]
fn further_paths_are_the_configurations_own() {
    let config = good("[[ingest]]\npath = \"/api/events\"\n[[ingest]]\npath = \"/hook_1/x.y\"\n");
    assert_eq!(config.ingest, ["/api/events", "/hook_1/x.y"]);
    for (path, what) in [
        ("api", "must begin"),
        ("/", "must begin"),
        ("/a//b", "must begin"),
        ("/a/", "must begin"),
        ("/a/{b}", "must begin"),
        ("/a/../events", "must begin"),
        ("/events/x", "below a path of the API"),
        ("/ui", "below a path of the API"),
        ("/healthz", "below a path of the API"),
    ] {
        let found = problems(&flags(), &format!("[[ingest]]\npath = {path:?}\n")).concat();
        assert!(found.contains(what), "{path}: {found}");
    }
    let twice = "[[ingest]]\npath = \"/a\"\n".repeat(2);
    assert!(problems(&flags(), &twice).concat().contains("twice"));
    assert!(problems(&flags(), "[[ingest]]\n").concat().contains("needs a path"));
}

#[test]
fn tokens_have_one_proof() {
    for (text, what) in [
        ("[token.a]\nscopes = [\"read\"]\n", "either hash or certificate"),
        ("[token.a]\ncertificate = \"*.x\"\nscopes = [\"read\"]\n", "certificate can't be"),
        ("[token.a]\ncertificate = \"x\"\nscopes = [\"read\"]\n", "needs client_ca_file in [tls]"),
        ("[token.A]\ncertificate = \"x\"\nscopes = [\"read\"]\n", "token name"),
        ("[token.a]\ncertificate = \"x\"\nscopes = []\n", "1 to 16 scopes"),
        ("[token.a]\ncertificate = \"x\"\nscopes = [\"write\"]\n", "is no scope"),
        ("[token.a]\ncertificate = \"x\"\nscopes = [\"read\"]\nexpires = \"soon\"\n", "RFC 3339"),
    ] {
        let found = problems(&flags(), text).concat();
        assert!(found.contains(what), "{text}: {found}");
    }
}

#[test]
fn a_pace_goes_with_the_order() {
    let of = |text: &str| {
        let config = good(&format!("[plugin.a.subscription.s]\n{text}"));
        config.plugin[&"a".parse().unwrap()].subscriptions["s"].clone()
    };
    let paced =
        of("order = { key = \"subject\" }\nmax_per_second = 2.5\nmax_per_second_per_key = 1\n");
    assert_eq!(paced.pace.max_rate, Rate::per_second(2.5));
    assert_eq!(paced.pace.max_rate_per_key, Rate::per_second(1.0));
    let quiet = Duration::from_millis(500);
    let max = Duration::from_secs(5);
    assert_eq!(of("debounce_ms = 500\n").pace.debounce, Some(Debounce { quiet, max }));
    let max = Duration::from_millis(600);
    let both = "debounce_ms = 500\ndebounce_max_ms = 600\n";
    assert_eq!(of(both).pace.debounce, Some(Debounce { quiet, max }));
    let projected = of("project = [\"/a\"]\nredact = [\"$..b\"]\n").projection;
    assert_eq!((projected.project(), projected.redact()), (Some(vec!["/a"]), vec!["$..b"]));
    assert_eq!(of("project = []\n").projection.project(), Some(Vec::new()));
    let config = good("[plugin.a]\nredact = [\"/card\"]\n");
    let plugin = &config.plugin[&"a".parse().unwrap()];
    assert_eq!(plugin.projection.redact(), ["/card"]);

    for (text, what) in [
        ("max_per_second = 0\n", "max_per_second is out of range"),
        ("max_per_second = \"5\"\n", "must be a number"),
        ("max_per_second_per_key = 1\n", "needs an order by key"),
        ("debounce_ms = 0\n", "debounce_ms"),
        ("debounce_max_ms = 5\n", "debounce_max_ms needs debounce_ms"),
        ("debounce_ms = 5\ndebounce_max_ms = 4\n", "at least as much"),
        ("debounce_ms = 5\norder = \"total\"\n", "one at a time"),
        ("project = \"/a\"\n", "must be a list"),
        ("redact = [\"a\"]\n", "usher.toml:2:11: \"a\" is no path"),
    ] {
        let found = problems(&flags(), &format!("[plugin.a.subscription.s]\n{text}")).concat();
        assert!(found.contains(what), "{text}: {found}");
    }
}

#[test]
fn a_batch_has_room_under_way() {
    let of = |text: &str| {
        let config = good(&format!("[sink.crm]\nurl = \"http://127.0.0.1:1/\"\n{text}"));
        let sink = &config.sinks[&"crm".parse().unwrap()];
        let BatchRule { max_events, wait } = sink.target.batch;
        (max_events, wait.as_millis(), sink.subscription.max_in_flight.unwrap())
    };
    assert_eq!(of("mode = \"batch\"\n"), (500, 0, 16));
    assert_eq!(of("mode = \"batch\"\nbatch = { wait_ms = 5 }\n"), (500, 5, 500));
    assert_eq!(of("mode = \"batch\"\nbatch = { max = 9, wait_ms = 5 }\n"), (9, 5, 16));
    assert_eq!(of("mode = \"batch\"\nbatch = { max = 9 }\nmax_in_flight = 9\n"), (9, 0, 9));
    for (text, what) in [
        ("batch = { max = 9 }\n", "needs mode"),
        ("mode = \"batch\"\nbatch = { max = 501 }\n", "max = 501 is out of range"),
        ("mode = \"batch\"\nbatch = { wait_ms = 10001 }\n", "wait_ms = 10001 is out of range"),
        ("mode = \"batch\"\nbatch = { max = 9 }\nmax_in_flight = 8\n", "more events than"),
        ("mode = \"batch\"\norder = \"total\"\nbatch = { wait_ms = 9 }\n", "has one event"),
    ] {
        let text = format!("[sink.crm]\nurl = \"http://127.0.0.1:1/\"\n{text}");
        let found = problems(&flags(), &text).concat();
        assert!(found.contains(what), "{text}: {found}");
    }
}

#[test]
fn a_journal_may_be_elsewhere() {
    assert_eq!(good("[journal]\nengine = \"embedded\"\n").journal, None);
    let password = tempfile::NamedTempFile::new().unwrap();
    let password_file = password.path().to_str().unwrap();
    let place = good(
        &r#"
        [journal]
        engine = "jetstream"
        servers = ["nats://a:4222", "tls://b"]
        node = "a-1"
        user = "u"
        password_file = "PASSWORD"
        takeover_after_ms = 3_000
        rank = 1
        "#
        .replace("PASSWORD", password_file),
    );
    let place = place.journal.unwrap();
    assert_eq!(place.servers, ["nats://a:4222", "tls://b"]);
    assert_eq!((place.stream.as_str(), place.replicas, place.rank), ("usher", 3, 1));
    assert_eq!(place.user, Some(("u".to_owned(), password.path().to_owned())));
    assert_eq!(place.takeover_after, Duration::from_secs(3));

    for (text, expected) in [
        ("", "needs an engine"),
        ("engine = \"jetstream\"\nnode = \"a\"", "needs 1 to 64 servers"),
        (
            "engine = \"jetstream\"\nnode = \"a\"\nservers = [\"http://a\"]",
            "must begin with nats://",
        ),
        (
            "engine = \"jetstream\"\nnode = \"a\"\nservers = [\"nats://u:s3cret@a\"]",
            "set user and password_file",
        ),
        (
            "engine = \"jetstream\"\nnode = \"a\"\nservers = [\"nats://\"]",
            "must be followed by a host",
        ),
        (
            "engine = \"jetstream\"\nnode = \"a.b\"\nservers = [\"nats://a\"]",
            "node can't be \"a.b\"",
        ),
        (
            "engine = \"jetstream\"\nnode = \"a\"\nstream = \"x y\"\nservers = [\"nats://a\"]",
            "stream can't be",
        ),
        (
            "engine = \"jetstream\"\nnode = \"a\"\nuser = \"u\"\nservers = [\"nats://a\"]",
            "only one of user and password_file",
        ),
        (
            "engine = \"jetstream\"\nnode = \"a\"\nca_file = \"none\"\nservers = [\"nats://a\"]",
            "ca_file: there is no file none",
        ),
        (
            "engine = \"jetstream\"\nnode = \"a\"\nservers = [\"nats://a\"]\nreplicas = 6",
            "replicas",
        ),
        ("engine = \"embedded\"\nservers = [\"nats://a\"]", "servers"),
    ] {
        let found = problems(&flags(), &format!("[journal]\n{text}\n"));
        assert!(found.iter().any(|problem| problem.contains(expected)), "{text}: {found:?}");
        assert!(!found.iter().any(|problem| problem.contains("s3cret")), "{found:?}");
    }
}
