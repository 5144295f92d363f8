//! Export: trajectories with their labels, as files.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::error::SessionError;
use super::select::{only_query, select};
use super::statement::{Session, mistake};
use crate::diag::Diagnostic;
use crate::exchange::{ChatWriter, NativeWriter, create};
use crate::model::{Json, Judge, Label};
use crate::query::Scope;
use crate::query::syntax::{Name, QueryStatement};

/// Trajectories read together.
const READ: usize = 128;

/// A format that export writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// The project's own, lossless JSONL.
    Swirl,
    /// Chat JSONL.
    Chat,
}

impl ExportFormat {
    /// Every format.
    pub const ALL: [ExportFormat; 2] = [ExportFormat::Swirl, ExportFormat::Chat];

    /// Returns the word used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ExportFormat::Swirl => "swirl",
            ExportFormat::Chat => "chat",
        }
    }

    /// Returns the format that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<ExportFormat> {
        ExportFormat::ALL.into_iter().find(|f| f.as_str() == word)
    }
}

/// Writes the whole trajectories that `query` selects (each once, in the order they were stored)
/// with all their newest labels to `path`, compressed as its name says. Returns the number
/// written.
///
/// # Errors
/// The query's, and what the disk says.
pub fn export(
    session: &Session,
    query: &str,
    format: ExportFormat,
    path: &Path,
) -> Result<u64, SessionError> {
    let statements = session.parse(query)?;
    let selected = only_query(&statements, "export")?;
    let view = session.database().view();
    let (database, cancel) = (session.database(), session.cancel());
    let parameters = &session.parameters();
    let scope = Scope { database, view: &view, cancel, text: query, parameters };
    let written = write(session, &scope, selected, format, path);
    session.progress().end();
    written
}

/// Does what [`export`] does with a query that was read.
pub(super) fn write(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    format: ExportFormat,
    path: &Path,
) -> Result<u64, SessionError> {
    let view = scope.view;
    let selection = select(session, scope, query, None)?;
    let ordinals: BTreeSet<u64> = selection.rows.iter().map(|r| r.trajectory).collect();
    let ordinals: Vec<u64> = ordinals.into_iter().collect();
    let mut file = create(path)?;
    let mut writer = Writer::new(format, &mut file, &judges(session)?)?;
    session.progress().begin("writing trajectories", ordinals.len() as u64);
    for part in ordinals.chunks(READ) {
        if session.cancel().is_cancelled() {
            return Err(SessionError::Cancelled);
        }
        // The project's own format keeps what lies over `meta` apart, as labels.
        let patches = match format {
            ExportFormat::Chat => view.meta_patches(part)?,
            ExportFormat::Swirl => HashMap::new(),
        };
        for (ordinal, mut trajectory) in part.iter().zip(view.trajectories(part)?) {
            let labels = view.current_labels(*ordinal)?;
            if let Some(patches) = patches.get(ordinal) {
                trajectory.meta = Json::laid(trajectory.meta.take(), patches);
            }
            writer.write(&trajectory, &labels)?;
        }
        session.progress().advance(part.len() as u64);
    }
    writer.finish()?;
    file.finish()?;
    Ok(ordinals.len() as u64)
}

/// Returns the format that an EXPORT names.
pub(super) fn format_of(name: Option<&Name>, text: &str) -> Result<ExportFormat, SessionError> {
    let Some(name) = name else { return Ok(ExportFormat::Swirl) };
    ExportFormat::parse(&name.text).ok_or_else(|| {
        let known = ExportFormat::ALL.map(ExportFormat::as_str).join(", ");
        let message = format!("unknown format '{}'; expected one of {known}", name.text);
        mistake(Diagnostic::new("export-format", message).at(name.span), text)
    })
}

pub(super) fn judges(session: &Session) -> Result<Vec<Judge>, SessionError> {
    let view = session.database().view();
    let judges = view
        .catalogue()
        .judges
        .iter()
        .map(|j| j.judge().map_err(|e| SessionError::Environment(e.to_string())));
    judges.collect()
}

enum Writer<'a> {
    Swirl(NativeWriter<&'a mut crate::exchange::OutputFile>),
    Chat(ChatWriter<&'a mut crate::exchange::OutputFile>),
}

impl<'a> Writer<'a> {
    fn new(
        format: ExportFormat,
        file: &'a mut crate::exchange::OutputFile,
        judges: &[Judge],
    ) -> Result<Writer<'a>, SessionError> {
        match format {
            ExportFormat::Chat => Ok(Writer::Chat(ChatWriter::new(file))),
            ExportFormat::Swirl => {
                let mut writer = NativeWriter::new(file);
                for judge in judges {
                    writer.write_judge(judge).map_err(SessionError::Output)?;
                }
                Ok(Writer::Swirl(writer))
            }
        }
    }

    fn write(
        &mut self,
        trajectory: &crate::model::Trajectory,
        labels: &[Label],
    ) -> Result<(), SessionError> {
        let written = match self {
            Writer::Swirl(writer) => writer.write_trajectory(trajectory, labels),
            Writer::Chat(writer) => writer.write(trajectory, labels).map(drop),
        };
        written.map_err(SessionError::Output)
    }

    fn finish(self) -> Result<(), SessionError> {
        let finished = match self {
            Writer::Swirl(writer) => writer.finish().map(drop),
            Writer::Chat(writer) => writer.finish().map(drop),
        };
        finished.map_err(SessionError::Output)
    }
}
