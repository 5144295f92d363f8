//! `|> AGGREGATE`: grouping, with the shorthand for the order of its result.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, OrderByExpr, OrderByOptions, SelectItem, SetExpr,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use super::build;
use super::functions::calls;
use super::reader::Reader;
use super::stages::Chain;
use crate::diag::{Diagnostic, Span};

impl Chain<'_> {
    /// `|> AGGREGATE items [GROUP [AND ORDER] BY items]`
    ///
    /// The grouping columns come out first. Suffixes order the result: those of the grouping
    /// columns before those of the aggregates.
    pub(super) fn aggregate(&mut self, range: Range<usize>) -> Result<(), Diagnostic> {
        let reader = self.reader;
        let group = reader.level(range.clone()).find(|at| {
            let within = at.checked_sub(1).is_some_and(|at| reader.lexemes[at].is_word("WITHIN"));
            reader.lexemes[*at].is_keyword(Keyword::GROUP) && !within
        });
        let end = group.unwrap_or(range.end);
        let aggregates = match range.start == end && group.is_some() {
            true => vec![],
            false => self.list(range.start..end, output)?,
        };
        for item in &aggregates {
            check_aggregate(reader, item, reader.span(range.start..end))?;
        }
        let (is_ordered, keys, group_by) = match group {
            Some(at) => self.grouping(at, range.end)?,
            None => (false, vec![], GroupByExpr::Expressions(vec![], vec![])),
        };
        let order = keys
            .iter()
            .filter(|key| is_ordered || key.options.is_some())
            .chain(aggregates.iter().filter(|item| item.options.is_some()))
            .map(Output::order)
            .collect::<Vec<_>>();
        self.project(keys.into_iter().chain(aggregates).map(Output::item).collect());
        if let SetExpr::Select(select) = self.query.body.as_mut() {
            select.group_by = group_by;
        }
        if !order.is_empty() {
            self.query.order_by = Some(build::order_by(order));
        }
        Ok(())
    }

    /// Reads `GROUP [AND ORDER] BY items` from the token `at` on.
    fn grouping(
        &mut self,
        at: usize,
        end: usize,
    ) -> Result<(bool, Vec<Output>, GroupByExpr), Diagnostic> {
        let reader = self.reader;
        let is = |at: usize, word: &str| at < end && reader.lexemes[at].is_word(word);
        let is_ordered = is(at + 1, "AND") && is(at + 2, "ORDER");
        let by = if is_ordered { at + 3 } else { at + 1 };
        if !is(by, "BY") {
            let place = reader.span_at(by.min(end));
            return Err(Diagnostic::new("syntax", "expected BY after GROUP").at(place));
        }
        let sets = ["ROLLUP", "CUBE", "GROUPING"].iter().any(|word| is(by + 1, word));
        if sets {
            let mut tokens = vec![reader.lexemes[at].token.clone()];
            tokens.extend(reader.with_holes(by..end, &mut self.holes)?);
            let group_by = reader.read_tokens(tokens, by..end, Parser::parse_optional_group_by)?;
            let group_by = group_by.unwrap_or(GroupByExpr::Expressions(vec![], vec![]));
            return Ok((is_ordered, set_columns(&group_by), group_by));
        }
        let keys = self.list(by + 1..end, output)?;
        if let Some(key) = keys.iter().find(|key| matches!(key.expr, Expr::Value(_))) {
            let message = format!("GROUP BY takes columns here, not a position: '{}'", key.expr);
            return Err(Diagnostic::new("group-by-position", message)
                .at(reader.span(by + 1..end))
                .help("name the column: AGGREGATE count(*) GROUP BY tool"));
        }
        let expressions = keys.iter().map(|key| key.expr.clone()).collect();
        Ok((is_ordered, keys, GroupByExpr::Expressions(expressions, vec![])))
    }
}

/// One column that AGGREGATE makes.
#[derive(Clone)]
struct Output {
    expr: Expr,
    alias: Option<Ident>,
    options: Option<OrderByOptions>,
}

impl Output {
    fn item(self) -> SelectItem {
        match self.alias {
            Some(alias) => SelectItem::ExprWithAlias { expr: self.expr, alias },
            None => SelectItem::UnnamedExpr(self.expr),
        }
    }

    fn order(&self) -> OrderByExpr {
        let expr = match &self.alias {
            Some(alias) => Expr::Identifier(alias.clone()),
            None => self.expr.clone(),
        };
        let options = self.options.unwrap_or(OrderByOptions { asc: None, nulls_first: None });
        OrderByExpr { expr, options, with_fill: None }
    }
}

/// Keywords that are no alias without AS.
const NO_ALIAS: [Keyword; 17] = [
    Keyword::ASC,
    Keyword::DESC,
    Keyword::NULLS,
    Keyword::GROUP,
    Keyword::FROM,
    Keyword::WHERE,
    Keyword::SELECT,
    Keyword::HAVING,
    Keyword::ORDER,
    Keyword::LIMIT,
    Keyword::OFFSET,
    Keyword::DISTINCT,
    Keyword::UNION,
    Keyword::JOIN,
    Keyword::EXTEND,
    Keyword::AGGREGATE,
    Keyword::SAMPLE,
];

/// Reads `expression [ASC | DESC [NULLS FIRST | LAST]] [[AS] alias]`, in either order.
fn output(parser: &mut Parser<'static>) -> Result<Output, ParserError> {
    let expr = parser.parse_expr()?;
    let before = direction(parser);
    let alias = parser.parse_optional_alias(&NO_ALIAS)?;
    let options = before.or_else(|| direction(parser));
    Ok(Output { expr, alias, options })
}

/// Reads `ASC | DESC [NULLS FIRST | LAST]`, if it is there.
fn direction(parser: &mut Parser<'static>) -> Option<OrderByOptions> {
    let asc = match parser.parse_one_of_keywords(&[Keyword::ASC, Keyword::DESC])? {
        Keyword::ASC => Some(true),
        _ => Some(false),
    };
    let nulls_first = if parser.parse_keywords(&[Keyword::NULLS, Keyword::FIRST]) {
        Some(true)
    } else {
        parser.parse_keywords(&[Keyword::NULLS, Keyword::LAST]).then_some(false)
    };
    Some(OrderByOptions { asc, nulls_first })
}

/// Returns the columns that grouping sets name, each once, in the order of the text.
fn set_columns(group_by: &GroupByExpr) -> Vec<Output> {
    fn add(expr: &Expr, columns: &mut Vec<Output>) {
        match expr {
            Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) => {
                sets.iter().flatten().for_each(|expr| add(expr, columns));
            }
            other if columns.iter().any(|column| column.expr == *other) => {}
            other => columns.push(Output { expr: other.clone(), alias: None, options: None }),
        }
    }
    let mut columns = Vec::new();
    if let GroupByExpr::Expressions(expressions, _) = group_by {
        expressions.iter().for_each(|expr| add(expr, &mut columns));
    }
    columns
}

/// Demands that an item of AGGREGATE makes one value of many rows.
fn check_aggregate(reader: &Reader<'_>, item: &Output, place: Span) -> Result<(), Diagnostic> {
    let found = calls(&item.expr, reader.catalog);
    if found.has_window {
        let message = "AGGREGATE takes no function with OVER";
        return Err(Diagnostic::new("window-in-aggregate", message)
            .at(place)
            .help("compute it before, as a column: |> EXTEND ... OVER (...) AS x"));
    }
    if found.aggregates.is_empty() {
        let message = format!("'{}' is not an aggregate", item.expr);
        return Err(Diagnostic::new("not-an-aggregate", message).at(place).help(
            "columns to group by stand behind GROUP BY; aggregates are count(*), avg(x), ...",
        ));
    }
    Ok(())
}
