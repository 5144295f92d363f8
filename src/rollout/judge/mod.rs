//! Judges: models with a prompt, programs, and how far two of them agree.
//!
//! Which label a verdict becomes is said by whoever asks; see [`Verdict::into_label`].

mod error;
mod program;
mod prompt;
mod prompted;
mod spec;
mod tally;
mod template;
mod transcript;
mod verdict;

pub use error::JudgeError;
pub use program::{ExecutedStep, GoldFacts, ProgramJudge, StepProgram};
pub use prompt::{BuiltIn, Ending};
pub use prompted::{OnJudged, OutcomeInput, OutcomeJudge, ProcessInput, ProcessJudge};
pub use spec::{JudgeParts, JudgeSpec, JudgeTarget, Reading, Scale, Sees};
pub use tally::{Judged, Tally};
pub use transcript::{shortened_transcript_text, transcript_text};
pub use verdict::{Unreadable, UnreadableReason, Verdict, read_verdict, scored_verdict};
