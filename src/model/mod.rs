//! What the program speaks of: trajectories, their steps, labels, judges.
//!
//! Plain data without behaviour that reads or writes; every floor above may use it.

mod label;
mod message;
mod trajectory;

pub use label::{GOOD_ABOVE, Judge, JudgeKind, Label, LabelName, META, Target};
pub use message::{Json, Message, ToolCall, role};
pub use trajectory::{ContextItem, Status, Step, Trajectory};
