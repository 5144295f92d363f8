//! The published pipe stages, each one SELECT over the query before it.
//!
//! The reference is the published pipe syntax (ZetaSQL, docs/pipe-syntax.md). A stage never looks
//! into the query it reads: it becomes `SELECT ... FROM (<query before>)`, the derived table
//! without a name, so that the names of the relations inside stay visible (`FROM a JOIN b |> WHERE
//! a.x`). What the hidden columns and the order of rows make of such a chain is settled afterwards,
//! over the whole tree, by [`identity`](super::identity).

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, BinaryOperator, Distinct, Expr, Ident, IdentWithAlias, LimitClause, Offset,
    OffsetRows, Query, RenameSelectItem, ReplaceSelectElement, ReplaceSelectItem, SelectItem,
    SetExpr, SetOperator, SetQuantifier, TableFactor, Value, WildcardAdditionalOptions, With,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::functions::{Calls, calls};
use super::funnel::LAST;
use super::ours::Cursor;
use super::reader::{Reader, fill};
use super::statement::{RolloutVerb, StageSpan, Then};
use super::{build, matching, ours, search, split, teach};
use crate::diag::{Diagnostic, Span};

/// A query on the way through its stages.
pub(super) struct Chain<'r> {
    /// The tokens it is read from.
    pub reader: &'r Reader<'r>,
    /// What the stages so far have made.
    pub query: Query,
    /// WITH, which every stage sees and which therefore stays outside of the chain.
    with: Option<With>,
    /// Queries that were read apart.
    pub holes: Vec<Query>,
    /// Name and place of every stage.
    pub stages: Vec<StageSpan>,
    /// What is done with the rows.
    pub then: Option<Then>,
    /// The seeds of all samples.
    pub seeds: Vec<u64>,
    /// The variables of the last MATCH, whose columns later stages may name.
    pub variables: Vec<String>,
    is_outermost: bool,
}

impl<'r> Chain<'r> {
    /// Begins a chain at what stands before its first pipe.
    pub fn new(
        reader: &'r Reader<'r>,
        mut base: Query,
        holes: Vec<Query>,
        is_outermost: bool,
    ) -> Chain<'r> {
        fill(&mut base, holes);
        let with = base.with.take();
        let (holes, stages, then, seeds, variables) = (vec![], vec![], None, vec![], vec![]);
        Chain { reader, query: base, with, holes, stages, then, seeds, variables, is_outermost }
    }

    /// Puts the queries that were read apart into their places, and returns the whole.
    pub fn into_query(mut self) -> Query {
        self.settle_variables();
        fill(&mut self.query, self.holes);
        self.query.with = self.with;
        self.query
    }

    /// Makes measures of the columns of variables that the stages since the last MATCH name.
    pub fn settle_variables(&mut self) {
        let variables = std::mem::take(&mut self.variables);
        if !variables.is_empty() {
            matching::settle(&mut self.query, &variables);
        }
    }

    /// Reads one stage: the tokens behind its pipe.
    ///
    /// # Errors
    ///
    /// A mistake within it, at its place.
    pub fn stage(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let reader = self.reader;
        if range.is_empty() {
            return Err(teach::no_stage(reader, range.start));
        }
        let name = &reader.lexemes[range.start];
        if self.then.is_some() {
            let last = self.stages.last().map_or("the stage before", |s| s.name.as_str());
            return Err(Diagnostic::new("stage-not-last", format!("{last} is the last stage"))
                .at(name.span)
                .help(format!("move this stage before |> {last}")));
        }
        let word = name.word().filter(|w| w.quote_style.is_none()).map(|w| w.value.to_uppercase());
        let word = word.unwrap_or_default();
        let arguments = range.start + 1..range.end;
        match word.as_str() {
            "WHERE" => self.where_(arguments)?,
            "SELECT" => self.select(arguments)?,
            "EXTEND" => self.extend(arguments, "EXTEND")?,
            "WINDOW" => self.extend(arguments, "WINDOW")?,
            "SET" => self.set(arguments)?,
            "DROP" => self.drop(arguments)?,
            "RENAME" => self.rename(arguments)?,
            "AS" => self.as_(arguments)?,
            "AGGREGATE" => self.aggregate(arguments)?,
            "ORDER" => self.order(arguments)?,
            "LIMIT" => self.limit(arguments)?,
            "OFFSET" => self.offset(arguments)?,
            "DISTINCT" => self.distinct(arguments)?,
            "UNION" => self.set_operation(SetOperator::Union, arguments)?,
            "INTERSECT" => self.set_operation(SetOperator::Intersect, arguments)?,
            "EXCEPT" => self.set_operation(SetOperator::Except, arguments)?,
            "JOIN" | "INNER" | "LEFT" | "RIGHT" | "FULL" | "CROSS" | "NATURAL" => {
                self.join(range.clone())?;
            }
            "MATCH" => matching::match_(self, range.clone())?,
            "MATCH_RECOGNIZE" => matching::recognize(self, range.clone())?,
            "SAMPLE" => ours::sample(self, range.clone())?,
            "SEARCH" => search::search(self, range.clone())?,
            "SPLIT" => split::split(self, range.clone())?,
            _ if LAST.contains(&word.as_str()) && !self.is_outermost => {
                let message = format!("{word} belongs behind the whole statement");
                return Err(Diagnostic::new("stage-not-last", message)
                    .at(name.span)
                    .help("take it out of the parentheses and put it at the end"));
            }
            "SAVE" => ours::save(self, range.clone())?,
            "EXPORT" => ours::export(self, range.clone())?,
            "LABEL" => ours::label(self, range.clone())?,
            "SCORE" => ours::score(self, range.clone())?,
            "SUMMARIZE" => {
                Cursor::new(reader, arguments).end()?;
                self.then = Some(Then::Summarize);
            }
            "TRAIN" => ours::train(self, range.clone())?,
            "JUDGE" => ours::judge(self, range.clone())?,
            "GENERATE" => self.rollout(range.clone(), RolloutVerb::Generate)?,
            "EVALUATE" => self.rollout(range.clone(), RolloutVerb::Evaluate)?,
            "RESAMPLE" => self.rollout(range.clone(), RolloutVerb::Resample)?,
            _ => return Err(teach::unknown_stage(reader, range.start)),
        }
        self.stages.push(StageSpan { name: word, span: reader.span(range) });
        Ok(())
    }

    fn rollout(&mut self, range: Range<usize>, verb: RolloutVerb) -> Result<(), Diagnostic> {
        self.then = Some(Then::Rollout(ours::rollout(self.reader, range, verb)?));
        Ok(())
    }

    /// Reads the tokens of `range` with the SQL parser.
    fn read<T>(
        &mut self,
        range: Range<usize>,
        read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T, Diagnostic> {
        self.reader.read(range, &mut self.holes, read)
    }

    /// Reads a list that commas part; a comma behind the last item is let pass.
    pub(super) fn list<T>(
        &mut self,
        range: Range<usize>,
        mut item: impl FnMut(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<Vec<T>, Diagnostic> {
        self.read(range, |parser| {
            let mut items = vec![item(parser)?];
            while parser.consume_token(&Token::Comma) {
                if parser.peek_token_ref().token == Token::EOF {
                    break;
                }
                items.push(item(parser)?);
            }
            Ok(items)
        })
    }

    /// Takes the query out, to be read by the next stage.
    pub fn take(&mut self) -> Query {
        std::mem::replace(&mut self.query, build::query(build::select(vec![], vec![])))
    }

    /// Makes `SELECT <projection> FROM (<query before>)` the query.
    pub(super) fn project(&mut self, projection: Vec<SelectItem>) {
        let from = build::relations(self.take());
        self.query = build::query(build::select(projection, from));
    }

    /// Makes `SELECT * FROM (<query before>) WHERE <every name exists>` the query: the engine
    /// passes over a replaced or excluded name that is not there, or cannot say where it stands.
    fn project_known(&mut self, projection: Vec<SelectItem>, names: &[Ident]) {
        self.project(projection);
        if let SetExpr::Select(select) = self.query.body.as_mut() {
            select.selection = names.iter().cloned().map(probe).reduce(and);
        }
    }

    /// `|> WHERE predicate`
    fn where_(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let predicate = self.read(range, Parser::parse_expr)?;
        self.project(vec![build::wildcard()]);
        if let SetExpr::Select(select) = self.query.body.as_mut() {
            select.selection = Some(predicate);
        }
        Ok(())
    }

    /// `|> SELECT [DISTINCT] items`
    fn select(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let place = self.reader.span(range.clone());
        let (distinct, items) = self.read(range, |parser| {
            let distinct = parser.parse_all_or_distinct()?;
            Ok((distinct, parser.parse_projection()?))
        })?;
        for item in &items {
            let found = item_calls(item, self.reader);
            if let Some(name) = found.aggregates.first() {
                return Err(aggregate_in(self.reader, name, place, "SELECT"));
            }
        }
        self.project(items);
        if let SetExpr::Select(select) = self.query.body.as_mut() {
            select.distinct = distinct;
        }
        Ok(())
    }

    /// `|> EXTEND items`, and the older `|> WINDOW items`
    fn extend(&mut self, range: Range<usize>, stage: &str) -> Result<(), Diagnostic> {
        let place = self.reader.span(range.clone());
        let items = self.list(range, Parser::parse_select_item)?;
        for item in &items {
            let found = item_calls(item, self.reader);
            if let Some(name) = found.aggregates.first() {
                return Err(aggregate_in(self.reader, name, place, stage));
            }
            if let SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) = item {
                let message = format!("{stage} keeps all columns by itself: '*' has no place here");
                return Err(Diagnostic::new("syntax", message).at(place));
            }
            if stage == "WINDOW" && !found.has_window {
                return Err(Diagnostic::new("syntax", "WINDOW needs a function with OVER")
                    .at(place)
                    .help("|> EXTEND computes columns of any kind"));
            }
        }
        self.project(std::iter::once(build::wildcard()).chain(items).collect());
        Ok(())
    }

    /// `|> SET column = expression, ...`
    fn set(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let place = self.reader.span(range.clone());
        let assignments = self.list(range, Parser::parse_assignment)?;
        let mut items: Vec<Box<ReplaceSelectElement>> = Vec::new();
        for assignment in assignments {
            let name = match assignment.target {
                AssignmentTarget::ColumnName(name) if name.0.len() == 1 => {
                    name.0[0].as_ident().cloned()
                }
                _ => None,
            };
            let Some(column_name) = name else {
                return Err(Diagnostic::new("syntax", "SET takes one column's plain name")
                    .at(place)
                    .help("|> SET reward = reward * 2"));
            };
            if items.iter().any(|i| build::normal(&i.column_name) == build::normal(&column_name)) {
                let message = format!("'{}' is set twice in one stage", column_name.value);
                return Err(Diagnostic::new("duplicate-column", message).at(place));
            }
            let expr = assignment.value;
            items.push(Box::new(ReplaceSelectElement { expr, column_name, as_keyword: true }));
        }
        self.project(vec![SelectItem::Wildcard(WildcardAdditionalOptions {
            opt_replace: Some(ReplaceSelectItem { items }),
            ..WildcardAdditionalOptions::default()
        })]);
        Ok(())
    }

    /// `|> DROP columns`
    fn drop(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let names = self.list(range, Parser::parse_identifier)?;
        self.project_known(vec![build::wildcard_without(names.clone())], &names);
        Ok(())
    }

    /// `|> RENAME old AS new, ...`
    fn rename(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let pairs = self.list(range, |parser| {
            let ident = parser.parse_identifier()?;
            let _ = parser.parse_keyword(Keyword::AS);
            Ok(IdentWithAlias { ident, alias: parser.parse_identifier()? })
        })?;
        self.project(vec![SelectItem::Wildcard(WildcardAdditionalOptions {
            opt_rename: Some(RenameSelectItem::Multiple(pairs)),
            ..WildcardAdditionalOptions::default()
        })]);
        Ok(())
    }

    /// `|> AS name`
    fn as_(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let name = self.read(range, Parser::parse_identifier)?;
        let mut from = build::relations(self.take());
        let named = match from.as_mut_slice() {
            [only] if only.joins.is_empty() => match &mut only.relation {
                TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => {
                    alias.is_none().then(|| *alias = Some(build::table_alias(name.clone())))
                }
                _ => None,
            },
            _ => None,
        };
        if named.is_none() {
            let query = build::query(build::select(vec![build::wildcard()], from));
            from = build::derived(query, Some(build::table_alias(name)));
        }
        self.query = build::query(build::select(vec![build::wildcard()], from));
        Ok(())
    }

    /// `|> ORDER BY keys`
    fn order(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        if !self.reader.lexemes.get(range.start).is_some_and(|l| l.is_word("BY")) {
            let place = self.reader.span_at(range.start);
            return Err(Diagnostic::new("syntax", "expected BY after ORDER").at(place));
        }
        let keys = self.list(range.start + 1..range.end, Parser::parse_order_by_expr)?;
        self.project(vec![build::wildcard()]);
        self.query.order_by = Some(build::order_by(keys));
        Ok(())
    }

    /// `|> LIMIT count [OFFSET skip]`
    fn limit(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let (limit, offset) = self.read(range, |parser| {
            let limit = parser.parse_expr()?;
            let skip = match parser.parse_keyword(Keyword::OFFSET) {
                true => Some(parser.parse_expr()?),
                false => None,
            };
            Ok((limit, skip))
        })?;
        self.cut(Some(limit), offset);
        Ok(())
    }

    /// `|> OFFSET skip`
    fn offset(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let skip = self.read(range, Parser::parse_expr)?;
        self.cut(None, Some(skip));
        Ok(())
    }

    fn cut(&mut self, limit: Option<Expr>, offset: Option<Expr>) {
        self.project(vec![build::wildcard()]);
        let offset = offset.map(|value| Offset { value, rows: OffsetRows::None });
        self.query.limit_clause =
            Some(LimitClause::LimitOffset { limit, offset, limit_by: vec![] });
    }

    /// `|> DISTINCT`
    fn distinct(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        if !range.is_empty() {
            return Err(Diagnostic::new("syntax", "DISTINCT as a stage takes nothing")
                .at(self.reader.span(range))
                .help("|> SELECT DISTINCT a, b keeps the distinct values of two columns"));
        }
        self.project(vec![build::wildcard()]);
        if let SetExpr::Select(select) = self.query.body.as_mut() {
            select.distinct = Some(Distinct::Distinct);
        }
        Ok(())
    }

    /// `|> UNION ALL (query), (query)`, and INTERSECT and EXCEPT alike
    fn set_operation(&mut self, op: SetOperator, range: Range<usize>) -> Result<(), Diagnostic> {
        let reader = self.reader;
        let open = range.clone().find(|at| {
            let words = ["ALL", "DISTINCT", "BY", "NAME"];
            !words.iter().any(|word| reader.lexemes[*at].is_word(word))
        });
        let open = open.unwrap_or(range.end);
        if range.is_empty() || !reader.lexemes.get(open).is_some_and(|l| l.is(&Token::LParen)) {
            let message = format!("{op} as a stage takes queries in parentheses");
            return Err(Diagnostic::new("syntax", message)
                .at(reader.span_at(open))
                .help(format!("|> {op} ALL (FROM steps |> WHERE ...), (...)")));
        }
        let (quantifier, queries) = self.read(range, |parser| {
            let quantifier = parser.parse_set_quantifier(&Some(op));
            let mut queries = Vec::new();
            loop {
                parser.expect_token(&Token::LParen)?;
                queries.push(parser.parse_query()?);
                parser.expect_token(&Token::RParen)?;
                if !parser.consume_token(&Token::Comma) {
                    return Ok((quantifier, queries));
                }
            }
        })?;
        let mut left = SetExpr::Query(Box::new(self.take()));
        for right in queries {
            left = SetExpr::SetOperation {
                op,
                set_quantifier: match quantifier {
                    SetQuantifier::None => SetQuantifier::Distinct,
                    given => given,
                },
                left: Box::new(left),
                right: Box::new(SetExpr::Query(right)),
            };
        }
        self.query = build::body(left);
        Ok(())
    }

    /// `|> [LEFT] JOIN relation ON condition`
    fn join(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let place = self.reader.lexemes[range.start].token.span;
        let word = Word { value: "left".into(), quote_style: None, keyword: Keyword::NoKeyword };
        let mut tokens = vec![TokenWithSpan::new(Token::Word(word), place)];
        tokens.extend(self.reader.with_holes(range.clone(), &mut self.holes)?);
        let joined =
            self.reader.read_tokens(tokens, range.clone(), Parser::parse_table_and_joins)?;
        if joined.joins.len() != 1 {
            return Err(Diagnostic::new("syntax", "one JOIN makes one stage")
                .at(self.reader.span(range))
                .help("begin the next with |> JOIN"));
        }
        let mut from = build::relations(self.take());
        if from.len() != 1 {
            let query = build::query(build::select(vec![build::wildcard()], from));
            from = build::derived(query, None);
        }
        from[0].joins.extend(joined.joins);
        self.query = build::query(build::select(vec![build::wildcard()], from));
        Ok(())
    }
}

fn item_calls(item: &SelectItem, reader: &Reader<'_>) -> Calls {
    match item {
        SelectItem::UnnamedExpr(expr)
        | SelectItem::ExprWithAlias { expr, .. }
        | SelectItem::ExprWithAliases { expr, .. } => calls(expr, reader.catalog),
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => Calls::default(),
    }
}

fn aggregate_in(reader: &Reader<'_>, name: &Ident, stage: Span, word: &str) -> Diagnostic {
    let place = super::tokens::Places::new(reader.text).span(name.span);
    let place = if place.end > place.start { place } else { stage };
    let message = format!(
        "{} makes one value of many rows, and {word} keeps every row",
        name.value.to_lowercase()
    );
    Diagnostic::new("aggregate-misplaced", message)
        .at(place)
        .help("|> AGGREGATE makes one row of many")
        .help("with OVER (PARTITION BY ...) it is computed for every row")
}

/// Returns a predicate that is always true and names the column, so that one that does not exist
/// is an error at its place.
pub(super) fn probe(name: Ident) -> Expr {
    let is_null = Expr::IsNull(Box::new(Expr::Identifier(name)));
    let always = Expr::value(Value::Boolean(true));
    Expr::Nested(Box::new(binary(is_null, BinaryOperator::Or, always)))
}

/// Returns `left AND right`.
pub(super) fn and(left: Expr, right: Expr) -> Expr {
    binary(left, BinaryOperator::And, right)
}

/// Returns `left op right`.
pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}
