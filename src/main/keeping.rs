//! Commands that look after a database.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use swirldb::repl;
use swirldb::session::{Session, SessionError};

use super::OpenArguments;

/// A database, and how it is opened.
#[derive(Args)]
pub struct DatabaseArguments {
    /// The database.
    db: PathBuf,
    #[command(flatten)]
    open: OpenArguments,
}

/// Arguments of `swirl backup`.
#[derive(Args)]
pub struct BackupArguments {
    /// The database; another process may write to it.
    db: PathBuf,
    /// The backup: a folder that is missing or empty.
    to: PathBuf,
    #[command(flatten)]
    open: OpenArguments,
}

/// Arguments of `swirl restore`.
#[derive(Args)]
pub struct RestoreArguments {
    /// The backup.
    from: PathBuf,
    /// The database: a folder that is missing or empty.
    db: PathBuf,
}

/// Opens a database for reading: another process may write to it.
fn reading(db: &std::path::Path, open: &OpenArguments) -> Result<Session, SessionError> {
    OpenArguments { read_only: true, ..open.clone() }.session(db, false)
}

/// Checks everything stored against everything else.
pub fn verify(arguments: &DatabaseArguments) -> Result<ExitCode, SessionError> {
    repl::verify(&arguments.open.session(&arguments.db, false)?)
}

/// Prints what a database holds.
pub fn stats(arguments: &DatabaseArguments) -> Result<(), SessionError> {
    repl::stats(&reading(&arguments.db, &arguments.open)?)
}

/// Writes a backup; where another process writes, of what there is when it begins.
pub fn backup(arguments: &BackupArguments) -> Result<(), SessionError> {
    let BackupArguments { db, to, open } = arguments;
    let session = match open.session(db, false) {
        Err(error) if error.is_locked() => reading(db, open)?,
        other => other?,
    };
    repl::backup(&session, to)
}

/// Makes a database from a backup.
pub fn restore(arguments: &RestoreArguments) -> Result<(), SessionError> {
    repl::restore(&arguments.from, &arguments.db)
}

/// Makes anew what is derived.
pub fn repair(arguments: &DatabaseArguments) -> Result<(), SessionError> {
    repl::repair_database(&arguments.db, arguments.open.options())
}

/// Merges files.
pub fn compact(arguments: &DatabaseArguments) -> Result<(), SessionError> {
    repl::compact(&arguments.open.session(&arguments.db, false)?)
}
