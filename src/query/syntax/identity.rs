//! Where rows come from, and their order, carried through a tree of SELECTs.
//!
//! The tables of steps carry two hidden columns, `_trajectory` and `_step`. As long as a SELECT
//! keeps rows apart it keeps them, so that whatever comes out can be sampled, frozen and trained on:
//!
//! ```text
//! FROM steps |> WHERE reward > .5 |> SELECT tool |> LIMIT 3
//!
//! SELECT *                                   LIMIT without an order: the order of steps
//! FROM (SELECT tool, _trajectory, _step      a list of columns: the hidden ones are added
//!       FROM (SELECT * FROM steps            a wildcard brings them
//!             WHERE reward > .5))
//! ORDER BY _trajectory, _step LIMIT 3
//! ```
//!
//! Grouping, DISTINCT, set operations and joins make new rows: from there on the hidden columns are
//! gone, and every wildcard over them is written `* EXCLUDE (_trajectory, _step)`. The same holds
//! where only what is written may come out: in a subquery of an expression, on the sides of a UNION.
//!
//! An ORDER BY inside says nothing to SQL about the rows outside, so none is left there: its keys
//! climb up the tree, through everything that keeps rows apart, and are said again where order
//! matters, at a LIMIT and at the top ([`order`](super::order)). Rows that carry identity get it as
//! the last keys, so that equal keys never leave an order open.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Function, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident,
    OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor,
    TableWithJoins, VisitMut, VisitorMut, WindowType,
};

use super::functions::{self, calls};
use super::order::{Outputs, exclude, is_identity_order, mentions, normalise, outward};
use super::reader::Reader;
use super::stages::{and, probe};
use super::tokens::Places;
use super::{build, ours};
use crate::diag::{Diagnostic, Span};

/// What the rows of a whole statement carry.
pub(super) struct Carried {
    /// Whether the statement fixes an order beyond trajectory and step.
    pub ordered: bool,
    /// Whether the rows carry the hidden columns.
    pub identity: bool,
}

/// Carries the hidden columns and the order of rows through the whole tree of `query`.
///
/// # Errors
///
/// `sample-needs-identity`, `every-needs-identity`: what speaks of trajectories stands over rows
/// that belong to none; `aggregate-misplaced`: an aggregate in a WHERE.
pub(super) fn carry(reader: &Reader<'_>, query: &mut Query) -> Result<Carried, Diagnostic> {
    let mut carrier = Carrier { reader, places: Places::new(reader.text), fresh: 0 };
    let shape = carrier.query(query, &Scope::default(), Want::Top)?;
    let ordered = match &shape.order {
        Order::Natural => false,
        Order::Keys(keys) => !is_identity_order(keys),
        Order::Fixed => true,
    };
    Ok(Carried { ordered, identity: shape.identity })
}

/// What is known of the rows of a relation.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// Whether they carry the hidden columns.
    pub identity: bool,
    /// Their order.
    pub order: Order,
    /// Hidden columns that carry keys of the order.
    pub extra: Vec<Ident>,
}

/// The order of the rows of a relation.
#[derive(Clone, Debug, Default)]
pub(super) enum Order {
    /// None, or that of trajectory and step if the rows carry identity.
    #[default]
    Natural,
    /// By these keys, expressions over the columns of the relation.
    Keys(Vec<OrderByExpr>),
    /// Fixed where it was made, by keys that cannot be said outside.
    Fixed,
}

/// What a query is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// It is the statement: identity and order come out.
    Top,
    /// It is a relation: identity and keys of its order come out.
    Rows,
    /// It is a relation that is ordered anew: identity comes out.
    Identity,
    /// Only the columns that are written come out.
    Values,
}

/// Where a SELECT stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Whether a LIMIT cuts its rows.
    limited: bool,
    /// Whether its rows are those of its relation.
    keeps_rows: bool,
    /// What it is read for.
    want: Want,
}

/// The queries that WITH has named.
type Scope = HashMap<String, Shape>;

pub(super) struct Carrier<'a> {
    reader: &'a Reader<'a>,
    places: Places<'a>,
    /// How many hidden columns have been named.
    pub(super) fresh: usize,
}

impl Carrier<'_> {
    fn query(&mut self, query: &mut Query, outer: &Scope, want: Want) -> Result<Shape, Diagnostic> {
        let mut scope = outer.clone();
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                let name = build::normal(&cte.alias.name);
                if with.recursive {
                    scope.insert(name.clone(), Shape::default());
                }
                let all = if cte.alias.columns.is_empty() { Want::Rows } else { Want::Values };
                let shape = self.query(&mut cte.query, &scope, all)?;
                scope.insert(name, shape);
            }
        }
        unwrap_parentheses(query);
        self.subqueries(&mut query.limit_clause, &scope)?;
        let limited = query.limit_clause.is_some();
        let shape = match query.body.as_mut() {
            SetExpr::Select(select) => {
                self.select(select, &mut query.order_by, limited, &scope, want)?
            }
            body => {
                self.set_expr(body, &scope)?;
                self.subqueries(&mut query.order_by, &scope)?;
                set_shape(&mut query.order_by, limited, want)
            }
        };
        if want != Want::Rows && !shape.extra.is_empty() {
            let with = query.with.take();
            let order = match limited {
                true => query.order_by.clone(),
                false => query.order_by.take(),
            };
            let order = order.filter(|_| want == Want::Top);
            let inner = std::mem::replace(query, build::query(build::select(vec![], vec![])));
            let wildcard = build::wildcard_without(shape.extra.clone());
            *query = build::query(build::select(vec![wildcard], build::derived(inner, None)));
            query.with = with;
            query.order_by = order;
        }
        Ok(shape)
    }

    /// Reads the sides of a set operation, of which only the written columns come out.
    fn set_expr(&mut self, body: &mut SetExpr, scope: &Scope) -> Result<(), Diagnostic> {
        match body {
            SetExpr::Select(select) => {
                self.select(select, &mut None, false, scope, Want::Values)?;
            }
            SetExpr::Query(query) => {
                self.query(query, scope, Want::Values)?;
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.set_expr(left, scope)?;
                self.set_expr(right, scope)?;
            }
            SetExpr::Values(values) => self.subqueries(values, scope)?,
            _ => {}
        }
        Ok(())
    }

    fn select(
        &mut self,
        select: &mut Select,
        order_by: &mut Option<OrderBy>,
        limited: bool,
        scope: &Scope,
        want: Want,
    ) -> Result<Shape, Diagnostic> {
        let catalog = self.reader.catalog;
        let needs_order = order_by.is_none()
            || !calls(&select.projection, catalog).aggregates.is_empty()
            || select.having.is_some();
        let from = if needs_order { Want::Rows } else { Want::Identity };
        let relation = self.from(&mut select.from, scope, from)?;
        self.select_subqueries(select, order_by, scope)?;
        let names = normalise(select);
        self.whole_trajectories(select, &relation)?;
        for name in names {
            let known = probe(name);
            select.selection = Some(match select.selection.take() {
                Some(predicate @ Expr::BinaryOp { .. }) => {
                    and(Expr::Nested(Box::new(predicate)), known)
                }
                Some(predicate) => and(predicate, known),
                None => known,
            });
        }
        self.check_samples(select, order_by, &relation)?;
        let aggregates = [
            calls(&select.projection, catalog),
            calls(&select.having, catalog),
            calls(&select.qualify, catalog),
            calls(order_by, catalog),
        ];
        let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(e, _) if e.is_empty())
            || select.having.is_some()
            || aggregates.iter().any(|found| !found.aggregates.is_empty());
        if is_grouped {
            self.order_aggregates(select, order_by, &relation);
        }
        let is_distinct = matches!(select.distinct, Some(Distinct::Distinct | Distinct::On(_)));
        let keeps_rows = !is_grouped && !is_distinct;
        let has_own = order_by.is_some();
        let carried = Shape {
            identity: relation.identity && keeps_rows && want != Want::Values,
            order: Order::Natural,
            extra: match keeps_rows && want == Want::Rows && !has_own {
                true => relation.extra.clone(),
                false => vec![],
            },
        };
        hide(select, &relation, &carried);
        let place = Place { limited, keeps_rows, want };
        Ok(self.settle(select, order_by, place, &relation, carried))
    }

    /// Says the order where it matters, and returns what comes out of the SELECT.
    fn settle(
        &mut self,
        select: &mut Select,
        order_by: &mut Option<OrderBy>,
        at: Place,
        relation: &Shape,
        mut shape: Shape,
    ) -> Shape {
        let (mut keys, inherited) = match (own_keys(order_by), &relation.order) {
            (Own::Keys(keys), _) => (keys, false),
            (Own::None, _) if !at.keeps_rows => return shape,
            (Own::None, Order::Natural) if relation.identity => (build::identity_order(), true),
            (Own::None, Order::Natural) => return shape,
            (Own::None, Order::Keys(keys)) => (keys.clone(), true),
            (Own::Other, _) | (Own::None, Order::Fixed) => {
                shape.order = Order::Fixed;
                return shape;
            }
        };
        if relation.identity && at.keeps_rows {
            for key in build::identity_order() {
                if !keys.iter().any(|known| known.expr == key.expr) {
                    keys.push(key);
                }
            }
        }
        let is_on = matches!(select.distinct, Some(Distinct::On(_)));
        let is_distinct = is_on || matches!(select.distinct, Some(Distinct::Distinct));
        let here = at.limited || at.want == Want::Top || (is_on && !inherited);
        let outputs = Outputs::of(select);
        let shadowed = inherited && here && outputs.shadow(&keys);
        let mut said = keys.clone();
        if at.want == Want::Rows || shadowed {
            let rule = (inherited, is_distinct);
            let Some((outer, added)) = outward(&keys, select, &outputs, rule, &mut self.fresh)
            else {
                *order_by = Some(build::order_by(keys));
                shape.order = Order::Fixed;
                return shape;
            };
            shape.extra.retain(|name| mentions(&outer, name));
            shape.extra.extend(added);
            if shadowed {
                said.clone_from(&outer);
            }
            keys = outer;
        }
        *order_by = here.then(|| build::order_by(said));
        shape.order = Order::Keys(keys);
        shape
    }

    /// Reads the relations of a FROM; only one that stands alone hands its rows on.
    fn from(
        &mut self,
        from: &mut Vec<TableWithJoins>,
        scope: &Scope,
        want: Want,
    ) -> Result<Shape, Diagnostic> {
        if let [only] = from.as_mut_slice()
            && only.joins.is_empty()
        {
            let shape = self.factor(&mut only.relation, scope, want)?;
            if let TableFactor::Derived { subquery, alias: None, lateral: false, .. } =
                &mut only.relation
                && let Some(inner) = build::take_bare_from(subquery)
            {
                *from = inner;
            }
            return Ok(shape);
        }
        for table in from {
            self.joined(table, scope)?;
        }
        Ok(Shape::default())
    }

    fn joined(&mut self, table: &mut TableWithJoins, scope: &Scope) -> Result<(), Diagnostic> {
        self.factor(&mut table.relation, scope, Want::Values)?;
        for join in &mut table.joins {
            self.factor(&mut join.relation, scope, Want::Values)?;
            self.subqueries(&mut join.join_operator, scope)?;
        }
        Ok(())
    }

    fn factor(
        &mut self,
        factor: &mut TableFactor,
        scope: &Scope,
        want: Want,
    ) -> Result<Shape, Diagnostic> {
        let renames = |alias: &Option<TableAlias>| {
            alias.as_ref().is_some_and(|alias| !alias.columns.is_empty())
        };
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let known = build::last_part(name).unwrap_or_default();
                let shape = match scope.get(&known).filter(|_| name.0.len() == 1) {
                    Some(shape) => shape.clone(),
                    None => Shape {
                        identity: self.reader.catalog.has_identity(&known),
                        ..Shape::default()
                    },
                };
                let hidden = hidden_columns(&shape);
                if hidden.is_empty() || (want != Want::Values && !renames(alias)) {
                    return Ok(shape);
                }
                let last = name.0.last().and_then(|part| part.as_ident()).cloned();
                let alias = alias.take().or_else(|| last.map(build::table_alias));
                let table = factor.clone();
                let from = vec![TableWithJoins { relation: table, joins: vec![] }];
                let bare = build::select(vec![build::wildcard_without(hidden)], from);
                *factor = build::derived_factor(build::query(bare), alias);
                Ok(Shape::default())
            }
            TableFactor::Derived { subquery, alias, lateral, .. } => {
                let want = if renames(alias) || *lateral { Want::Values } else { want };
                self.query(subquery, scope, want)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                if table_with_joins.joins.is_empty() && alias.is_none() {
                    return self.factor(&mut table_with_joins.relation, scope, want);
                }
                self.joined(table_with_joins, scope)?;
                Ok(Shape::default())
            }
            other => {
                self.subqueries(other, scope)?;
                Ok(Shape::default())
            }
        }
    }

    /// Turns what a WHERE says of whole trajectories, or of other rows, into a filter behind a
    /// window: `every(p)` becomes `every(p) OVER (PARTITION BY _trajectory)`.
    fn whole_trajectories(
        &mut self,
        select: &mut Select,
        relation: &Shape,
    ) -> Result<(), Diagnostic> {
        let found = calls(&select.selection, self.reader.catalog);
        let other = found.aggregates.iter().find(|n| build::normal(n) != functions::EVERY);
        if let Some(name) = other {
            let message = format!("{}() speaks of many rows, WHERE of one", build::normal(name));
            return Err(Diagnostic::new("aggregate-misplaced", message)
                .at(self.place(name))
                .help("group first: |> AGGREGATE count(*) AS n GROUP BY tool |> WHERE n > 3")
                .help("in SELECT ... GROUP BY ..., HAVING filters groups"));
        }
        if let Some(name) = found.every.first().filter(|_| !relation.identity) {
            let message = "every() in a WHERE speaks of all steps of a row's trajectory, and these \
                           rows belong to none";
            return Err(Diagnostic::new("every-needs-identity", message)
                .at(self.place(name))
                .help("filter before the rows are joined, grouped or made DISTINCT"));
        }
        if found.every.is_empty() && !found.has_window {
            return Ok(());
        }
        let Some(mut predicate) = select.selection.take() else { return Ok(()) };
        edit_functions(&mut predicate, |function| {
            let is_every = functions::name_of(function).map(build::normal);
            if function.over.is_none() && is_every.as_deref() == Some(functions::EVERY) {
                let trajectory = vec![build::column(build::TRAJECTORY)];
                function.over = Some(WindowType::WindowSpec(build::window(trajectory, vec![])));
            }
        });
        let only_filters = Select { from: vec![], ..select.clone() };
        if only_filters == build::select(vec![build::wildcard()], vec![]) {
            select.qualify = Some(predicate);
            return Ok(());
        }
        let from = std::mem::take(&mut select.from);
        let mut inner = build::select(vec![build::wildcard()], from);
        inner.qualify = Some(predicate);
        select.from = build::derived(build::query(inner), None);
        Ok(())
    }

    /// Demands identity of the rows that a SAMPLE draws from.
    fn check_samples(
        &mut self,
        select: &mut Select,
        order_by: &mut Option<OrderBy>,
        relation: &Shape,
    ) -> Result<(), Diagnostic> {
        if relation.identity {
            return Ok(());
        }
        let mut sample = None;
        let mut look = |function: &mut Function| {
            if let Some(name) = functions::name_of(function)
                && name.value == ours::SAMPLE_KEY
                && function.to_string().contains(build::TRAJECTORY)
            {
                sample.get_or_insert(name.clone());
            }
        };
        edit_functions(&mut select.qualify, &mut look);
        edit_functions(order_by, &mut look);
        match sample {
            None => Ok(()),
            Some(name) => {
                let message = "SAMPLE draws steps or trajectories, and these rows are neither";
                Err(Diagnostic::new("sample-needs-identity", message)
                    .at(self.place(&name))
                    .help("sample before the rows are joined, grouped, united or made DISTINCT"))
            }
        }
    }

    /// Gives aggregates whose value depends on the order of rows the order of the rows they read.
    fn order_aggregates(
        &mut self,
        select: &mut Select,
        order_by: &mut Option<OrderBy>,
        relation: &Shape,
    ) {
        let keys = match &relation.order {
            Order::Keys(keys) => keys.clone(),
            Order::Natural if relation.identity => build::identity_order(),
            Order::Natural | Order::Fixed => return,
        };
        let catalog = self.reader.catalog;
        let mut give = |function: &mut Function| {
            let known = functions::name_of(function).map(build::normal).unwrap_or_default();
            if !catalog.is_order_sensitive(&known)
                || function.over.is_some()
                || !function.within_group.is_empty()
            {
                return;
            }
            if let FunctionArguments::List(list) = &mut function.args
                && list.duplicate_treatment.is_none()
                && !list.clauses.iter().any(|c| matches!(c, FunctionArgumentClause::OrderBy(_)))
            {
                list.clauses.push(FunctionArgumentClause::OrderBy(keys.clone()));
            }
        };
        edit_functions(&mut select.projection, &mut give);
        edit_functions(&mut select.having, &mut give);
        edit_functions(&mut select.qualify, &mut give);
        edit_functions(order_by, &mut give);
    }

    fn select_subqueries(
        &mut self,
        select: &mut Select,
        order_by: &mut Option<OrderBy>,
        scope: &Scope,
    ) -> Result<(), Diagnostic> {
        self.subqueries(&mut select.projection, scope)?;
        self.subqueries(&mut select.selection, scope)?;
        self.subqueries(&mut select.group_by, scope)?;
        self.subqueries(&mut select.having, scope)?;
        self.subqueries(&mut select.qualify, scope)?;
        self.subqueries(&mut select.named_window, scope)?;
        self.subqueries(&mut select.distinct, scope)?;
        self.subqueries(order_by, scope)
    }

    /// Reads the subqueries of a piece of the tree: only what they write comes out.
    fn subqueries(&mut self, node: &mut impl VisitMut, scope: &Scope) -> Result<(), Diagnostic> {
        let mut visitor = Subqueries { carrier: self, scope, depth: 0, error: None };
        let _ = node.visit(&mut visitor);
        visitor.error.map_or(Ok(()), Err)
    }

    fn place(&mut self, name: &Ident) -> Span {
        self.places.span(name.span)
    }
}

struct Subqueries<'c, 'a> {
    carrier: &'c mut Carrier<'a>,
    scope: &'c Scope,
    depth: usize,
    error: Option<Diagnostic>,
}

impl VisitorMut for Subqueries<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match self.carrier.query(query, self.scope, Want::Values) {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

/// Calls `edit` on every function of a piece of the tree, its subqueries left out.
fn edit_functions(node: &mut impl VisitMut, edit: impl FnMut(&mut Function)) {
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

/// What a query says of its order.
enum Own {
    None,
    Keys(Vec<OrderByExpr>),
    Other,
}

fn own_keys(order_by: &mut Option<OrderBy>) -> Own {
    match order_by.take() {
        None => Own::None,
        Some(OrderBy { kind: OrderByKind::Expressions(keys), interpolate: None }) => {
            Own::Keys(keys)
        }
        other => {
            *order_by = other;
            Own::Other
        }
    }
}

/// Returns what comes out of a set operation: new rows, in the order it says.
fn set_shape(order_by: &mut Option<OrderBy>, limited: bool, want: Want) -> Shape {
    let order = match own_keys(order_by) {
        Own::None => Order::Natural,
        Own::Other => Order::Fixed,
        Own::Keys(keys) => {
            let plain = keys.iter().all(|key| matches!(key.expr, Expr::Identifier(_)));
            if limited || want != Want::Rows || !plain {
                *order_by = Some(build::order_by(keys.clone()));
            }
            if plain { Order::Keys(keys) } else { Order::Fixed }
        }
    };
    Shape { order, ..Shape::default() }
}

/// Returns the hidden columns of a relation.
fn hidden_columns(shape: &Shape) -> Vec<Ident> {
    let identity = [build::TRAJECTORY, build::STEP].map(Ident::new);
    let identity = identity.into_iter().filter(|_| shape.identity);
    identity.chain(shape.extra.iter().cloned()).collect()
}

/// Makes the projection bring the hidden columns of `carried`, once, and no others of `relation`.
fn hide(select: &mut Select, relation: &Shape, carried: &Shape) {
    let all = hidden_columns(relation);
    let kept = hidden_columns(carried);
    if all.is_empty() {
        return;
    }
    let name = relation_name(&select.from);
    let mut missing = kept.clone();
    for item in &mut select.projection {
        let is_whole = match item {
            SelectItem::QualifiedWildcard(kind, _) => {
                name.as_deref().is_some_and(|name| kind.to_string().trim_end_matches(".*") == name)
            }
            _ => false,
        };
        if let SelectItem::QualifiedWildcard(_, options) = item
            && is_whole
        {
            *item = SelectItem::Wildcard(options.clone());
        }
        match item {
            SelectItem::Wildcard(options) => {
                exclude(options, all.iter().filter(|name| !missing.contains(name)));
                missing.clear();
            }
            SelectItem::QualifiedWildcard(_, options) => {
                let mine = all.iter().filter(|name| !relation.extra.contains(name));
                exclude(options, mine.filter(|name| !missing.contains(name)));
                missing.retain(|name| relation.extra.contains(name));
            }
            _ => {}
        }
    }
    let columns = missing.into_iter().map(Expr::Identifier).map(SelectItem::UnnamedExpr);
    select.projection.extend(columns);
}

/// Returns the name under which the only relation of a FROM is known, as typed.
fn relation_name(from: &[TableWithJoins]) -> Option<String> {
    match from {
        [only] if only.joins.is_empty() => match &only.relation {
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. } => Some(alias.name.to_string()),
            TableFactor::Table { name, .. } => Some(name.to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Takes the parentheses off a query that is only another in parentheses; where the outer one has
/// an order or a limit of its own, the inner one becomes its relation.
fn unwrap_parentheses(query: &mut Query) {
    while let SetExpr::Query(inner) = query.body.as_mut() {
        let nothing_here = query.order_by.is_none() && query.limit_clause.is_none();
        if nothing_here && (query.with.is_none() || inner.with.is_none()) {
            let with = query.with.take();
            let empty = build::query(build::select(vec![], vec![]));
            let mut inner = std::mem::replace(inner.as_mut(), empty);
            inner.with = inner.with.or(with);
            *query = inner;
        } else {
            let empty = build::query(build::select(vec![], vec![]));
            let inner = std::mem::replace(inner.as_mut(), empty);
            let select = build::select(vec![build::wildcard()], build::derived(inner, None));
            *query.body = SetExpr::Select(Box::new(select));
        }
    }
}
