//! Queries: statements as typed, and what becomes of them.

pub mod syntax;
