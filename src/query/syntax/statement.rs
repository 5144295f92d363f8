//! Statements: what a text asks for.

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::ours::{self, Cursor};
use super::reader::{Reader, is_reserved};
use super::saved::{self, CorpusStatement, SavedStatement};
use super::stages::Chain;
use super::tokens::{Lexed, Lexeme, lex};
use super::{Catalog, Limits, build, deletion, funnel, identity, limits, refuse, search, teach};
use crate::diag::{Diagnostic, Span};

/// One statement of a text.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Its place in the text, without the semicolon.
    pub span: Span,
    /// The statement as typed.
    pub text: String,
    /// What it asks for.
    pub kind: StatementKind,
}

/// What a statement asks for.
#[derive(Clone, Debug)]
pub enum StatementKind {
    /// Rows, and perhaps something done with them.
    Query(QueryStatement),
    /// How rows would be found: `EXPLAIN [ANALYZE] query`.
    Explain {
        /// Whether the query is run and measured.
        analyze: bool,
        /// The query. With [`Then::Train`] it is the training that is explained.
        query: QueryStatement,
    },
    /// How many rows each clause leaves: `EXPLAIN FUNNEL query`.
    Funnel {
        /// The query, cut behind each clause; each cut holds all clauses before it.
        cuts: Vec<FunnelCut>,
    },
    /// The columns of a table: `DESCRIBE table`, `DESCRIBE dataset.name`.
    Describe {
        /// Whether it is a dataset or a corpus, in the word for it.
        schema: Option<Name>,
        /// The table.
        table: Name,
    },
    /// A list: `SHOW TABLES`.
    Show(ShowWhat),
    /// Something done with saved datasets: `DIFF DATASET a b`.
    Dataset(SavedStatement),
    /// Something done with corpora: `CREATE CORPUS name AS query`.
    Corpus(CorpusStatement),
    /// A policy answers the questions of a file: `GENERATE WITH (questions = 'file') AS name`.
    Rollout(Rollout),
    /// Trajectories are deleted: `DELETE FROM trajectories WHERE condition [CASCADE]`.
    Delete {
        /// The trajectories.
        query: Box<QueryStatement>,
        /// Whether datasets that hold some of them are dropped.
        cascade: bool,
    },
    /// In what two training runs differ, or two evaluations: `DIFF RUNS a b`.
    DiffRuns {
        /// The first.
        first: Name,
        /// The second.
        second: Name,
    },
}

/// A query up to the end of one of its clauses.
#[derive(Clone, Debug)]
pub struct FunnelCut {
    /// The clause as typed, with the word that joins it: `WHERE tool = 'search'`, `AND is_final`.
    pub clause: String,
    /// The query.
    pub query: QueryStatement,
}

/// What SHOW lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShowWhat {
    /// The tables.
    Tables,
    /// The columns of one table.
    Columns {
        /// Whether it is a dataset or a corpus, in the word for it.
        schema: Option<Name>,
        /// The table.
        table: Name,
    },
    /// The datasets.
    Datasets,
    /// One dataset.
    Dataset {
        /// Its name.
        name: Name,
    },
    /// The corpora.
    Corpora,
    /// One corpus.
    Corpus {
        /// Its name.
        name: Name,
    },
    /// The runs.
    Runs,
    /// The judges.
    Judges,
    /// The names of labels, with their judges.
    Labels,
    /// The functions.
    Functions,
}

/// A query, ready for the engine.
#[derive(Clone, Debug)]
pub struct QueryStatement {
    /// The query as plain SQL: no pipes, the hidden columns carried.
    pub query: Box<Query>,
    /// Whether the rows are in an order that the statement fixes, beyond trajectory and step.
    pub ordered: bool,
    /// Whether the rows carry `_trajectory` and `_step`.
    pub identity: bool,
    /// What is done with the rows.
    pub then: Option<Then>,
    /// Every pipe stage of the outermost query, in order.
    pub stages: Vec<StageSpan>,
    /// The part of the text that finds the rows: all of the query but SAVE and TRAIN.
    pub selection: Span,
    /// The seeds of the samples of the outermost query, in order.
    pub seeds: Vec<u64>,
}

/// A pipe stage and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageSpan {
    /// Its first word, in capitals.
    pub name: String,
    /// The stage without its pipe.
    pub span: Span,
}

/// A name and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name, in lower case unless it was quoted.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// What is done with the rows of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// They are frozen as a dataset: `SAVE AS name [WITH DUPLICATES]`.
    Save {
        /// The dataset.
        name: Name,
        /// Whether a row may come twice.
        with_duplicates: bool,
    },
    /// The trajectories they belong to are written to a file: `EXPORT TO 'file' [AS format]`.
    Export {
        /// The file.
        path: Name,
        /// The format.
        format: Option<Name>,
    },
    /// They are labelled: `LABEL AS name BY 'judge' = expression`.
    Label {
        /// The label.
        name: Name,
        /// The judge.
        judge: Name,
        /// The expression of each row's value, as typed.
        value: Name,
    },
    /// Their actions are scored by a model, and the scores become labels:
    /// `SCORE AS name WITH (...)`.
    Score {
        /// The label.
        name: Name,
        /// The options in the order of the text; no name comes twice.
        options: Vec<WithOption>,
    },
    /// A judge looks at them, and its verdicts become labels: `JUDGE AS name WITH (...)`.
    Judge {
        /// The label.
        name: Name,
        /// The options in the order of the text; no name comes twice.
        options: Vec<WithOption>,
    },
    /// A policy answers their questions, or acts at their states.
    Rollout(Rollout),
    /// Their columns are described by numbers: `SUMMARIZE`.
    Summarize,
    /// A model is trained on them: `TRAIN WITH (...) [AS name]`.
    Train {
        /// The options in the order of the text; no name comes twice.
        options: Vec<WithOption>,
        /// The run's name.
        name: Option<Name>,
    },
}

/// A policy at work: `GENERATE WITH (...) [AS name]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// What it does.
    pub verb: RolloutVerb,
    /// The place of the verb.
    pub span: Span,
    /// The options in the order of the text; no name comes twice.
    pub options: Vec<WithOption>,
    /// The run's name.
    pub name: Option<Name>,
}

/// What a policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutVerb {
    /// It answers questions, and its trajectories are stored.
    Generate,
    /// The same, and the answers are measured.
    Evaluate,
    /// It proposes actions at stored states, which are stored as samples.
    Resample,
}

impl RolloutVerb {
    /// Every verb.
    pub const ALL: [RolloutVerb; 3] =
        [RolloutVerb::Generate, RolloutVerb::Evaluate, RolloutVerb::Resample];

    /// Returns the word in statements.
    pub fn as_str(self) -> &'static str {
        match self {
            RolloutVerb::Generate => "GENERATE",
            RolloutVerb::Evaluate => "EVALUATE",
            RolloutVerb::Resample => "RESAMPLE",
        }
    }

    /// Returns the verb that a word in capitals names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<RolloutVerb> {
        RolloutVerb::ALL.into_iter().find(|verb| verb.as_str() == word)
    }
}

/// One `name = value` of TRAIN and its like.
#[derive(Clone, Debug, PartialEq)]
pub struct WithOption {
    /// The option.
    pub name: Name,
    /// What it is set to.
    pub value: Literal,
    /// The value's place.
    pub span: Span,
}

/// A value written out.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A finite number.
    Number(f64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
}

/// Reads all statements of `text`, within the default limits.
///
/// # Errors
///
/// The first mistake, with its place in `text`.
pub fn parse(text: &str, catalog: &dyn Catalog) -> Result<Vec<Statement>, Diagnostic> {
    parse_within(text, catalog, &Limits::default())
}

/// Reads all statements of `text`, within `limits`.
///
/// # Errors
///
/// The first mistake, with its place in `text`; `too-long` and `too-deep` where a limit is passed.
pub fn parse_within(
    text: &str,
    catalog: &dyn Catalog,
    limits: &Limits,
) -> Result<Vec<Statement>, Diagnostic> {
    if text.len() > limits.length_max {
        let message = format!(
            "the text has {} bytes; statements of up to {} bytes are read",
            text.len(),
            limits.length_max
        );
        return Err(Diagnostic::new("too-long", message));
    }
    let lexed = lex(text);
    let mut statements = Vec::new();
    let pieces = lexed.tokens.split(|lexeme| lexeme.is(&Token::SemiColon));
    let count = lexed.tokens.iter().filter(|lexeme| lexeme.is(&Token::SemiColon)).count();
    for (number, lexemes) in pieces.enumerate() {
        if number == count
            && let Some((_, error)) = &lexed.open
        {
            return Err(error.clone());
        }
        if let Some(first) = lexemes.first() {
            let partner = limits::partners(lexemes, limits)?;
            let reader = Reader { text, lexemes, partner, catalog, limits };
            check_tokens(&reader, &lexed)?;
            let kind = kind(&reader)?;
            let span = reader.span(0..lexemes.len()).to(first.span);
            statements.push(Statement { span, text: text[span.start..span.end].into(), kind });
        }
    }
    Ok(statements)
}

/// Holds what can be held before the SQL parser: depth, reserved names, foreign spellings, hints.
fn check_tokens(reader: &Reader<'_>, lexed: &Lexed) -> Result<(), Diagnostic> {
    limits::check_depth(reader.lexemes, reader.limits)?;
    let all = reader.span(0..reader.lexemes.len());
    for comment in &lexed.comments {
        let text = &reader.text[comment.span.start..comment.span.end];
        if (all.start..all.end).contains(&comment.span.start) {
            refuse::hint(text, comment.span)?;
        }
    }
    for lexeme in reader.lexemes {
        if let Some(word) = lexeme.word()
            && is_reserved(&word.value)
        {
            let message = format!("'{}' is a name that only swirldb writes", word.value);
            return Err(Diagnostic::new("reserved-name", message)
                .at(lexeme.span)
                .help("the columns trajectory_id and step say where a row comes from"));
        }
    }
    teach::foreign_spelling(reader)
}

/// Reads the name of a table to the end of the statement, with `dataset` or `corpus` before it or
/// without.
fn table(cursor: &mut Cursor<'_>) -> Result<(Option<Name>, Name), Diagnostic> {
    const EXPECTED: &str = "the name of a table";
    let first = cursor.name(EXPECTED)?;
    let named = match cursor.take(&Token::Period) {
        true => (Some(first), cursor.name(EXPECTED)?),
        false => (None, first),
    };
    cursor.end()?;
    Ok(named)
}

/// Reads what a statement asks for, by its first word.
fn kind(reader: &Reader<'_>) -> Result<StatementKind, Diagnostic> {
    let lexemes = reader.lexemes;
    let first = &lexemes[0];
    let word = first.word().filter(|w| w.quote_style.is_none()).map(|w| w.value.to_uppercase());
    let rest = 1..lexemes.len();
    match word.as_deref() {
        Some("EXPLAIN") => explain(reader),
        Some("DESCRIBE" | "DESC") => {
            let mut cursor = Cursor::new(reader, rest);
            let _ = cursor.take_word("TABLE");
            let (schema, table) = table(&mut cursor)?;
            Ok(StatementKind::Describe { schema, table })
        }
        Some("SHOW") => show(reader).map(StatementKind::Show),
        Some("SUMMARIZE") => summarize(reader),
        Some("DELETE") => deletion::delete(reader),
        Some("GENERATE") => rollout(reader, RolloutVerb::Generate),
        Some("EVALUATE") => rollout(reader, RolloutVerb::Evaluate),
        Some("DIFF") if lexemes.get(1).is_some_and(|l| l.is_word("RUNS") || l.is_word("RUN")) => {
            saved::diff_runs(reader)
        }
        Some(verb) if saved::begins_corpus(reader, verb) => {
            saved::corpus(reader, verb).map(StatementKind::Corpus)
        }
        Some(verb) if saved::begins_dataset(reader, verb) => {
            saved::dataset(reader, verb).map(StatementKind::Dataset)
        }
        Some("SELECT" | "FROM" | "WITH" | "VALUES" | "TABLE") => {
            query(reader, 0).map(StatementKind::Query)
        }
        None if first.is(&Token::LParen) => query(reader, 0).map(StatementKind::Query),
        _ => Err(teach::unknown_statement(reader, 0)),
    }
}

/// `GENERATE WITH (option = value, ...) [AS name]`
fn rollout(reader: &Reader<'_>, verb: RolloutVerb) -> Result<StatementKind, Diagnostic> {
    ours::rollout(reader, 0..reader.lexemes.len(), verb).map(StatementKind::Rollout)
}

/// `EXPLAIN [ANALYZE] query`
fn explain(reader: &Reader<'_>) -> Result<StatementKind, Diagnostic> {
    let second = reader.lexemes.get(1);
    let is = |word: &str| second.is_some_and(|lexeme| lexeme.is_word(word));
    if is("FUNNEL") {
        return funnel::funnel(reader, 2);
    }
    let analyze = is("ANALYZE") || is("ANALYSE");
    let start = 1 + usize::from(analyze);
    match reader.lexemes.get(start) {
        Some(lexeme) if begins_query(lexeme) => {
            Ok(StatementKind::Explain { analyze, query: query(reader, start)? })
        }
        Some(lexeme) => {
            let message = format!("expected a query to explain, found '{}'", reader.typed(start));
            Err(Diagnostic::new("syntax", message)
                .at(lexeme.span)
                .help("EXPLAIN FROM steps |> ..., or EXPLAIN ANALYZE FROM steps |> ..."))
        }
        None => {
            let message = "expected a query to explain, found the end of the statement";
            Err(Diagnostic::new("syntax", message).at(reader.span_at(start)))
        }
    }
}

pub(super) fn begins_query(lexeme: &Lexeme) -> bool {
    lexeme.is(&Token::LParen)
        || ["SELECT", "FROM", "WITH", "VALUES", "TABLE"].iter().any(|word| lexeme.is_word(word))
}

/// `SHOW TABLES`, `SHOW COLUMNS FROM table`, `SHOW DATASET name`, ...
fn show(reader: &Reader<'_>) -> Result<ShowWhat, Diagnostic> {
    let mut cursor = Cursor::new(reader, 1..reader.lexemes.len());
    let lists = [
        ("TABLES", ShowWhat::Tables),
        ("DATASETS", ShowWhat::Datasets),
        ("CORPORA", ShowWhat::Corpora),
        ("RUNS", ShowWhat::Runs),
        ("JUDGES", ShowWhat::Judges),
        ("LABELS", ShowWhat::Labels),
        ("FUNCTIONS", ShowWhat::Functions),
    ];
    for (word, what) in lists {
        if cursor.take_word(word) {
            cursor.end()?;
            return Ok(what);
        }
    }
    if cursor.take_word("COLUMNS") {
        if !cursor.take_word("FROM") && !cursor.take_word("IN") {
            return Err(cursor.expected("FROM and a table").help("SHOW COLUMNS FROM steps"));
        }
        let (schema, table) = table(&mut cursor)?;
        return Ok(ShowWhat::Columns { schema, table });
    }
    if cursor.take_word("DATASET") {
        let name = cursor.name("the name of a dataset")?;
        cursor.end()?;
        return Ok(ShowWhat::Dataset { name });
    }
    if cursor.take_word("CORPUS") {
        let name = cursor.name("the name of a corpus")?;
        cursor.end()?;
        return Ok(ShowWhat::Corpus { name });
    }
    Err(teach::unknown_show(reader, 1))
}

/// `SUMMARIZE query`, `SUMMARIZE table`
fn summarize(reader: &Reader<'_>) -> Result<StatementKind, Diagnostic> {
    let all = 1..reader.lexemes.len();
    let is_query = reader.lexemes.get(1).is_some_and(begins_query);
    let mut summarized = match is_query {
        true => query(reader, 1)?,
        false => {
            let mut cursor = Cursor::new(reader, all.clone());
            let form = "SUMMARIZE steps, or SUMMARIZE FROM steps |> WHERE ...";
            cursor.name("a table or a query").map_err(|error| error.help(form))?;
            while cursor.take(&Token::Period) {
                cursor.name("the rest of the table's name")?;
            }
            cursor.end()?;
            let name = reader
                .read(all.clone(), &mut Vec::new(), |parser| parser.parse_object_name(false))?;
            let table = build::query(build::select(vec![build::wildcard()], build::table(name)));
            finished(reader, table, reader.span(all))?
        }
    };
    if let Some(then) = &summarized.then
        && *then != Then::Summarize
    {
        let message = "SUMMARIZE describes rows, and this statement does something else with them";
        return Err(Diagnostic::new("stage-not-last", message).at(reader.span_at(0)));
    }
    summarized.then = Some(Then::Summarize);
    Ok(StatementKind::Query(summarized))
}

/// Settles a query that has no stages.
fn finished(
    reader: &Reader<'_>,
    mut query: Query,
    selection: Span,
) -> Result<QueryStatement, Diagnostic> {
    let carried = identity::carry(reader, &mut query)?;
    Ok(QueryStatement {
        query: Box::new(query),
        ordered: carried.ordered,
        identity: carried.identity,
        then: None,
        stages: Vec::new(),
        selection,
        seeds: Vec::new(),
    })
}

/// Reads the query that begins at the token `start`.
fn query(reader: &Reader<'_>, start: usize) -> Result<QueryStatement, Diagnostic> {
    query_within(reader, start..reader.lexemes.len())
}

/// Reads the query that the tokens of `range` are.
pub(super) fn query_within(
    reader: &Reader<'_>,
    range: std::ops::Range<usize>,
) -> Result<QueryStatement, Diagnostic> {
    settled(reader, reader.chain(range.clone(), true)?, range)
}

/// Makes a statement of the chain that the tokens of `range` are.
pub(super) fn settled(
    reader: &Reader<'_>,
    mut chain: Chain<'_>,
    range: std::ops::Range<usize>,
) -> Result<QueryStatement, Diagnostic> {
    let (start, end) = (range.start, range.end);
    let then = chain.then.take();
    let stages = std::mem::take(&mut chain.stages);
    let seeds = std::mem::take(&mut chain.seeds);
    let selection = match (&then, stages.split_last()) {
        (Some(_), Some((last, before))) => {
            let pipe = reader.lexemes.partition_point(|l| l.span.start < last.span.start);
            debug_assert!(before.len() < stages.len());
            reader.span(start..pipe.saturating_sub(1))
        }
        _ => reader.span(start..end),
    };
    let mut query = chain.into_query();
    refuse::check(reader, &query)?;
    search::settle_scores(reader, &mut query)?;
    let carried = identity::carry(reader, &mut query)?;
    Ok(QueryStatement {
        query: Box::new(query),
        ordered: carried.ordered,
        identity: carried.identity,
        then,
        stages,
        selection,
        seeds,
    })
}
