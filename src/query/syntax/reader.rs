//! One query read: the part before the first pipe, and the pipes within parentheses.
//!
//! The SQL parser knows the published pipe stages only, and only at their places; ours are read
//! here. So a query in parentheses that has pipes of its own is read first, and the SQL parser
//! sees in its place `SELECT <hole>`, which is filled in the tree afterwards: pipes work wherever a
//! query in parentheses may stand.

use std::ops::{ControlFlow, Range};

use datafusion::sql::sqlparser::ast::{
    Expr, Query, Select, SelectFlavor, SelectItem, SetExpr, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::stages::Chain;
use super::tokens::Lexeme;
use super::{Catalog, Limits, build, errors, limits};
use crate::diag::{Diagnostic, Span};

static DIALECT: GenericDialect = GenericDialect {};

/// The name of a hole; no statement may use it.
const HOLE: &str = "_hole_";

/// The tokens of one statement and what is needed to read them.
pub(super) struct Reader<'a> {
    /// The whole text as typed.
    pub text: &'a str,
    /// The tokens of the statement.
    pub lexemes: &'a [Lexeme],
    /// For every opening bracket the index of the closing one.
    pub partner: Vec<Option<usize>>,
    /// What names mean.
    pub catalog: &'a dyn Catalog,
    /// Bounds.
    pub limits: &'a Limits,
}

impl Reader<'_> {
    /// Reads the tokens of `range` as a query with its stages.
    ///
    /// # Errors
    ///
    /// A mistake of syntax, at its place.
    pub fn chain(&self, range: Range<usize>, is_outermost: bool) -> Result<Chain<'_>, Diagnostic> {
        let pipes = self.pipes(range.clone());
        let mut starts = vec![range.start];
        starts.extend(pipes.iter().map(|at| at + 1));
        let mut ends = pipes;
        ends.push(range.end);
        if ends.len() - 1 > self.limits.stages_max {
            let span = self.lexemes[ends[self.limits.stages_max]].span;
            return Err(limits::too_deep(span, self.limits));
        }
        let mut holes = Vec::new();
        let base = self.base(starts[0]..ends[0], &mut holes)?;
        let mut chain = Chain::new(self, base, holes, is_outermost);
        for (start, end) in starts.into_iter().zip(ends).skip(1) {
            chain.stage(start..end)?;
        }
        Ok(chain)
    }

    /// Reads what stands before the first pipe.
    fn base(&self, range: Range<usize>, holes: &mut Vec<Query>) -> Result<Query, Diagnostic> {
        if range.is_empty() {
            let span = self.span_at(range.start);
            return Err(Diagnostic::new("syntax", "expected a query before this")
                .at(span)
                .help("a query begins with FROM <table> or SELECT"));
        }
        let query = self.read(range, holes, Parser::parse_query)?;
        Ok(*query)
    }

    /// Hands the tokens of `range` to `read` and demands that it takes them all.
    ///
    /// # Errors
    ///
    /// What the SQL parser says, at its place, or that tokens are left over.
    pub fn read<T>(
        &self,
        range: Range<usize>,
        holes: &mut Vec<Query>,
        read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T, Diagnostic> {
        let tokens = self.with_holes(range.clone(), holes)?;
        self.read_tokens(tokens, range, read)
    }

    /// As [`Reader::read`], with the tokens already at hand.
    pub fn read_tokens<T>(
        &self,
        tokens: Vec<TokenWithSpan>,
        range: Range<usize>,
        read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T, Diagnostic> {
        let mut parser = Parser::new(&DIALECT)
            .with_recursion_limit(self.limits.nesting_max * 8 + 64)
            .with_tokens_with_locations(tokens);
        let value = read(&mut parser).map_err(|e| errors::from_parser(self, range.clone(), &e))?;
        let left = parser.peek_token();
        if left.token == Token::EOF {
            return Ok(value);
        }
        Err(errors::left_over(self, range, &left))
    }

    /// Returns the tokens of `range` with every query that has pipes replaced by a hole.
    pub fn with_holes(
        &self,
        range: Range<usize>,
        holes: &mut Vec<Query>,
    ) -> Result<Vec<TokenWithSpan>, Diagnostic> {
        let mut tokens = Vec::with_capacity(range.len());
        let mut at = range.start;
        while at < range.end {
            let lexeme = &self.lexemes[at];
            tokens.push(lexeme.token.clone());
            at += 1;
            let close = self.partner[at - 1].filter(|_| lexeme.is(&Token::LParen));
            if let Some(close) = close
                && !self.pipes(at..close).is_empty()
            {
                let place = self.lexemes[at].token.span;
                let hole = format!("{HOLE}{}", holes.len());
                for (value, keyword) in
                    [("SELECT", Keyword::SELECT), (hole.as_str(), Keyword::NoKeyword)]
                {
                    let word = Word { value: value.into(), quote_style: None, keyword };
                    tokens.push(TokenWithSpan::new(Token::Word(word), place));
                }
                holes.push(self.chain(at..close, false)?.into_query());
                at = close;
            }
        }
        Ok(tokens)
    }

    /// Returns where the pipes of `range` stand, those in brackets left out.
    pub fn pipes(&self, range: Range<usize>) -> Vec<usize> {
        self.level(range)
            .filter(|at| self.lexemes[*at].is(&Token::VerticalBarRightAngleBracket))
            .collect()
    }

    /// Returns the indices of the tokens of `range` that are in no further bracket.
    pub fn level(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        let mut at = range.start;
        std::iter::from_fn(move || {
            let this = (at < range.end).then_some(at)?;
            at = self.partner[this].map_or(this + 1, |close| close.max(this + 1));
            Some(this)
        })
    }

    /// Returns the place of the token at `at`, or the end of the statement.
    pub fn span_at(&self, at: usize) -> Span {
        match self.lexemes.get(at) {
            Some(lexeme) => lexeme.span,
            None => self.lexemes.last().map_or(Span::default(), |last| {
                let end = last.span.end;
                Span::new(end, (end + 1).min(self.text.len()).max(end))
            }),
        }
    }

    /// Returns the place of all tokens of `range`.
    pub fn span(&self, range: Range<usize>) -> Span {
        match (self.lexemes.get(range.start), range.end.checked_sub(1)) {
            (Some(first), Some(last)) if last >= range.start => {
                first.span.to(self.lexemes[last].span)
            }
            _ => self.span_at(range.start),
        }
    }

    /// Returns the text of the token at `at` as typed.
    pub fn typed(&self, at: usize) -> &str {
        self.lexemes.get(at).map_or("", |lexeme| &self.text[lexeme.span.start..lexeme.span.end])
    }
}

/// Puts the queries that were read apart into their places, and turns `FROM t` into
/// `SELECT * FROM t`.
pub(super) struct Filler {
    /// The queries, by the number of their hole.
    pub holes: Vec<Option<Query>>,
}

impl VisitorMut for Filler {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(number) = hole_number(query)
            && let Some(filling) = self.holes.get_mut(number).and_then(Option::take)
        {
            *query = filling;
        }
        if let SetExpr::Table(table) = query.body.as_mut()
            && let Some(name) = table.table_name.take()
        {
            let schema = table.schema_name.take();
            *query.body = table_body(schema, name);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if select.flavor == SelectFlavor::FromFirstNoSelect {
            select.projection = vec![build::wildcard()];
        }
        select.flavor = SelectFlavor::Standard;
        ControlFlow::Continue(())
    }
}

/// Returns `SELECT * FROM schema.name`, which is what `TABLE schema.name` means.
fn table_body(schema: Option<String>, name: String) -> SetExpr {
    use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
    let parts: Vec<Ident> = schema.into_iter().chain([name]).map(Ident::new).collect();
    let from = build::table(ObjectName::from(parts));
    SetExpr::Select(Box::new(build::select(vec![build::wildcard()], from)))
}

/// Returns the number of the hole that the query is, if it is one.
fn hole_number(query: &Query) -> Option<usize> {
    let select = query.body.as_select()?;
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(Expr::Identifier(name))] => {
            name.value.strip_prefix(HOLE)?.parse().ok()
        }
        _ => None,
    }
}

/// Fills the holes of a piece of the tree.
pub(super) fn fill(node: &mut impl VisitMut, holes: Vec<Query>) {
    let mut filler = Filler { holes: holes.into_iter().map(Some).collect() };
    let _ = node.visit(&mut filler);
}

/// Returns true if the word is one that only this parser may write.
pub(super) fn is_reserved(word: &str) -> bool {
    [build::TRAJECTORY, build::STEP].iter().any(|name| word.eq_ignore_ascii_case(name))
        || [HOLE, super::order::ORDER].iter().any(|prefix| {
            word.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        })
}
