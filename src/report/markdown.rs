//! A document as Markdown, in GitHub's dialect of CommonMark.
//!
//! A figure is text in a fence and no table: the picture has the numbers of its intervals beside
//! them, or the least and the greatest of its lines below, and it is read in a terminal, in a diff
//! and on a page alike.

use std::iter;

use super::document::{Block, Fact, Report, Run, Section, Text};
use super::escape;
use super::figure::Figure;
use super::table::{Align, Cell, Column, Kind, Table};
use crate::plot::shown_width;

/// Cells are filled up to the widest of their column, but not beyond this.
const FILLED_MAX: usize = 48;

/// Tables and figures so far.
#[derive(Default)]
struct Numbers {
    tables: usize,
    figures: usize,
}

/// Returns the document as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut numbers = Numbers::default();
    let mut pieces = vec![heading("#", &report.title)];
    for section in &report.sections {
        of_section(section, &mut numbers, &mut pieces);
    }
    let mut out = pieces.join("\n\n");
    out.push('\n');
    out
}

fn heading(level: &str, text: &str) -> String {
    format!("{level} {}", escape::markdown(&escape::one_line(text), true)).trim_end().to_owned()
}

fn of_section(section: &Section, numbers: &mut Numbers, pieces: &mut Vec<String>) {
    pieces.push(heading("##", &section.heading));
    for block in &section.blocks {
        match block {
            Block::Paragraph(text) => pieces.push(of_text(text)),
            Block::Facts(facts) => pieces.push(of_facts(facts)),
            Block::Table(table) => {
                numbers.tables += 1;
                pieces.push(titled("Table", numbers.tables, table.caption()));
                pieces.push(of_table(table));
            }
            Block::Figure(figure) => {
                numbers.figures += 1;
                pieces.push(titled("Figure", numbers.figures, figure.title()));
                of_figure(figure, pieces);
            }
        }
    }
    pieces.retain(|piece| !piece.is_empty());
}

fn titled(what: &str, number: usize, title: &str) -> String {
    let title = escape::markdown(&escape::one_line(title), false);
    format!("**{what} {number}.** {title}").trim_end().to_owned()
}

fn of_text(text: &Text) -> String {
    let mut out = String::new();
    // Neighbours are one: `1` and `. ` begin a list together, two fences are a longer one.
    let is_plain = |run: &Run| matches!(run, Run::Plain(_));
    for runs in text.runs.chunk_by(|a, b| is_plain(a) == is_plain(b)) {
        let words = |run: &Run| match run {
            Run::Plain(words) | Run::Code(words) => words.clone(),
        };
        let joined: String = runs.iter().map(words).collect();
        if !is_plain(&runs[0]) {
            out.push_str(&escape::markdown_code(&joined, false));
            continue;
        }
        let is_first = out.trim().is_empty();
        let joined = if is_first { joined.trim_start() } else { &joined };
        out.push_str(&escape::markdown(joined, is_first));
    }
    out.trim().to_owned()
}

fn of_facts(facts: &[Fact]) -> String {
    let line = |fact: &Fact| {
        let name = escape::markdown(&escape::one_line(&fact.name), true);
        format!("- {name}: {}", escape::markdown_code(&fact.value, false)).trim_end().to_owned()
    };
    facts.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn of_figure(figure: &Figure, pieces: &mut Vec<String>) {
    match figure.text() {
        // A picture has letters of names only within its lines, never a line of backticks alone
        // that is longer than the fence.
        Ok(text) => {
            let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
            let fence = "`".repeat((longest + 1).max(3));
            pieces.push(format!("{fence}text\n{text}{fence}"));
        }
        Err(error) => pieces.push(escape::markdown(&sentence(&error.to_string()), true)),
    }
    pieces.push(escape::markdown(&escape::one_line(figure.below()), true));
}

/// Returns the words with a capital at their beginning and a full stop.
pub(super) fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).chain(['.']).collect()
}

fn of_table(table: &Table) -> String {
    if table.columns().is_empty() {
        return "There are no columns.".to_owned();
    }
    let names: Vec<String> = table.columns().iter().map(|column| of_name(&column.name)).collect();
    let cells = |row: &Vec<Cell>| -> Vec<String> {
        table.columns().iter().zip(row).map(|(column, cell)| of_cell(column, cell)).collect()
    };
    let rows: Vec<Vec<String>> = table.rows().iter().map(cells).collect();
    let widths: Vec<usize> = (0..names.len())
        .map(|at| {
            let cells = iter::once(&names).chain(&rows).map(|row| shown_width(&row[at]));
            cells.filter(|width| *width <= FILLED_MAX).max().unwrap_or(0).max(3)
        })
        .collect();
    let line = |cells: &[String]| {
        let columns = table.columns().iter().zip(cells).zip(&widths);
        let filled = columns.map(|((column, cell), width)| filled(cell, *width, column.align));
        format!("| {} |", filled.collect::<Vec<_>>().join(" | "))
    };
    let rule = table.columns().iter().zip(&widths).map(|(column, width)| match column.align {
        Align::Left => "-".repeat(*width),
        Align::Centre => format!(":{}:", "-".repeat(width - 2)),
        Align::Right => format!("{}:", "-".repeat(width - 1)),
    });
    let rule = format!("| {} |", rule.collect::<Vec<_>>().join(" | "));
    let mut lines = vec![line(&names), rule];
    lines.extend(rows.iter().map(|row| line(row)));
    if rows.is_empty() {
        lines.extend(["".to_owned(), "There are no rows.".to_owned()]);
    }
    lines.join("\n")
}

fn of_name(name: &str) -> String {
    escape::markdown(&escape::one_line(name), false)
}

fn of_cell(column: &Column, cell: &Cell) -> String {
    let told = column.print(cell);
    match (cell, column.kind) {
        (Cell::Missing, _) => told,
        (_, Kind::Code) => escape::markdown_code(&told, true),
        (Cell::Text(_), _) => escape::markdown(told.trim(), false),
        // Brackets of intervals make no link: nothing on the page is defined as one.
        _ => told.replace('<', "\\<"),
    }
}

fn filled(cell: &str, width: usize, align: Align) -> String {
    let space = width.saturating_sub(shown_width(cell));
    let before = match align {
        Align::Left => 0,
        Align::Centre => space / 2,
        Align::Right => space,
    };
    format!("{}{cell}{}", " ".repeat(before), " ".repeat(space - before))
}
