//! Which functions an expression calls.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, ObjectNamePart, Query, Visit, VisitMut, Visitor, VisitorMut,
};

use super::{Catalog, build};

/// The name of the aggregate that a WHERE may use: it speaks of all rows of a trajectory.
pub(super) const EVERY: &str = "every";

/// What is called in an expression, its subqueries left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// Aggregates without OVER, `every` among them.
    pub aggregates: Vec<Ident>,
    /// `every` without OVER.
    pub every: Vec<Ident>,
    /// Whether anything has OVER.
    pub has_window: bool,
}

/// Returns what an expression, or any other piece of the tree, calls.
pub(super) fn calls(node: &impl Visit, catalog: &dyn Catalog) -> Calls {
    let mut finder = Finder { catalog, calls: Calls::default(), depth: 0 };
    let _ = node.visit(&mut finder);
    finder.calls
}

/// Returns the last part of a function's name.
pub(super) fn name_of(function: &Function) -> Option<&Ident> {
    function.name.0.last().and_then(ObjectNamePart::as_ident)
}

struct Finder<'a> {
    catalog: &'a dyn Catalog,
    calls: Calls,
    depth: usize,
}

impl Visitor for Finder<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && self.depth == 0
            && let Some(name) = name_of(function)
        {
            let known = build::normal(name);
            if function.over.is_some() {
                self.calls.has_window = true;
            } else if known == EVERY {
                self.calls.every.push(name.clone());
                self.calls.aggregates.push(name.clone());
            } else if self.catalog.is_aggregate(&known) {
                self.calls.aggregates.push(name.clone());
            }
        }
        ControlFlow::Continue(())
    }
}

/// Calls `edit` on every function of a piece of the tree, its subqueries left out.
pub(super) fn edit_functions(node: &mut impl VisitMut, edit: impl FnMut(&mut Function)) {
    struct Editor<F> {
        edit: F,
        depth: usize,
    }
    impl<F: FnMut(&mut Function)> VisitorMut for Editor<F> {
        type Break = ();
        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && self.depth == 0
            {
                (self.edit)(function);
            }
            ControlFlow::Continue(())
        }
    }
    let _ = node.visit(&mut Editor { edit, depth: 0 });
}
