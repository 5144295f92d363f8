//! `x = ANY (SELECT y FROM t)`, and ALL.
//!
//! The engine compares `x` with the columns of the query inside by name, and takes an `x` of the
//! same table for the one inside. Under a name of its own the query's column is told apart.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, VisitMut, VisitorMut};

use super::names::over;

/// Gives the queries behind ANY and ALL a name of their own.
pub(super) fn part(query: &mut Query) {
    struct Parting;
    impl VisitorMut for Parting {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } = expr
                && let Expr::Subquery(inner) = right.as_mut()
                && let Ok(named) = over(inner.as_ref().clone(), "*")
            {
                **inner = named;
            }
            ControlFlow::Continue(())
        }
    }
    let _: ControlFlow<()> = query.visit(&mut Parting);
}
