//! An import on the screen.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::console::{grouped, plural, say};
use super::training_view::duration;
use crate::codec::DatasetRecord;
use crate::db::{ImportEvent, ImportReport, Incident, import};
use crate::diag::hexadecimal;
use crate::exchange::{Format, Progress, ReadOptions, open};
use crate::session::{Session, SessionError, now_micros};

/// Incidents printed of one file; the rest is counted.
const INCIDENTS_SHOWN: u64 = 20;

/// How files are imported.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The format; `None`: recognised.
    pub format: Option<Format>,
    /// The source of all records.
    pub source: Option<String>,
    /// The split of all records.
    pub split: Option<String>,
    /// Columns of a table of steps: our name and the file's.
    pub columns: Vec<(String, String)>,
    /// Whether the first bad record ends the import.
    pub strict: bool,
    /// Threads that parse.
    pub threads: usize,
}

/// Imports files one after another and returns what all of them brought.
///
/// # Errors
/// The first file that cannot be read to its end, or, when strict, a bad record. What was
/// committed before stays.
pub fn import_files(
    session: &Session,
    files: &[PathBuf],
    options: &ImportOptions,
) -> Result<ImportReport, SessionError> {
    let mut total = ImportReport::default();
    for file in files {
        let report = import_file(session, file, options)?;
        total.add(&report);
        if session.cancel().is_cancelled() {
            print_import_report("stopped", &total, Duration::ZERO);
            return Err(SessionError::Cancelled);
        }
        if options.strict && report.skipped + report.conflicts > 0 {
            let message = format!("{}: stopped at the first bad record", file.display());
            return Err(SessionError::mistake("import", message));
        }
    }
    Ok(total)
}

fn import_file(
    session: &Session,
    file: &Path,
    options: &ImportOptions,
) -> Result<ImportReport, SessionError> {
    let (began, started_at) = (Instant::now(), now_micros());
    let read = ReadOptions {
        format: options.format,
        source: options.source.clone(),
        split: options.split.clone(),
        columns: options.columns.clone(),
        threads: options.threads.max(1),
        bytes_ahead: session.database().store().commit_bytes(),
        ..ReadOptions::default()
    };
    let reader = open(file, &read)?;
    let format = reader.format();
    let progress = reader.progress();
    let bar = bar(&progress);
    let mut shown = 0;
    let mut datasets = Vec::new();
    let name = file.display().to_string();
    let mut watch = |event: ImportEvent<'_>| {
        match event {
            ImportEvent::Incident(incident) => {
                shown += 1;
                if shown <= INCIDENTS_SHOWN {
                    let line = incident_line(&name, incident);
                    bar.as_ref().map_or_else(|| say(&line), |bar| bar.suspend(|| say(&line)));
                }
            }
            ImportEvent::Dataset { record, is_new } => {
                datasets.push(dataset_line(&name, record, is_new));
            }
            ImportEvent::Committed(report) => {
                if let Some(bar) = &bar {
                    bar.set_position(progress.bytes_read());
                    bar.set_message(format!("{} trajectories", grouped(report.trajectories)));
                }
            }
        }
        if session.cancel().is_cancelled() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let report = import(session.database(), reader, options.strict, &mut watch);
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let report = report?;
    if shown > INCIDENTS_SHOWN {
        say(&format!("{name}: {} more like these", grouped(shown - INCIDENTS_SHOWN)));
    }
    print_import_report(&name, &report, began.elapsed());
    datasets.iter().for_each(|line| say(line));
    session.record_import(&name, format, &report, started_at)?;
    Ok(report)
}

fn bar(progress: &Progress) -> Option<ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::new(progress.bytes_total());
    let template = "{bar:30} {percent:>3}%  {bytes_per_sec}  {msg}  {eta} left";
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    Some(bar)
}

fn incident_line(file: &str, incident: &Incident) -> String {
    match incident {
        Incident::Bad(bad) => format!("{file}: skipped {bad}"),
        Incident::Conflict { place, source, id } => format!(
            "{file}: skipped {place}: '{id}' of source '{source}' is stored with other content; \
             import it under another --source, or give it another id"
        ),
    }
}

fn dataset_line(file: &str, dataset: &DatasetRecord, is_new: bool) -> String {
    let rows = plural(dataset.rows, "sub-trajectory", "sub-trajectories");
    let hash = hexadecimal(&dataset.hash);
    let told = if is_new { "" } else { " (it was there already)" };
    format!("{file}: dataset '{}', {rows}, with the hash of the file: {hash}{told}", dataset.name)
}

/// Prints what an import brought.
pub fn print_import_report(name: &str, report: &ImportReport, time: Duration) {
    let mut parts = vec![
        plural(report.trajectories, "trajectory", "trajectories"),
        plural(report.steps, "step", "steps"),
        plural(report.tool_calls, "tool call", "tool calls"),
        plural(report.labels, "label", "labels"),
    ];
    let counted = [
        (report.unchanged, "unchanged"),
        (report.labels_unchanged, "labels unchanged"),
        (report.skipped, "skipped"),
        (report.conflicts, "in conflict"),
    ];
    let some = counted.into_iter().filter(|(count, _)| *count > 0);
    parts.extend(some.map(|(count, what)| format!("{} {what}", grouped(count))));
    let nothing = report.trajectories + report.labels == 0 && report.unchanged > 0;
    let note = if nothing { " (nothing new)" } else { "" };
    let took = if time >= Duration::from_secs(1) {
        format!(" in {}", duration(time))
    } else {
        String::new()
    };
    say(&format!("{name}: {}{took}{note}", parts.join(", ")));
}
