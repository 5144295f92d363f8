//! Planning and running queries: SQL with pipes over the tables of a view.

pub mod table;
