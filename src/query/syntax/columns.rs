//! The names of columns, as far as they are known before planning.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, RenameSelectItem, Select, SelectItem, SelectItemQualifiedWildcardKind,
    WildcardAdditionalOptions,
};

use super::identity::Shape;
use super::order::{exclude, excluded};
use super::reader::Reader;
use super::stages::{and, probe};
use super::tokens::Places;
use super::{STEP, TRAJECTORY, build};
use crate::diag::Diagnostic;

/// Returns the names of the columns that a projection writes, if all are known.
///
/// # Errors
///
/// `duplicate-column`: a column is made that is there already; the engine could not tell them
/// apart.
pub(super) fn known_columns(
    reader: &Reader<'_>,
    select: &Select,
    relation: &Shape,
) -> Result<Option<Vec<String>>, Diagnostic> {
    let mut known: Vec<String> = Vec::new();
    let mut is_whole = true;
    for item in &select.projection {
        let alias = match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name),
            SelectItem::ExprWithAlias { alias, .. } => Some(alias),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                known.extend(parts.last().map(build::normal));
                None
            }
            SelectItem::Wildcard(options) => {
                let without: Vec<String> = excluded(options).iter().map(build::normal).collect();
                let brought = relation.columns.iter().flatten();
                known.extend(brought.filter(|name| !without.contains(name)).cloned());
                is_whole &= relation.columns.is_some();
                None
            }
            _ => {
                is_whole = false;
                None
            }
        };
        let Some(alias) = alias else { continue };
        let name = build::normal(alias);
        if known.contains(&name) {
            let message = format!("there is a column '{name}' already");
            let error = Diagnostic::new("duplicate-column", message);
            let span = Places::new(reader.text).span(alias.span);
            let help = format!(
                "|> SET {name} = ... replaces its value; another name behind AS keeps both"
            );
            return Err(error.at(span).help(help));
        }
        known.push(name);
    }
    known.retain(|name| name != TRAJECTORY && name != STEP);
    Ok(is_whole.then_some(known))
}

/// Writes `* RENAME (old AS new)` as the engine can read it: column by column where the columns are
/// known, else `* EXCLUDE (old), old AS new`, which moves the column behind the others.
pub(super) fn rename(select: &mut Select, relation: &Shape) {
    let mut projection = Vec::with_capacity(select.projection.len());
    let mut names = Vec::new();
    for mut item in std::mem::take(&mut select.projection) {
        let pairs = match &mut item {
            SelectItem::Wildcard(options)
            | SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(_),
                options,
            ) => take_pairs(options),
            _ => vec![],
        };
        names.extend(pairs.iter().map(|(old, _)| old.clone()));
        match (&mut item, &relation.columns) {
            _ if pairs.is_empty() => projection.push(item),
            (SelectItem::Wildcard(options), Some(columns)) if options.opt_replace.is_none() => {
                let without = excluded(options);
                let kept = columns.iter().filter(|c| !without.iter().any(|w| w.value == **c));
                projection.extend(kept.map(|column| renamed(column, &pairs)));
            }
            (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options), _) => {
                exclude(options, pairs.iter().map(|(old, _)| old));
                projection.push(item);
                let aliased = pairs.into_iter().map(|(old, alias)| SelectItem::ExprWithAlias {
                    expr: Expr::Identifier(old),
                    alias,
                });
                projection.extend(aliased);
            }
            _ => projection.push(item),
        }
    }
    select.projection = projection;
    demand(select, names);
}

/// Returns a column under its own name or its new one.
fn renamed(column: &str, pairs: &[(Ident, Ident)]) -> SelectItem {
    let name = Ident::with_quote('"', column);
    match pairs.iter().find(|(old, _)| old.value == *column) {
        Some((old, alias)) => {
            SelectItem::ExprWithAlias { expr: Expr::Identifier(old.clone()), alias: alias.clone() }
        }
        None => SelectItem::UnnamedExpr(Expr::Identifier(name)),
    }
}

/// Takes the pairs out of `RENAME (old AS new)`, the old names as the engine looks them up.
fn take_pairs(options: &mut WildcardAdditionalOptions) -> Vec<(Ident, Ident)> {
    let pairs = match options.opt_rename.take() {
        None => vec![],
        Some(RenameSelectItem::Single(pair)) => vec![pair],
        Some(RenameSelectItem::Multiple(pairs)) => pairs,
    };
    let normal = |ident: Ident| Ident { value: build::normal(&ident), ..ident };
    pairs.into_iter().map(|pair| (normal(pair.ident), pair.alias)).collect()
}

/// Adds to WHERE that every name exists: the engine passes over a replaced name that does not, and
/// cannot say where an excluded one stands.
pub(super) fn demand(select: &mut Select, names: Vec<Ident>) {
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
}
