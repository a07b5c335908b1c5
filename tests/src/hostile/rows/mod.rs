//! All rows, grouped into acts that share a router.

mod abi;
mod compile;
mod composed;
mod cpu;
mod data;
mod files;
mod floods;
mod imports;
mod memory;
mod network;
mod rollback;

use super::row::Row;

/// Rows that aren't contained yet, with what happens. They run only if selected by number.
pub(super) const NOT_YET: &[(u8, &str)] = &[];

/// All rows. Acts are small enough for every plugin to have its own metrics.
pub(super) fn acts() -> Vec<Vec<Row>> {
    let acts = [
        vec![cpu::rows(), memory::rows()],
        vec![abi::rows(), data::rows(), floods::rows()],
        vec![network::rows(), files::rows(), rollback::rows()],
        vec![compile::rows()],
        vec![files::broken()],
    ];
    acts.into_iter().map(|act| act.into_iter().flatten().collect()).collect()
}

/// A short CPU budget, so that spinning rows finish quickly.
fn short_cpu() -> &'static str {
    "[plugin.NAME.limits]\ncpu_ms = 100\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_catalogue_is_there_once() {
        let mut numbers: Vec<u8> = acts().iter().flatten().map(|row| row.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=64).collect::<Vec<u8>>());
        assert!(acts().iter().flatten().all(|row| !row.trials.is_empty()));
    }

    #[test]
    fn every_plugin_of_an_act_has_metrics_of_its_own() {
        for act in acts() {
            let plugins = act.iter().map(|row| row.names().into_iter().flatten().count());
            // The router exports metrics of 100 plugins by name, including the neighbours.
            assert!(plugins.sum::<usize>() <= 90);
        }
    }
}
