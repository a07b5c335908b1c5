//! The result table of a suite.

use std::io::Write as _;
use std::time::Duration;

pub(crate) struct Table {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    each: Duration,
    baseline: Option<(Duration, &'static str)>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a measured duration and its baseline. Also prints it to stderr at once, since a suite
    /// takes minutes.
    pub(crate) fn row(
        &mut self,
        name: &str,
        each: Duration,
        baseline: Option<(Duration, &'static str)>,
    ) {
        eprintln!("{name}: {:.3} µs", micros(each));
        self.rows.push(Row { name: name.into(), each, baseline });
    }

    pub(crate) fn print_json(&self) -> anyhow::Result<()> {
        let row = |row: &Row| {
            let ratio = row.baseline.map(|(of, _)| row.each.as_secs_f64() / of.as_secs_f64());
            let against = row.baseline.map(|(_, what)| what);
            serde_json::json!({
                "row": row.name, "us": micros(row.each), "ratio": ratio, "against": against,
            })
        };
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        Ok(())
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{:width$}  {:>10}  {:>10}  ratio", "", "µs each", "each/s")?;
        for Row { name, each, baseline } in &self.rows {
            write!(out, "{name:width$}  {:>10.3}  {:>10.0}", micros(*each), 1e6 / micros(*each))?;
            if let Some((of, what)) = baseline {
                write!(out, "  {:.2} × {what}", each.as_secs_f64() / of.as_secs_f64())?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
