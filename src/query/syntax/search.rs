//! Ranked full text: the stage SEARCH, and `score(column, 'words')` in expressions.
//!
//! Both become `search_score('words', 'column, ...', _trajectory, _step)`: which step a row is says
//! what the index knows of it, so that neither needs the text itself.

use std::ops::{ControlFlow, Range};

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, ObjectName, OrderByOptions, Query, SelectItem, SetExpr, Value, ValueWithSpan, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::{Span as ParsedSpan, Token};

use super::ours::Cursor;
use super::reader::Reader;
use super::stages::{Chain, and, binary, probe};
use super::tokens::Places;
use super::{build, functions};
use crate::diag::{Diagnostic, Span, did_you_mean};
use crate::text::{COLUMNS, TextQuery};

/// The function that gives every step its score in a search:
/// `search_score('words', 'column, ...', _trajectory, _step)`.
pub const SEARCH_SCORE: &str = "search_score";

/// The function as it is written: `score(column, 'words')`.
const SCORE: &str = "score";

/// The predicate: `matches(column, 'words')`.
const MATCHES: &str = "matches";

/// `|> SEARCH 'words' [IN column, ...]`
///
/// Keeps the rows that are found, adds their `score`, and orders by it, best first.
pub(super) fn search(chain: &mut Chain<'_>, range: Range<usize>) -> Result<(), Diagnostic> {
    let reader = chain.reader;
    let word = reader.lexemes[range.start].token.span;
    let mut cursor = Cursor::new(reader, range.start + 1..range.end);
    let form = "|> SEARCH 'who founded' IN observation, action";
    let place = cursor.place();
    let words = match cursor.peek() {
        Some(Token::SingleQuotedString(text)) => {
            check_words(text, place, TextQuery::parse_search)?;
            Value::SingleQuotedString(text.clone())
        }
        Some(Token::Placeholder(name)) => Value::Placeholder(name.clone()),
        _ => return Err(cursor.expected("the words to search for, in single quotes").help(form)),
    };
    // The engine shows the token's place where a parameter has no value.
    let words =
        Expr::Value(ValueWithSpan { value: words, span: token_span(reader, range.start + 1) });
    cursor.forward();
    let mut columns = Vec::new();
    if cursor.take_word("IN") {
        loop {
            let at = cursor.index();
            let name = cursor.name("a column of text").map_err(|error| error.help(form))?;
            check_column(&name.text, name.span)?;
            columns.push(Ident::with_span(token_span(reader, at), name.text));
            if !cursor.take(&Token::Comma) {
                break;
            }
        }
    }
    cursor.end()?;
    if columns.is_empty() {
        columns = COLUMNS.iter().map(|name| Ident::with_span(word, *name)).collect();
    }
    let score = || of_step(words.clone(), &columns, Ident::with_span(word, SEARCH_SCORE));
    let alias = Ident::new(SCORE);
    chain.project(vec![
        build::wildcard(),
        SelectItem::ExprWithAlias { expr: score(), alias: alias.clone() },
    ]);
    if let SetExpr::Select(select) = chain.query.body.as_mut() {
        let found = binary(score(), BinaryOperator::Gt, build::number(0));
        select.selection = columns.iter().cloned().map(probe).chain([found]).reduce(and);
    }
    let mut best_first = build::ascending(Expr::Identifier(alias));
    best_first.options = OrderByOptions { asc: Some(false), nulls_first: None };
    chain.query.order_by = Some(build::order_by(vec![best_first]));
    Ok(())
}

/// Writes every `score(column, 'words')` of the tree as what it means, and checks the words of
/// every `matches(column, 'words')`.
///
/// # Errors
/// `score-arguments`; a column without full text; words that are no query.
pub(super) fn settle_scores(reader: &Reader<'_>, query: &mut Query) -> Result<(), Diagnostic> {
    struct Settling<'a> {
        reader: &'a Reader<'a>,
        error: Option<Diagnostic>,
    }
    impl VisitorMut for Settling<'_> {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
            let Some(name) = functions::name_of(function).cloned() else {
                return ControlFlow::Continue(());
            };
            let done = match build::normal(&name).as_str() {
                SCORE => settled(self.reader, function, name).map(|score| *expr = score),
                MATCHES => check_predicate(self.reader, function),
                _ => Ok(()),
            };
            match done {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    self.error = Some(error);
                    ControlFlow::Break(())
                }
            }
        }
    }
    let mut settling = Settling { reader, error: None };
    let _ = query.visit(&mut settling);
    settling.error.map_or(Ok(()), Err)
}

fn settled(reader: &Reader<'_>, function: &Function, name: Ident) -> Result<Expr, Diagnostic> {
    let mut places = Places::new(reader.text);
    let mistake = || {
        Diagnostic::new("score-arguments", "score() takes a column of text, and words in quotes")
            .at(Places::new(reader.text).span(name.span))
            .help("score(observation, 'who founded')")
    };
    let FunctionArguments::List(list) = &function.args else { return Err(mistake()) };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(column)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(words)),
    ] = list.args.as_slice()
    else {
        return Err(mistake());
    };
    let column = match column {
        Expr::Identifier(column) => column.clone(),
        Expr::CompoundIdentifier(parts) => parts.last().cloned().ok_or_else(mistake)?,
        _ => return Err(mistake()),
    };
    match words {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) => {
            check_words(text, places.span(*span), TextQuery::parse_search)?;
        }
        Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. }) => {}
        _ => return Err(mistake()),
    }
    check_column(&build::normal(&column), places.span(column.span))?;
    let score = Ident::with_span(name.span, SEARCH_SCORE);
    // The column is named besides, so that one that is not there is an error.
    let there = probe(column.clone());
    let score = of_step(words.clone(), &[column], score);
    let case = Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: there, result: score }],
        else_result: None,
    };
    Ok(Expr::Nested(Box::new(case)))
}

/// Returns `search_score(words, 'columns', _trajectory, _step)`.
fn of_step(words: Expr, columns: &[Ident], name: Ident) -> Expr {
    let columns = columns.iter().map(build::normal).collect::<Vec<_>>().join(", ");
    let columns = Expr::value(Value::SingleQuotedString(columns));
    let identity = [build::TRAJECTORY, build::STEP].map(build::column);
    let arguments = [words, columns].into_iter().chain(identity).collect();
    let mut call = build::call(SEARCH_SCORE, arguments, None);
    if let Expr::Function(function) = &mut call {
        function.name = ObjectName::from(name);
    }
    call
}

fn check_column(name: &str, place: Span) -> Result<(), Diagnostic> {
    if COLUMNS.contains(&name) {
        return Ok(());
    }
    let error = Diagnostic::new("no-full-text", format!("'{name}' has no full-text index"))
        .at(place)
        .help(format!("columns that have: {}", COLUMNS.join(", ")));
    Err(match did_you_mean(name, COLUMNS.iter().copied()) {
        Some(near) => error.help(format!("did you mean '{near}'?")),
        None => error,
    })
}

/// Checks the words of `matches(column, 'words')` where they are written out.
fn check_predicate(reader: &Reader<'_>, function: &Function) -> Result<(), Diagnostic> {
    let FunctionArguments::List(list) = &function.args else { return Ok(()) };
    let words = list.args.get(1);
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(words)))) = words else {
        return Ok(());
    };
    let Value::SingleQuotedString(text) = &words.value else { return Ok(()) };
    check_words(text, Places::new(reader.text).span(words.span), TextQuery::parse)
}

/// Checks words that stand in single quotes at `place`.
fn check_words(
    words: &str,
    place: Span,
    parse: fn(&str) -> Result<TextQuery, Diagnostic>,
) -> Result<(), Diagnostic> {
    let Err(error) = parse(words) else { return Ok(()) };
    let start = place.start + 1;
    let inside = error.span.map(|span| Span::new(start + span.start, start + span.end));
    // A doubled quote before the place moves it; then the whole text is shown.
    let fits = place.end - place.start == words.len() + 2;
    Err(Diagnostic { span: inside.filter(|_| fits).or(Some(place)), ..error })
}

fn token_span(reader: &Reader<'_>, at: usize) -> ParsedSpan {
    reader.lexemes.get(at).map_or_else(ParsedSpan::empty, |lexeme| lexeme.token.span)
}
