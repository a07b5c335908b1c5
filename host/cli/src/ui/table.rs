//! Text tables; alignment ignores style escapes.

use anstyle::Style;

use super::output::style;
use super::text::width;

/// Between two columns.
const GAP: &str = "  ";

/// Column alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// One cell: text that is already escaped, and its style.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell with a style.
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

/// A table under construction.
#[derive(Debug)]
pub struct Table {
    heads: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(heads: &[(&'static str, Align)]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, with one cell per column.
    pub fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    /// The table as text, a line for the heads and one for each row.
    pub fn render(&self) -> String {
        let heads: Vec<Cell> =
            self.heads.iter().map(|(head, _)| Cell::styled(*head, style::FAINT)).collect();
        let lines = || std::iter::once(&heads).chain(&self.rows);
        let widths: Vec<usize> = (0..self.heads.len())
            .map(|column| {
                lines()
                    .filter_map(|cells| cells.get(column))
                    .map(|cell| width(&cell.text))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        lines().map(|cells| self.line(cells, &widths)).collect()
    }

    fn line(&self, cells: &[Cell], widths: &[usize]) -> String {
        let mut line = String::new();
        let last = cells.len().saturating_sub(1);
        for (place, ((cell, (_, align)), widest)) in
            cells.iter().zip(&self.heads).zip(widths).enumerate()
        {
            let padding = " ".repeat(widest.saturating_sub(width(&cell.text)));
            if *align == Align::Right {
                line.push_str(&padding);
            }
            line.push_str(&paint(&cell.text, cell.style));
            if place < last {
                if *align == Align::Left {
                    line.push_str(&padding);
                }
                line.push_str(GAP);
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// Wraps text in a style's escapes.
pub fn paint(text: &str, style: Style) -> String {
    if text.is_empty() || style.is_plain() {
        text.to_owned()
    } else {
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table =
            Table::new(&[("NAME", Align::Left), ("LAG", Align::Right), ("FILTER", Align::Left)]);
        table.row([Cell::styled("printer", style::NAME), "7".into(), "{}".into()]);
        table.row(["é".into(), Cell::from("12345"), "".into()]);
        table.row(["漢字".into(), Cell::from("1"), "".into()]);
        let text = table.render();
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "NAME       LAG  FILTER\n\
             printer      7  {}\n\
             é        12345\n\
             漢字         1\n"
        );
        assert!(text.contains("\u{1b}[36mprinter\u{1b}[0m"), "{text:?}");
    }
}
