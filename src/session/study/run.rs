//! A study carried out: what is there is passed over, what was begun goes on.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::{Filter, StudyConfig};
use super::measured::Generated;
use super::plan::{Job, LEAST, Makes, Plan, judges_of, name_of, reading};
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
            let text = job.text.replace(LEAST, "1");
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
                (Makes::Demonstrations | Makes::Model, _) => Work::Preparation,
                _ => Work::Statement(&text),
            };
            self.check_size(session, job)?;
            perform(&Doing { number: at + 1, all, what: &job.what, work })?;
            match &job.makes {
                Makes::Demonstrations => self.demonstrations(session)?,
                Makes::Model => self.model(session)?,
                Makes::Run(run) => {
                    let made = session.database().store().run(run)?;
                    if made.is_none_or(|made| made.status != RunStatus::Finished) {
                        return Err(SessionError::Cancelled);
                    }
                }
                Makes::Dataset { .. } | Makes::Labels => {}
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
        if !job.text.contains(LEAST) {
            return Ok(job.text.clone());
        }
        let mut least: Option<(u64, Filter)> = None;
        for noise in &self.config.noise {
            let judges = judges_of(&self.config, *noise);
            let generated = Generated::of(session, &self.config, &judges)?;
            for filter in &self.config.filters {
                let kept = generated.kept(*filter);
                if least.is_none_or(|(known, _)| kept < known) {
                    least = Some((kept, *filter));
                }
            }
        }
        match least {
            Some((kept, _)) if kept > 0 => Ok(job.text.replace(LEAST, &kept.to_string())),
            _ => {
                let filter = least.map_or("none", |(_, filter)| filter.as_str());
                Err(too_few(filter, 0, 1))
            }
        }
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
            Makes::Model => Path::new(&self.config.model.path).exists(),
            Makes::Dataset { name, .. } => match store.dataset(name)? {
                Some(known) if known.statement != text => {
                    return other("dataset", name, &known.statement);
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

    /// Checks that a filter leaves as many trajectories as are to be drawn: with fewer, cells would
    /// differ in number too.
    fn check_size(&self, session: &Session, job: &Job) -> Result<(), SessionError> {
        let Makes::Dataset { filter, judges, size, .. } = &job.makes else { return Ok(()) };
        let kept = Generated::of(session, &self.config, judges)?.kept(*filter);
        match kept < *size {
            true => Err(too_few(filter.as_str(), kept, *size)),
            false => Ok(()),
        }
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

    /// Makes the model, whole or not at all.
    fn model(&self, session: &Session) -> Result<(), SessionError> {
        let asked = &self.config.model;
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
        !matches!(self.makes, Makes::Demonstrations | Makes::Model)
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

fn too_few(filter: &str, kept: u64, size: u64) -> SessionError {
    let message = format!(
        "filter '{filter}' leaves {kept} trajectories, and {size} are to be drawn: filters are \
         held equal in number"
    );
    let diagnostic = Diagnostic::new("study", message)
        .help("lower sizes, or 0 for as many as the strictest filter leaves")
        .help("more questions, or n, in [generate], under another name of the study");
    SessionError::Mistake { diagnostic, text: String::new() }
}
