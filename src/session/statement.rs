//! Running statements.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};

use super::comparing;
use super::corpora::{self, CorpusReport};
use super::datasets;
use super::deleting::delete;
use super::error::SessionError;
use super::export;
use super::labelling::{Labelling, label};
use super::listing;
use super::rollouts::{self, JudgeSummary, ResampleSummary, RolloutSummary};
use super::select::{Selection, identity, select};
use super::slow::SlowLog;
use super::summary;
use super::training::{self, TrainSummary};
use super::verification::Verified;
use crate::codec::{CorpusRecord, DatasetRecord};
use crate::db::{Database, DatasetDraft, Difference};
use crate::diag::{Diagnostic, Progress};
use crate::query::parameters::{Parameters, with_values};
use crate::query::syntax::{
    self, Literal, QueryStatement, RolloutVerb, Statement, StatementKind, Then,
};
use crate::query::{Cancel, Engine, Prepared, QueryError, Scope};
use crate::store::{Limits, Mode, Pinning};
use crate::train::Event;

/// Takes what a statement brings forth, as it comes.
pub trait Sink: Send {
    /// Rows of these columns follow.
    ///
    /// # Errors
    /// The output cannot be written.
    fn begin(&mut self, schema: &Schema) -> std::io::Result<()>;

    /// Rows.
    ///
    /// # Errors
    /// The output cannot be written.
    fn batch(&mut self, batch: &RecordBatch) -> std::io::Result<()>;

    /// No more rows follow.
    ///
    /// # Errors
    /// The output cannot be written.
    fn end(&mut self) -> std::io::Result<()>;

    /// The columns that say which steps the rows of the next batch of a query are, as
    /// [`Session::places`] reads them. Not called where they do not say it.
    fn identity(&mut self, _columns: &RecordBatch) {}

    /// Something that whoever reads the rows should know.
    fn note(&mut self, _text: &str) {}

    /// A training run tells something; `Break` stops it with a checkpoint.
    fn train(&mut self, event: &Event) -> ControlFlow<()>;
}

/// What a statement did.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It gave rows.
    Rows {
        /// How many.
        rows: u64,
        /// Trajectories that `every` left out because a step had no label.
        undecided: u64,
    },
    /// It saved a dataset.
    Saved(Box<DatasetRecord>),
    /// It wrote trajectories to a file.
    Exported {
        /// How many.
        trajectories: u64,
        /// The file.
        path: String,
    },
    /// It wrote a dataset with its trajectories to a file.
    DatasetExported {
        /// The dataset.
        dataset: Box<DatasetRecord>,
        /// The file.
        path: String,
    },
    /// It compared two datasets.
    Compared {
        /// The first.
        first: Box<DatasetRecord>,
        /// The second.
        second: Box<DatasetRecord>,
        /// How many rows differ.
        difference: Difference,
    },
    /// It looked whether datasets are what was saved.
    Verified(Vec<Verified>),
    /// It removed a dataset.
    Dropped(Box<DatasetRecord>),
    /// It deleted trajectories.
    Deleted {
        /// How many.
        trajectories: u64,
        /// Their steps.
        steps: u64,
        /// The datasets that held some of them, and are dropped.
        datasets: Vec<Pinning>,
    },
    /// It sealed a corpus.
    CorpusSealed {
        /// The corpus.
        corpus: Box<CorpusRecord>,
        /// What came of the rows.
        report: CorpusReport,
    },
    /// It wrote a corpus to a file.
    CorpusExported {
        /// The corpus.
        corpus: Box<CorpusRecord>,
        /// The file.
        path: String,
    },
    /// It removed a corpus.
    CorpusDropped(Box<CorpusRecord>),
    /// It gave labels.
    Labelled {
        /// Labels that are new.
        added: u64,
        /// Labels that were there already with the same value.
        same: u64,
        /// Rows without a value, which got none.
        without_value: u64,
    },
    /// It trained.
    Trained(Box<TrainSummary>),
    /// A judge gave labels.
    Judged(Box<JudgeSummary>),
    /// A policy proposed actions at stored states.
    Resampled(ResampleSummary),
    /// A policy played episodes.
    Rolled(Box<RolloutSummary>),
    /// It explained.
    Text(String),
}

/// What a session may use.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// Memory for store, queries and caches together, in bytes.
    pub memory_bytes: usize,
    /// Threads of queries.
    pub threads: usize,
    /// Whether the database is opened for reading only.
    pub read_only: bool,
}

/// A user's connection to a database.
pub struct Session {
    database: Arc<Database>,
    engine: Engine,
    cancel: Cancel,
    parameters: Mutex<Parameters>,
    options: SessionOptions,
    slow: Option<SlowLog>,
}

impl Session {
    /// Opens a database; `create` makes one where there is none.
    ///
    /// # Errors
    /// As [`Database::open`] and [`Database::create`].
    pub fn open(
        path: &Path,
        options: SessionOptions,
        create: bool,
    ) -> Result<Session, SessionError> {
        let limits = Limits { memory_bytes: options.memory_bytes / 2 };
        let absent = !path.exists() || is_empty(path);
        let database = if create && absent && !options.read_only {
            Database::create(path, super::random_identity()?, limits)?
        } else {
            let mode = if options.read_only { Mode::Read } else { Mode::Write };
            Database::open(path, mode, limits)?
        };
        let engine = Engine::new(options.memory_bytes / 2, options.threads);
        let engine = engine.map_err(SessionError::Query)?;
        let (database, cancel) = (Arc::new(database), Cancel::default());
        let parameters = Mutex::default();
        Ok(Session { database, engine, cancel, parameters, options, slow: None })
    }

    /// Has statements that take long written down.
    #[must_use]
    pub fn logging(mut self, slow: SlowLog) -> Session {
        self.engine.keep_plans();
        self.slow = Some(slow);
        self
    }

    /// Returns what it may use.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Returns the database.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Returns the query engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the handle that cancels what runs.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Returns how far what runs is.
    pub fn progress(&self) -> &Progress {
        self.engine.progress()
    }

    /// Returns the values of parameters.
    pub fn parameters(&self) -> Parameters {
        self.parameters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives a parameter a value, or takes it away.
    pub fn set_parameter(&self, name: &str, value: Option<Literal>) {
        let mut parameters = self.parameters.lock().unwrap_or_else(PoisonError::into_inner);
        match value {
            Some(value) => drop(parameters.insert(name.to_owned(), value)),
            None => drop(parameters.remove(name)),
        }
    }

    /// Reads the statements of a text.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(&self, text: &str) -> Result<Vec<Statement>, SessionError> {
        let mistake = |diagnostic| SessionError::Mistake { diagnostic, text: text.to_owned() };
        let catalog = self.engine.catalog(&self.database.view(), text);
        syntax::parse(text, &catalog).map_err(mistake)
    }

    /// Runs one statement of `text`.
    ///
    /// # Errors
    /// What is wrong with it, or what failed; everything committed before stays.
    pub fn run(
        &self,
        statement: &Statement,
        text: &str,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SessionError> {
        let view = self.database.view();
        let (database, cancel, parameters) = (&self.database, &self.cancel, &self.parameters());
        let scope = Scope { database, view: &view, cancel, text, parameters };
        let begun = (super::now_micros(), Instant::now());
        let outcome = self.outcome(&scope, statement, sink);
        self.progress().end();
        if let Some(slow) = &self.slow {
            let became = match &outcome {
                Ok(Outcome::Rows { rows, .. }) => format!("{rows} rows"),
                Ok(_) => "done".to_owned(),
                Err(error) => error.render(),
            };
            let times = (begun.0, begun.1.elapsed());
            slow.tell(&statement.text, times, &became, &self.engine.take_plans())?;
        }
        outcome
    }

    fn outcome(
        &self,
        scope: &Scope<'_>,
        statement: &Statement,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SessionError> {
        let (view, text) = (scope.view, scope.text);
        match &statement.kind {
            StatementKind::Query(query) => self.query(scope, statement, query, sink),
            StatementKind::Explain { analyze, query } => match &query.then {
                Some(Then::Train { options, .. }) => {
                    training::explain(self, scope, query, options).map(Outcome::Text)
                }
                _ => {
                    let prepared = self.prepare(scope, query)?;
                    let plan = self.engine.explain(&prepared, *analyze, &self.cancel);
                    let plan = plan.map_err(|e| worded(e, text))?;
                    Ok(Outcome::Text(syntax::standard_form(query) + &plan))
                }
            },
            StatementKind::Funnel { cuts } => summary::funnel(self, scope, cuts, sink),
            StatementKind::Describe { schema, table } => {
                let named = (schema.as_ref(), table);
                listing::columns(self, view, named, text, sink)
            }
            StatementKind::Show(what) => listing::show(self, view, what, text, sink),
            StatementKind::Dataset(what) => datasets::run(self, what, text, sink),
            StatementKind::Corpus(what) => corpora::run(self, scope, what, sink),
            StatementKind::Rollout(asked) => {
                let played = rollouts::rollout(self, scope, statement, None, asked)?;
                Ok(Outcome::Rolled(Box::new(played)))
            }
            StatementKind::Delete { query, cascade } => delete(self, scope, query, *cascade),
            StatementKind::DiffRuns { first, second } => {
                comparing::diff_runs(self, first, second, text, sink)
            }
        }
    }

    fn query(
        &self,
        scope: &Scope<'_>,
        statement: &Statement,
        query: &QueryStatement,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SessionError> {
        match &query.then {
            None => {
                let prepared = self.prepare(scope, query)?;
                self.rows(scope, &prepared, sink)
            }
            Some(Then::Save { name, with_duplicates }) => {
                let selection = select(self, scope, query, None)?;
                let text = with_values(&statement.text, scope.parameters);
                self.progress().begin("saving the dataset", 0);
                let draft = draft(&name.text, &text, query, &selection, *with_duplicates);
                let saved = self.database.save_dataset(scope.view, draft, &selection.rows)?;
                Ok(Outcome::Saved(Box::new(saved)))
            }
            Some(Then::Export { path, format }) => {
                let format = export::format_of(format.as_ref(), scope.text)?;
                let file = Path::new(&path.text);
                let trajectories = export::write(self, scope, query, format, file)?;
                Ok(Outcome::Exported { trajectories, path: path.text.clone() })
            }
            Some(Then::Label { name, judge, value }) => {
                label(self, scope, query, &Labelling { name, judge, value })
            }
            Some(Then::Score { name, options }) => {
                training::score(self, scope, query, name, options)
            }
            Some(Then::Judge { name, options }) => {
                let judged = rollouts::judge(self, scope, query, name, options)?;
                Ok(Outcome::Judged(Box::new(judged)))
            }
            Some(Then::Rollout(asked)) if asked.verb == RolloutVerb::Resample => {
                let drawn = rollouts::resample(self, scope, statement, query, asked)?;
                Ok(Outcome::Resampled(drawn))
            }
            Some(Then::Rollout(asked)) => {
                let played = rollouts::rollout(self, scope, statement, Some(query), asked)?;
                Ok(Outcome::Rolled(Box::new(played)))
            }
            Some(Then::Summarize) => summary::summarize(self, scope, query, sink),
            Some(Then::Train { options, name }) => {
                let name = name.as_ref().map(|n| n.text.as_str());
                let summary = training::train(self, scope, statement, query, options, name, sink)?;
                Ok(Outcome::Trained(Box::new(summary)))
            }
        }
    }

    /// Goes on with a training run that was stopped or killed.
    ///
    /// # Errors
    /// There is no such run, its inputs changed, or training fails.
    pub fn resume(&self, run: &str, sink: &mut dyn Sink) -> Result<Outcome, SessionError> {
        let summary = training::resume(self, run, sink)?;
        Ok(Outcome::Trained(Box::new(summary)))
    }

    pub(super) fn prepare(
        &self,
        scope: &Scope<'_>,
        query: &QueryStatement,
    ) -> Result<Prepared, SessionError> {
        self.engine.prepare(scope, query).map_err(|e| worded(e, scope.text))
    }

    fn rows(
        &self,
        scope: &Scope<'_>,
        prepared: &Prepared,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SessionError> {
        sink.begin(&prepared.schema()).map_err(SessionError::Output)?;
        let mut failed = None;
        let mut something = false;
        let ran = self.engine.run(prepared, &self.cancel, &mut |batch| {
            if let Some(columns) = identity(batch) {
                sink.identity(&columns);
            }
            let shown = prepared.shown(batch)?;
            something |= !is_nothing(&shown);
            match sink.batch(&shown) {
                Ok(()) => Ok(ControlFlow::Continue(())),
                Err(error) => {
                    failed = Some(error);
                    Ok(ControlFlow::Break(()))
                }
            }
        });
        if let Some(error) = failed {
            return Err(SessionError::Output(error));
        }
        let rows = ran.map_err(|e| worded(e, scope.text))?;
        sink.end().map_err(SessionError::Output)?;
        // Nothing found, or a count of nothing: a misspelt value looks just the same.
        if !something {
            for unknown in prepared.unknown_values(scope.view) {
                sink.note(&unknown);
            }
        }
        Ok(Outcome::Rows { rows, undecided: prepared.undecided() })
    }
}

/// Whether rows say nothing: there is none, or a single one of zeros and nulls, as a count of no
/// rows is.
fn is_nothing(rows: &RecordBatch) -> bool {
    let is_zero = |column: &ArrayRef| {
        let number = column.data_type().is_numeric().then(|| cast(column, &DataType::Float64));
        match number {
            Some(Ok(number)) => {
                number.is_null(0) || number.as_primitive::<Float64Type>().value(0) == 0.0
            }
            _ => column.is_null(0),
        }
    };
    rows.num_rows() == 0 || rows.num_rows() == 1 && rows.columns().iter().all(is_zero)
}

pub(super) fn draft<'a>(
    name: &'a str,
    text: &'a str,
    query: &QueryStatement,
    selection: &Selection,
    with_duplicates: bool,
) -> DatasetDraft<'a> {
    DatasetDraft {
        name,
        statement: text,
        seeds: query.seeds.clone(),
        judges: selection.labels.clone(),
        undecided: selection.undecided,
        with_duplicates,
        created_at: super::now_micros(),
        program: super::host::PROGRAM_VERSION,
    }
}

/// Puts a query's error beside the text it is in.
pub(super) fn worded(error: QueryError, text: &str) -> SessionError {
    match error.diagnostic(text) {
        Some(diagnostic) => SessionError::Mistake { diagnostic, text: text.to_owned() },
        None => match error {
            QueryError::Cancelled => SessionError::Cancelled,
            QueryError::Database(error) => SessionError::Database(*error),
            other => SessionError::Query(other),
        },
    }
}

/// Returns the error of a mistake at a place of `text`.
pub(super) fn mistake(diagnostic: Diagnostic, text: &str) -> SessionError {
    SessionError::Mistake { diagnostic, text: text.to_owned() }
}

fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}
