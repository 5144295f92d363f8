//! What can go wrong with a query, in the user's words.

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::tokenizer::Span as ParsedSpan;

use super::engine::{Engine, Scope, column_names};
use super::functions;
use super::names::Names;
use super::syntax::{Places, unresolved_name};
use super::table::{LabelNames, ScanTable};
use crate::db::DbError;
use crate::diag::{Diagnostic, Span, did_you_mean, list_some};
use crate::store::StoreError;

/// Where a mistake is, before the text is at hand.
#[derive(Clone, Copy, Debug)]
pub enum TextPlace {
    /// It cannot be said.
    None,
    /// As the SQL parser counts: lines and columns.
    Parsed(ParsedSpan),
}

/// A failure of a query.
#[derive(Debug)]
pub enum QueryError {
    /// The user's mistake, its place still to be found in the text.
    Placed(Diagnostic, TextPlace),
    /// The database failed.
    Database(Box<DbError>),
    /// It was cancelled.
    Cancelled,
    /// It needs more memory than it may use, or the disk for spilling is full.
    Resources(String),
    /// The operating system refused.
    Environment(String),
    /// This program is wrong.
    Bug(String),
}

impl QueryError {
    /// Returns the error as a message to a person, if it is the user's mistake.
    pub fn diagnostic(&self, text: &str) -> Option<Diagnostic> {
        let QueryError::Placed(diagnostic, place) = self else { return None };
        let diagnostic = diagnostic.clone();
        Some(match place {
            TextPlace::Parsed(span) if span.start.line > 0 => diagnostic.at(byte_span(text, *span)),
            _ => diagnostic,
        })
    }
}

fn byte_span(text: &str, span: ParsedSpan) -> Span {
    let mut places = Places::new(text);
    let start = places.byte(span.start.line, span.start.column);
    let end = places.byte(span.end.line, span.end.column);
    Span::new(start, end.max(start + 1))
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            QueryError::Placed(diagnostic, _) => f.write_str(&diagnostic.message),
            QueryError::Database(error) => error.fmt(f),
            QueryError::Cancelled => f.write_str("cancelled"),
            QueryError::Resources(why) | QueryError::Environment(why) => f.write_str(why),
            QueryError::Bug(why) => write!(f, "a bug of this program: {why}"),
        }
    }
}

impl std::error::Error for QueryError {}

impl From<DataFusionError> for QueryError {
    /// Sorts an error of running a query: the store's own come out as they went in.
    fn from(error: DataFusionError) -> QueryError {
        match unwrapped(error) {
            DataFusionError::External(inner) => external(inner),
            DataFusionError::ResourcesExhausted(why) => QueryError::Resources(format!(
                "not enough memory: {why}; raise --memory-limit, or select less"
            )),
            DataFusionError::IoError(error) => QueryError::Environment(error.to_string()),
            DataFusionError::Internal(why) => QueryError::Bug(why),
            other => {
                let message = other.strip_backtrace();
                let message = plain(&message).to_owned();
                let diagnostic = match message.starts_with("Cast error") {
                    true => Diagnostic::new("execution", message)
                        .help("TRY_CAST gives null where a value is none of that type"),
                    false => Diagnostic::new("execution", message),
                };
                QueryError::Placed(diagnostic, TextPlace::None)
            }
        }
    }
}

fn external(inner: Box<dyn std::error::Error + Send + Sync>) -> QueryError {
    let inner = match inner.downcast::<StoreError>() {
        Ok(error) => return QueryError::Database(Box::new(DbError::Store(*error))),
        Err(inner) => inner,
    };
    match inner.downcast::<DbError>() {
        Ok(error) if matches!(*error, DbError::Stopped) => QueryError::Cancelled,
        Ok(error) => QueryError::Database(error),
        // What a library says of a value: a regular expression, a cast.
        Err(inner) => {
            let diagnostic = Diagnostic::new("execution", inner.to_string());
            QueryError::Placed(diagnostic, TextPlace::None)
        }
    }
}

/// Takes off the layers that only say where an error passed through.
fn unwrapped(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            unwrapped(*inner)
        }
        DataFusionError::Collection(mut several) if !several.is_empty() => {
            unwrapped(several.swap_remove(0))
        }
        DataFusionError::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
            Ok(inner) => unwrapped(inner),
            Err(shared) => DataFusionError::Execution(shared.strip_backtrace()),
        },
        DataFusionError::ArrowError(inner, context) => match *inner {
            arrow::error::ArrowError::ExternalError(e) => match e.downcast::<DataFusionError>() {
                Ok(inner) => unwrapped(*inner),
                Err(e) => DataFusionError::External(e),
            },
            other => DataFusionError::ArrowError(Box::new(other), context),
        },
        DataFusionError::External(inner) => match inner.downcast::<DataFusionError>() {
            Ok(inner) => unwrapped(*inner),
            Err(inner) => DataFusionError::External(inner),
        },
        other => other,
    }
}

/// Takes off the engine's own classification of a message.
fn plain(message: &str) -> &str {
    const LAYERS: [&str; 5] = [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "Schema error: ",
        "This feature is not implemented: ",
    ];
    let mut rest = message;
    while let Some(inner) = LAYERS.iter().find_map(|layer| rest.strip_prefix(layer)) {
        rest = inner;
    }
    rest
}

/// Words an error of planning: unknown names get the nearest one that exists.
pub(super) fn planning_error(
    error: DataFusionError,
    scope: &Scope<'_>,
    names: &Names,
    engine: &Engine,
) -> QueryError {
    let span = error.diagnostic().and_then(|d| d.span);
    let place = span.map(|s| {
        let location = |l: datafusion::common::Location| {
            datafusion::sql::sqlparser::tokenizer::Location::new(l.line, l.column)
        };
        TextPlace::Parsed(ParsedSpan::new(location(s.start), location(s.end)))
    });
    let place = place.unwrap_or(TextPlace::None);
    match unwrapped(error) {
        DataFusionError::SchemaError(inner, _) => match *inner {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let known: Vec<String> = valid_fields.iter().map(|c| c.name.clone()).collect();
                let place = match names.place(&field.name) {
                    Some(span) => TextPlace::Parsed(span),
                    None => place,
                };
                unknown_column(&field.name, known, scope, place)
            }
            SchemaError::AmbiguousReference { field } => {
                let message =
                    format!("several of the joined tables have a column '{}'", field.name);
                let diagnostic = Diagnostic::new("ambiguous-column", message)
                    .help(format!("name the table: t.{}", field.name));
                let place = names.place(&field.name).map_or(place, TextPlace::Parsed);
                QueryError::Placed(diagnostic, place)
            }
            other => {
                let diagnostic = Diagnostic::new("schema", plain(&other.to_string()).to_owned());
                QueryError::Placed(diagnostic, place)
            }
        },
        DataFusionError::External(inner) => external(inner),
        DataFusionError::Internal(why) => QueryError::Bug(why),
        other => {
            let message = other.strip_backtrace();
            let message = plain(&message);
            if let Some(name) = invalid_function(message) {
                return unknown_function(name, engine, place);
            }
            match wrong_arguments(message) {
                Some((function, diagnostic)) => {
                    let called = names.call_place(function);
                    QueryError::Placed(diagnostic, called.map_or(place, TextPlace::Parsed))
                }
                None => QueryError::Placed(Diagnostic::new("planning", message.to_owned()), place),
            }
        }
    }
}

/// Words what the engine says of a function that does not take its arguments.
fn wrong_arguments(message: &str) -> Option<(&str, Diagnostic)> {
    let behind = message.split("argument types '").nth(1)?;
    let (call, rest) = behind.split_once('\'')?;
    let (function, types) = call.split_once('(')?;
    let types = types.trim_end_matches(')');
    let given = match types {
        "" => "no arguments".to_owned(),
        types => types.split(", ").map(plain_type).collect::<Vec<_>>().join(", "),
    };
    let mut diagnostic =
        Diagnostic::new("function-arguments", format!("{function}() does not take {given}"));
    let candidates = rest.lines().map(str::trim).filter(|line| line.starts_with(function));
    let mut forms: Vec<String> = Vec::new();
    for candidate in candidates {
        let (name, types) = candidate.split_once('(').unwrap_or((candidate, ")"));
        let types = types.trim_end_matches(')').split(", ").map(plain_type);
        let form = format!("{name}({})", types.collect::<Vec<_>>().join(", "));
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    if !forms.is_empty() {
        diagnostic = diagnostic.help(format!("it takes {}", forms.join(" or ")));
    }
    Some((function, diagnostic))
}

/// Returns the name of an engine's type as DESCRIBE has it.
fn plain_type(name: &str) -> &str {
    match name {
        "Utf8" | "Utf8View" | "LargeUtf8" | "String" => "text",
        "Int8" | "Int16" | "Int32" | "Int64" | "Integer" => "bigint",
        "Float16" | "Float32" | "Float64" | "Float" => "double",
        "Boolean" => "boolean",
        other => other,
    }
}

fn invalid_function(message: &str) -> Option<&str> {
    message.strip_prefix("Invalid function '")?.split('\'').next()
}

fn unknown_function(name: &str, engine: &Engine, place: TextPlace) -> QueryError {
    let mut diagnostic = Diagnostic::new("unknown-function", format!("unknown function '{name}'"));
    if let Some(ours) = functions::ours(&name.to_ascii_lowercase()) {
        diagnostic = diagnostic.help(format!("the same is written so here: {ours}"));
        return QueryError::Placed(diagnostic, place);
    }
    let names = engine.function_names();
    diagnostic = match did_you_mean(name, names.iter().map(String::as_str)) {
        Some(near) => diagnostic.help(format!("did you mean '{near}'?")),
        None => diagnostic.help("SHOW FUNCTIONS lists them"),
    };
    QueryError::Placed(diagnostic, place)
}

/// A name that is no column may be a label by several judges, or one in double quotes that was
/// meant as text.
fn unknown_column(
    name: &str,
    mut known: Vec<String>,
    scope: &Scope<'_>,
    place: TextPlace,
) -> QueryError {
    let labels = LabelNames::new(scope.view.catalogue());
    let bare = name.strip_prefix("trajectory.").unwrap_or(name);
    for on_steps in [true, false] {
        let judges = labels.judges(bare, on_steps);
        if judges.len() > 1 {
            let quoted: Vec<String> =
                judges.iter().map(|judge| format!("\"{bare}@{judge}\"")).collect();
            let message = format!("label '{bare}' has several judges: {}", judges.join(", "));
            let diagnostic = Diagnostic::new("ambiguous-label", message)
                .help(format!("name one: {}", quoted.join(" or ")))
                .help(format!("or choose one for good: .judges {bare} = {}", judges[0]));
            return QueryError::Placed(diagnostic, place);
        }
    }
    if name.contains('@') {
        known.extend(scope.view.labels().iter().map(|l| format!("{}@{}", l.name, l.judge)));
    }
    let mut seen = std::collections::HashSet::new();
    known.retain(|c| !c.starts_with('_') && seen.insert(c.clone()));
    let mut diagnostic = Diagnostic::new("unknown-column", format!("unknown column '{name}'"));
    if let TextPlace::Parsed(span) = place
        && let Some(advice) = unresolved_name(scope.text, byte_span(scope.text, span))
    {
        diagnostic = diagnostic.help(advice);
    }
    diagnostic = match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(near) => diagnostic.help(format!("did you mean '{near}'?")),
        None => match elsewhere(name, scope) {
            Some(table) => diagnostic.help(format!("table '{table}' has a column '{name}'")),
            None if known.is_empty() => diagnostic,
            None => {
                let columns = list_some(known.iter().map(String::as_str));
                diagnostic.help(format!("columns here: {columns}"))
            }
        },
    };
    QueryError::Placed(diagnostic, place)
}

fn elsewhere(name: &str, scope: &Scope<'_>) -> Option<&'static str> {
    let has = |t: &ScanTable| column_names(scope.view, t.name()).iter().any(|c| c == name);
    ScanTable::ALL.iter().find(|t| has(t)).map(|t| t.name())
}
