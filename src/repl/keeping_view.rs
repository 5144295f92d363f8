//! What a database takes, its backups and its repair, on the screen.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

use super::console::{grouped, interrupt, plural, say};
use super::progress_view::{watched, watched_progress};
use crate::diag::Progress;
use crate::query::Cancel;
use crate::session::{Session, SessionError, SessionOptions, Stats, repair, restore_backup};
use crate::store::{Backup, FamilyStats, Swept, TextStats};

/// Prints what a database holds and takes.
///
/// # Errors
/// Damage, or what the disk says.
pub fn stats(session: &Session) -> Result<(), SessionError> {
    let stats = watched(session, || session.stats())?;
    let text = lines(&stats).join("\n");
    writeln!(io::stdout(), "{text}").map_err(SessionError::Output)
}

fn lines(stats: &Stats) -> Vec<String> {
    let store = &stats.store;
    let mut lines = vec![format!(
        "{}, {}, {} after {}",
        plural(store.trajectories, "trajectory", "trajectories"),
        plural(store.steps, "step", "steps"),
        plural(stats.label_columns as u64, "column of labels", "columns of labels"),
        plural(store.sequence, "commit", "commits"),
    )];
    if store.unfolded > 0 {
        lines.push(format!("{} not yet in columns", plural(store.unfolded, "step", "steps")));
    }
    if store.not_swept > 0 {
        let gone = plural(store.not_swept, "deleted trajectory", "deleted trajectories");
        lines.push(format!("{gone}, whose space swirl compact gives back"));
    }
    lines.push(String::new());
    let head = ["family", "entries", "bytes", "on disk", "ratio"].map(str::to_owned);
    let row = |family: &FamilyStats| {
        let FamilyStats { name, entries, raw_bytes, file_bytes } = *family;
        let ratio = file_bytes as f64 / raw_bytes.max(1) as f64;
        [name.to_owned(), grouped(entries), sized(raw_bytes), sized(file_bytes), share(ratio)]
    };
    let rows: Vec<[String; 5]> =
        std::iter::once(head).chain(store.families.iter().map(row)).collect();
    lines.extend(aligned(&rows));
    lines.push(String::new());
    for (name, bytes) in &stats.folders {
        lines.push(format!("{name:<10} {:>10}", sized(*bytes)));
    }
    if let Some(texts) = store.texts.filter(|texts| texts.texts > 0) {
        let TextStats { texts, bytes, occurrences, occurring_bytes } = texts;
        let times = occurring_bytes as f64 / bytes.max(1) as f64;
        lines.push(String::new());
        lines.push(format!(
            "{} occur {} times and are stored once: {} instead of {} ({times:.2} times)",
            plural(texts, "long text", "long texts"),
            grouped(occurrences),
            sized(bytes),
            sized(occurring_bytes),
        ));
    }
    let records = stats.folders.iter().find(|(name, _)| *name == "records");
    if let (Some(read), Some((_, records))) = (stats.imported_bytes.filter(|n| *n > 0), records) {
        let ratio = share(*records as f64 / read as f64);
        lines.push(format!("{} of text imported; records take {ratio} of it", sized(read)));
    }
    lines
}

/// Writes a backup and says what is in it.
///
/// # Errors
/// As [`Session::backup`].
pub fn backup(session: &Session, to: &Path) -> Result<(), SessionError> {
    let backup = watched(session, || session.backup(to))?;
    say(&told(&backup, &to.display().to_string()));
    Ok(())
}

/// Makes a database from a backup.
///
/// # Errors
/// As [`restore_backup`].
pub fn restore(from: &Path, to: &Path) -> Result<(), SessionError> {
    let backup = alone("restoring", |told| restore_backup(from, to, told))?;
    say(&told(&backup, &to.display().to_string()));
    Ok(())
}

fn told(backup: &Backup, place: &str) -> String {
    let files = plural(backup.files.len() as u64, "file", "files");
    format!("{place}: {files}, {}, commit {}", sized(backup.bytes()), backup.sequence)
}

/// Makes all that is derived anew.
///
/// # Errors
/// As [`repair`].
pub fn repair_database(path: &Path, options: SessionOptions) -> Result<(), SessionError> {
    let report = alone("reading records", |told| repair(path, options, told))?;
    say(&format!(
        "columns made anew of {}, {} and {}; full text and indices of corpora are made anew when \
         they are asked for",
        plural(report.trajectories, "trajectory", "trajectories"),
        plural(report.steps, "step", "steps"),
        plural(report.labels, "label", "labels"),
    ));
    say("'swirl verify' compares everything");
    Ok(())
}

/// Merges files, and says what that gave back.
///
/// # Errors
/// As [`Session::compact`].
pub fn compact(session: &Session) -> Result<(), SessionError> {
    let bytes = || -> Result<u64, SessionError> {
        Ok(session.folders()?.iter().map(|(_, bytes)| bytes).sum())
    };
    let (before, began) = (bytes()?, Instant::now());
    session.progress().begin("merging", 0);
    let done = watched(session, || session.compact());
    session.progress().end();
    let Swept { trajectories, waiting } = done?;
    let after = bytes()?;
    let seconds = began.elapsed().as_secs_f64();
    if trajectories > 0 {
        let gone = plural(trajectories, "deleted trajectory", "deleted trajectories");
        say(&format!("removed what {gone} left behind"));
    }
    if waiting > 0 {
        let gone = plural(waiting, "deleted trajectory", "deleted trajectories");
        say(&format!("{gone} may still be read by a statement: compact again when it is done"));
    }
    say(&format!("{} before, {} now, {seconds:.1} s", sized(before), sized(after)));
    Ok(())
}

/// Does something that has no session, watched and stopped by Ctrl-C.
fn alone<T>(
    what: &'static str,
    work: impl FnOnce(&mut dyn FnMut(u64, u64) -> bool) -> Result<T, SessionError>,
) -> Result<T, SessionError> {
    let (progress, cancel) = (Progress::default(), Cancel::default());
    interrupt(&cancel)?;
    progress.begin(what, 0);
    let done = watched_progress(&progress, || {
        work(&mut |done, all| {
            progress.set(done, all);
            !cancel.is_cancelled()
        })
    });
    progress.end();
    done
}

/// Returns lines of columns, the first to the left and the others to the right.
fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect()
}

/// Returns a number of bytes in the unit that fits it.
fn sized(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn share(ratio: f64) -> String {
    format!("{ratio:.2}")
}
