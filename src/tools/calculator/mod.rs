//! The calculator: one expression in, one number or one error text out.
//!
//! # Numbers
//!
//! A number is a fraction of whole numbers, exactly, as long as it can be: literals, `+ - * /`,
//! powers with whole exponents, roots that come out even, rounding. What has no exact value
//! (`sqrt(2)`, `sin(1)`, `pi`) is a binary number of 256 bits, every function of it correctly
//! rounded by the `dashu` crates: the answer is the same on every machine, and its 17 digits are
//! those of the true value. What is left of a difference whose operands agree in their first 200
//! bits is rounding and nothing else, and counts as 0: `sin(pi)` is 0.
//!
//! # How results are printed
//!
//! As Python prints floats: `10/4` is `2.5`, `1/3` is `0.3333333333333333`, `48/2` is `24.0`,
//! `1e22` is `10000000000000000000000`. In detail:
//! - A whole number that is exact, up to 2^53, ends in `.0`; a larger one is written in full, up to
//!   the 4,300 digits that Python writes.
//! - A decimal fraction that is exact, of at most 28 digits (as many as Python's `decimal` keeps),
//!   is written in full: `0.1 + 0.2` is `0.3`.
//! - Everything else is the nearest double in the fewest digits that read back as it.
//!
//! # What is read
//!
//! `+ - * / // % ^ **`, `!`, parentheses, functions and constants by name, `1,234,567` and
//! `1_234_567`, `1.5e-3`; `%` is a percent sign unless an operand follows, then it is the remainder
//! (as in Python, with the sign of the divisor). `-2^2` is -4, `2^3^2` is 512. There are no
//! variables, units or dates, nothing random and nothing outside the expression. Where an
//! expression can be read in two ways, as `max(1,234)`, it is refused.
//!
//! # Bounds
//!
//! An expression has at most 10,000 characters and 100 open parentheses. A whole number has at most
//! 65,536 bits, and all operations together may touch so many words of memory: then the answer says
//! that this is too much. Nothing is computed before its size is known to be allowed.

mod evaluate;
mod functions;
mod machine;
mod number;
mod print;
mod service;
mod tokens;

pub use evaluate::{Answer, evaluate};
pub use service::Calculator;
