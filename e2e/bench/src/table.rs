//! A table, on the terminal while it grows and as markdown in the end.

/// The width of each column on the terminal is that of its title or of what is usual in it.
pub struct Table {
    titles: Vec<String>,
    lines: Vec<Vec<String>>,
    printed: usize,
}

impl Table {
    pub fn new(titles: &[&str]) -> Self {
        Self { titles: titles.iter().map(ToString::to_string).collect(), lines: Vec::new(), printed: 0 }
    }

    pub fn push(&mut self, line: Vec<String>) {
        self.lines.push(line);
    }

    /// Prints the lines that have not been printed, with the titles above them.
    pub fn print_new(&mut self) {
        let new = &self.lines[self.printed..];
        let lines: Vec<&Vec<String>> = std::iter::once(&self.titles).chain(new).collect();
        let widths: Vec<usize> = (0..self.titles.len())
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default())
            .collect();
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        println!();
        self.printed = self.lines.len();
    }

    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|{}\n", "---|".repeat(self.titles.len()));
        line(&self.titles) + &rule + &self.lines.iter().map(|cells| line(cells)).collect::<String>()
    }
}
