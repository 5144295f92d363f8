//! Pieces of texts, as LIKE asks for them, by way of words.
//!
//! ```text
//!   LIKE '%Permission den%ed'     pieces    "Permission den", "ed"
//!                                 runs      permission · de         letters and digits, of ASCII
//!   words that hold a run         permission, permissions · den, denied, under, ..
//! ```
//! Every text that holds a piece has, for each run of it, a word that holds the run: the analysis
//! changes capitals of ASCII and nothing else within a run. The last character of a run may become
//! another with a mark behind it (`n` and a tilde are one `ñ`), so it counts only where the piece
//! goes on with a character that is no mark. Words that are too long to be kept may hold any run.

use tantivy::index::SegmentReader;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet as _, TERMINATED};

/// A shorter run is in too many words to help.
const RUN_BYTES_MIN: usize = 3;

/// More runs than this narrow no further.
const RUNS_MAX: usize = 3;

/// Returns the runs of the pieces of a pattern of LIKE (`%` for any characters, `_` for one, a
/// backslash before what stands for itself), small, the longest first; at most three.
pub fn runs_of_pattern(pattern: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' | '_' => pieces.push(std::mem::take(&mut piece)),
            '\\' => piece.push(characters.next().unwrap_or('\\')),
            other => piece.push(other),
        }
    }
    pieces.push(piece);
    runs_of_pieces(pieces.iter().map(String::as_str))
}

/// Returns the runs of pieces, as [`runs_of_pattern`] does.
pub fn runs_of_pieces<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut runs: Vec<String> = pieces.into_iter().flat_map(runs_of).collect();
    runs.sort_by(|one, other| other.len().cmp(&one.len()).then(one.cmp(other)));
    runs.dedup();
    runs.truncate(RUNS_MAX);
    runs
}

fn runs_of(piece: &str) -> Vec<String> {
    let is_of_run = |c: char| c.is_ascii_alphanumeric();
    let mut runs = Vec::new();
    let mut rest = piece;
    while let Some(start) = rest.find(is_of_run) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_of_run(c)).unwrap_or(rest.len());
        let is_closed = rest[end..].starts_with(|c: char| c.is_ascii());
        let run = &rest[..if is_closed { end } else { end - 1 }];
        if run.len() >= RUN_BYTES_MIN {
            runs.push(run.to_ascii_lowercase());
        }
        rest = &rest[end..];
    }
    runs
}

/// Returns for each document of a segment whether it may hold a run in a field.
///
/// # Errors
/// What the index says.
pub fn documents_with_run(
    segment: &SegmentReader,
    field: Field,
    run: &str,
) -> tantivy::Result<Vec<bool>> {
    let index = segment.inverted_index(field)?;
    let finder = memchr::memmem::Finder::new(run);
    let mut documents = vec![false; segment.max_doc() as usize];
    let mut words = index.terms().stream()?;
    while words.advance() {
        let is_long = words.key().starts_with(b"#");
        if !is_long && finder.find(words.key()).is_none() {
            continue;
        }
        let info = words.value();
        let mut postings = index.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        while postings.doc() != TERMINATED {
            documents[postings.doc() as usize] = true;
            postings.advance();
        }
    }
    Ok(documents)
}
