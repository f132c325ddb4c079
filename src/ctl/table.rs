//! Tables that fit the terminal.

use super::{
    output::{OutputStyle, Tint, TintedLine, TintedText, cut_line},
    text::{shorten_middle, width},
};

/// Blanks between two columns.
const GAP: usize = 2;

/// Width to which a flexible column is shortened before a column is left out.
const MIN_FLEXIBLE: usize = 12;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) form: ColumnForm,
    /// Rank among the columns that are left out if the terminal is narrow: the highest one first,
    /// 0 never.
    pub(super) rank: u8,
}

/// The form of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnForm {
    /// Words, at the left.
    Word,
    /// A number, at the right.
    Number,
    /// A name, at the left. It is shortened if the terminal is narrow.
    Name,
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<TintedText>>,
}

impl Table {
    /// A table without rows.
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub(super) fn push(&mut self, row: Vec<TintedText>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Returns the lines, with the titles.
    pub(super) fn lines(&self, style: OutputStyle) -> Vec<TintedLine> {
        let layout = self.layout(style.width);
        let title = |column: &Column| TintedText::new(column.title, Tint::Heading);
        let titles: Vec<TintedText> = self.columns.iter().map(title).collect();
        let rows = std::iter::once(&titles).chain(&self.rows);
        let lines = rows.map(|row| self.line(row, &layout));
        match style.width {
            Some(limit) => lines.map(|line| cut_line(&line, limit)).collect(),
            None => lines.collect(),
        }
    }

    /// Returns the width of each column; `None` for those that are left out.
    fn layout(&self, limit: Option<usize>) -> Vec<Option<usize>> {
        let natural = |at: usize, column: &Column| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            cells.map(|cell| width(&cell.text)).chain([width(column.title)]).max()
        };
        let mut widths: Vec<Option<usize>> =
            self.columns.iter().enumerate().map(|(at, column)| natural(at, column)).collect();
        let Some(limit) = limit else { return widths };
        loop {
            let shortened = self.shorten(&widths, limit);
            let droppable = self.columns.iter().zip(&mut widths);
            let droppable = droppable.filter(|(column, width)| column.rank > 0 && width.is_some());
            match droppable.max_by_key(|(column, _)| column.rank) {
                Some((_, dropped)) if total(&shortened) > limit => *dropped = None,
                Some(_) | None => return shortened,
            }
        }
    }

    /// Shortens the widest names until the line fits or they are at their minimum.
    fn shorten(&self, widths: &[Option<usize>], limit: usize) -> Vec<Option<usize>> {
        let mut widths = widths.to_vec();
        while total(&widths) > limit {
            let names = self.columns.iter().zip(&mut widths);
            let names = names.filter(|(column, _)| column.form == ColumnForm::Name);
            let widest = names.filter_map(|(_, width)| width.as_mut()).max();
            match widest.filter(|width| **width > MIN_FLEXIBLE) {
                Some(width) => *width -= 1,
                None => break,
            }
        }
        widths
    }

    fn line(&self, row: &[TintedText], layout: &[Option<usize>]) -> TintedLine {
        let mut line = Vec::new();
        let mut blanks = 0;
        for ((column, cell), column_width) in self.columns.iter().zip(row).zip(layout) {
            let Some(column_width) = *column_width else { continue };
            let text = shorten_middle(&cell.text, column_width);
            let padding = column_width - width(&text);
            let before = if column.form == ColumnForm::Number { padding } else { 0 };
            line.push(TintedText::plain(&" ".repeat(blanks + before)));
            line.push(TintedText { text, tint: cell.tint });
            blanks = padding - before + GAP;
        }
        TintedLine(line)
    }
}

/// Returns the width of a line.
fn total(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten();
    shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table, width: Option<usize>) -> String {
        let style = OutputStyle { width, has_colours: false };
        style.lines(&table.lines(style))
    }

    #[test]
    fn a_table_fits_its_terminal() {
        let column = |title, form, rank| Column { title, form, rank };
        let mut table = Table::new(&[
            column("NAME", ColumnForm::Name, 0),
            column("N", ColumnForm::Number, 0),
            column("STATE", ColumnForm::Word, 1),
            column("TARGET", ColumnForm::Name, 2),
        ]);
        let row = ["web", "7", "in sync", "host:/srv/www/mirror/of/the/web"];
        table.push(row.map(TintedText::plain).to_vec());
        let row = ["数据", "1234", "held", "b"];
        table.push(row.map(TintedText::plain).to_vec());
        let expected = "\
NAME     N  STATE    TARGET
web      7  in sync  host:/srv/www/mirror/of/the/web
数据  1234  held     b
";
        assert_eq!(text(&table, None), expected);
        let expected = "\
NAME     N  STATE    TARGET
web      7  in sync  host:/sr…the/web
数据  1234  held     b
";
        assert_eq!(text(&table, Some(37)), expected);
        assert_eq!(
            text(&table, Some(20)),
            "NAME     N  STATE\nweb      7  in sync\n数据  1234  held\n"
        );
        assert_eq!(text(&table, Some(18)), "NAME     N\nweb      7\n数据  1234\n");
        assert_eq!(text(&table, Some(7)), "NAME   \nweb    \n数据  1\n");
    }
}
