//! `|> SPLIT train 0.9, dev 0.1 BY question_id SEED 7`
//!
//! Every row gets the name of a part in the column `split`, by a hash of seed and key alone: rows
//! of one key are in one part, for ever and in every database, whatever other rows there are. So
//! the shares are met as coins meet theirs, and data that is added moves nothing.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, ObjectName, Select, SelectItem, Value,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::build;
use super::functions::{calls, edit_functions, name_of};
use super::identity::Shape;
use super::order::{exclude, excluded};
use super::ours::{Cursor, SAMPLE_KEY};
use super::reader::Reader;
use super::stages::Chain;
use super::tokens::Places;
use crate::diag::{Diagnostic, Span};

/// The function that names the part of a row: `part_of(seed, n, part, shares, ..., keys...)` with
/// `n` pairs of a part and its shares, whole numbers.
pub const PART_OF: &str = "part_of";

/// The column that SPLIT makes.
pub(super) const SPLIT: &str = "split";

const FORM: &str = "|> SPLIT train 0.9, dev 0.1 BY question_id SEED 7";

/// Digits behind the point that a share may have.
const SCALE_MAX: usize = 12;

/// A part and its share as typed.
struct Part {
    name: String,
    span: Span,
    digits: String,
    share: Span,
}

/// `|> SPLIT part share, ... [BY key, ...] SEED s`
pub(super) fn split(chain: &mut Chain<'_>, range: Range<usize>) -> Result<(), Diagnostic> {
    let reader = chain.reader;
    let word = reader.lexemes[range.start].token.span;
    let mut cursor = Cursor::new(reader, range.start + 1..range.end);
    let parts = parts(&mut cursor)?;
    let mut keys = Vec::new();
    if cursor.take_word("BY") {
        let start = cursor.index();
        let seeds = reader.level(start..range.end).filter(|at| reader.lexemes[*at].is_word("SEED"));
        let end = seeds.last().unwrap_or(range.end);
        if start == end {
            return Err(cursor.expected("the columns whose values stay together").help(FORM));
        }
        keys = chain.list(start..end, Parser::parse_expr)?;
        if let Some(name) = calls(&keys, reader.catalog).aggregates.first() {
            let message = format!("{}() makes one value of many rows", build::normal(name));
            return Err(Diagnostic::new("aggregate-misplaced", message)
                .at(Places::new(reader.text).span(name.span))
                .help("SPLIT looks at one row: BY question_id"));
        }
        cursor = Cursor::new(reader, end..range.end);
    }
    if !cursor.take_word("SEED") {
        let expected = if keys.is_empty() { "',', BY or SEED" } else { "SEED" };
        let error = cursor.expected(&format!("{expected} and a number"));
        return Err(Diagnostic { code: "split-needs-seed", ..error }
            .help("the same seed parts the same way, today and in a year: SEED 7"));
    }
    let seed = cursor.whole_number("a whole number as the seed")?;
    cursor.end()?;
    let shares = shares(&parts)?;
    chain.seeds.push(seed);
    if keys.is_empty() {
        let trajectory = vec![build::number(seed), build::column(build::TRAJECTORY)];
        keys.push(build::call(SAMPLE_KEY, trajectory, None));
    }
    let mut arguments = vec![build::number(seed), build::number(parts.len() as u64)];
    for (part, share) in parts.into_iter().zip(shares) {
        arguments.push(Expr::value(Value::SingleQuotedString(part.name)));
        arguments.push(build::number(share));
    }
    arguments.extend(keys);
    let mut expr = build::call(PART_OF, arguments, None);
    if let Expr::Function(Function { name, .. }) = &mut expr {
        *name = ObjectName::from(Ident::with_span(word, PART_OF));
    }
    let alias = Ident::with_span(word, SPLIT);
    chain.project(vec![build::wildcard(), SelectItem::ExprWithAlias { expr, alias }]);
    Ok(())
}

/// Reads `part share, part share`.
fn parts(cursor: &mut Cursor<'_>) -> Result<Vec<Part>, Diagnostic> {
    let mut parts: Vec<Part> = Vec::new();
    loop {
        let span = cursor.place();
        let name = cursor.name("the name of a part").map_err(|e| e.help(FORM))?.text;
        let share = cursor.place();
        let Some(Token::Number(digits, _)) = cursor.peek() else {
            let error = cursor.expected(&format!("the share of '{name}', such as 0.9"));
            return Err(error.help(FORM));
        };
        let digits = digits.clone();
        cursor.forward();
        if parts.iter().any(|part| part.name == name) {
            let message = format!("the part '{name}' is named twice");
            return Err(Diagnostic::new("split-parts", message).at(span));
        }
        parts.push(Part { name, span, digits, share });
        if !cursor.take(&Token::Comma) {
            return Ok(parts);
        }
    }
}

/// Returns the shares as whole numbers, so that what is written as `0.9, 0.1` and as `9, 1` is the
/// same and nothing is rounded.
fn shares(parts: &[Part]) -> Result<Vec<u64>, Diagnostic> {
    let wrong = |part: &Part, message: String| {
        Diagnostic::new("split-shares", message).at(part.share).help(FORM)
    };
    let pieces = |part: &Part| -> (String, String) {
        let (whole, behind) = part.digits.split_once('.').unwrap_or((&part.digits, ""));
        (whole.to_owned(), behind.trim_end_matches('0').to_owned())
    };
    let scale = parts.iter().map(|part| pieces(part).1.len()).max().unwrap_or(0);
    let are_parts = parts.iter().all(|part| !part.digits.contains('.'));
    let mut shares = Vec::with_capacity(parts.len());
    for part in parts {
        let (whole, behind) = pieces(part);
        let share = match behind.len() <= SCALE_MAX {
            true => format!("{whole}{behind:0<scale$}", scale = scale.min(SCALE_MAX)).parse().ok(),
            false => None,
        };
        match share.filter(|share: &u64| *share < 1 << 52) {
            Some(0) => {
                let message = format!("the share of '{}' is 0: it would get no rows", part.name);
                return Err(wrong(part, message));
            }
            Some(share) => shares.push(share),
            None => {
                let message = format!(
                    "expected a share of up to {SCALE_MAX} digits, such as 0.9, or a whole number \
                     of parts, found '{}'",
                    part.digits
                );
                return Err(wrong(part, message));
            }
        }
    }
    let sum: u64 = shares.iter().sum();
    let one = 10u64.pow(scale.min(SCALE_MAX) as u32);
    if !are_parts && sum.abs_diff(one) as f64 > one as f64 * 1e-9 {
        let span = parts.iter().fold(parts[0].share, |all, p| all.to(p.share).to(p.span));
        let message = format!("the shares sum to {}; expected 1", sum as f64 / one as f64);
        return Err(Diagnostic::new("split-shares", message)
            .at(span)
            .help("whole numbers are parts of their sum: train 8, dev 1, test 1"));
    }
    let divisor = shares.iter().fold(0, |a, b| greatest_common_divisor(a, *b)).max(1);
    Ok(shares.into_iter().map(|share| share / divisor).collect())
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Lets the column of a SPLIT take the place of one of its name, and demands that its rows belong
/// to trajectories where it parts these.
pub(super) fn settle(
    reader: &Reader<'_>,
    select: &mut Select,
    relation: &Shape,
) -> Result<(), Diagnostic> {
    let [SelectItem::Wildcard(options), SelectItem::ExprWithAlias { expr, .. }] =
        select.projection.as_mut_slice()
    else {
        return Ok(());
    };
    let mut part_of = None;
    let mut by_trajectory = false;
    if let Expr::Function(function) = expr
        && let Some(name) = name_of(function).filter(|name| name.value == PART_OF)
    {
        part_of = Some(name.clone());
        edit_functions(expr, |inner| {
            by_trajectory |= name_of(inner).is_some_and(|name| name.value == SAMPLE_KEY);
        });
    }
    let Some(name) = part_of else { return Ok(()) };
    if by_trajectory && !relation.identity {
        let message = "SPLIT without BY parts trajectories, and these rows belong to none";
        return Err(Diagnostic::new("split-needs-identity", message)
            .at(Places::new(reader.text).span(name.span))
            .help("split before the rows are joined, grouped, united or made DISTINCT")
            .help("or say what stays together: |> SPLIT train 0.9, dev 0.1 BY model SEED 7"));
    }
    match of(relation) {
        0 => {}
        1 => exclude(options, std::iter::once(&Ident::new(SPLIT))),
        _ => {
            let message = "several of the joined tables have a column 'split': it cannot be said \
                           which one this takes the place of";
            return Err(Diagnostic::new("split-columns", message)
                .at(Places::new(reader.text).span(name.span))
                .help("choose the columns before: |> SELECT s.* |> SPLIT ..."));
        }
    }
    Ok(())
}

/// Returns how many columns of a relation are called `split`.
pub(super) fn of(relation: &Shape) -> usize {
    match &relation.columns {
        Some(columns) => usize::from(columns.iter().any(|name| name == SPLIT)),
        None => relation.splits,
    }
}

/// Returns how many columns of a SELECT are called `split`, where not all of its columns are known.
pub(super) fn count(select: &Select, relation: &Shape) -> usize {
    let is_split = |name: &Ident| build::normal(name) == SPLIT;
    let counts = select.projection.iter().map(|item| match item {
        SelectItem::Wildcard(options) if !excluded(options).iter().any(is_split) => of(relation),
        SelectItem::QualifiedWildcard(_, options) if !excluded(options).iter().any(is_split) => {
            of(relation).min(1)
        }
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => usize::from(is_split(name)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
            usize::from(parts.last().is_some_and(is_split))
        }
        SelectItem::ExprWithAlias { alias, .. } => usize::from(is_split(alias)),
        _ => 0,
    });
    counts.sum()
}
