//! A document as one page of HTML, with its style sheet and its pictures inside.
//!
//! Every element is closed and every attribute quoted, so that readers of XML take the page too.

use std::fmt::Write as _;

use super::document::{Block, Fact, Report, Run, Section, Text};
use super::escape::{html as escaped, html_kept, one_line};
use super::figure::Figure;
use super::markdown::sentence;
use super::style::style_sheet;
use super::table::{Align, Cell, Column, Kind, Table};

/// Sections from which on a list of them stands at the top.
const LISTED_FROM: usize = 4;

/// Returns the document as a page of HTML that needs nothing beside itself and runs nothing.
pub fn html(report: &Report) -> String {
    let title = escaped(&one_line(&report.title));
    let mut page = Page::default();
    let _ = write!(
        page.out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
        style_sheet()
    );
    if report.sections.len() >= LISTED_FROM {
        page.list(&report.sections);
    }
    for (at, section) in report.sections.iter().enumerate() {
        page.section(at + 1, section);
    }
    page.out.push_str("</main>\n</body>\n</html>\n");
    page.out
}

/// A page that is being written. Writing to a String cannot fail.
#[derive(Default)]
struct Page {
    out: String,
    tables: usize,
    figures: usize,
}

impl Page {
    fn list(&mut self, sections: &[Section]) {
        self.out.push_str("<nav aria-label=\"Sections\">\n<ol>\n");
        for (at, section) in sections.iter().enumerate() {
            let heading = escaped(&one_line(&section.heading));
            let _ = writeln!(self.out, "<li><a href=\"#section-{}\">{heading}</a></li>", at + 1);
        }
        self.out.push_str("</ol>\n</nav>\n");
    }

    fn section(&mut self, number: usize, section: &Section) {
        let heading = escaped(&one_line(&section.heading));
        let _ = write!(self.out, "<section id=\"section-{number}\">\n<h2>{heading}</h2>\n");
        for block in &section.blocks {
            match block {
                Block::Paragraph(text) => self.paragraph(text),
                Block::Facts(facts) => self.facts(facts),
                Block::Table(table) => self.table(table),
                Block::Figure(figure) => self.figure(figure),
            }
        }
        self.out.push_str("</section>\n");
    }

    fn paragraph(&mut self, text: &Text) {
        self.out.push_str("<p>");
        for run in &text.runs {
            let _ = match run {
                Run::Plain(text) => write!(self.out, "{}", escaped(text)),
                Run::Code(code) => write!(self.out, "<code>{}</code>", escaped(code)),
            };
        }
        self.out.push_str("</p>\n");
    }

    fn facts(&mut self, facts: &[Fact]) {
        if facts.is_empty() {
            return;
        }
        self.out.push_str("<dl>\n");
        for fact in facts {
            let (name, value) = (escaped(&one_line(&fact.name)), html_kept(&fact.value));
            let _ = writeln!(self.out, "<dt>{name}</dt><dd><code>{value}</code></dd>");
        }
        self.out.push_str("</dl>\n");
    }

    fn table(&mut self, table: &Table) {
        self.tables += 1;
        let number = self.tables;
        let caption = escaped(&one_line(table.caption()));
        // Wider than a phone it is moved by hand, and by keys, under its caption.
        let _ = write!(
            self.out,
            "<p class=\"caption\" id=\"table-{number}\"><b>Table {number}.</b> {caption}</p>\n\
             <div class=\"wide\" role=\"region\" tabindex=\"0\" \
             aria-labelledby=\"table-{number}\">\n<table aria-labelledby=\"table-{number}\">\n"
        );
        let columns = table.columns();
        if !columns.is_empty() {
            self.out.push_str("<thead>\n<tr>");
            for column in columns {
                let name = escaped(&one_line(&column.name));
                let _ = write!(self.out, "<th scope=\"col\"{}>{name}</th>", class(column, None));
            }
            self.out.push_str("</tr>\n</thead>\n");
        }
        self.out.push_str("<tbody>\n");
        for row in table.rows() {
            self.out.push_str("<tr>");
            for (column, cell) in columns.iter().zip(row) {
                let told = escaped(&column.print(cell));
                let class = class(column, Some(cell));
                let _ = match (column.kind, cell) {
                    (Kind::Code, Cell::Text(_) | Cell::Number(_) | Cell::Estimate(_)) => {
                        write!(self.out, "<td{class}><code>{told}</code></td>")
                    }
                    _ => write!(self.out, "<td{class}>{told}</td>"),
                };
            }
            self.out.push_str("</tr>\n");
        }
        let lacking = match (columns.is_empty(), table.rows().is_empty()) {
            (true, _) => Some("There are no columns."),
            (false, true) => Some("There are no rows."),
            (false, false) => None,
        };
        if let Some(lacking) = lacking {
            let span = columns.len().max(1);
            let _ = writeln!(self.out, "<tr><td colspan=\"{span}\">{lacking}</td></tr>");
        }
        self.out.push_str("</tbody>\n</table>\n</div>\n");
    }

    fn figure(&mut self, figure: &Figure) {
        self.figures += 1;
        let number = self.figures;
        let title = escaped(&one_line(figure.title()));
        let _ = writeln!(self.out, "<figure>\n<div class=\"wide\">");
        match figure.svg(&format!("figure-{number}")) {
            Ok(svg) => self.out.push_str(&svg),
            Err(error) => {
                let _ = writeln!(self.out, "<p>{}</p>", escaped(&sentence(&error.to_string())));
            }
        }
        let below = escaped(&one_line(figure.below()));
        // The title becomes a sentence where another one follows.
        let space = match (below.is_empty(), title.ends_with(['.', '!', '?'])) {
            (true, _) => "",
            (false, true) => " ",
            (false, false) => ". ",
        };
        let _ = writeln!(
            self.out,
            "</div>\n<figcaption><b>Figure {number}.</b> {title}{space}{below}</figcaption>\n\
             </figure>"
        );
    }
}

/// Returns the classes of a cell, or of its column's name without one.
fn class(column: &Column, cell: Option<&Cell>) -> String {
    let mut classes = Vec::new();
    match column.align {
        Align::Left => {}
        Align::Centre => classes.push("centre"),
        Align::Right => classes.push("right"),
    }
    if matches!(cell, Some(Cell::Number(_) | Cell::Estimate(_))) {
        classes.push("number");
    }
    match classes.is_empty() {
        true => String::new(),
        false => format!(" class=\"{}\"", classes.join(" ")),
    }
}
