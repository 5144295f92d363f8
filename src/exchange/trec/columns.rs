//! Judgements and runs: lines of columns.

use std::path::Path;

use super::super::error::Fault;
use super::super::scan;
use super::error::TrecError;
use super::lines::each_line;

/// How relevant a document is to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The topic.
    pub topic: String,
    /// The document.
    pub document: String,
    /// 0 and less is not relevant; more is more.
    pub relevance: i64,
    /// The line it stands on, counted from 1.
    pub line: u64,
}

/// A document in the ranking of a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The topic.
    pub topic: String,
    /// The document.
    pub document: String,
    /// Its score; more is better. The rank that is written beside it says nothing more.
    pub score: f64,
    /// The name of the run.
    pub tag: String,
    /// The line it stands on, counted from 1.
    pub line: u64,
}

const JUDGEMENTS: &str = "'topic 0 document relevance' as TREC has it, or three columns parted by \
                          tabs (query-id, corpus-id, score) as BEIR does";
const RUN: &str = "'topic Q0 document rank score tag'";

/// Reads judgements; `each` is called with one after the other.
///
/// # Errors
/// The file cannot be read or is empty; a line has other columns or a relevance that is no whole
/// number. What `each` says becomes an error with that line.
pub fn read_judgements(
    path: &Path,
    each: &mut dyn FnMut(Judgement) -> Result<(), String>,
) -> Result<(), TrecError> {
    let mut is_first = true;
    each_line(path, &mut |text, line| {
        let was_first = std::mem::replace(&mut is_first, false);
        let (topic, document, relevance) = judgement_columns(text)?;
        if was_first && topic == "query-id" && document == "corpus-id" {
            return Ok(());
        }
        let relevance = relevance.parse().map_err(|_| {
            Fault::of("relevance", format!("found '{relevance}'; expected a whole number"))
        })?;
        let (topic, document) = (topic.to_owned(), document.to_owned());
        each(Judgement { topic, document, relevance, line }).map_err(Fault::whole)
    })?;
    not_empty(path, is_first, JUDGEMENTS)
}

/// Returns topic, document and relevance of a line.
fn judgement_columns(text: &str) -> Result<(&str, &str, &str), Fault> {
    // Tabs part columns that may hold blanks; TREC's columns are parted by either.
    let by_tab: Vec<&str> = text.split('\t').map(str::trim).collect();
    if let [topic, document, relevance] = by_tab[..] {
        not_blank(&[("topic", topic), ("document", document), ("relevance", relevance)])?;
        return Ok((topic, document, relevance));
    }
    let columns: Vec<&str> = text.split_whitespace().take(5).collect();
    match columns[..] {
        [topic, _, document, relevance] => Ok((topic, document, relevance)),
        _ => Err(miscounted(text, JUDGEMENTS)),
    }
}

/// Reads a run; `each` is called with one document after the other, in the order of the file.
///
/// # Errors
/// The file cannot be read or is empty; a line has other columns, a rank that is no whole number or
/// a score that is none. What `each` says becomes an error with that line.
pub fn read_run(
    path: &Path,
    each: &mut dyn FnMut(Ranked) -> Result<(), String>,
) -> Result<(), TrecError> {
    let mut is_first = true;
    each_line(path, &mut |text, line| {
        is_first = false;
        let columns: Vec<&str> = text.split_whitespace().take(7).collect();
        let [topic, _, document, rank, score, tag] = columns[..] else {
            return Err(miscounted(text, RUN));
        };
        if rank.parse::<i64>().is_err() {
            let message = format!("found '{rank}'; expected a whole number: {RUN}");
            return Err(Fault::of("rank", message));
        }
        let score =
            score.parse::<f64>().ok().filter(|score| score.is_finite()).ok_or_else(|| {
                Fault::of("score", format!("found '{score}'; expected a number: {RUN}"))
            })?;
        let [topic, document, tag] = [topic, document, tag].map(str::to_owned);
        each(Ranked { topic, document, score, tag, line }).map_err(Fault::whole)
    })?;
    not_empty(path, is_first, RUN)
}

fn miscounted(text: &str, expected: &str) -> Fault {
    let count = text.split_whitespace().count();
    let excerpt = scan::excerpt(text.as_bytes());
    Fault::whole(format!("found {count} columns ({excerpt}); expected {expected}"))
}

fn not_blank(columns: &[(&str, &str)]) -> Result<(), Fault> {
    match columns.iter().find(|(_, value)| value.is_empty()) {
        Some((name, _)) => Err(Fault::of(*name, "found nothing in this column")),
        None => Ok(()),
    }
}

/// Returns an error if a file held no line.
pub(super) fn not_empty(
    path: &Path,
    is_empty: bool,
    expected: &'static str,
) -> Result<(), TrecError> {
    match is_empty {
        true => Err(TrecError::Empty { path: path.to_owned(), expected }),
        false => Ok(()),
    }
}
