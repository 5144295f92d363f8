//! Pictures: their text, their shapes and pixels, and the numbers in them, on plain and odd data.

mod command;
mod pictures;
mod properties;
