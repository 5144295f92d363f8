//! Keys of an order, on their way out of a SELECT.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, ObjectName, OrderByExpr, Query, Select, SelectItem, Value,
    Visit, Visitor, WildcardAdditionalOptions,
};

use super::build;

/// How the hidden columns begin that carry keys of an order.
pub(super) const ORDER: &str = "_order_";

/// Returns true if the keys are those of trajectory and step alone.
pub(super) fn is_identity_order(keys: &[OrderByExpr]) -> bool {
    keys == build::identity_order()
}

/// Returns true if one of the keys names the column.
pub(super) fn mentions(keys: &[OrderByExpr], name: &Ident) -> bool {
    keys.iter().any(|key| names(&key.expr).all.contains(&build::normal(name)))
}

/// The columns that come out of a projection.
pub(super) struct Outputs {
    /// Items with a name: the name, and whether it is the relation's own column of that name.
    items: Vec<(String, bool)>,
    /// Whether a wildcard brings the relation's columns.
    has_wildcard: bool,
    /// Names that the wildcard does not bring, or brings with another value.
    withheld: Vec<String>,
}

impl Outputs {
    /// Reads the projection of `select`.
    pub fn of(select: &Select) -> Outputs {
        let mut outputs = Outputs { items: vec![], has_wildcard: false, withheld: vec![] };
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => {
                    outputs.items.push((build::normal(name), true));
                }
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                    outputs.items.extend(parts.last().map(|name| (build::normal(name), true)));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let name = build::normal(alias);
                    let is_own = matches!(expr, Expr::Identifier(n) if build::normal(n) == name);
                    outputs.items.push((name, is_own));
                }
                SelectItem::Wildcard(options) => {
                    outputs.has_wildcard = true;
                    outputs.withheld.extend(excluded(options).iter().map(build::normal));
                    if let Some(replace) = &options.opt_replace {
                        let names = replace.items.iter().map(|i| build::normal(&i.column_name));
                        outputs.items.extend(names.map(|name| (name, false)));
                    }
                }
                SelectItem::QualifiedWildcard(_, options) => {
                    // Of a relation that carries identity it brings at least the hidden columns.
                    let without = excluded(options);
                    let hidden = [build::TRAJECTORY, build::STEP].into_iter();
                    let brought = hidden.filter(|h| !without.iter().any(|name| name.value == *h));
                    outputs.items.extend(brought.map(|name| (name.to_string(), true)));
                }
                _ => {}
            }
        }
        outputs
    }

    /// Returns true if the column comes out, whatever it stands for.
    fn has(&self, name: &str) -> bool {
        self.items.iter().any(|item| item.0 == name) || self.brings(name)
    }

    /// Returns true if the relation's own column comes out under its name.
    fn keeps(&self, name: &str) -> bool {
        match self.items.iter().find(|item| item.0 == name) {
            Some((_, is_own)) => *is_own,
            None => self.brings(name),
        }
    }

    fn brings(&self, name: &str) -> bool {
        self.has_wildcard && !self.withheld.iter().any(|other| other == name)
    }

    /// Returns true if a column of the relation that the keys name is something else outside, so
    /// that they cannot be said in the ORDER BY of the same SELECT.
    pub fn shadow(&self, keys: &[OrderByExpr]) -> bool {
        let is_other = |name: &String| self.items.iter().any(|item| item.0 == *name && !item.1);
        keys.iter().any(|key| names(&key.expr).all.iter().any(is_other))
    }
}

/// Says `keys` over the columns that come out of `select`. A key that cannot be said there is added
/// to the projection as a hidden column; the names of those are returned.
///
/// `inherited` keys are over the columns of the relation; others are the ORDER BY of `select`,
/// where a name that comes out goes before one of the relation. Nothing is returned where the
/// keys cannot be said outside.
pub(super) fn outward(
    keys: &[OrderByExpr],
    select: &mut Select,
    outputs: &Outputs,
    (inherited, is_distinct): (bool, bool),
    fresh: &mut usize,
) -> Option<(Vec<OrderByExpr>, Vec<Ident>)> {
    let mut moved = Vec::new();
    let mut added = Vec::new();
    for key in keys {
        let expr = match position(&key.expr).filter(|_| !inherited) {
            Some(position) => at_position(select, position)?,
            None => key.expr.clone(),
        };
        let read = names(&expr);
        let stays = read.moves
            && match inherited {
                true => read.all.iter().all(|name| outputs.keeps(name)),
                false => read.all.iter().all(|name| outputs.has(name)),
            };
        if stays {
            moved.push(OrderByExpr { expr, ..key.clone() });
            continue;
        }
        let is_alias = |name: &String| outputs.has(name) && !outputs.keeps(name);
        let uses_alias = match read.has_subquery {
            true => outputs.items.iter().any(|item| !item.1),
            false => read.all.iter().any(is_alias),
        };
        if is_distinct || (uses_alias && !inherited) {
            return None;
        }
        *fresh += 1;
        let alias = Ident::new(format!("{ORDER}{fresh}"));
        added.push(SelectItem::ExprWithAlias { expr, alias: alias.clone() });
        moved.push(OrderByExpr { expr: Expr::Identifier(alias), ..key.clone() });
    }
    let hidden = added.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.clone()),
        _ => None,
    });
    let hidden = hidden.collect();
    select.projection.extend(added);
    Some((moved, hidden))
}

/// Returns the position that a key of an ORDER BY names, counted from 1.
fn position(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Returns what stands at a position of the projection, if no wildcard hides what that is.
fn at_position(select: &Select, position: usize) -> Option<Expr> {
    let before = select.projection.get(..position)?;
    let is_plain = |item: &SelectItem| {
        matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
    };
    match before.last()? {
        _ if !before.iter().all(is_plain) => None,
        SelectItem::ExprWithAlias { alias, .. } => Some(Expr::Identifier(alias.clone())),
        SelectItem::UnnamedExpr(expr) => Some(expr.clone()),
        _ => None,
    }
}

/// The plain names in an expression.
#[derive(Default)]
struct Names {
    all: Vec<String>,
    /// Whether the expression has the same value wherever those names stand for the same columns:
    /// not if it calls a function or a subquery, or says a relation's name.
    moves: bool,
    /// Whether names may be hidden in a subquery.
    has_subquery: bool,
}

/// Returns the plain names in an expression.
fn names(expr: &Expr) -> Names {
    struct Reader {
        names: Names,
    }
    impl Visitor for Reader {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.names.has_subquery = true;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(name) => self.names.all.push(build::normal(name)),
                Expr::CompoundIdentifier(_)
                | Expr::CompoundFieldAccess { .. }
                | Expr::Function(_) => self.names.moves = false,
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut reader = Reader { names: Names { moves: true, ..Names::default() } };
    let _ = expr.visit(&mut reader);
    reader.names.moves &= !reader.names.has_subquery;
    reader.names
}

/// Adds names to the EXCLUDE of a wildcard.
pub(super) fn exclude<'n>(
    options: &mut WildcardAdditionalOptions,
    names: impl Iterator<Item = &'n Ident>,
) {
    let mut all = excluded(options);
    for name in names {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    options.opt_except = None;
    options.opt_exclude = (!all.is_empty())
        .then(|| ExcludeSelectItem::Multiple(all.into_iter().map(ObjectName::from).collect()));
}

/// Returns the names that a wildcard leaves out.
pub(super) fn excluded(options: &WildcardAdditionalOptions) -> Vec<Ident> {
    let mut names = Vec::new();
    match &options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => names.extend(name.0.last()),
        Some(ExcludeSelectItem::Multiple(all)) => {
            names.extend(all.iter().filter_map(|name| name.0.last()));
        }
        None => {}
    }
    let mut names: Vec<Ident> = names.into_iter().filter_map(|n| n.as_ident().cloned()).collect();
    if let Some(except) = &options.opt_except {
        names.push(except.first_element.clone());
        names.extend(except.additional_elements.iter().cloned());
    }
    names
}

/// Writes the names in the options of wildcards as the engine compares them, EXCEPT as EXCLUDE, and
/// returns the names that REPLACE replaces: the engine passes over one that does not exist.
pub(super) fn normalise(select: &mut Select) -> Vec<Ident> {
    let mut replaced = Vec::new();
    for item in &mut select.projection {
        let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item
        else {
            continue;
        };
        exclude(options, std::iter::empty());
        let mut names: Vec<Ident> = excluded(options);
        for name in &mut names {
            name.value = build::normal(name);
        }
        names.dedup_by(|a, b| a.value == b.value);
        options.opt_exclude = None;
        exclude(options, names.iter());
        for element in options.opt_replace.iter_mut().flat_map(|replace| &mut replace.items) {
            replaced.push(element.column_name.clone());
            element.column_name.value = build::normal(&element.column_name);
        }
    }
    replaced
}
