//! The short MATCH written as the standard's MATCH_RECOGNIZE, for EXPLAIN.

use std::fmt::Write;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, MatchRecognizePattern, MatchRecognizeSymbol, Measure, Query, SymbolDefinition,
    TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::statement::QueryStatement;
use super::{ANY, WITHIN, build};

/// The variable that stands for `.`: without a definition it is any row.
const ANY_STEP: &str = "any_step";

/// Stages that may leave steps out, so that others become neighbours.
const THINNING: [&str; 6] = ["WHERE", "LIMIT", "OFFSET", "SAMPLE", "SEARCH", "MATCH"];

/// Returns what every short MATCH of a query is in the standard's words, and what it does not see;
/// nothing where there is none.
pub fn standard_form(statement: &QueryStatement) -> String {
    struct Finding(Vec<String>);
    impl Visitor for Finding {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            self.0.extend(written(factor));
            ControlFlow::Continue(())
        }
    }
    let mut finding = Finding(Vec::new());
    let query: &Query = &statement.query;
    let _ = Visit::visit(query, &mut finding);
    let mut text = String::new();
    // The stage that is last in the text is outermost in the tree.
    for form in finding.0.iter().rev() {
        let _ = writeln!(text, "MATCH as the standard writes it, over the rows before it:\n{form}");
    }
    let is_match = |name: &str| name == "MATCH" || name == "MATCH_RECOGNIZE";
    if let Some(at) = statement.stages.iter().rposition(|stage| is_match(&stage.name)) {
        let thinning = |name: &&str| THINNING.contains(name);
        let before = statement.stages[..at].iter().map(|stage| stage.name.as_str());
        let mut before: Vec<&str> = before.filter(thinning).collect();
        before.dedup();
        if !before.is_empty() {
            let _ = writeln!(
                text,
                "note: the pattern sees the rows that {} left, and those are its neighbours\n",
                before.join(", ")
            );
        }
    }
    text
}

/// Returns a short MATCH as the standard writes it.
fn written(factor: &TableFactor) -> Option<String> {
    let TableFactor::MatchRecognize { measures, pattern, symbols, rows_per_match, .. } = factor
    else {
        return None;
    };
    let within = symbols.iter().find(|s| s.symbol.value == WITHIN)?;
    let span = match &within.definition {
        Expr::Value(value) => value.to_string().parse::<u64>().ok().filter(|steps| *steps > 0),
        _ => None,
    };
    let mut text =
        String::from("  MATCH_RECOGNIZE (\n    PARTITION BY trajectory_id ORDER BY step\n");
    let measure = |m: &Measure| format!("{} AS {}", shown(&m.expr), name(&m.alias));
    // The hidden columns are not the user's.
    let shown_ones = measures.iter().filter(|m| !m.alias.value.starts_with('_'));
    let measures: Vec<String> = shown_ones.map(measure).collect();
    let _ = writeln!(text, "    MEASURES {}", measures.join(", "));
    let rows = rows_per_match.as_ref().map_or(String::new(), ToString::to_string);
    let _ = writeln!(text, "    {rows} AFTER MATCH SKIP PAST LAST ROW");
    let _ = writeln!(text, "    PATTERN ({})", pattern_text(pattern));
    let mut definitions: Vec<String> = Vec::new();
    let near = span.map(|steps| format!("step - FIRST(step) < {steps}"));
    for SymbolDefinition { symbol, definition } in
        symbols.iter().filter(|s| s.symbol.value != WITHIN)
    {
        let mut condition = shown(definition);
        if let Some(near) = &near {
            condition = format!("({condition}) AND {near}");
        }
        definitions.push(format!("{} AS {condition}", name(symbol)));
    }
    if let Some(near) = near.filter(|_| uses_any(pattern)) {
        definitions.push(format!("{ANY_STEP} AS {near}"));
    }
    if !definitions.is_empty() {
        let _ = writeln!(text, "    DEFINE {}", definitions.join(",\n      "));
    }
    text.push_str("  )\n");
    Some(text)
}

/// Returns an expression with the names that the user knows.
fn shown(expr: &Expr) -> String {
    struct Naming;
    impl VisitorMut for Naming {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let idents = match expr {
                Expr::Identifier(ident) => std::slice::from_mut(ident),
                Expr::CompoundIdentifier(parts) => parts.as_mut_slice(),
                _ => return ControlFlow::Continue(()),
            };
            for ident in idents {
                let known = match ident.value.as_str() {
                    build::TRAJECTORY => "trajectory_id",
                    build::STEP => "step",
                    value if is_plain(value) => value,
                    _ => continue,
                };
                *ident = Ident::new(known);
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = expr.clone();
    let _ = VisitMut::visit(&mut expr, &mut Naming);
    expr.to_string()
}

fn name(ident: &Ident) -> String {
    match ident.value.as_str() {
        ANY => ANY_STEP.to_owned(),
        value if is_plain(value) => value.to_owned(),
        _ => ident.to_string(),
    }
}

/// Whether a name needs no quotes.
fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn uses_any(pattern: &MatchRecognizePattern) -> bool {
    match pattern {
        MatchRecognizePattern::Symbol(MatchRecognizeSymbol::Named(symbol)) => symbol.value == ANY,
        MatchRecognizePattern::Concat(parts) | MatchRecognizePattern::Alternation(parts) => {
            parts.iter().any(uses_any)
        }
        MatchRecognizePattern::Group(part) | MatchRecognizePattern::Repetition(part, _) => {
            uses_any(part)
        }
        _ => false,
    }
}

fn pattern_text(pattern: &MatchRecognizePattern) -> String {
    let all = |parts: &[MatchRecognizePattern], between: &str| {
        parts.iter().map(pattern_text).collect::<Vec<_>>().join(between)
    };
    match pattern {
        MatchRecognizePattern::Symbol(MatchRecognizeSymbol::Named(symbol)) => name(symbol),
        MatchRecognizePattern::Concat(parts) => all(parts, " "),
        MatchRecognizePattern::Alternation(parts) => all(parts, " | "),
        MatchRecognizePattern::Group(part) => format!("({})", pattern_text(part)),
        MatchRecognizePattern::Repetition(part, quantifier) => {
            format!("{}{quantifier}", pattern_text(part))
        }
        other => other.to_string(),
    }
}
