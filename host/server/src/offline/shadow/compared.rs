//! What two versions did with the same events, and where they differ.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use http::Uri;
use serde::{Serialize, Serializer};
use usher_cli::ui::{Align, CliError, Table, paint, style};
use usher_event::GivenAnswer;
use usher_fixtures::{Difference, Expected, Report, differences};
use usher_runtime::Loaded;
use usher_wording::{bytes, count, duration, printable};

/// Events with differences that are shown in full.
const SHOWN_MAX: usize = 10;
/// Newest deliveries that the median is of.
const TIMES_MAX: usize = 10_000;

/// One delivery in two versions.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    sequence: u64,
    #[serde(rename = "type")]
    ty: String,
    subscription: String,
    differences: Vec<Difference>,
    /// Whether a version asked for something that nobody had an answer to.
    unanswered: bool,
    old: Did,
    new: Did,
}

/// What a version did.
#[derive(Debug, Serialize)]
pub(super) struct Did {
    did: Expected,
    took_us: u64,
    memory_bytes: u64,
}

/// What both versions did in all.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    plugin: String,
    old: Version,
    new: Version,
    /// Deliveries that were compared.
    compared: usize,
    /// Those that the versions differ in.
    different: usize,
    /// Those at which a version made an HTTP request that no answer was recorded or given for.
    unanswered: usize,
}

/// A summary with the deliveries that it is of.
#[derive(Debug, Serialize)]
pub(super) struct Detailed<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Compared>,
}

#[derive(Debug, Serialize)]
struct Version {
    version: String,
    digest: String,
    /// Verdicts, and how often.
    verdicts: BTreeMap<String, usize>,
    #[serde(rename = "median_us", serialize_with = "median_of")]
    times_us: VecDeque<u64>,
    peak_memory_bytes: u64,
}

/// The middle one of some times; 0 of none.
fn median(times_us: &VecDeque<u64>) -> u64 {
    let mut times: Vec<_> = times_us.iter().copied().collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn median_of<S: Serializer>(times_us: &VecDeque<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(median(times_us))
}

impl From<Report> for Did {
    fn from(report: Report) -> Self {
        let Report { did, used, took, .. } = report;
        let memory = used.iter().find(|used| used.name == "memory_bytes");
        let memory_bytes = memory.map_or(0, |used| used.used);
        Self { did, took_us: usher_event::micros(took), memory_bytes }
    }
}

impl Compared {
    /// Compares what two versions did with an event (sequence, type) of a subscription.
    pub(super) fn new(
        (sequence, ty, subscription): (u64, String, String),
        answers: &[GivenAnswer],
        old: Did,
        new: Did,
    ) -> Self {
        // Words for people may change.
        let mut expected = Expected { log: None, backtrace: None, ..old.did.clone() };

        if new.did.after_ms.is_some() {
            expected.after_ms.get_or_insert_default();
        }
        let differences = differences(&expected, &new.did);
        let unanswered = [&old, &new].into_iter().any(|one| one.is_unanswered(answers));
        Self { sequence, ty, subscription, differences, unanswered, old, new }
    }

    /// The differences; nothing where there are none.
    pub(super) fn render(&self) -> String {
        let Self { sequence, ty, subscription, differences, .. } = self;
        let mut text = String::new();
        if differences.is_empty() {
            return text;
        }
        // Formatting into a string can't fail.
        let _ = writeln!(
            text,
            "#{sequence} {} for {}",
            paint(&printable(ty), style::STRONG),
            printable(subscription)
        );
        for Difference { part, diff } in differences {
            let _ = writeln!(text, "  {part}");
            for line in diff.lines() {
                let _ = writeln!(text, "    {}", printable(line));
            }
        }
        text
    }
}

/// The first of those that differ.
pub(super) fn render(compared: &[Compared]) -> String {
    let differing: Vec<_> = compared.iter().filter(|one| !one.differences.is_empty()).collect();
    let mut text: String = differing.iter().take(SHOWN_MAX).map(|one| one.render()).collect();
    if differing.len() > SHOWN_MAX {
        let more = count(differing.len() - SHOWN_MAX, "more event");
        // Formatting into a string can't fail.
        let _ = writeln!(text, "… and {more}, with --json");
    }
    if !differing.is_empty() {
        text.push('\n');
    }
    text
}

impl Did {
    /// Whether it asked for something that is not among the answers.
    fn is_unanswered(&self, answers: &[GivenAnswer]) -> bool {
        // As they are sent: `http://a.test` asks for `/`.
        let sent =
            |url: &str| url.parse::<Uri>().map_or_else(|_| url.into(), |url| url.to_string());
        // Each answers one request.
        let left = answers.iter().map(|answer| (answer.method.clone(), sent(&answer.url)));
        let mut left: Vec<(String, String)> = left.collect();
        self.did.calls.iter().flatten().any(|call| {
            let asked = (call.method.clone(), sent(&call.url));
            let answer = left.iter().position(|answer| *answer == asked);
            answer.map(|position| left.swap_remove(position)).is_none()
        })
    }
}

impl Summary {
    /// Of nothing yet.
    pub(super) fn new(plugin: &str, old: &Loaded, new: &Loaded) -> Self {
        Self {
            plugin: plugin.to_owned(),
            old: Version::of(old),
            new: Version::of(new),
            compared: 0,
            different: 0,
            unanswered: 0,
        }
    }

    pub(super) fn add(&mut self, compared: &Compared) {
        self.compared += 1;
        self.different += usize::from(!compared.differences.is_empty());
        self.unanswered += usize::from(compared.unanswered);
        self.old.add(&compared.old);
        self.new.add(&compared.new);
    }

    /// Deliveries that were compared.
    pub(super) fn compared(&self) -> usize {
        self.compared
    }

    pub(super) fn with(&self, events: Vec<Compared>) -> Detailed<'_> {
        Detailed { summary: self, events }
    }

    /// Fails if the versions differ.
    pub(super) fn result(&self) -> Result<(), CliError> {
        match self.different {
            0 => Ok(()),
            different => Err(CliError::new(format!(
                "the versions differ in {different} of {}",
                count(self.compared, "event")
            ))),
        }
    }

    pub(super) fn render(&self) -> String {
        let Self { plugin, old, new, compared, different, unanswered } = self;
        let heads = ["VERSION", "DIGEST", "VERDICTS", "MEDIAN", "MEMORY"];
        let mut table = Table::new(&heads.map(|head| (head, Align::Left)));
        for (one, what) in [(old, "serves"), (new, "new")] {
            let verdicts: Vec<_> =
                one.verdicts.iter().map(|(verdict, count)| format!("{verdict} {count}")).collect();
            table.row([
                format!("{} ({what})", printable(&one.version)).into(),
                one.digest.chars().take(12).collect::<String>().into(),
                verdicts.join(", ").into(),
                duration(median(&one.times_us)).into(),
                bytes(one.peak_memory_bytes).into(),
            ]);
        }
        let mut text = table.render();
        let all = count(*compared, "event");
        // Formatting into a string can't fail.
        let _ = writeln!(text, "{all} of {plugin}, each on its present state; {different} differ");
        if *unanswered > 0 {
            let _ = writeln!(
                text,
                "{}: a request that no answer was recorded or given for (--given FILE with \"http\")",
                count(*unanswered, "event")
            );
        }
        text
    }
}

impl Version {
    fn of(loaded: &Loaded) -> Self {
        Self {
            version: loaded.description().version.clone(),
            digest: loaded.digest().to_string(),
            verdicts: BTreeMap::new(),
            times_us: VecDeque::new(),
            peak_memory_bytes: 0,
        }
    }

    fn add(&mut self, did: &Did) {
        let verdict = did.did.verdict.clone().unwrap_or_default();
        *self.verdicts.entry(verdict).or_default() += 1;
        self.peak_memory_bytes = self.peak_memory_bytes.max(did.memory_bytes);
        if self.times_us.len() == TIMES_MAX {
            self.times_us.pop_front();
        }
        self.times_us.push_back(did.took_us);
    }
}
