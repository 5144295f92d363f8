//! Expressions: functions, and comparisons that never mean what they say.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned,
    Value, WindowType,
};

use super::super::{build, functions};
use super::refuser::{Refused, Refuser};
use crate::diag::Diagnostic;

/// Whether an expression is joined of conditions, without parentheses around them.
fn is_joined(expr: &Expr) -> bool {
    let joins = [BinaryOperator::And, BinaryOperator::Or, BinaryOperator::Xor];
    matches!(expr, Expr::BinaryOp { op, .. } if joins.contains(op))
}

impl Refuser<'_> {
    pub(super) fn expr(&self, expr: &Expr) -> Refused {
        match expr {
            Expr::Function(function) => self.function(function),
            Expr::BinaryOp { left, op, right } => self.binary(expr, left, op, right),
            // The SQL parser takes all that follows for what is compared with.
            Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right)
                if is_joined(right) =>
            {
                let message = "AND and OR behind IS DISTINCT FROM are read as part of what is \
                               compared";
                let error = Diagnostic::new("unclear-precedence", message)
                    .at(self.place(&["DISTINCT", "FROM"], expr.span()))
                    .help("put the comparison in parentheses: (a IS DISTINCT FROM b) AND c");
                ControlFlow::Break(Box::new(error))
            }
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::CompoundFieldAccess { .. }
            | Expr::JsonAccess { .. }
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::Cast { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::TypedString(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Struct { .. }
            | Expr::Named { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)
            | Expr::Lambda(_) => ControlFlow::Continue(()),
            other => self.no(&format!("'{other}'"), &[], other.span(), ""),
        }
    }

    fn function(&self, function: &Function) -> Refused {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            filter,
            null_treatment: _,
            over,
            within_group,
        } = function;
        let span = name.span();
        let typed = name.to_string();
        if *uses_odbc_syntax || *parameters != FunctionArguments::None {
            self.no(&format!("this form of {typed}()"), &[], span, "")?;
        }
        if let FunctionArguments::Subquery(_) = args {
            let help = "array_agg(x) gathers the values of rows in one array";
            self.no(&format!("a query as the argument of {typed}()"), &[], span, help)?;
        }
        if let Some(WindowType::WindowSpec(spec)) = over
            && spec.window_name.is_some()
        {
            let help = "OVER w, or the whole window in the parentheses";
            self.no("a window that extends another", &[], span, help)?;
        }
        let FunctionArguments::List(list) = args else { return ControlFlow::Continue(()) };
        let is_with_options = |arg: &FunctionArg| {
            matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::WildcardWithOptions(_)))
        };
        if list.args.iter().any(is_with_options) {
            self.no("a part of * as an argument", &[], span, "")?;
        }
        let known = functions::name_of(function).map(build::normal).unwrap_or_default();
        let has_clause = filter.is_some()
            || over.is_some()
            || !within_group.is_empty()
            || list.duplicate_treatment.is_some()
            || !list.clauses.is_empty();
        if has_clause && self.reader.catalog.is_scalar(&known) {
            let message = format!(
                "{known}() makes a value of one row: DISTINCT, ORDER BY, FILTER and OVER have no \
                 meaning for it"
            );
            let error = Diagnostic::new("not-an-aggregate", message).at(self.place(&[], span));
            return ControlFlow::Break(Box::new(error));
        }
        ControlFlow::Continue(())
    }

    /// Refuses comparisons that never mean what they say.
    fn binary(&self, whole: &Expr, left: &Expr, op: &BinaryOperator, right: &Expr) -> Refused {
        let wrong = |code: &'static str, message: &str, help: &str| {
            let place = self.place(&[], whole.span());
            let error = Diagnostic::new(code, message).at(place).help(help);
            ControlFlow::Break(Box::new(error))
        };
        let is_null = |expr: &Expr| matches!(expr, Expr::Value(v) if v.value == Value::Null);
        if compares(op) && (is_null(left) || is_null(right)) {
            let help = "IS NULL or IS NOT NULL asks for it";
            return wrong("null-comparison", "a comparison with NULL is never true", help);
        }
        let concatenates =
            |expr: &Expr| matches!(expr, Expr::BinaryOp { op: BinaryOperator::StringConcat, .. });
        if *op == BinaryOperator::StringConcat && (is_condition(left) || is_condition(right)) {
            return wrong("foreign-spelling", "'||' joins texts", "either of two conditions: OR");
        }
        if compares(op)
            && let Expr::BinaryOp { op: inner, right: middle, .. } = left
            && compares(inner)
        {
            return match concatenates(middle) {
                true => wrong("foreign-spelling", "'||' joins texts", "either condition: OR"),
                false => wrong(
                    "chained-comparison",
                    "comparisons are not chained",
                    "0 < x AND x < 1, or x BETWEEN 0 AND 1",
                ),
            };
        }
        ControlFlow::Continue(())
    }
}

fn compares(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
    )
}

/// Returns true if the expression is seen to be true or false, not a text.
fn is_condition(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { op, .. } => {
            compares(op) || matches!(op, BinaryOperator::And | BinaryOperator::Or)
        }
        Expr::Nested(inner) => is_condition(inner),
        Expr::Value(value) => matches!(value.value, Value::Boolean(_)),
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::InList { .. }
        | Expr::Like { .. }
        | Expr::Between { .. } => true,
        _ => false,
    }
}
