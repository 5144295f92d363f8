//! Tools an agent may call, and the record of their calls.
//!
//! A [`Tool`] says what it is called, what it takes and which version of it answers; a [`Toolbox`]
//! calls several by name and answers mistakes in words the agent can act on.

mod arguments;
mod calculator;
mod call;
mod canonical;
mod cassette;
mod recorder;
mod recording_lines;
mod replay;
mod tool;
mod toolbox;

pub use calculator::{Answer, Calculator, evaluate};
pub use call::{Call, CallKey, CallKind, Recording};
pub use canonical::{CanonicalError, canonical_json};
pub use cassette::{Cassette, CassetteError, Lookup, RecordMode};
pub use recorder::{Clock, MissingRecording, Played, RecordError, RecordedTool, Recorder};
pub use recording_lines::{parse_recording, read_recordings, write_recording};
pub use replay::{
    Drift, DriftReport, HitsChange, OutputChange, SettingChange, output_change, replay,
};
pub use tool::{Tool, ToolOutput, ToolSpec};
pub use toolbox::{NameTaken, Toolbox};
