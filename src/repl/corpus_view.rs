//! What is told of corpora.

use super::console::{grouped, plural, say};
use crate::codec::CorpusRecord;
use crate::diag::hexadecimal;
use crate::score::{Evaluation, Measure};
use crate::session::{CorpusReport, Outcome, SessionError};
use crate::tools::DriftReport;

/// Tells what a statement did with a corpus.
pub(super) fn report(outcome: &Outcome) {
    match outcome {
        Outcome::CorpusSealed { corpus, report } => print_corpus(corpus, report),
        Outcome::CorpusExported { corpus, path } => print_corpus_export(corpus, path),
        Outcome::CorpusDropped(corpus) => say(&format!(
            "corpus {} is gone with its {}",
            corpus.name,
            plural(corpus.documents, "document", "documents")
        )),
        _ => {}
    }
}

/// Tells of a corpus that was sealed.
pub fn print_corpus(corpus: &CorpusRecord, report: &CorpusReport) {
    let mut told = format!(
        "sealed corpus {} of {}, {} of text",
        corpus.name,
        plural(corpus.documents, "document", "documents"),
        megabytes(corpus.text_bytes)
    );
    for (count, what) in [
        (report.same, "were there already"),
        (report.conflicts, "left out for an id that has other content"),
        (report.bad, "left out for what is wrong with them"),
    ] {
        if count > 0 {
            told += &format!("; {} {what}", grouped(count));
        }
    }
    say(&told);
    say(&format!("fingerprint {}", fingerprint(corpus)));
}

/// Tells of a corpus that was written to a file.
pub fn print_corpus_export(corpus: &CorpusRecord, path: &str) {
    let documents = plural(corpus.documents, "document", "documents");
    say(&format!(
        "{path}: corpus {}, {documents}, fingerprint {}",
        corpus.name,
        fingerprint(corpus)
    ));
}

fn fingerprint(corpus: &CorpusRecord) -> String {
    corpus.fingerprint.map(|hash| hexadecimal(&hash)).unwrap_or_default()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Writes measures as trec_eval does: measure, topic or `all`, value.
///
/// # Errors
/// The output cannot be written.
pub fn print_evaluation(
    evaluation: &Evaluation,
    measures: &[Measure],
    per_topic: bool,
    out: &mut dyn std::io::Write,
) -> Result<(), SessionError> {
    let mut write = || -> std::io::Result<()> {
        for (topic, values) in evaluation.topics.iter().filter(|_| per_topic) {
            for (measure, value) in measures.iter().zip(values) {
                writeln!(out, "{measure}\t{topic}\t{:.4}", value + 0.0)?;
            }
        }
        for (measure, value) in measures.iter().zip(&evaluation.means) {
            writeln!(out, "{measure}\tall\t{:.4}", value + 0.0)?;
        }
        out.flush()
    };
    write().map_err(SessionError::Output)?;
    let unanswered = evaluation.unanswered.len() as u64;
    if unanswered > 0 {
        let topics = plural(unanswered, "topic has", "topics have");
        say(&format!("{topics} judgements and no documents; they count as 0 unless left out"));
    }
    let unjudged = evaluation.unjudged.len() as u64;
    if unjudged > 0 {
        say(&format!(
            "{} no judgements and did not count",
            plural(unjudged, "topic has", "topics have")
        ));
    }
    Ok(())
}

/// Writes what has drifted since calls were recorded.
///
/// # Errors
/// The output cannot be written.
pub fn print_drift(report: &DriftReport, out: &mut dyn std::io::Write) -> Result<(), SessionError> {
    for drift in &report.drifts {
        writeln!(out, "{drift}").map_err(SessionError::Output)?;
    }
    out.flush().map_err(SessionError::Output)?;
    let calls = plural(report.calls, "call was", "calls were");
    say(&format!(
        "{calls} made again: {} as recorded, {} not; {} skipped",
        grouped(report.same),
        grouped(report.calls - report.same),
        grouped(report.skipped)
    ));
    Ok(())
}
