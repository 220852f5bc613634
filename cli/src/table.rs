//! Tables for people: columns as wide as their widest cell, two blanks between them, no colour.

use std::io::{self, Write};

use serde_json::Value;

use crate::text::escaped;

/// Rows under a head. Pages may follow each other: the head is printed once, and columns only grow.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    head: Option<[String; N]>,
    widths: [usize; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with this head.
    pub(crate) fn new(head: [&str; N]) -> Self {
        Self { head: Some(head.map(str::to_owned)), widths: [0; N], rows: Vec::new() }
    }

    /// Two columns without a head: names and values.
    fn bare() -> Self {
        Self { head: None, widths: [0; N], rows: Vec::new() }
    }

    /// Adds a row. What a server wrote is made harmless here.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { escaped(&cell) }));
    }

    /// Adds rows.
    pub(crate) fn rows(&mut self, rows: impl IntoIterator<Item = [String; N]>) {
        rows.into_iter().for_each(|row| self.row(row));
    }

    /// Prints the rows added since the last time.
    pub(crate) fn print(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<[String; N]> = self.head.take().into_iter().chain(self.rows.drain(..)).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in rows {
            let cells: Vec<String> =
                row.iter().zip(self.widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Prints names and values, one pair a line; those without a value are left out.
pub(crate) fn fields<'a>(out: &mut dyn Write, pairs: impl IntoIterator<Item = (&'a str, String)>) -> io::Result<()> {
    let mut table = Table::<2>::bare();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !matches!(value.as_str(), "" | "-")) {
        table.row([name.to_owned(), value]);
    }
    table.print(out)
}

/// What stands at a place of an answer, as one cell: nothing for null and for what is not there.
pub(crate) fn cell(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The list at a place of an answer; empty for what is not there.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed<const N: usize>(table: &mut Table<N>) -> String {
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["ID", "STATE", "WHY"]);
        table.row(["a".into(), "Succeeded".into(), String::new()]);
        table.row(["long-id".into(), "Ok".into(), "ü\x1b[1m".into()]);
        assert_eq!(
            printed(&mut table),
            "ID       STATE      WHY\na        Succeeded  -\nlong-id  Ok         ü\\u{1b}[1m\n"
        );
    }

    #[test]
    fn a_next_page_has_no_head_and_keeps_the_widths() {
        let mut table = Table::new(["ID", "STATE"]);
        table.row(["long-id".into(), "Ok".into()]);
        printed(&mut table);
        table.row(["b".into(), "Ok".into()]);
        assert_eq!(printed(&mut table), "b        Ok\n");
    }

    #[test]
    fn fields_without_a_value_are_left_out() {
        let mut out = Vec::new();
        fields(
            &mut out,
            [("Id", "x".into()), ("Region", String::new()), ("Expires", "-".into()), ("Hours", "5".into())],
        )
        .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "Id     x\nHours  5\n");
    }

    #[test]
    fn cells_show_what_is_there() {
        let value = json!({ "a": { "text": "x", "number": 5, "nothing": null } });
        for (pointer, expected) in [("/a/text", "x"), ("/a/number", "5"), ("/a/nothing", ""), ("/b", "")] {
            assert_eq!(cell(&value, pointer), expected, "{pointer}");
        }
    }
}
