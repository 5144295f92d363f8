//! The tables of a study as a report: the one file here that knows how reports are built.

use std::path::PathBuf;

use super::run::Study;
use super::tables::{Entry, Holds, Part, Section, Table};
use crate::report::{self, Cell, Column, Figure, Kind, Measured, Report, ReportError};
use crate::session::error::SessionError;
use crate::session::report_files;
use crate::session::statement::Session;

/// Digits behind the point of shares.
const DIGITS: usize = 3;

impl Study {
    /// Returns what is known so far as Markdown.
    ///
    /// # Errors
    /// What the disk says; labels that cannot be compared.
    pub fn markdown(&self, session: &Session) -> Result<String, SessionError> {
        Ok(report::markdown(&self.report(session)?))
    }

    /// Writes what is known so far to the files that the study names: Markdown, and a page of HTML.
    ///
    /// # Errors
    /// As [`Study::markdown`].
    pub fn write_report(&self, session: &Session) -> Result<[PathBuf; 2], SessionError> {
        report_files::write(&self.report(session)?, &self.config.report)
    }

    fn report(&self, session: &Session) -> Result<Report, SessionError> {
        let mut report = Report::new(format!("Study '{}'", self.config.name));
        for section in self.sections(session)? {
            let built =
                built(section).map_err(|e| SessionError::mistake("study", e.to_string()))?;
            report = report.section(built);
        }
        Ok(report)
    }
}

/// Returns a section as reports have it.
fn built(section: Section) -> Result<report::Section, ReportError> {
    let mut out = report::Section::new(section.heading);
    for part in section.parts {
        out = match part {
            Part::Paragraph(text) => out.paragraph(text),
            Part::Table(table) => out.table(tabled(table)?),
            Part::Facts(facts) => out.facts(facts),
            Part::Intervals { title, axis, rows } => {
                let rows = rows
                    .into_iter()
                    .map(|(group, name, estimate)| Measured::new(group, name, estimate));
                out.figure(Figure::intervals(title, axis, rows))
            }
        };
    }
    Ok(out)
}

fn tabled(table: Table) -> Result<report::Table, ReportError> {
    let column = |(name, holds): (String, Holds)| {
        let kind = match holds {
            Holds::Name => Kind::Text,
            Holds::Count => Kind::Number { digits: 0 },
            Holds::Share => Kind::Share { digits: DIGITS },
            Holds::Difference => Kind::Difference { digits: DIGITS },
            Holds::PValue => Kind::PValue,
        };
        Column::new(name, kind)
    };
    let mut out = report::Table::new(table.caption, table.columns.into_iter().map(column));
    for row in table.rows {
        out.push(row.into_iter().map(|entry| match entry {
            Entry::Missing => Cell::Missing,
            Entry::Name(name) => Cell::Text(name),
            Entry::Number(number) => Cell::Number(number),
            Entry::Estimate(estimate) => Cell::Estimate(estimate),
        }))?;
    }
    Ok(out)
}
