//! Tables for people at a terminal: columns that line up, two spaces between them. Pure.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading.
#[derive(Debug)]
pub struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let heading = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { align: columns.iter().map(|(_, align)| *align).collect(), rows: vec![heading] }
    }

    /// As many cells as there are columns; what is left out is empty.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Every line begins with `indent`, and none ends in a space.
    pub fn text(&self, indent: &str) -> String {
        let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let width = |column| self.rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..self.align.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = self.align.iter().zip(&widths).enumerate().map(|(column, (align, width))| match align {
                Align::Left => format!("{:<width$}", cell(row, column)),
                Align::Right => format!("{:>width$}", cell(row, column)),
            });
            let line = format!("{indent}{}", cells.collect::<Vec<_>>().join("  "));
            format!("{}\n", line.trim_end())
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("policy", Align::Left), ("calls", Align::Right), ("", Align::Left)]);
        table.row(vec!["a".into(), "12345".into(), "x".into()]);
        table.row(vec!["longer".into(), "7".into()]);
        assert_eq!(table.text("  "), "  policy  calls\n  a       12345  x\n  longer      7\n");
    }
}
