//! The names in a query: tables, columns, labels.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, SelectItem, SetExpr, TableFactor, Value, Visit, VisitMut, Visitor,
    VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span as ParsedSpan, Token};

use super::engine::{CORPUS_SCHEMA, DATASET_SCHEMA};
use super::error::{QueryError, TextPlace};
use super::functions::GOLD_IN;
use super::table::{LabelNames, LabelText, TableFunction};
use crate::diag::{Diagnostic, did_you_mean, list_some};
use crate::store::View;

/// What a query names.
#[derive(Default)]
pub(super) struct Names {
    /// Every name that may be a column, as the engine looks it up.
    pub columns: Vec<String>,
    /// The datasets read as tables.
    pub datasets: BTreeSet<String>,
    /// The corpora whose documents are read.
    pub corpora: BTreeSet<String>,
    tables: Vec<(String, ParsedSpan)>,
    calls: Vec<TableCall>,
    functions: BTreeMap<String, ParsedSpan>,
    /// Columns, and texts that they are compared with.
    pub compared: Vec<(String, String)>,
    places: BTreeMap<String, ParsedSpan>,
    ctes: Vec<String>,
}

/// A call in place of a table.
struct TableCall {
    name: String,
    place: ParsedSpan,
    /// Each a text, or `None` for anything else, with its place.
    arguments: Vec<(Option<String>, ParsedSpan)>,
}

impl Names {
    /// Returns the names in `query`.
    pub fn of(query: &Query) -> Names {
        let mut names = Names::default();
        let _: ControlFlow<()> = query.visit(&mut names);
        names
    }

    /// Whether a table of that name is read.
    pub fn reads(&self, table: &str) -> bool {
        self.tables.iter().any(|(name, _)| name.rsplit('.').next() == Some(table))
    }

    /// Whether a table function of that name is called.
    pub fn calls(&self, function: &str) -> bool {
        self.calls.iter().any(|call| call.name == function)
    }

    /// Returns where a function is called first.
    pub fn call_place(&self, function: &str) -> Option<ParsedSpan> {
        self.functions.get(function).copied()
    }

    /// Checks the calls of table functions.
    ///
    /// # Errors
    /// `unknown-function`; what is wrong with arguments, at their place.
    pub fn check_calls(&self, view: &View) -> Result<(), QueryError> {
        for call in &self.calls {
            let names = || TableFunction::ALL.iter().map(|function| function.name());
            let function = TableFunction::ALL.into_iter().find(|f| f.name() == call.name);
            let Some(function) = function else {
                let message = format!("'{}' is no function that makes a table", call.name);
                let error = Diagnostic::new("unknown-function", message);
                let error = match did_you_mean(&call.name, names()) {
                    Some(near) => error.help(format!("did you mean '{near}'?")),
                    None => error.help(format!("there are {}", list_some(names()))),
                };
                return Err(QueryError::Placed(error, TextPlace::Parsed(call.place)));
            };
            let given: Vec<Option<String>> =
                call.arguments.iter().map(|(text, _)| text.clone()).collect();
            function.check(view, &given).map_err(|(error, at)| {
                let place = at.and_then(|at| call.arguments.get(at)).map_or(call.place, |a| a.1);
                QueryError::Placed(error, TextPlace::Parsed(place))
            })?;
        }
        Ok(())
    }

    /// Returns where a column is named first.
    pub fn place(&self, column: &str) -> Option<ParsedSpan> {
        self.places.get(column).copied()
    }

    /// Checks that every table exists.
    ///
    /// # Errors
    /// `unknown-table`, with the nearest of `all`, which is asked for only then; what `known`
    /// returns.
    pub fn check_tables(
        &self,
        all: &dyn Fn() -> Vec<String>,
        known: &dyn Fn(&str) -> Result<bool, QueryError>,
    ) -> Result<(), QueryError> {
        let mut unknown = None;
        let is_table = |name: &String| !self.ctes.contains(name) && !self.calls(name);
        for (name, span) in self.tables.iter().filter(|(name, _)| is_table(name)) {
            if !known(name)? {
                unknown = Some((name, span));
                break;
            }
        }
        let Some((name, span)) = unknown else { return Ok(()) };
        let all = all();
        let mut diagnostic = Diagnostic::new("unknown-table", format!("unknown table '{name}'"));
        let all = || all.iter().map(String::as_str);
        let dataset_prefix = format!("{DATASET_SCHEMA}.");
        let dataset = format!("{dataset_prefix}{name}");
        diagnostic = match did_you_mean(name, all()) {
            _ if all().any(|t| t == dataset) => {
                diagnostic.help(format!("the dataset is read as '{dataset}'"))
            }
            _ if TableFunction::ALL.iter().any(|function| function.name() == name) => {
                diagnostic.help(format!("it is called, with parentheses: FROM {name}()"))
            }
            Some(near) => diagnostic.help(format!("did you mean '{near}'?")),
            None if name.starts_with(&dataset_prefix) => {
                let datasets = || all().filter(|t| t.starts_with(&dataset_prefix));
                match datasets().next() {
                    Some(_) => diagnostic.help(format!("datasets: {}", list_some(datasets()))),
                    None => diagnostic.help("there are no datasets yet: |> SAVE AS makes one"),
                }
            }
            None => diagnostic.help(format!("tables: {}", list_some(all()))),
        };
        Err(QueryError::Placed(diagnostic, TextPlace::Parsed(*span)))
    }

    /// Returns the labels that the query names, as `name@judge`.
    pub fn labels(&self, labels: &LabelNames<'_>) -> Vec<String> {
        let mut found = Vec::new();
        for column in &self.columns {
            let name = column.strip_prefix("trajectory.").unwrap_or(column);
            // What is written beside a label is as much of the judge as its value.
            let (label, judge) = match name.split_once('@') {
                Some((label, judge)) => (label, Some(judge)),
                None => (name, None),
            };
            let (label, _) = LabelText::split(label);
            let name = &judge.map_or(label.to_owned(), |judge| format!("{label}@{judge}"));
            let resolved = match name.split_once('@') {
                Some((label, judge)) => {
                    let judges = [true, false].map(|on_steps| labels.judges(label, on_steps));
                    judges.concat().contains(&judge).then(|| name.to_owned())
                }
                None => {
                    let judge = |on_steps| labels.default_judge(name, on_steps);
                    judge(true).or_else(|| judge(false)).map(|judge| format!("{name}@{judge}"))
                }
            };
            found.extend(resolved.filter(|r| !found.contains(r)));
        }
        found
    }

    fn column(&mut self, ident: &Ident) {
        let name = normal(ident);
        self.places.entry(name.clone()).or_insert(ident.span);
        if !self.columns.contains(&name) {
            self.columns.push(name);
        }
    }
}

/// Returns a name as the engine looks it up: in lower case unless it was quoted.
fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(ctes.map(|cte| normal(&cte.alias.name)));
        if let SetExpr::Select(select) = query.body.as_ref() {
            for item in &select.projection {
                let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) =
                    item
                else {
                    continue;
                };
                let replaced = options.opt_replace.iter().flat_map(|r| &r.items);
                for element in replaced {
                    self.column(&element.column_name);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let parts: Vec<&Ident> = relation.0.iter().filter_map(ObjectNamePart::as_ident).collect();
        if let [schema, table] = parts.as_slice() {
            match normal(schema).as_str() {
                DATASET_SCHEMA => drop(self.datasets.insert(normal(table))),
                CORPUS_SCHEMA => drop(self.corpora.insert(normal(table))),
                _ => {}
            }
        }
        let name = parts.iter().map(|p| normal(p)).collect::<Vec<_>>().join(".");
        if let Some(first) = parts.first() {
            self.tables.push((name, first.span));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(given), .. } = factor
            && let Some(last) = name.0.last().and_then(ObjectNamePart::as_ident)
        {
            let argument = |argument: &FunctionArg| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => {
                    let text = match &value.value {
                        Value::SingleQuotedString(text) => Some(text.clone()),
                        _ => None,
                    };
                    (text, value.span)
                }
                _ => (None, last.span),
            };
            let arguments = given.args.iter().map(argument).collect();
            self.calls.push(TableCall { name: normal(last), place: last.span, arguments });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.column(ident),
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                self.compared.extend(comparison(left, right));
                self.compared.extend(comparison(right, left));
            }
            Expr::InList { expr, list, negated: false } => {
                self.compared.extend(list.iter().filter_map(|value| comparison(expr, value)));
            }
            Expr::Function(function) => {
                if let Some(name) = function.name.0.last().and_then(ObjectNamePart::as_ident) {
                    self.functions.entry(normal(name)).or_insert(name.span);
                }
            }
            Expr::CompoundIdentifier(parts) => {
                if let Some(last) = parts.last() {
                    self.column(last);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Returns the column and the text, if these are what is compared.
fn comparison(column: &Expr, value: &Expr) -> Option<(String, String)> {
    let column = match column {
        Expr::Identifier(ident) => normal(ident),
        Expr::CompoundIdentifier(parts) => normal(parts.last()?),
        _ => return None,
    };
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some((column, text.clone())),
            _ => None,
        },
        _ => None,
    }
}

/// Gives every `gold_in(text)` the gold answers of its row's trajectory.
pub(super) fn give_gold(query: &mut Query) {
    struct Giving;
    impl VisitorMut for Giving {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && let [name] = function.name.0.as_slice()
                && name.as_ident().is_some_and(|name| normal(name) == GOLD_IN)
                && let FunctionArguments::List(list) = &mut function.args
                && list.args.len() == 1
            {
                let gold = Expr::Identifier(Ident::new("gold"));
                list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(gold)));
            }
            ControlFlow::Continue(())
        }
    }
    let _: ControlFlow<()> = query.visit(&mut Giving);
}

/// Returns the quoted names in `text` that may be columns of one judge or of the trajectory.
pub(super) fn label_names(text: &str) -> Vec<String> {
    let quoted = text.split('"').skip(1).step_by(2);
    let labels = quoted.filter(|name| {
        let beside = LabelText::split(name).1.is_some();
        beside || name.contains('@') || name.starts_with("trajectory.")
    });
    labels.map(str::to_owned).collect()
}

/// Returns `SELECT *, (expression) AS name FROM (query)`.
///
/// # Errors
/// The expression is not one SQL expression.
pub(super) fn extended(query: Query, expression: &str, name: &str) -> Result<Query, QueryError> {
    let refused = |why: String| {
        let message = format!("'{expression}' is no expression of SQL: {why}");
        QueryError::Placed(Diagnostic::new("expression", message), TextPlace::None)
    };
    let dialect = GenericDialect {};
    let parsed = Parser::new(&dialect).try_with_sql(expression);
    let mut parser = parsed.map_err(|e| refused(e.to_string()))?;
    let expr = parser.parse_expr().map_err(|e| refused(e.to_string()))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        return Err(refused(format!("'{}' was not expected behind it", rest.token)));
    }
    over(query, &format!("*, ({expr}) AS {}", quoted(name))).map_err(refused)
}

/// Returns `SELECT items FROM (query)`.
///
/// # Errors
/// What the SQL parser says of the items.
pub(super) fn over(query: Query, items: &str) -> Result<Query, String> {
    let dialect = GenericDialect {};
    let text = format!("SELECT {items} FROM (SELECT 1) AS rows");
    let parsed = Parser::new(&dialect).try_with_sql(&text).and_then(|mut p| p.parse_query());
    let mut outer = parsed.map_err(|error| error.to_string())?;
    if let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(table) = select.from.first_mut()
        && let TableFactor::Derived { subquery, .. } = &mut table.relation
    {
        **subquery = query;
    }
    Ok(*outer)
}

/// Returns a name as it is written in SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
