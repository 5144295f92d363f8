//! What the SQL parser reads and the engine would pass over in silence, or answer with a dump of
//! its tree: refused, each with its place and what to write instead.
//!
//! Every structure is taken apart field by field, so that a field the SQL parser gains does not
//! compile until someone has decided about it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Cte, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    GroupByExpr, Join, JoinConstraint, JoinOperator, LimitClause, OrderBy, OrderByKind, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, TableAlias, TableFactor,
    TableWithJoins, Value, Visit, Visitor, WildcardAdditionalOptions, WindowType,
};
use datafusion::sql::sqlparser::tokenizer::Span as LineSpan;

use super::reader::Reader;
use super::tokens::Places;
use super::{build, functions, teach};
use crate::diag::{Diagnostic, Span};

type Refused = ControlFlow<Box<Diagnostic>>;

/// Looks through the whole tree of `query`.
///
/// # Errors
///
/// The first part that would be passed over.
pub(super) fn check(reader: &Reader<'_>, query: &Query) -> Result<(), Diagnostic> {
    match query.visit(&mut Refuser { reader }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// Refuses a comment that other systems read as a hint or as text.
pub(super) fn hint(comment: &str, span: Span) -> Result<(), Diagnostic> {
    let is_hint = ["/*+", "/*!", "--+"].iter().any(|start| comment.starts_with(start));
    match is_hint {
        false => Ok(()),
        true => Err(Diagnostic::new("unsupported", "hints in comments are not read")
            .at(span)
            .help("put a blank behind the comment's first mark if it is only a comment")),
    }
}

struct Refuser<'a> {
    reader: &'a Reader<'a>,
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
    fn no(&self, what: &str, place: &[&str], span: LineSpan, help: &str) -> Refused {
        let error = Diagnostic::new("unsupported", format!("{what} is not supported"));
        let error = error.at(self.place(place, span));
        let error = if help.is_empty() { error } else { error.help(help) };
        ControlFlow::Break(Box::new(error))
    }

    fn place(&self, words: &[&str], span: LineSpan) -> Span {
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

    fn query(&self, query: &Query) -> Refused {
        let span = query.span();
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        if fetch.is_some() {
            self.no("FETCH", &["FETCH"], span, "LIMIT 10")?;
        }
        if !locks.is_empty() || for_clause.is_some() {
            self.no("FOR at the end of a query", &["FOR"], span, "")?;
        }
        if settings.is_some() {
            self.no("SETTINGS", &["SETTINGS"], span, "")?;
        }
        if format_clause.is_some() {
            self.no("FORMAT", &["FORMAT"], span, "the prompt's .mode says how rows are shown")?;
        }
        if !pipe_operators.is_empty() {
            self.no("a pipe here", &[], span, "put the query in parentheses")?;
        }
        if let Some(LimitClause::LimitOffset { limit_by, .. }) = limit_clause
            && !limit_by.is_empty()
        {
            let help = "row_number() OVER (PARTITION BY ...) numbers the rows of each group";
            self.no("LIMIT ... BY", &["LIMIT"], span, help)?;
        }
        if let Some(order_by) = order_by {
            self.order_by(order_by)?;
        }
        for cte in with.iter().flat_map(|with| &with.cte_tables) {
            let Cte { alias, query: _, from, materialized, closing_paren_token: _ } = cte;
            self.alias(Some(alias))?;
            if from.is_some() {
                self.no("FROM behind a WITH query", &[], alias.name.span, "")?;
            }
            if materialized.is_some() {
                self.no("MATERIALIZED", &["MATERIALIZED"], span, "")?;
            }
        }
        match body.as_ref() {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                let words = ["INSERT", "UPDATE", "DELETE", "MERGE"];
                let at =
                    self.reader.lexemes.iter().position(|l| words.iter().any(|w| l.is_word(w)));
                let error = teach::unknown_statement(self.reader, at.unwrap_or(0));
                ControlFlow::Break(Box::new(error))
            }
            SetExpr::Select(_)
            | SetExpr::Query(_)
            | SetExpr::SetOperation { .. }
            | SetExpr::Values(_)
            | SetExpr::Table(_) => ControlFlow::Continue(()),
        }
    }

    fn order_by(&self, order_by: &OrderBy) -> Refused {
        let OrderBy { kind, interpolate } = order_by;
        let span = order_by.span();
        if interpolate.is_some() {
            self.no("INTERPOLATE", &["INTERPOLATE"], span, "")?;
        }
        let is_all = |expr: &Expr| {
            matches!(expr, Expr::Identifier(name)
                if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all"))
        };
        match kind {
            OrderByKind::All(_) => {
                self.no("ORDER BY ALL", &["ORDER", "BY", "ALL"], span, "name the columns")
            }
            OrderByKind::Expressions(keys) if keys.iter().any(|key| is_all(&key.expr)) => {
                self.no("ORDER BY ALL", &["ORDER", "BY", "ALL"], span, "name the columns")
            }
            OrderByKind::Expressions(keys) if keys.iter().any(|key| key.with_fill.is_some()) => {
                self.no("WITH FILL", &["WITH", "FILL"], span, "")
            }
            OrderByKind::Expressions(_) => ControlFlow::Continue(()),
        }
    }

    /// Refuses what stands before FROM.
    fn select(&self, select: &Select) -> Refused {
        let span = select.span();
        let Select {
            select_token: _,
            optimizer_hints,
            distinct: _,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from: _,
            lateral_views: _,
            prewhere: _,
            selection: _,
            connect_by: _,
            group_by: _,
            cluster_by: _,
            distribute_by: _,
            sort_by: _,
            having: _,
            named_window: _,
            qualify: _,
            window_before_qualify: _,
            value_table_mode,
            flavor: _,
        } = select;
        if top.is_some() {
            self.no("TOP", &["TOP"], span, "LIMIT 10 at the end of the query")?;
        }
        if into.is_some() {
            self.no("INTO", &["INTO"], span, "|> SAVE AS name freezes the rows of a query")?;
        }
        if exclude.is_some() {
            self.no("EXCLUDE behind a list", &["EXCLUDE"], span, "SELECT * EXCLUDE (a, b)")?;
        }
        if !optimizer_hints.is_empty() || select_modifiers.is_some() {
            self.no("a hint to the planner", &[], span, "")?;
        }
        if value_table_mode.is_some() {
            self.no("SELECT AS", &["SELECT", "AS"], span, "")?;
        }
        if projection.is_empty() {
            self.no("a SELECT of nothing", &["SELECT"], span, "SELECT * brings all columns")?;
        }
        ControlFlow::Continue(())
    }

    /// Refuses clauses of other systems behind FROM.
    fn after_from(&self, select: &Select) -> Refused {
        let span = select.span();
        if !select.lateral_views.is_empty() {
            let help = "SELECT unnest(tools) makes a row of every element";
            self.no("LATERAL VIEW", &["LATERAL", "VIEW"], span, help)?;
        }
        if select.prewhere.is_some() {
            self.no("PREWHERE", &["PREWHERE"], span, "WHERE")?;
        }
        if !select.connect_by.is_empty() {
            self.no("CONNECT BY", &["CONNECT", "BY"], span, "WITH RECURSIVE follows a hierarchy")?;
        }
        if !select.cluster_by.is_empty() {
            self.no("CLUSTER BY", &["CLUSTER", "BY"], span, "ORDER BY")?;
        }
        if !select.distribute_by.is_empty() {
            self.no("DISTRIBUTE BY", &["DISTRIBUTE", "BY"], span, "ORDER BY")?;
        }
        if !select.sort_by.is_empty() {
            self.no("SORT BY", &["SORT", "BY"], span, "ORDER BY")?;
        }
        let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) =
            &select.group_by;
        if !modifiers.is_empty() {
            let help = "GROUP BY ROLLUP (a, b), GROUP BY CUBE (a, b), GROUP BY GROUPING SETS (...)";
            self.no("WITH behind GROUP BY", &["GROUP", "BY"], span, help)?;
        }
        ControlFlow::Continue(())
    }

    fn items(&self, select: &Select) -> Refused {
        for item in &select.projection {
            let span = item.span();
            match item {
                SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => {}
                SelectItem::ExprWithAliases { .. } => {
                    self.no("a list of aliases", &[], span, "")?
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _) => {
                    self.no("a wildcard behind an expression", &[], span, "")?;
                }
                SelectItem::QualifiedWildcard(_, options) | SelectItem::Wildcard(options) => {
                    self.wildcard(options, span)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn wildcard(&self, options: &WildcardAdditionalOptions, span: LineSpan) -> Refused {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude: _,
            opt_except: _,
            opt_replace: _,
            opt_rename,
            opt_alias,
        } = options;
        if opt_ilike.is_some() {
            self.no("* ILIKE", &["ILIKE"], span, "name the columns, or leave some out by EXCLUDE")?;
        }
        if opt_rename.is_some() {
            self.no("* RENAME", &["RENAME"], span, "|> RENAME old AS new")?;
        }
        if opt_alias.is_some() {
            self.no("an alias of *", &[], span, "")?;
        }
        ControlFlow::Continue(())
    }

    fn joins(&self, from: &[TableWithJoins]) -> Refused {
        for Join { relation, global, join_operator } in from.iter().flat_map(|t| &t.joins) {
            let span = relation.span();
            if *global {
                self.no("GLOBAL", &["GLOBAL"], span, "")?;
            }
            let constraint = match join_operator {
                JoinOperator::Join(on)
                | JoinOperator::Inner(on)
                | JoinOperator::Left(on)
                | JoinOperator::LeftOuter(on)
                | JoinOperator::Right(on)
                | JoinOperator::RightOuter(on)
                | JoinOperator::FullOuter(on)
                | JoinOperator::LeftSemi(on)
                | JoinOperator::RightSemi(on)
                | JoinOperator::LeftAnti(on)
                | JoinOperator::RightAnti(on) => on,
                JoinOperator::CrossJoin(JoinConstraint::None) => continue,
                JoinOperator::CrossJoin(_) => {
                    self.no("a condition of CROSS JOIN", &["CROSS"], span, "JOIN ... ON ...")?;
                    continue;
                }
                JoinOperator::Semi(_) | JoinOperator::Anti(_) => {
                    self.no("this JOIN", &["JOIN"], span, "LEFT SEMI JOIN, LEFT ANTI JOIN")?;
                    continue;
                }
                JoinOperator::CrossApply
                | JoinOperator::OuterApply
                | JoinOperator::AsOf { .. }
                | JoinOperator::StraightJoin(_)
                | JoinOperator::ArrayJoin
                | JoinOperator::LeftArrayJoin
                | JoinOperator::InnerArrayJoin => {
                    self.no("this kind of JOIN", &[], span, "")?;
                    continue;
                }
            };
            let is_lateral = match relation {
                TableFactor::UNNEST { .. } => true,
                TableFactor::Derived { lateral, .. } | TableFactor::Function { lateral, .. } => {
                    *lateral
                }
                _ => false,
            };
            if *constraint == JoinConstraint::None && !is_lateral {
                let message = "a JOIN without a condition pairs every row with every row";
                let error = Diagnostic::new("join-without-condition", message)
                    .at(self.place(&[], span))
                    .help("JOIN t USING (trajectory_id), JOIN t ON a.x = t.y, or CROSS JOIN t");
                return ControlFlow::Break(Box::new(error));
            }
        }
        ControlFlow::Continue(())
    }

    fn factor(&self, factor: &TableFactor) -> Refused {
        let span = factor.span();
        let sample = "|> SAMPLE 500 STEPS SEED 7 takes the same rows every time";
        match factor {
            TableFactor::Table {
                name: _,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample: sampled,
                index_hints,
            } => {
                self.alias(alias.as_ref())?;
                if sampled.is_some() {
                    self.no("TABLESAMPLE", &["TABLESAMPLE"], span, sample)?;
                }
                if version.is_some() {
                    self.no("a version of a table", &["FOR"], span, "")?;
                }
                if !with_hints.is_empty() || !index_hints.is_empty() {
                    self.no("a hint on a table", &[], span, "")?;
                }
                if *with_ordinality {
                    self.no("WITH ORDINALITY", &["WITH", "ORDINALITY"], span, "")?;
                }
                if !partitions.is_empty() || json_path.is_some() {
                    self.no("a part of a table", &[], span, "")?;
                }
                if args.as_ref().is_some_and(|args| args.settings.is_some()) {
                    self.no("SETTINGS", &["SETTINGS"], span, "")?;
                }
                ControlFlow::Continue(())
            }
            TableFactor::Derived { lateral: _, subquery: _, alias, sample: sampled } => {
                if sampled.is_some() {
                    self.no("TABLESAMPLE", &["TABLESAMPLE"], span, sample)?;
                }
                self.alias(alias.as_ref())
            }
            TableFactor::Function { lateral: _, name: _, args: _, with_ordinality, alias } => {
                if *with_ordinality {
                    self.no("WITH ORDINALITY", &["WITH", "ORDINALITY"], span, "")?;
                }
                self.alias(alias.as_ref())
            }
            TableFactor::UNNEST {
                alias,
                array_exprs: _,
                with_offset,
                with_offset_alias,
                with_ordinality,
            } => {
                if *with_offset || with_offset_alias.is_some() {
                    self.no("WITH OFFSET", &["WITH", "OFFSET"], span, "")?;
                }
                if *with_ordinality {
                    self.no("WITH ORDINALITY", &["WITH", "ORDINALITY"], span, "")?;
                }
                self.alias(alias.as_ref())
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.alias(alias.as_ref())?;
                self.joins(std::slice::from_ref(table_with_joins))
            }
            TableFactor::MatchRecognize { .. } => {
                let place = self.place(&["MATCH_RECOGNIZE"], span);
                ControlFlow::Break(Box::new(teach::not_yet("MATCH_RECOGNIZE", place)))
            }
            TableFactor::Pivot { .. } => self.no("PIVOT", &["PIVOT"], span, ""),
            TableFactor::Unpivot { .. } => self.no("UNPIVOT", &["UNPIVOT"], span, ""),
            TableFactor::TableFunction { .. }
            | TableFactor::JsonTable { .. }
            | TableFactor::OpenJsonTable { .. }
            | TableFactor::XmlTable { .. }
            | TableFactor::SemanticView { .. } => self.no("this kind of table", &[], span, ""),
        }
    }

    fn alias(&self, alias: Option<&TableAlias>) -> Refused {
        let Some(TableAlias { explicit: _, name, columns, at }) = alias else {
            return ControlFlow::Continue(());
        };
        if at.is_some() {
            self.no("AT behind an alias", &[], name.span, "")?;
        }
        if columns.iter().any(|column| column.data_type.is_some()) {
            self.no("a type in an alias", &[], name.span, "")?;
        }
        ControlFlow::Continue(())
    }

    fn expr(&self, expr: &Expr) -> Refused {
        match expr {
            Expr::Function(function) => self.function(function),
            Expr::BinaryOp { left, op, right } => self.binary(expr, left, op, right),
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::CompoundFieldAccess { .. }
            | Expr::JsonAccess { .. }
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::Cast { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::TypedString(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Struct { .. }
            | Expr::Named { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)
            | Expr::Lambda(_) => ControlFlow::Continue(()),
            other => self.no(&format!("'{other}'"), &[], other.span(), ""),
        }
    }

    fn function(&self, function: &Function) -> Refused {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            filter,
            null_treatment: _,
            over,
            within_group,
        } = function;
        let span = name.span();
        let typed = name.to_string();
        if *uses_odbc_syntax || *parameters != FunctionArguments::None {
            self.no(&format!("this form of {typed}()"), &[], span, "")?;
        }
        if let FunctionArguments::Subquery(_) = args {
            let help = "array_agg(x) gathers the values of rows in one array";
            self.no(&format!("a query as the argument of {typed}()"), &[], span, help)?;
        }
        if let Some(WindowType::WindowSpec(spec)) = over
            && spec.window_name.is_some()
        {
            let help = "OVER w, or the whole window in the parentheses";
            self.no("a window that extends another", &[], span, help)?;
        }
        let FunctionArguments::List(list) = args else { return ControlFlow::Continue(()) };
        let is_with_options = |arg: &FunctionArg| {
            matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::WildcardWithOptions(_)))
        };
        if list.args.iter().any(is_with_options) {
            self.no("a part of * as an argument", &[], span, "")?;
        }
        let known = functions::name_of(function).map(build::normal).unwrap_or_default();
        let has_clause = filter.is_some()
            || over.is_some()
            || !within_group.is_empty()
            || list.duplicate_treatment.is_some()
            || !list.clauses.is_empty();
        if has_clause && self.reader.catalog.is_scalar(&known) {
            let message = format!(
                "{known}() makes a value of one row: DISTINCT, ORDER BY, FILTER and OVER have no \
                 meaning for it"
            );
            let error = Diagnostic::new("not-an-aggregate", message).at(self.place(&[], span));
            return ControlFlow::Break(Box::new(error));
        }
        ControlFlow::Continue(())
    }

    /// Refuses comparisons that never mean what they say.
    fn binary(&self, whole: &Expr, left: &Expr, op: &BinaryOperator, right: &Expr) -> Refused {
        let wrong = |code: &'static str, message: &str, help: &str| {
            let place = self.place(&[], whole.span());
            let error = Diagnostic::new(code, message).at(place).help(help);
            ControlFlow::Break(Box::new(error))
        };
        let is_null = |expr: &Expr| matches!(expr, Expr::Value(v) if v.value == Value::Null);
        if compares(op) && (is_null(left) || is_null(right)) {
            let help = "IS NULL or IS NOT NULL asks for it";
            return wrong("null-comparison", "a comparison with NULL is never true", help);
        }
        let concatenates =
            |expr: &Expr| matches!(expr, Expr::BinaryOp { op: BinaryOperator::StringConcat, .. });
        if *op == BinaryOperator::StringConcat && (is_condition(left) || is_condition(right)) {
            return wrong("foreign-spelling", "'||' joins texts", "either of two conditions: OR");
        }
        if compares(op)
            && let Expr::BinaryOp { op: inner, right: middle, .. } = left
            && compares(inner)
        {
            return match concatenates(middle) {
                true => wrong("foreign-spelling", "'||' joins texts", "either condition: OR"),
                false => wrong(
                    "chained-comparison",
                    "comparisons are not chained",
                    "0 < x AND x < 1, or x BETWEEN 0 AND 1",
                ),
            };
        }
        ControlFlow::Continue(())
    }
}

fn compares(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
    )
}

/// Returns true if the expression is seen to be true or false, not a text.
fn is_condition(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { op, .. } => {
            compares(op) || matches!(op, BinaryOperator::And | BinaryOperator::Or)
        }
        Expr::Nested(inner) => is_condition(inner),
        Expr::Value(value) => matches!(value.value, Value::Boolean(_)),
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::InList { .. }
        | Expr::Like { .. }
        | Expr::Between { .. } => true,
        _ => false,
    }
}
