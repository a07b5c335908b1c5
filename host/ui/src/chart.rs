//! Small charts of the last hour, as SVG.

use maud::{Markup, html};
use usher_api::Sample;

/// Size of a chart in its own units; the style sheet sets the size on the page.
const WIDTH: u64 = 360;
const HEIGHT: u64 = 48;

/// A chart of one value of each sample, the newest at the right.
pub(crate) fn chart(title: &str, samples: &[Sample], value: fn(&Sample) -> f64) -> Markup {
    let values: Vec<f64> = samples.iter().map(value).collect();
    let highest = values.iter().copied().fold(0.0, f64::max);
    let newest = values.last().copied().unwrap_or_default();
    html! {
        figure.chart {
            figcaption { (title) " " strong { (short(newest)) } }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                aria-label={ (title) ", last hour: at most " (short(highest)) ", now " (short(newest)) } {
                path d=(path(&values, highest)) {}
            }
            span.faint { "max " (short(highest)) }
        }
    }
}

/// The area below the values; each takes one unit of the width.
fn path(values: &[f64], highest: f64) -> String {
    let scale = if highest > 0.0 { (HEIGHT - 2) as f64 / highest } else { 0.0 };
    let first = (WIDTH as usize).saturating_sub(values.len());
    let mut path = format!("M{first} {HEIGHT}");
    for (place, value) in values.iter().enumerate() {
        path.push_str(&format!("L{} {:.1}", first + place, HEIGHT as f64 - value * scale));
    }
    path.push_str(&format!("L{WIDTH} {HEIGHT}Z"));
    path
}

/// What happened in a sample, per second.
pub(crate) fn per_second(count: u64, sample: &Sample) -> f64 {
    if sample.span_ms == 0 { 0.0 } else { count as f64 * 1_000.0 / sample.span_ms as f64 }
}

/// `0`, `0.3`, `12`, `12.3k`, `4.5M`.
pub(crate) fn short(value: f64) -> String {
    match value {
        _ if value < 10.0 && value.fract() != 0.0 => format!("{value:.1}"),
        _ if value < 10_000.0 => format!("{value:.0}"),
        _ if value < 10_000_000.0 => format!("{:.1}k", value / 1_000.0),
        _ => format!("{:.1}M", value / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_is_at_the_right() {
        assert_eq!(path(&[0.0, 2.0], 2.0), "M358 48L358 48.0L359 2.0L360 48Z");
        assert_eq!(path(&[], 0.0), "M360 48L360 48Z");
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (7.0, "7"),
            (12.4, "12"),
            (12_345.0, "12.3k"),
            (12_345_678.0, "12.3M"),
        ] {
            assert_eq!(short(value), expected);
        }
    }
}
