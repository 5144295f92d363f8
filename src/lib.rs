//! An embedded research database for LLM-agent trajectories, with step-wise training.

pub mod diag;
pub mod lm;
pub mod model;
pub mod render;
pub mod train;
