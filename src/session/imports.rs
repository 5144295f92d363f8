//! What is remembered of an import.

use serde_json::json;

use super::error::SessionError;
use super::statement::Session;
use crate::codec::{RunRecord, RunStatus};
use crate::db::ImportReport;
use crate::exchange::Format;

impl Session {
    /// Stores an import as a run that began at `started_at`, in microseconds since 1970. One that
    /// brought nothing new leaves no trace.
    ///
    /// # Errors
    /// What the disk says.
    pub fn record_import(
        &self,
        file: &str,
        format: Format,
        report: &ImportReport,
        started_at: i64,
    ) -> Result<(), SessionError> {
        if report.trajectories + report.labels + report.datasets == 0 {
            return Ok(());
        }
        let store = self.database().store();
        let imports = store.runs()?.iter().filter(|r| r.kind == "import").count();
        let output = json!({
            "trajectories": report.trajectories,
            "steps": report.steps,
            "tool_calls": report.tool_calls,
            "labels": report.labels,
            "unchanged": report.unchanged,
            "skipped": report.skipped,
            "conflicts": report.conflicts,
            "datasets": report.datasets,
            "bytes": report.bytes,
        });
        store.put_run(&RunRecord {
            id: format!("import_{:06}", imports + 1),
            kind: "import".to_owned(),
            status: RunStatus::Finished,
            statement: format!("import {file}"),
            config: json!({"file": file, "as": format.as_str()}).to_string(),
            seed: None,
            dataset: None,
            output: Some(output.to_string()),
            error: None,
            started_at,
            ended_at: Some(super::now_micros()),
        })?;
        Ok(())
    }
}
