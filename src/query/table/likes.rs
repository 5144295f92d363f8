//! LIKE over texts: what the index of words can say of it beforehand.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Like};

use crate::text::{runs_of_pattern, runs_of_pieces};

/// Returns the column that a predicate seeks a piece of text in, and runs of letters and digits
/// that a row without which cannot be true.
pub(super) fn sought(predicate: &Expr) -> Option<(&str, Vec<String>)> {
    let text = |expr: &Expr| match expr {
        Expr::Literal(value, _) => ScalarValue::try_as_str(value).flatten().map(str::to_owned),
        _ => None,
    };
    let (column, runs) = match predicate {
        Expr::Like(Like {
            negated: false, expr, pattern, escape_char: None | Some('\\'), ..
        }) => (expr.as_ref(), runs_of_pattern(&text(pattern)?)),
        Expr::ScalarFunction(call) if call.func.name() == "contains" => {
            let [column, piece] = call.args.as_slice() else { return None };
            (column, runs_of_pieces([text(piece)?.as_str()]))
        }
        _ => return None,
    };
    match column {
        Expr::Column(column) if !runs.is_empty() => Some((&column.name, runs)),
        _ => None,
    }
}
