//! Clauses of queries and SELECTs.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, GroupByExpr, LimitClause, OrderBy, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, Spanned,
    WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::tokenizer::Span as LineSpan;

use super::super::teach;
use super::refuser::{Refused, Refuser};

impl Refuser<'_> {
    pub(super) fn query(&self, query: &Query) -> Refused {
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
        self.body(body)
    }

    fn body(&self, body: &SetExpr) -> Refused {
        match body {
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                if *set_quantifier == SetQuantifier::All && *op != SetOperator::Union {
                    let what = format!("{op} ALL");
                    let help = "without ALL, a row that is there comes once";
                    self.no(&what, &[&op.to_string(), "ALL"], LineSpan::empty(), help)?;
                }
                if *op == SetOperator::Minus {
                    self.no("MINUS", &["MINUS"], LineSpan::empty(), "EXCEPT")?;
                }
                self.body(left)?;
                self.body(right)
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                let words = ["INSERT", "UPDATE", "DELETE", "MERGE"];
                let at =
                    self.reader.lexemes.iter().position(|l| words.iter().any(|w| l.is_word(w)));
                let error = teach::unknown_statement(self.reader, at.unwrap_or(0));
                ControlFlow::Break(Box::new(error))
            }
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => {
                ControlFlow::Continue(())
            }
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
    pub(super) fn select(&self, select: &Select) -> Refused {
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
    pub(super) fn after_from(&self, select: &Select) -> Refused {
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

    pub(super) fn items(&self, select: &Select) -> Refused {
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
            opt_rename: _,
            opt_alias,
        } = options;
        if opt_ilike.is_some() {
            self.no("* ILIKE", &["ILIKE"], span, "name the columns, or leave some out by EXCLUDE")?;
        }
        if opt_alias.is_some() {
            self.no("an alias of *", &[], span, "")?;
        }
        ControlFlow::Continue(())
    }
}
