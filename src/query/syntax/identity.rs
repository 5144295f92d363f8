//! Where rows come from, and their order, carried through a tree of SELECTs.
//!
//! The tables of steps carry two hidden columns, `_trajectory` and `_step`. As long as a SELECT
//! keeps rows apart it keeps them, so that what comes out can be sampled, frozen and trained on:
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
//! where only what is written may come out: in subqueries of expressions, on the sides of a UNION.
//!
//! An ORDER BY inside says nothing to SQL about the rows outside, so none is left there: its keys
//! climb up the tree, through everything that keeps rows apart, and are said again where order
//! matters, at a LIMIT and at the top ([`order`](super::order)). Rows that carry identity get it as
//! the last keys, so that equal keys never leave an order open.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::RowsPerMatch;
use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, OrderBy, OrderByExpr, OrderByKind, Query, Select, SetExpr,
    TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use super::columns::{demand, known_columns, rename};
use super::functions::{Calls, calls};
use super::hidden::{
    hidden_columns, hide, show_only_written, show_table_without, show_without, unwrap_parentheses,
};
use super::order::{Outputs, is_identity_order, mentions, normalise, outward};
use super::reader::Reader;
use super::{Catalog, WITHIN, across, build, limits, split};
use crate::diag::Diagnostic;

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
/// `sample-needs-identity`, `search-needs-identity`, `every-needs-identity`: what speaks of
/// trajectories stands over rows that belong to none; `aggregate-misplaced`: an aggregate in a
/// WHERE.
pub(super) fn carry(reader: &Reader<'_>, query: &mut Query) -> Result<Carried, Diagnostic> {
    let mut carrier = Carrier { reader, fresh: 0, depth: 0 };
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
    /// Whether `trajectory_id` and `step` are the table's own.
    pub own_names: bool,
    /// Whether the columns with full text are the table's own.
    pub own_texts: bool,
    /// The names of the columns that are not hidden, if they are known.
    pub columns: Option<Vec<String>>,
    /// How many of them are called `split`, where not all are known.
    pub splits: usize,
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
    /// Only whether there is a row comes out.
    Existence,
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
    /// How many hidden columns have been named.
    fresh: usize,
    /// How many queries stand around the one that is being read.
    depth: usize,
}

impl Carrier<'_> {
    fn query(&mut self, query: &mut Query, outer: &Scope, want: Want) -> Result<Shape, Diagnostic> {
        if self.depth > self.reader.limits.stages_max {
            let span = self.reader.span(0..self.reader.lexemes.len());
            return Err(limits::too_deep(span, self.reader.limits));
        }
        self.depth += 1;
        unwrap_parentheses(query);
        let shape = match &query.with {
            None => self.body(query, outer, want)?,
            Some(_) => {
                let scope = self.ctes(query, outer)?;
                self.body(query, &scope, want)?
            }
        };
        self.depth -= 1;
        if want != Want::Rows && !shape.extra.is_empty() {
            show_only_written(query, &shape, want);
        }
        Ok(shape)
    }

    /// Reads the queries that WITH names, and returns all names that are then known.
    #[inline(never)]
    fn ctes(&mut self, query: &mut Query, outer: &Scope) -> Result<Scope, Diagnostic> {
        let mut scope = outer.clone();
        let Some(with) = &mut query.with else { return Ok(scope) };
        for cte in &mut with.cte_tables {
            let name = build::normal(&cte.alias.name);
            if with.recursive {
                scope.insert(name.clone(), Shape::default());
            }
            let all = if cte.alias.columns.is_empty() { Want::Rows } else { Want::Values };
            let shape = self.query(&mut cte.query, &scope, all)?;
            let columns = shape.columns.filter(|_| cte.alias.columns.is_empty());
            let splits = if cte.alias.columns.is_empty() { shape.splits } else { 0 };
            scope.insert(name, Shape { columns, splits, ..shape });
        }
        Ok(scope)
    }

    fn body(&mut self, query: &mut Query, scope: &Scope, want: Want) -> Result<Shape, Diagnostic> {
        self.subqueries(&mut query.limit_clause, scope)?;
        let limited = query.limit_clause.is_some();
        match query.body.as_mut() {
            SetExpr::Select(select) => {
                self.select(select, &mut query.order_by, limited, scope, want)
            }
            body => {
                self.set_expr(body, scope)?;
                self.subqueries(&mut query.order_by, scope)?;
                Ok(set_shape(&mut query.order_by, limited, want))
            }
        }
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
        let replaced = normalise(select);
        rename(select, &relation);
        split::settle(self.reader, select, &relation)?;
        across::whole_trajectories(self.reader, select, &relation)?;
        demand(select, replaced);
        across::check_identity(self.reader, select, order_by, &relation)?;
        across::order_windows(select, &relation);
        across::windows_on_ordinal(catalog, select, &relation);
        let is_grouped = is_grouped(select, order_by, catalog);
        if is_grouped {
            across::order_aggregates(catalog, select, order_by, &relation);
        }
        let is_distinct = matches!(select.distinct, Some(Distinct::Distinct | Distinct::On(_)));
        let keeps_rows = !is_grouped && !is_distinct;
        let only_written = matches!(want, Want::Values | Want::Existence);
        let keeps_keys = keeps_rows && want == Want::Rows && order_by.is_none();
        let carried = Shape {
            identity: relation.identity && keeps_rows && !only_written,
            order: Order::Natural,
            extra: if keeps_keys { relation.extra.clone() } else { vec![] },
            own_names: relation.own_names && across::keeps_own_names(select),
            own_texts: relation.own_texts && across::keeps_own_texts(select),
            columns: known_columns(self.reader, select, &relation)?,
            splits: split::count(select, &relation),
        };
        hide(select, &relation, &carried);
        let place = Place { limited, keeps_rows, want };
        Ok(self.settle(select, order_by, place, &relation, carried))
    }

    /// Says the order where it matters, and returns what comes out of the SELECT.
    #[inline(never)]
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
        let here = match at.want {
            Want::Existence => false,
            Want::Top => true,
            Want::Rows | Want::Identity | Want::Values => at.limited || (is_on && !inherited),
        };
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
        let mut shape = Shape::default();
        for table in from {
            shape.splits += self.joined(table, scope)?.splits;
        }
        Ok(shape)
    }

    fn joined(&mut self, table: &mut TableWithJoins, scope: &Scope) -> Result<Shape, Diagnostic> {
        let first = self.factor(&mut table.relation, scope, Want::Values)?;
        let mut shape = Shape { splits: split::of(&first), ..Shape::default() };
        for join in &mut table.joins {
            let joined = self.factor(&mut join.relation, scope, Want::Values)?;
            shape.splits += split::of(&joined);
            self.subqueries(&mut join.join_operator, scope)?;
        }
        Ok(shape)
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
            TableFactor::Table { name, alias, args, .. } => {
                let known = build::last_part(name).unwrap_or_default();
                let is_named = name.0.len() == 1 && args.is_none();
                let shape = match scope.get(&known).filter(|_| is_named) {
                    Some(shape) => shape.clone(),
                    None => {
                        let table = build::dotted(name);
                        Shape {
                            identity: self.reader.catalog.has_identity(&table),
                            own_names: true,
                            own_texts: true,
                            columns: self.reader.catalog.columns(&table),
                            ..Shape::default()
                        }
                    }
                };
                let hidden = hidden_columns(&shape);
                if hidden.is_empty() || (want != Want::Values && !renames(alias)) {
                    return Ok(shape);
                }
                let columns = shape.columns.filter(|_| !renames(alias));
                show_table_without(factor, hidden);
                Ok(Shape { columns, splits: shape.splits, ..Shape::default() })
            }
            TableFactor::Derived { subquery, alias, lateral, .. } => {
                let renamed = renames(alias);
                let want = if renamed || *lateral { Want::Values } else { want };
                let shape = self.query(subquery, scope, want)?;
                let splits = if renamed { 0 } else { shape.splits };
                Ok(Shape { columns: shape.columns.filter(|_| !renamed), splits, ..shape })
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                if table_with_joins.joins.is_empty() && alias.is_none() {
                    return self.factor(&mut table_with_joins.relation, scope, want);
                }
                self.joined(table_with_joins, scope)
            }
            TableFactor::MatchRecognize { .. } => self.matches(factor, scope, want),
            other => {
                self.subqueries(other, scope)?;
                Ok(Shape::default())
            }
        }
    }

    /// Reads a pattern over rows. A match of the short form has the identity of its last step, a
    /// row of a match its own.
    #[inline(never)]
    fn matches(
        &mut self,
        factor: &mut TableFactor,
        scope: &Scope,
        want: Want,
    ) -> Result<Shape, Diagnostic> {
        let TableFactor::MatchRecognize { table, measures, rows_per_match, symbols, .. } = factor
        else {
            return Ok(Shape::default());
        };
        let shape = self.factor(table, scope, Want::Identity)?;
        let is_short = symbols.iter().any(|definition| definition.symbol.value == WITHIN);
        let refused = |what: &str| {
            let message = format!("MATCH follows the steps of a trajectory, and these rows {what}");
            let error = Diagnostic::new("match-needs-identity", message);
            match self.reader.lexemes.iter().find(|lexeme| lexeme.is_word("MATCH")) {
                Some(lexeme) => error.at(lexeme.span),
                None => error,
            }
        };
        if is_short && !shape.identity {
            return Err(refused("belong to none")
                .help("match before the rows are joined, grouped or made DISTINCT")
                .help("|> MATCH_RECOGNIZE (PARTITION BY ... ORDER BY ...) takes any rows"));
        }
        let has_steps = |columns: &Vec<String>| columns.iter().any(|column| column == "step");
        if is_short && !shape.columns.as_ref().is_none_or(has_steps) {
            return Err(refused("have no 'step'")
                .help("FROM steps |> MATCH ...; keep the columns 'trajectory_id' and 'step'"));
        }
        for measure in measures.iter_mut() {
            self.subqueries(&mut measure.expr, scope)?;
        }
        for definition in symbols.iter_mut() {
            self.subqueries(&mut definition.definition, scope)?;
        }
        let named = measures.iter().map(|m| build::normal(&m.alias)).filter(|n| n != build::STEP);
        let all_rows = matches!(rows_per_match, Some(RowsPerMatch::AllRows(_)));
        let shape = match (all_rows, is_short) {
            (true, _) => Shape {
                columns: shape.columns.map(|columns| columns.into_iter().chain(named).collect()),
                ..shape
            },
            (false, true) => {
                Shape { identity: true, columns: Some(named.collect()), ..Shape::default() }
            }
            (false, false) => Shape::default(),
        };
        let hidden = hidden_columns(&shape);
        if want == Want::Values && !hidden.is_empty() {
            show_without(factor, hidden);
            return Ok(Shape { columns: shape.columns, ..Shape::default() });
        }
        Ok(shape)
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
        let mut visitor =
            Subqueries { carrier: self, scope, depth: 0, want: Want::Values, error: None };
        let _ = node.visit(&mut visitor);
        visitor.error.map_or(Ok(()), Err)
    }
}

struct Subqueries<'c, 'a> {
    carrier: &'c mut Carrier<'a>,
    scope: &'c Scope,
    depth: usize,
    /// What the outermost query that is being visited is read for.
    want: Want,
    error: Option<Diagnostic>,
}

impl VisitorMut for Subqueries<'_, '_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            let exists = matches!(expr, Expr::Exists { .. });
            self.want = if exists { Want::Existence } else { Want::Values };
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match self.carrier.query(query, self.scope, self.want) {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

/// Returns true if the SELECT makes groups of rows, one of all of them included.
fn is_grouped(select: &Select, order_by: &Option<OrderBy>, catalog: &dyn Catalog) -> bool {
    let has_keys = !matches!(&select.group_by, GroupByExpr::Expressions(e, _) if e.is_empty());
    let aggregates = |found: Calls| !found.aggregates.is_empty();
    has_keys
        || select.having.is_some()
        || aggregates(calls(&select.projection, catalog))
        || aggregates(calls(&select.qualify, catalog))
        || aggregates(calls(order_by, catalog))
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
