//! Episodes, actions by tags, remote policies, judges with a prompt, programs that judge, and their
//! audit.

mod audit;
mod episodes;
mod policies;
mod programs;
mod prompted;
mod scored;
mod tagged;
mod verdicts;
