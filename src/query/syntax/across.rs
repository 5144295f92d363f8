//! What a SELECT says of other rows than the one at hand: `every(p)` in a WHERE, samples, and
//! aggregates whose value depends on the order of rows.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArgumentClause, FunctionArguments, Ident,
    NamedWindowDefinition, NamedWindowExpr, OrderBy, OrderByExpr, Select, SelectItem, WindowSpec,
    WindowType,
};

use super::functions::{self, calls, edit_functions};
use super::identity::{Order, Shape};
use super::reader::Reader;
use super::stages::and;
use super::tokens::Places;
use super::{Catalog, SEARCH_SCORE, build, ours};
use crate::diag::{Diagnostic, Span};
use crate::text::COLUMNS;

/// Turns what a WHERE says of whole trajectories, or of other rows, into a filter behind a window:
/// `every(p)` becomes `every(p) OVER (PARTITION BY _trajectory)`. It speaks of all rows of FROM, so
/// the other conditions of the WHERE hold after it.
#[inline(never)]
pub(super) fn whole_trajectories(
    reader: &Reader<'_>,
    select: &mut Select,
    relation: &Shape,
) -> Result<(), Diagnostic> {
    let found = calls(&select.selection, reader.catalog);
    let other = found.aggregates.iter().find(|n| build::normal(n) != functions::EVERY);
    if let Some(name) = other {
        let message = format!("{}() speaks of many rows, WHERE of one", build::normal(name));
        return Err(Diagnostic::new("aggregate-misplaced", message)
            .at(place(reader, name))
            .help("group first: |> AGGREGATE count(*) AS n GROUP BY tool |> WHERE n > 3")
            .help("in SELECT ... GROUP BY ..., HAVING filters groups"));
    }
    if let Some(name) = found.every.first().filter(|_| !relation.identity) {
        let message = "every() in a WHERE speaks of all steps of a row's trajectory, and these \
                       rows belong to none";
        return Err(Diagnostic::new("every-needs-identity", message)
            .at(place(reader, name))
            .help("filter before the rows are joined, grouped or made DISTINCT"));
    }
    if found.every.is_empty() && !found.has_window {
        return Ok(());
    }
    let Some(predicate) = select.selection.take() else { return Ok(()) };
    let mut across = Vec::new();
    let mut alone = Vec::new();
    for condition in conditions(predicate) {
        let found = calls(&condition, reader.catalog);
        match found.every.is_empty() && !found.has_window {
            true => alone.push(condition),
            false => across.push(condition),
        }
    }
    let mut across = across.into_iter().reduce(and);
    edit_functions(&mut across, |function| {
        let is_every = functions::name_of(function).map(build::normal);
        if function.over.is_none() && is_every.as_deref() == Some(functions::EVERY) {
            let trajectory = vec![build::column(build::TRAJECTORY)];
            function.over = Some(WindowType::WindowSpec(build::window(trajectory, vec![])));
        }
    });
    let only_filters = Select { from: vec![], ..select.clone() };
    if alone.is_empty() && only_filters == build::select(vec![build::wildcard()], vec![]) {
        select.qualify = across;
        return Ok(());
    }
    select.selection = alone.into_iter().reduce(and);
    let from = std::mem::take(&mut select.from);
    let mut inner = build::select(vec![build::wildcard()], from);
    inner.qualify = across;
    select.from = build::derived(build::query(inner), None);
    Ok(())
}

/// Lets windows over the steps of a trajectory run on the ordinal, in whose order the rows come:
/// `PARTITION BY trajectory_id ORDER BY step` needs no sort then. Where several sources may have
/// trajectories of one id, it takes `PARTITION BY source, trajectory_id`.
pub(super) fn windows_on_ordinal(catalog: &dyn Catalog, select: &mut Select, relation: &Shape) {
    if !relation.identity || !relation.own_names {
        return;
    }
    let ids_are_unique = catalog.ids_are_unique();
    let is = |expr: &Expr, name: &str| match expr {
        Expr::Identifier(ident) => build::normal(ident) == name,
        _ => false,
    };
    let on_ordinal = |window: &mut WindowSpec| {
        let keys = &window.partition_by;
        let has = |name: &str| keys.iter().any(|key| is(key, name));
        let no_others = keys.iter().all(|key| is(key, TRAJECTORY_ID) || is(key, SOURCE));
        if !no_others || !has(TRAJECTORY_ID) || !(ids_are_unique || has(SOURCE)) {
            return;
        }
        window.partition_by = vec![build::column(build::TRAJECTORY)];
        if let Some(first) = window.order_by.first_mut()
            && is(&first.expr, "step")
        {
            first.expr = build::column(build::STEP);
        }
    };
    for NamedWindowDefinition(_, definition) in &mut select.named_window {
        if let NamedWindowExpr::WindowSpec(window) = definition {
            on_ordinal(window);
        }
    }
    let mut edit = |function: &mut Function| {
        if let Some(WindowType::WindowSpec(window)) = &mut function.over {
            on_ordinal(window);
        }
    };
    edit_functions(&mut select.projection, &mut edit);
    edit_functions(&mut select.qualify, &mut edit);
}

/// Whether `trajectory_id` and `step` still mean what they mean in the table.
pub(super) fn keeps_own_names(select: &Select) -> bool {
    let is_own = |name: &Ident| [TRAJECTORY_ID, "step"].contains(&build::normal(name).as_str());
    select.projection.iter().all(|item| match item {
        SelectItem::Wildcard(options) => {
            let mut replaced = options.opt_replace.iter().flat_map(|replace| &replace.items);
            options.opt_rename.is_none() && !replaced.any(|item| is_own(&item.column_name))
        }
        SelectItem::ExprWithAlias { alias, .. } => !is_own(alias),
        SelectItem::UnnamedExpr(expr) => !matches!(expr, Expr::CompoundIdentifier(_)),
        _ => false,
    })
}

/// Whether the columns with full text still are the step's own texts.
pub(super) fn keeps_own_texts(select: &Select) -> bool {
    let is_text = |name: &Ident| COLUMNS.contains(&build::normal(name).as_str());
    select.projection.iter().all(|item| match item {
        SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
            let mut replaced = options.opt_replace.iter().flat_map(|replace| &replace.items);
            let renamed = options.opt_rename.as_ref().map(ToString::to_string);
            let renamed = renamed.unwrap_or_default().to_lowercase();
            !COLUMNS.iter().any(|column| renamed.contains(column))
                && !replaced.any(|item| is_text(&item.column_name))
        }
        SelectItem::ExprWithAlias { expr: Expr::Identifier(name), alias } => {
            !is_text(alias) || build::normal(name) == build::normal(alias)
        }
        SelectItem::ExprWithAlias { alias, .. } => !is_text(alias),
        _ => true,
    })
}

const SOURCE: &str = "source";
const TRAJECTORY_ID: &str = "trajectory_id";

/// Cuts a predicate at its outermost ANDs.
fn conditions(predicate: Expr) -> Vec<Expr> {
    let mut cut = Vec::new();
    let mut rest = predicate;
    while let Expr::BinaryOp { left, op: BinaryOperator::And, right } = rest {
        cut.push(*right);
        rest = *left;
    }
    cut.push(rest);
    cut.reverse();
    cut
}

/// Demands identity of the rows that a SAMPLE draws from, and of those that a search ranks.
pub(super) fn check_identity(
    reader: &Reader<'_>,
    select: &mut Select,
    order_by: &mut Option<OrderBy>,
    relation: &Shape,
) -> Result<(), Diagnostic> {
    if relation.identity && relation.own_texts {
        return Ok(());
    }
    let (mut sample, mut search) = (None, None);
    let mut look = |function: &mut Function| {
        let Some(name) = functions::name_of(function).cloned() else { return };
        if name.value == SEARCH_SCORE {
            search.get_or_insert(name);
        } else if name.value == ours::SAMPLE_KEY && function.to_string().contains(build::TRAJECTORY)
        {
            sample.get_or_insert(name);
        }
    };
    edit_functions(&mut select.projection, &mut look);
    edit_functions(&mut select.selection, &mut look);
    edit_functions(&mut select.having, &mut look);
    edit_functions(&mut select.qualify, &mut look);
    edit_functions(order_by, &mut look);
    if relation.identity {
        let Some(name) = search else { return Ok(()) };
        let message = "SEARCH and score() read a step's own texts, and one of them is another here";
        return Err(Diagnostic::new("search-needs-text", message)
            .at(place(reader, &name))
            .help("search before the column is replaced, or filter by matches(column, 'words')"));
    }
    let before = "before the rows are joined, grouped, united or made DISTINCT";
    if let Some(name) = search {
        let message = "SEARCH and score() rank steps, and these rows are none";
        return Err(Diagnostic::new("search-needs-identity", message)
            .at(place(reader, &name))
            .help(format!("search {before}")));
    }
    match sample {
        None => Ok(()),
        Some(name) => {
            let message = "SAMPLE draws steps or trajectories, and these rows are neither";
            Err(Diagnostic::new("sample-needs-identity", message)
                .at(place(reader, &name))
                .help(format!("sample {before}")))
        }
    }
}

/// Returns the order of the rows of a relation, if it can be said.
fn order_of_rows(relation: &Shape) -> Option<Vec<OrderByExpr>> {
    match &relation.order {
        Order::Keys(keys) => Some(keys.clone()),
        Order::Natural if relation.identity => Some(build::identity_order()),
        Order::Natural | Order::Fixed => None,
    }
}

/// Gives windows that number and neighbour rows without saying in which order the order of the rows
/// they read: `... |> ORDER BY score DESC |> EXTEND row_number() OVER () AS rank`.
pub(super) fn order_windows(select: &mut Select, relation: &Shape) {
    const BY_ORDER: [&str; 4] = ["first_value", "lag", "lead", "row_number"];
    let Some(keys) = order_of_rows(relation) else { return };
    let mut give = |function: &mut Function| {
        let known = functions::name_of(function).map(build::normal).unwrap_or_default();
        if let Some(WindowType::WindowSpec(window)) = &mut function.over
            && BY_ORDER.contains(&known.as_str())
            && window.order_by.is_empty()
            && window.window_name.is_none()
            && window.window_frame.is_none()
        {
            window.order_by.clone_from(&keys);
        }
    };
    edit_functions(&mut select.projection, &mut give);
    edit_functions(&mut select.qualify, &mut give);
}

/// Gives aggregates whose value depends on the order of rows the order of the rows they read.
pub(super) fn order_aggregates(
    catalog: &dyn Catalog,
    select: &mut Select,
    order_by: &mut Option<OrderBy>,
    relation: &Shape,
) {
    let Some(keys) = order_of_rows(relation) else { return };
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

fn place(reader: &Reader<'_>, name: &Ident) -> Span {
    Places::new(reader.text).span(name.span)
}
