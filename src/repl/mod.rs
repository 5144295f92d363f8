//! The edge: what a person types and sees.
//!
//! Data goes to standard output, everything else to standard error; off a terminal there is no
//! colour and no bar.

mod cells;
mod commands;
mod console;
mod conversation;
mod corpus_view;
mod dataset_view;
mod demo;
mod editing;
mod format;
mod import_view;
mod keeping_view;
mod labelling_view;
mod last_result;
mod plot;
mod plot_rows;
mod progress_view;
mod prompt;
mod rollout_view;
mod screen;
mod shipped;
mod study_view;
mod table;
mod training_view;
mod verify_view;

pub use console::{Console, interrupt};
pub use corpus_view::{print_corpus, print_corpus_export, print_drift, print_evaluation};
pub use dataset_view::print_export;
pub use demo::demo;
pub use format::Format;
pub use import_view::{ImportOptions, import_files, print_import_report};
pub use keeping_view::{backup, compact, repair_database, restore, stats};
pub use progress_view::watched;
pub use prompt::{prompt, script, script_with_answers};
pub use shipped::SHIPPED;
pub use study_view::study;
pub use verify_view::verify;
