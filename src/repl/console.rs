//! Where statements' results are printed.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::format::{Format, RowWriter};
use super::last_result::LastResult;
use super::progress_view::{ProgressLine, Watch};
use super::screen::{Output, harmless, is_paging};
use super::training_view::TrainingView;
use crate::diag::hexadecimal;
use crate::query::Cancel;
use crate::query::syntax::StatementKind;
use crate::session::{Outcome, Session, SessionError, Sink, rerun};
use crate::train::Event;

/// Prints results; remembers how the user wants them.
pub struct Console {
    /// The format of rows.
    pub format: Format,
    /// Whether each statement's time is told.
    pub timer: bool,
    /// Whether rows that are longer than the screen go through a pager.
    pub pager: bool,
    /// The width that tables are folded to; `None`: the screen's.
    pub width: Option<usize>,
    pub(super) last: LastResult,
    /// Whether what runs is a query whose rows are remembered.
    is_remembering: bool,
    out: Output,
    line: ProgressLine,
    rows: Option<RowWriter>,
    training: Option<TrainingView>,
}

impl Console {
    /// Returns a console on standard output.
    pub fn new(format: Format) -> Console {
        let line = ProgressLine::default();
        Console {
            format,
            timer: false,
            pager: false,
            width: None,
            last: LastResult::default(),
            is_remembering: false,
            out: Output::standard(line.clone()),
            line,
            rows: None,
            training: None,
        }
    }

    /// Sends rows to a file from now on, or back to standard output.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn redirect(&mut self, path: Option<&Path>) -> io::Result<()> {
        self.out.flush()?;
        self.out = match path {
            Some(path) => Output::file(path, self.line.clone())?,
            None => Output::standard(self.line.clone()),
        };
        Ok(())
    }

    /// Runs all statements of a text, one after another, until one fails.
    ///
    /// # Errors
    /// The first failure; what earlier statements did stays.
    pub fn run(&mut self, session: &Session, text: &str) -> Result<(), SessionError> {
        for statement in session.parse(text)? {
            let began = Instant::now();
            self.training = None;
            self.is_remembering = match &statement.kind {
                StatementKind::Query(query) => query.then.is_none(),
                _ => false,
            };
            if self.is_remembering {
                self.last.begin(&statement.text);
            }
            let watch = Watch::begin(session.progress(), &self.line);
            let outcome = session.run(&statement, text, self);
            drop(watch);
            if let Some(mut training) = self.training.take() {
                training.end();
            }
            // Rows that a stopped query gave are shown all the same.
            let was_left = self.out.end_pages().map_err(SessionError::Output)?;
            let rows = self.rows.take();
            match outcome {
                // Whoever left the pager has seen enough.
                Err(SessionError::Output(_)) if was_left => {}
                outcome => self.report(&outcome?, rows.as_ref())?,
            }
            self.tell_time(began);
        }
        Ok(())
    }

    /// Tells how long a statement took, if the user wants to know.
    pub(super) fn tell_time(&self, began: Instant) {
        if self.timer {
            say(&format!("time: {:.3} ms", began.elapsed().as_secs_f64() * 1e3));
        }
    }

    /// Returns the columns that rows are fitted to: those asked for, or the screen's.
    pub(super) fn columns(&self) -> Option<usize> {
        self.width.or_else(|| self.out.is_screen.then(terminal_width))
    }

    /// Writes what `draw` returns, which may colour where it is told so, in place of rows. The
    /// picture says nothing else to a terminal: its texts have been made harmless.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn picture(&mut self, draw: impl FnOnce(bool) -> String) -> io::Result<()> {
        let is_coloured = self.out.is_screen && ::console::colors_enabled();
        self.out.write_coloured(&draw(is_coloured))
    }

    /// Runs work of a session with its progress on the screen.
    pub(super) fn watched<T>(&self, session: &Session, work: impl FnOnce() -> T) -> T {
        let _watch = Watch::begin(session.progress(), &self.line);
        work()
    }

    /// Goes on with a training run.
    ///
    /// # Errors
    /// As [`Session::resume`].
    pub fn resume(&mut self, session: &Session, run: &str) -> Result<(), SessionError> {
        let watch = Watch::begin(session.progress(), &self.line);
        let outcome = session.resume(run, self);
        drop(watch);
        if let Some(mut training) = self.training.take() {
            training.end();
        }
        self.report(&outcome?, None)
    }

    /// Makes the run of a bundle again and says what came of it; returns whether it is the same.
    ///
    /// # Errors
    /// As [`rerun`].
    pub fn rerun(
        &mut self,
        session: &Session,
        bundle: &Path,
        model: Option<&Path>,
    ) -> Result<bool, SessionError> {
        let again = rerun(session, bundle, model, self);
        if let Some(mut training) = self.training.take() {
            training.end();
        }
        let again = again?;
        super::training_view::print_rerun(&again);
        Ok(again.is_same())
    }

    /// Says how large a table was, and what of it was left out.
    fn footer(&self, rows: u64, written: &RowWriter) {
        let (shown, all) = written.columns();
        if shown < all {
            let rows = plural(rows, "row", "rows");
            say(&format!("{rows}, {all} columns, {shown} shown; .mode line shows all"));
        } else if matches!(self.format, Format::Table | Format::Line) && self.out.is_screen {
            let columns = plural(all as u64, "column", "columns");
            say(&format!("{}, {columns}", plural(rows, "row", "rows")));
        }
    }

    fn report(
        &mut self,
        outcome: &Outcome,
        written: Option<&RowWriter>,
    ) -> Result<(), SessionError> {
        match outcome {
            Outcome::Rows { rows, undecided } => {
                if *undecided > 0 {
                    let trajectories = plural(*undecided, "trajectory", "trajectories");
                    say(&format!("undecided: {trajectories} (a step has no label)"));
                }
                if let Some(written) = written {
                    self.footer(*rows, written);
                }
            }
            Outcome::Saved(dataset) => {
                let rows = plural(dataset.rows, "sub-trajectory", "sub-trajectories");
                let of = plural(dataset.trajectories, "trajectory", "trajectories");
                let hash = hexadecimal(&dataset.hash[..6]);
                say(&format!("saved '{}': {rows} of {of}, hash {hash}", dataset.name));
                if dataset.undecided > 0 {
                    let left = plural(dataset.undecided, "trajectory", "trajectories");
                    say(&format!("undecided and left out: {left} (a step has no label)"));
                }
            }
            Outcome::Exported { trajectories, path } => {
                let written = plural(*trajectories, "trajectory", "trajectories");
                say(&format!("wrote {written} to {path}"));
            }
            Outcome::DatasetExported { .. }
            | Outcome::Compared { .. }
            | Outcome::Verified(_)
            | Outcome::Dropped(_)
            | Outcome::Deleted { .. } => super::dataset_view::report(outcome)?,
            Outcome::CorpusSealed { .. }
            | Outcome::CorpusExported { .. }
            | Outcome::CorpusDropped(_) => super::corpus_view::report(outcome),
            Outcome::Labelled { added, same, without_value } => {
                let mut told = format!("gave {}", plural(*added, "label", "labels"));
                if *same > 0 {
                    told.push_str(&format!(", {} were there already", grouped(*same)));
                }
                if *without_value > 0 {
                    let rows = plural(*without_value, "row", "rows");
                    told.push_str(&format!(", {rows} without a value"));
                }
                say(&told);
            }
            Outcome::Trained(summary) => {
                super::training_view::print_summary(summary);
                if !summary.complete {
                    return Err(SessionError::Cancelled);
                }
            }
            Outcome::Judged(summary) => super::rollout_view::print_judged(summary),
            Outcome::Resampled(summary) => super::rollout_view::print_resampled(summary),
            Outcome::Rolled(summary) => super::rollout_view::print(summary),
            Outcome::Text(text) => {
                let written = self.out.write_all(text.as_bytes());
                let ended = if text.ends_with('\n') { Ok(()) } else { writeln!(self.out) };
                written.and(ended).and(self.out.flush()).map_err(SessionError::Output)?;
            }
        }
        Ok(())
    }
}

impl Sink for Console {
    fn begin(&mut self, schema: &Schema) -> io::Result<()> {
        let width = self.columns();
        if self.pager {
            self.out.begin_pages();
        }
        self.rows = Some(RowWriter::begin(&mut self.out, self.format, schema, width)?);
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch) -> io::Result<()> {
        match &mut self.rows {
            Some(rows) => rows.batch(&mut self.out, batch),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        match &mut self.rows {
            Some(rows) => rows.end(&mut self.out),
            None => Ok(()),
        }
    }

    fn identity(&mut self, columns: &RecordBatch) {
        if self.is_remembering {
            self.last.identity(columns);
        }
    }

    fn note(&mut self, text: &str) {
        say(&format!("note: {text}"));
    }

    fn train(&mut self, event: &Event) -> ControlFlow<()> {
        self.line.hide();
        self.training.get_or_insert_with(TrainingView::new).show(event);
        ControlFlow::Continue(())
    }
}

/// Writes a line to standard error, without what would command a terminal.
pub(super) fn say(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{}", harmless(text));
}

/// Returns the number with its noun.
pub(super) fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// Returns a number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn terminal_width() -> usize {
    let size = ::console::Term::stdout().size_checked();
    size.map_or(100, |(_, columns)| usize::from(columns)).max(20)
}

/// Makes Ctrl-C cancel what runs instead of ending the program; the third time within a statement
/// ends it.
///
/// # Errors
/// The operating system refuses.
pub fn interrupt(cancel: &Cancel) -> Result<(), SessionError> {
    let cancel = cancel.clone();
    let pressed = AtomicU32::new(0);
    let set = ctrlc::set_handler(move || {
        if !cancel.is_cancelled() || is_paging() {
            pressed.store(1, Ordering::Relaxed);
            cancel.cancel();
            return;
        }
        if pressed.fetch_add(1, Ordering::Relaxed) > 1 {
            std::process::exit(130);
        }
        say("stopping; Ctrl-C once more ends the program");
    });
    set.map_err(|e| SessionError::Environment(e.to_string()))
}
