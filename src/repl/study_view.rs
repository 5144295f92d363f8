//! A study at work, for people.

use super::console::{Console, say};
use super::format::Format;
use crate::session::{Doing, Session, SessionError, Study, Work};

/// Carries a study out, unless only its report is asked for, and writes the report.
///
/// # Errors
/// What fails, or `Cancelled`; the report is then left as it was.
pub fn study(session: &Session, study: &Study, report_only: bool) -> Result<(), SessionError> {
    if !report_only {
        let mut console = Console::new(Format::Table);
        study.carry_out(session, &mut |doing| perform(session, &mut console, doing))?;
    }
    for path in study.write_report(session)? {
        say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

fn perform(
    session: &Session,
    console: &mut Console,
    doing: &Doing<'_>,
) -> Result<(), SessionError> {
    let Doing { number, all, what, work } = doing;
    let goes_on = if matches!(work, Work::Resume(_)) { ", which goes on" } else { "" };
    say(&format!("[{number}/{all}] {what}{goes_on}"));
    match work {
        Work::Statement(text) => console.run(session, text),
        Work::Resume(run) => console.resume(session, run),
        Work::Preparation => Ok(()),
    }
}
