//! A study carried out: what is there is passed over, what was begun goes on.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ask::ask;
use super::cells::Cell;
use super::config::{ModelConfig, StudyConfig};
use super::measured::Generated;
use super::plan::{Drawn, Job, Makes, Plan};
use super::pools::{Count, first_pool, name_of, reading};
use crate::codec::{RunRecord, RunStatus};
use crate::db::import;
use crate::diag::Diagnostic;
use crate::exchange::{ReadOptions, open};
use crate::query::syntax::{StatementKind, Then};
use crate::rollout::CallForm;
use crate::session::create_model::{NewModel, create_model};
use crate::session::error::SessionError;
use crate::session::host::now_micros;
use crate::session::options;
use crate::session::rollouts::{JudgeOptions, RolloutOptions, study_options};
use crate::session::statement::Session;
use crate::session::training::check_options;
use crate::synth::{ActionForm, StudyOptions, StudyWorld};

/// A study, as its file asks for it.
pub struct Study {
    pub(super) config: StudyConfig,
    pub(super) plan: Plan,
    /// The file.
    path: PathBuf,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work<'a> {
    /// A statement is to be run.
    Statement(&'a str),
    /// A training run of this name is to go on.
    Resume(&'a str),
    /// The study does it itself.
    Preparation,
}

/// One job of a study, when its turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doing<'a> {
    /// Which, from 1.
    pub number: usize,
    /// Of how many.
    pub all: usize,
    /// What it is: `train swirl/process/1000, seed 1`.
    pub what: &'a str,
    /// What is to be done for it.
    pub work: Work<'a>,
}

/// What is added to a world's seed for that of the first other one, less one.
const OTHER_SEEDS: u64 = 1_000;

/// Runs statements, and goes on with runs; one that was stopped is an error.
pub type Perform<'a> = dyn FnMut(&Doing<'_>) -> Result<(), SessionError> + 'a;

/// How far a job is.
enum State {
    Done,
    Begun,
    Open,
}

impl Study {
    /// Reads a study's file.
    ///
    /// # Errors
    /// What is wrong with it, under which key, and what is expected there.
    pub fn read(path: &Path) -> Result<Study, SessionError> {
        let config = StudyConfig::read(path)?;
        let plan = Plan::of(&config).map_err(|mut diagnostic: Diagnostic| {
            diagnostic.message = format!("{}: {}", path.display(), diagnostic.message);
            SessionError::Mistake { diagnostic, text: String::new() }
        })?;
        Ok(Study { config, plan, path: path.to_owned() })
    }

    /// Returns the statements in their order, each under what it is.
    pub fn plan(&self) -> String {
        self.plan.print()
    }

    /// Does what has not been done.
    ///
    /// # Errors
    /// A statement that cannot be, before anything is done; what fails, or `Cancelled`. What was
    /// done before stays, and the study goes on from there.
    pub fn carry_out(
        &self,
        session: &Session,
        perform: &mut Perform<'_>,
    ) -> Result<(), SessionError> {
        self.check(session)?;
        let mut record = self.begin(session)?;
        let done = self.work(session, &mut record, perform);
        record.ended_at = Some(now_micros());
        match &done {
            Ok(()) => record.status = RunStatus::Finished,
            Err(SessionError::Cancelled) => record.status = RunStatus::Stopped,
            Err(error) => {
                record.status = RunStatus::Failed;
                record.error = Some(error.to_string());
            }
        }
        let stored = session.database().store().put_run(&record);
        if done.is_ok() {
            stored?;
        }
        done
    }

    /// Checks the options of every statement, and that files of questions are there.
    fn check(&self, session: &Session) -> Result<(), SessionError> {
        for job in self.plan.jobs.iter().filter(|job| job.is_statement()) {
            let text = match &job.makes {
                Makes::Dataset(drawn) => drawn.statement("1"),
                _ => job.text.clone(),
            };
            check_statement(session, &text).map_err(|error| match error {
                SessionError::Mistake { mut diagnostic, text } => {
                    let file = self.path.display();
                    diagnostic.message = format!("{file}: {}: {}", job.what, diagnostic.message);
                    SessionError::Mistake { diagnostic, text }
                }
                other => other,
            })?;
        }
        for file in self.config.files() {
            if !Path::new(&file).exists() {
                let message =
                    format!("{}: questions: there is no file {file}", self.path.display());
                return Err(SessionError::mistake("study-config", message));
            }
        }
        Ok(())
    }

    /// Returns the record of the study, begun or gone on with.
    fn begin(&self, session: &Session) -> Result<RunRecord, SessionError> {
        let store = session.database().store();
        let id = self.config.name.clone();
        let known = store.run(&id)?;
        if let Some(other) = known.as_ref().filter(|known| known.kind != "study") {
            let message =
                format!("run '{id}' is there and is no study, but of kind {}", other.kind);
            return Err(SessionError::mistake("study", message));
        }
        let output = known.as_ref().and_then(|known| known.output.clone());
        let record = RunRecord {
            id,
            kind: "study".to_owned(),
            status: RunStatus::Running,
            statement: format!("study {}", self.path.display()),
            config: json!({"statements": self.plan.print()}).to_string(),
            seed: None,
            dataset: None,
            output,
            error: None,
            started_at: known.map_or_else(now_micros, |known| known.started_at),
            ended_at: None,
        };
        store.put_run(&record)?;
        Ok(record)
    }

    fn work(
        &self,
        session: &Session,
        record: &mut RunRecord,
        perform: &mut Perform<'_>,
    ) -> Result<(), SessionError> {
        let mut done = done_of(record);
        let all = self.plan.jobs.len();
        for (at, job) in self.plan.jobs.iter().enumerate() {
            if session.cancel().is_cancelled() {
                return Err(SessionError::Cancelled);
            }
            let text = self.text(session, job)?;
            let state = self.state(session, job, &text, &done)?;
            let work = match (&job.makes, state) {
                (_, State::Done) => continue,
                (Makes::Run(run), State::Begun) => Work::Resume(run),
                (Makes::Demonstrations | Makes::Model(_), _) => Work::Preparation,
                _ => Work::Statement(&text),
            };
            perform(&Doing { number: at + 1, all, what: &job.what, work })?;
            match &job.makes {
                Makes::Demonstrations => self.demonstrations(session)?,
                Makes::Model(name) => self.model(session, name.as_deref())?,
                Makes::Run(run) => {
                    let made = session.database().store().run(run)?;
                    if made.is_none_or(|made| made.status != RunStatus::Finished) {
                        return Err(SessionError::Cancelled);
                    }
                }
                Makes::Dataset(_) | Makes::Labels => {}
            }
            if matches!(job.makes, Makes::Demonstrations | Makes::Labels) {
                done.insert(text);
                record.output = Some(json!({"done": done}).to_string());
                session.database().store().put_run(record)?;
            }
        }
        Ok(())
    }

    /// Returns the statement of a job, with the number of trajectories that is known by its turn.
    fn text(&self, session: &Session, job: &Job) -> Result<String, SessionError> {
        let Makes::Dataset(drawn) = &job.makes else { return Ok(job.text.clone()) };
        let kept = self.kept(session, drawn)?;
        let least = || -> Result<Kept, SessionError> {
            let least = self.least(session, drawn)?;
            // A later round draws as many as the first, or what there is.
            Ok(if drawn.cell.round > 1 { least.min(kept) } else { least })
        };
        let (unit, wanted) = match drawn.count {
            Count::Exactly(count) => ("trajectories", count),
            Count::Least => ("trajectories", least()?.trajectories),
            Count::Tokens(tokens) => ("action tokens", tokens),
            Count::LeastTokens => ("action tokens", least()?.tokens),
        };
        let (left, count) = match drawn.count {
            Count::Exactly(_) | Count::Least => (kept.trajectories, wanted),
            Count::Tokens(_) | Count::LeastTokens => {
                (kept.tokens, within(session, drawn, kept.trajectories, wanted)?)
            }
        };
        if wanted == 0 || left < wanted || count == 0 {
            return Err(too_few(drawn, (left, wanted), unit));
        }
        Ok(drawn.statement(&count.to_string()))
    }

    /// Returns what the strictest filter leaves of what any judge or source of a model gives.
    fn least(&self, session: &Session, drawn: &Drawn) -> Result<Kept, SessionError> {
        let config = &self.config;
        let name = drawn.cell.model.as_deref();
        let mut least: Option<Kept> = None;
        for model in config.models().into_iter().filter(|(known, _)| *known == name) {
            for variant in config.variants(name) {
                let pool = first_pool(config, model, &variant);
                for filter in &config.filters {
                    let cell = Cell { filter: *filter, ..drawn.cell.clone() };
                    let drawn = Drawn { pool: pool.clone(), cell, ..drawn.clone() };
                    let kept = self.kept(session, &drawn)?;
                    least = Some(least.map_or(kept, |least| least.min(kept)));
                }
            }
        }
        Ok(least.unwrap_or_default())
    }

    /// Returns what a filter leaves.
    ///
    /// # Errors
    /// Tokens count and are not known.
    fn kept(&self, session: &Session, drawn: &Drawn) -> Result<Kept, SessionError> {
        let trajectories = Generated::of(session, &drawn.pool)?.kept(drawn.cell.filter);
        let tokens = match drawn.count {
            Count::Exactly(_) | Count::Least => 0,
            Count::Tokens(_) | Count::LeastTokens if trajectories == 0 => 0,
            Count::Tokens(_) | Count::LeastTokens => tokens(session, drawn, trajectories)?,
        };
        Ok(Kept { trajectories, tokens })
    }

    /// Returns how far a job is.
    ///
    /// # Errors
    /// Something else has the name of what it makes.
    fn state(
        &self,
        session: &Session,
        job: &Job,
        text: &str,
        done: &BTreeSet<String>,
    ) -> Result<State, SessionError> {
        let store = session.database().store();
        let other = |what: &str, name: &str, known: &str| {
            let message = format!(
                "{what} '{name}' was made by another statement: a study does not mix what differs"
            );
            let diagnostic = Diagnostic::new("study", message)
                .help(format!("it was made by: {}", known.replace('\n', " ")))
                .help(format!("this study says: {}", text.replace('\n', " ")))
                .help("give the study another name");
            Err(SessionError::Mistake { diagnostic, text: String::new() })
        };
        let is_done = match &job.makes {
            Makes::Demonstrations | Makes::Labels => done.contains(text),
            Makes::Model(name) => {
                self.asked(name.as_deref()).is_some_and(|model| Path::new(&model.path).exists())
            }
            Makes::Dataset(drawn) => match store.dataset(&drawn.name)? {
                Some(known) if known.statement != text => {
                    return other("dataset", &drawn.name, &known.statement);
                }
                known => known.is_some(),
            },
            Makes::Run(name) => match store.run(name)? {
                Some(known) if known.statement != text => {
                    return other("run", name, &known.statement);
                }
                Some(known) if known.status == RunStatus::Finished => true,
                // A rollout goes on when its statement is given again.
                Some(known) if known.kind == "train" => return Ok(State::Begun),
                _ => false,
            },
        };
        Ok(if is_done { State::Done } else { State::Open })
    }

    /// Stores the demonstrator's trajectories, those of other worlds too.
    fn demonstrations(&self, session: &Session) -> Result<(), SessionError> {
        let config = &self.config;
        let world = config.world.as_deref().unwrap_or_default();
        let mut options = study_options(world)?.unwrap_or_default();
        options.form = match config.action_form {
            CallForm::Calls => ActionForm::Calls,
            CallForm::Tags => ActionForm::Tags,
        };
        options.samples = config.demonstrations.unwrap_or(options.samples);
        self.demonstrated(session, &options, name_of(config, "demonstrator"))?;
        for number in 1..=config.reading_worlds {
            let other = StudyOptions {
                seed: options.seed.wrapping_add(OTHER_SEEDS + number),
                questions: (options.questions / 10).max(1),
                held_out: 0,
                ..options.clone()
            };
            self.demonstrated(session, &other, reading(config, number))?;
        }
        Ok(())
    }

    /// Stores the demonstrator's trajectories of a world.
    fn demonstrated(
        &self,
        session: &Session,
        options: &StudyOptions,
        source: String,
    ) -> Result<(), SessionError> {
        let store = session.database().store();
        let folder = store.path().join("runs");
        let path = folder.join(format!("{}.demonstrator.jsonl", self.config.name));
        let failed =
            |e: std::io::Error| SessionError::Environment(format!("{}: {e}", path.display()));
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut out = BufWriter::new(std::fs::File::create(&path).map_err(failed)?);
        StudyWorld::new(options).write_trajectories(&mut out).map_err(failed)?;
        out.flush().map_err(failed)?;
        drop(out);
        let started_at = now_micros();
        let read = ReadOptions {
            source: Some(source.clone()),
            threads: session.options().threads.max(1),
            bytes_ahead: store.commit_bytes(),
            ..ReadOptions::default()
        };
        let reader = open(&path, &read)?;
        let format = reader.format();
        let cancel = session.cancel();
        let report =
            import(session.database(), reader, true, &mut |_| match cancel.is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })?;
        std::fs::remove_file(&path).map_err(failed)?;
        if cancel.is_cancelled() {
            return Err(SessionError::Cancelled);
        }
        if report.skipped + report.conflicts > 0 {
            let message = format!(
                "'{source}' holds trajectories of another world: give the study another name"
            );
            return Err(SessionError::mistake("study", message));
        }
        session.record_import(&path.display().to_string(), format, &report, started_at)
    }

    /// Returns what the file says of a model.
    fn asked(&self, name: Option<&str>) -> Option<&ModelConfig> {
        let mut models = self.config.models().into_iter();
        models.find(|(known, _)| *known == name).map(|(_, model)| model)
    }

    /// Makes a model, whole or not at all.
    fn model(&self, session: &Session, name: Option<&str>) -> Result<(), SessionError> {
        let Some(asked) = self.asked(name) else { return Ok(()) };
        let default = NewModel::default();
        let new = NewModel {
            vocab_size: asked.vocab_size.unwrap_or(default.vocab_size),
            hidden_size: asked.hidden_size.unwrap_or(default.hidden_size),
            n_layers: asked.n_layers.unwrap_or(default.n_layers),
            n_heads: asked.n_heads.unwrap_or(default.n_heads),
            context_length: asked.context_length.unwrap_or(default.context_length),
            seed: asked.seed.unwrap_or(default.seed),
            ..default
        };
        let path = Path::new(&asked.path);
        let begun = PathBuf::from(format!("{}.partial", asked.path.trim_end_matches('/')));
        let failed =
            |e: std::io::Error| SessionError::Environment(format!("{}: {e}", begun.display()));
        if begun.exists() {
            std::fs::remove_dir_all(&begun).map_err(failed)?;
        }
        create_model(session, &begun, &new)?;
        std::fs::rename(&begun, path).map_err(failed)
    }

    /// Returns the statements of judging that have been carried out.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn judged(&self, session: &Session) -> Result<BTreeSet<String>, SessionError> {
        let record = session.database().store().run(&self.config.name)?;
        let record = record.filter(|record| record.kind == "study");
        Ok(record.map(|record| done_of(&record)).unwrap_or_default())
    }

    /// Returns the file of the study.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Job {
    /// Whether its text is a statement.
    fn is_statement(&self) -> bool {
        !matches!(self.makes, Makes::Demonstrations | Makes::Model(_))
    }
}

/// Checks the options of a statement.
fn check_statement(session: &Session, text: &str) -> Result<(), SessionError> {
    for statement in session.parse(text)? {
        match &statement.kind {
            StatementKind::Rollout(asked) => {
                RolloutOptions::read(asked, text)?;
            }
            StatementKind::Query(query) => match &query.then {
                Some(Then::Judge { options: given, .. }) => {
                    let _: JudgeOptions = options::read(&JudgeOptions::default(), given, text)?;
                }
                Some(Then::Train { options: given, .. }) => check_options(given, text)?,
                _ => {}
            },
            _ => {}
        }
    }
    Ok(())
}

/// Returns what the record of a study says was done.
fn done_of(record: &RunRecord) -> BTreeSet<String> {
    let output = record.output.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let output: Value = output.unwrap_or_default();
    let done = output["done"].as_array().into_iter().flatten();
    done.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// What a filter leaves.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    trajectories: u64,
    /// The tokens of their actions; 0 where they do not count.
    tokens: u64,
}

impl Kept {
    fn min(self, other: Kept) -> Kept {
        Kept {
            trajectories: self.trajectories.min(other.trajectories),
            tokens: self.tokens.min(other.tokens),
        }
    }
}

/// Returns how many tokens the actions of so many trajectories have, in the order of drawing.
fn tokens(session: &Session, drawn: &Drawn, count: u64) -> Result<u64, SessionError> {
    let query = drawn.query(&count.to_string());
    let sums = "|> AGGREGATE sum(action_tokens) AS tokens, \
                count(*) - count(action_tokens) AS unknown";
    let rows = ask(session, &format!("{query}\n{sums}"))?;
    let number = |at: usize| -> Result<u64, SessionError> {
        Ok(rows.numbers(at)?.first().copied().flatten().unwrap_or_default() as u64)
    };
    match number(1)? {
        0 => number(0),
        unknown => {
            let message = format!(
                "the policy of '{}' did not say how many tokens {unknown} of its actions have: \
                 expected match = \"trajectories\"",
                drawn.pool.run
            );
            Err(SessionError::mistake("study", message))
        }
    }
}

/// Returns how many trajectories, in the order of drawing, have no more tokens than so many.
fn within(session: &Session, drawn: &Drawn, all: u64, most: u64) -> Result<u64, SessionError> {
    let (mut fits, mut over) = (0, all + 1);
    while over - fits > 1 {
        let middle = fits + (over - fits) / 2;
        match tokens(session, drawn, middle)? <= most {
            true => fits = middle,
            false => over = middle,
        }
    }
    Ok(fits)
}

fn too_few(drawn: &Drawn, (left, wanted): (u64, u64), unit: &str) -> SessionError {
    let (filter, run) = (drawn.cell.filter.as_str(), &drawn.pool.run);
    let message = match wanted > 0 && left >= wanted {
        true => {
            format!("no trajectory of filter '{filter}' of '{run}' has {wanted} {unit} or less")
        }
        false => format!(
            "filter '{filter}' leaves {left} {unit} of '{run}', and {wanted} are to be drawn: \
             filters are held equal in number"
        ),
    };
    let diagnostic = Diagnostic::new("study", message);
    let diagnostic = match drawn.count {
        Count::Exactly(_) | Count::Tokens(_) => {
            diagnostic.help("other sizes, or 0 for as many as the strictest filter leaves")
        }
        Count::Least | Count::LeastTokens => diagnostic,
    };
    let diagnostic =
        diagnostic.help("more questions, or n, in [generate], under another name of the study");
    SessionError::Mistake { diagnostic, text: String::new() }
}
