//! The command that carries out a study.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use swirldb::repl;
use swirldb::session::{SessionError, Study};

use super::OpenArguments;

/// Arguments of `swirl study`.
#[derive(Args)]
pub struct FileArguments {
    /// The database; made where there is none.
    db: PathBuf,
    /// The study as TOML: a model, questions, judges, and what is varied.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only write the report, of what has finished.
    #[arg(long)]
    report_only: bool,
    /// Only print the statements.
    #[arg(long, conflicts_with = "report_only")]
    plan: bool,
    #[command(flatten)]
    open: OpenArguments,
}

/// Carries out a study, or goes on with it.
pub fn study(arguments: FileArguments) -> Result<(), SessionError> {
    let FileArguments { db, config, report_only, plan, open } = arguments;
    let study = Study::read(&config)?;
    if plan {
        let mut out = std::io::stdout();
        let written = out.write_all(study.plan().as_bytes()).and_then(|()| out.flush());
        return written.map_err(SessionError::Output);
    }
    let session = open.session(&db, !report_only)?;
    repl::study(&session, &study, report_only)
}
