//! Why a judge cannot judge.

use super::super::policy::PolicyError;

/// Why a judge cannot judge at all. What fails for one verdict is told with that verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// A part of its definition cannot be used.
    #[error("{setting} {problem}; expected {expected}")]
    Setting {
        /// Which one.
        setting: String,
        /// What is wrong with it.
        problem: String,
        /// What it must be.
        expected: String,
    },
    /// The model that it asks failed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl JudgeError {
    /// Returns an error of a part of a definition.
    pub(super) fn setting(
        setting: impl Into<String>,
        problem: impl Into<String>,
        expected: impl Into<String>,
    ) -> JudgeError {
        let (setting, problem, expected) = (setting.into(), problem.into(), expected.into());
        JudgeError::Setting { setting, problem, expected }
    }
}
