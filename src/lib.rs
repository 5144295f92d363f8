//! An embedded research database for LLM-agent trajectories, with step-wise training.

pub mod chat;
pub mod codec;
pub mod db;
pub mod diag;
pub mod exchange;
pub mod http;
pub mod hub;
pub mod lm;
pub mod model;
pub mod plot;
pub mod query;
pub mod render;
pub mod repl;
pub mod report;
pub mod rollout;
pub mod score;
pub mod serve;
pub mod session;
pub mod store;
pub mod synth;
pub mod text;
pub mod tools;
pub mod train;
pub mod vectors;
