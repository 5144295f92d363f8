//! The walk over the tree.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span as LineSpan;

use super::super::reader::Reader;
use super::super::tokens::Places;
use crate::diag::{Diagnostic, Span};

pub(super) type Refused = ControlFlow<Box<Diagnostic>>;

/// Looks through the whole tree of `query`.
///
/// # Errors
///
/// The first part that would be passed over.
pub(in super::super) fn check(reader: &Reader<'_>, query: &Query) -> Result<(), Diagnostic> {
    match query.visit(&mut Refuser { reader }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// Refuses a comment that other systems read as a hint or as text.
pub(in super::super) fn hint(comment: &str, span: Span) -> Result<(), Diagnostic> {
    let is_hint = ["/*+", "/*!", "--+"].iter().any(|start| comment.starts_with(start));
    match is_hint {
        false => Ok(()),
        true => Err(Diagnostic::new("unsupported", "hints in comments are not read")
            .at(span)
            .help("put a blank behind the comment's first mark if it is only a comment")),
    }
}

/// A walk over the tree that ends at the first part that is refused.
pub(super) struct Refuser<'a> {
    pub(super) reader: &'a Reader<'a>,
}

impl Visitor for Refuser<'_> {
    type Break = Box<Diagnostic>;

    fn pre_visit_query(&mut self, query: &Query) -> Refused {
        self.query(query)
    }

    fn pre_visit_select(&mut self, select: &Select) -> Refused {
        self.select(select)?;
        self.after_from(select)?;
        self.items(select)?;
        self.joins(&select.from)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Refused {
        self.factor(factor)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Refused {
        self.expr(expr)
    }
}

impl Refuser<'_> {
    /// Refuses `what`, which stands at the words of `place` or, if they are not found, at `span`.
    pub(super) fn no(&self, what: &str, place: &[&str], span: LineSpan, help: &str) -> Refused {
        let error = Diagnostic::new("unsupported", format!("{what} is not supported"));
        let error = error.at(self.place(place, span));
        let error = if help.is_empty() { error } else { error.help(help) };
        ControlFlow::Break(Box::new(error))
    }

    pub(super) fn place(&self, words: &[&str], span: LineSpan) -> Span {
        let lexemes = self.reader.lexemes;
        let fits = |at: &usize| {
            words.iter().enumerate().all(|(ahead, word)| {
                lexemes.get(at + ahead).is_some_and(|lexeme| lexeme.is_word(word))
            })
        };
        let found = (0..lexemes.len()).find(|at| !words.is_empty() && fits(at));
        match found {
            Some(at) => self.reader.span(at..at + words.len()),
            None if span == LineSpan::empty() => self.reader.span(0..lexemes.len()),
            None => Places::new(self.reader.text).span(span),
        }
    }
}
