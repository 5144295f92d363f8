//! Pieces of the SQL parser's tree, made rather than parsed.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, ObjectName, ObjectNamePart, OrderBy, OrderByExpr,
    OrderByKind, OrderByOptions, Query, Select, SelectFlavor, SelectItem, SetExpr, TableAlias,
    TableFactor, TableWithJoins, Value, WildcardAdditionalOptions, WindowSpec, WindowType,
};

/// The hidden ordinal of a row's trajectory.
pub const TRAJECTORY: &str = "_trajectory";
/// The hidden number of a row's step.
pub const STEP: &str = "_step";

/// Returns `SELECT <projection> FROM <from>`.
pub(super) fn select(projection: Vec<SelectItem>, from: Vec<TableWithJoins>) -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: vec![],
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from,
        lateral_views: vec![],
        prewhere: None,
        selection: None,
        connect_by: vec![],
        group_by: GroupByExpr::Expressions(vec![], vec![]),
        cluster_by: vec![],
        distribute_by: vec![],
        sort_by: vec![],
        having: None,
        named_window: vec![],
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

/// Returns a query that is nothing but `select`.
pub(super) fn query(select: Select) -> Query {
    body(SetExpr::Select(Box::new(select)))
}

/// Returns a query that is nothing but `body`.
pub(super) fn body(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}

/// Returns `*`.
pub(super) fn wildcard() -> SelectItem {
    SelectItem::Wildcard(WildcardAdditionalOptions::default())
}

/// Returns `* EXCLUDE (names)`.
pub(super) fn wildcard_without(names: Vec<Ident>) -> SelectItem {
    let names = names.into_iter().map(ObjectName::from).collect();
    SelectItem::Wildcard(WildcardAdditionalOptions {
        opt_exclude: Some(ExcludeSelectItem::Multiple(names)),
        ..WildcardAdditionalOptions::default()
    })
}

/// Returns `(query) AS alias` as the only relation of a FROM.
pub(super) fn derived(query: Query, alias: Option<TableAlias>) -> Vec<TableWithJoins> {
    vec![TableWithJoins { relation: derived_factor(query, alias), joins: vec![] }]
}

/// Returns `(query) AS alias`.
pub(super) fn derived_factor(query: Query, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Derived { lateral: false, subquery: Box::new(query), alias, sample: None }
}

/// Returns the table `name` as the only relation of a FROM.
pub(super) fn table(name: ObjectName) -> Vec<TableWithJoins> {
    let relation = TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    };
    vec![TableWithJoins { relation, joins: vec![] }]
}

/// Returns the alias `name` of a relation.
pub(super) fn table_alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: vec![], at: None }
}

/// Returns a query's relations: its own FROM if it is only `SELECT * FROM ...`, else the query as a
/// derived table without a name, under which the names of its relations stay visible.
pub(super) fn relations(mut query: Query) -> Vec<TableWithJoins> {
    take_bare_from(&mut query).unwrap_or_else(|| derived(query, None))
}

/// Takes the FROM out of a query that is only `SELECT * FROM ...`.
#[inline(never)]
pub(super) fn take_bare_from(query: &mut Query) -> Option<Vec<TableWithJoins>> {
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let from = std::mem::take(&mut select.from);
    if !from.is_empty() && *query == self::query(self::select(vec![wildcard()], vec![])) {
        return Some(from);
    }
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.from = from;
    }
    None
}

/// Returns the column `name`.
pub(super) fn column(name: &str) -> Expr {
    Expr::Identifier(Ident::new(name))
}

/// Returns a whole number.
pub(super) fn number(value: u64) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

/// Returns `name(arguments)`.
pub(super) fn call(name: &str, arguments: Vec<Expr>, over: Option<WindowSpec>) -> Expr {
    let args = arguments.into_iter().map(FunctionArgExpr::Expr).map(FunctionArg::Unnamed).collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: over.map(WindowType::WindowSpec),
        within_group: vec![],
    })
}

/// Returns `PARTITION BY partition ORDER BY order` for an OVER.
pub(super) fn window(partition_by: Vec<Expr>, order_by: Vec<OrderByExpr>) -> WindowSpec {
    WindowSpec { window_name: None, partition_by, order_by, window_frame: None }
}

/// Returns `expr` as a key of an ORDER BY, in the default direction.
pub(super) fn ascending(expr: Expr) -> OrderByExpr {
    let options = OrderByOptions { asc: None, nulls_first: None };
    OrderByExpr { expr, options, with_fill: None }
}

/// Returns `ORDER BY keys`.
pub(super) fn order_by(keys: Vec<OrderByExpr>) -> OrderBy {
    OrderBy { kind: OrderByKind::Expressions(keys), interpolate: None }
}

/// Returns `_trajectory, _step` as keys of an ORDER BY.
pub(super) fn identity_order() -> Vec<OrderByExpr> {
    vec![ascending(column(TRAJECTORY)), ascending(column(STEP))]
}

/// Returns the name as the engine looks it up: in lower case unless quoted.
pub(super) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// Returns a name that may have several parts, with dots between, as the engine looks it up.
pub(super) fn dotted(name: &ObjectName) -> String {
    let parts = name.0.iter().filter_map(ObjectNamePart::as_ident).map(normal);
    parts.collect::<Vec<_>>().join(".")
}

/// Returns the last part of a name that may have several, as the engine looks it up.
pub(super) fn last_part(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(ObjectNamePart::as_ident).map(normal)
}
