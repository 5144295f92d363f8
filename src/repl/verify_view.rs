//! A verification on the screen.

use std::process::ExitCode;

use super::console::{grouped, plural, say};
use super::progress_view::watched;
use crate::session::{Session, SessionError};
use crate::store::Finding;

/// Checks a database and prints what is wrong. The exit code is 3 if anything is.
///
/// # Errors
/// What keeps the check from going on.
pub fn verify(session: &Session) -> Result<ExitCode, SessionError> {
    session.progress().begin("checking", 0);
    let mut progress = |done: u64, all: u64| {
        session.progress().set(done, all);
        !session.cancel().is_cancelled()
    };
    let report = watched(session, || session.database().verify(&mut progress));
    session.progress().end();
    let mut report = report?;
    let corpora = watched(session, || session.verify_corpora(None))?;
    for (corpus, wrong) in &corpora {
        let finding =
            |what: &String| Finding { place: format!("corpus {corpus}"), what: what.clone() };
        report.findings.extend(wrong.iter().map(finding));
    }
    if session.cancel().is_cancelled() {
        return Err(SessionError::Cancelled);
    }
    for finding in &report.findings {
        say(&format!("{}: {}", finding.place, finding.what));
    }
    say(&format!(
        "{}, {}, {} texts, {} labels, {} datasets, {} corpora checked",
        plural(report.trajectories, "trajectory", "trajectories"),
        plural(report.steps, "step", "steps"),
        grouped(report.bodies),
        grouped(report.labels),
        report.datasets,
        corpora.len(),
    ));
    if report.findings.is_empty() {
        say("everything agrees");
        return Ok(ExitCode::SUCCESS);
    }
    let count = report.findings.len() as u64;
    say(&format!("found: {}", plural(count, "disagreement", "disagreements")));
    Ok(ExitCode::from(3))
}
