//! Rows as text: table, line, json, jsonl, csv, markdown.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use unicode_width::UnicodeWidthStr;

use super::cells;
use super::table::TableWriter;

/// A format of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A table for people, folded to the terminal.
    #[default]
    Table,
    /// A line for each column, row after row.
    Line,
    /// One JSON array.
    Json,
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// A Markdown table.
    Markdown,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 6] =
        [Format::Table, Format::Line, Format::Json, Format::Jsonl, Format::Csv, Format::Markdown];

    /// Returns the word used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Line => "line",
            Format::Json => "json",
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
            Format::Markdown => "markdown",
        }
    }

    /// Returns the format that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|f| f.as_str() == word)
    }
}

/// Writes the rows of one statement.
pub(super) struct RowWriter {
    format: Format,
    names: Vec<String>,
    table: Option<TableWriter>,
    rows: u64,
}

impl RowWriter {
    /// Begins the output of rows; `width` is the terminal's, where there is one.
    pub fn begin(
        out: &mut dyn Write,
        format: Format,
        schema: &Schema,
        width: Option<usize>,
    ) -> io::Result<RowWriter> {
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let table = (format == Format::Table).then(|| TableWriter::new(schema, width));
        match format {
            Format::Table | Format::Line | Format::Jsonl => {}
            Format::Json => write!(out, "[")?,
            Format::Csv => csv_line(out, names.iter().map(String::as_str))?,
            Format::Markdown => {
                markdown_line(out, names.iter().map(String::as_str))?;
                let rule = |f: &arrow::datatypes::FieldRef| {
                    if cells::is_number(f.data_type()) { "---:" } else { "---" }
                };
                markdown_line(out, schema.fields().iter().map(rule))?;
            }
        }
        Ok(RowWriter { format, names, table, rows: 0 })
    }

    pub fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()> {
        if let Some(table) = &mut self.table {
            return table.batch(out, batch);
        }
        if matches!(self.format, Format::Json | Format::Jsonl) {
            return self.json(out, batch);
        }
        let columns: Result<Vec<Vec<Option<String>>>, _> =
            batch.columns().iter().map(cells::texts).collect();
        let columns = columns.map_err(io::Error::other)?;
        for row in 0..batch.num_rows() {
            if self.format == Format::Line {
                let cells = columns.iter().map(|column| column[row].as_deref());
                self.rows += 1;
                record(out, self.rows, &self.names, cells)?;
                continue;
            }
            let line = columns.iter().map(|c| c[row].as_deref().unwrap_or(""));
            match self.format {
                Format::Csv => csv_line(out, line)?,
                _ => markdown_line(out, line)?,
            }
        }
        Ok(())
    }

    pub fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(table) = &mut self.table {
            table.end(out)?;
        }
        if self.format == Format::Json {
            writeln!(out, "{}]", if self.rows > 0 { "\n" } else { "" })?;
        }
        out.flush()
    }

    /// Returns how many columns are shown, of how many.
    pub fn columns(&self) -> (usize, usize) {
        let all = (self.names.len(), self.names.len());
        self.table.as_ref().map_or(all, TableWriter::columns)
    }

    fn json(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()> {
        for row in 0..batch.num_rows() {
            let mut object = serde_json::Map::new();
            for (name, column) in self.names.iter().zip(batch.columns()) {
                object.insert(name.clone(), cells::json(column, row).map_err(io::Error::other)?);
            }
            if self.format == Format::Json {
                write!(out, "{}\n  ", if self.rows > 0 { "," } else { "" })?;
            }
            serde_json::to_writer(&mut *out, &object)?;
            if self.format == Format::Jsonl {
                writeln!(out)?;
            }
            self.rows += 1;
        }
        Ok(())
    }
}

/// Writes a row with a line for each column; values are whole, their further lines below the
/// first.
fn record<'a>(
    out: &mut dyn Write,
    number: u64,
    names: &[String],
    cells: impl Iterator<Item = Option<&'a str>>,
) -> io::Result<()> {
    let widest = names.iter().map(|name| name.width()).max().unwrap_or(0);
    writeln!(out, "── #{number} {}", "─".repeat(widest.saturating_sub(4)))?;
    for (name, cell) in names.iter().zip(cells) {
        let space = " ".repeat(widest - name.width());
        let indented = format!("\n{}", " ".repeat(widest + 2));
        let value = cell.unwrap_or("null").trim_end().replace('\n', &indented);
        writeln!(out, "{name}{space}  {value}")?;
    }
    Ok(())
}

fn csv_line<'a>(out: &mut dyn Write, cells: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(cells).map_err(io::Error::other)?;
    out.write_all(&writer.into_inner().map_err(|e| io::Error::other(e.to_string()))?)
}

fn markdown_line<'a>(out: &mut dyn Write, cells: impl Iterator<Item = &'a str>) -> io::Result<()> {
    write!(out, "|")?;
    for cell in cells {
        let cell = cell.replace('\\', "\\\\").replace('|', "\\|").replace('\n', "<br>");
        write!(out, " {cell} |")?;
    }
    writeln!(out)
}
