//! The one test binary; each module holds the tests of one capability.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test may stop and may speak")]

mod analysis;
mod branching;
mod chat;
mod corpora;
mod damage;
mod datasets;
mod deleting;
mod dense;
mod documents;
mod encoder;
mod evaluation;
mod evaluations;
mod exchange;
mod exchange_damage;
mod exchange_native;
mod exchange_questions;
mod exchange_rollouts;
mod exchange_steps;
mod functions;
mod fusion;
mod hub;
mod judging;
mod keeping;
mod lm;
mod matching;
mod mistakes;
mod parquet;
mod pattern;
mod played;
mod plot;
mod program;
mod prompt;
mod queries;
mod ranking;
mod render;
mod report;
mod rollout;
mod rollouts;
mod rollouts_tags;
mod runs;
mod scans;
mod schema;
mod score;
mod search;
mod serve;
mod session;
mod store;
mod stores;
mod study;
mod summary;
mod syntax;
mod synth;
mod text;
mod tidy;
mod tools;
mod train;
mod trec;
mod vectors;
mod windows;

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
