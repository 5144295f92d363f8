//! The program `swirl`: arguments in, exit code out.

#[path = "main/corpus.rs"]
mod corpus;
#[path = "main/keeping.rs"]
mod keeping;
#[path = "main/serving.rs"]
mod serving;
#[path = "main/study.rs"]
mod study;
#[path = "main/training.rs"]
mod training;

use std::io::{IsTerminal, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use swirldb::exchange;
use swirldb::query::parameters::given;
use swirldb::query::syntax::{Literal, RolloutVerb};
use swirldb::repl::{
    Console, Format, ImportOptions, import_files, interrupt, print_export, print_import_report,
    prompt, script, script_with_answers, watched,
};
use swirldb::session::{
    ConfigVerb, ExportFormat, Session, SessionError, SessionOptions, SlowLog, export,
    export_batches, export_dataset,
};
use swirldb::synth::{self, ActionForm, Shape, StudyOptions, SynthOptions};

/// Columns and records are many short-lived blocks made by several threads; this allocator is made
/// for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An embedded research database for LLM-agent trajectories, with step-wise training.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    query: QueryArguments,
}

#[derive(Args)]
struct QueryArguments {
    /// The database: a directory.
    #[arg(required = true)]
    db: Option<PathBuf>,
    /// Run these statements and end.
    #[arg(short = 'c', long, value_name = "SQL", conflicts_with = "file")]
    command: Vec<String>,
    /// Run the statements of a file ('-': standard input) and end.
    #[arg(short = 'f', long)]
    file: Option<PathBuf>,
    /// Give a parameter a value: --param n=7 for $n.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, Literal)>,
    /// How rows are written: table, line, json, jsonl, csv, markdown.
    #[arg(long, default_value = "table", value_parser = format)]
    format: Format,
    #[command(flatten)]
    open: OpenArguments,
}

#[derive(Args, Clone)]
struct OpenArguments {
    /// Open the database for reading only.
    #[arg(long)]
    read_only: bool,
    /// Memory to use at most, such as 512MB or 4GB.
    #[arg(long, value_name = "SIZE", default_value = "2GB", value_parser = bytes)]
    memory_limit: usize,
    /// Threads to use; as many as there are processors, if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Write statements that take long to this file, with what every operator of them did.
    #[arg(long, value_name = "FILE")]
    slow_log: Option<PathBuf>,
    /// How long is long, in milliseconds; 0 for every statement.
    #[arg(long, value_name = "MS", default_value_t = 1_000, requires = "slow_log")]
    slow_ms: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Store the trajectories and labels of files.
    Import {
        /// The database; made where there is none.
        db: PathBuf,
        /// Files, plain or compressed (.gz, .zst).
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The files' format; recognised if not given: chat, agentprocess, taubench, r1searcher,
        /// verifiers, steps, swirl.
        #[arg(long = "as", value_name = "FORMAT", value_parser = exchange_format)]
        format: Option<exchange::Format>,
        /// The source of all records, whatever they say.
        #[arg(long)]
        source: Option<String>,
        /// The split of all records, whatever they say.
        #[arg(long)]
        split: Option<String>,
        /// Of a table of steps: which column is what, such as action=thought,observation=output.
        #[arg(long, value_name = "NAME=COLUMN", value_delimiter = ',')]
        #[arg(value_parser = exchange::step_column)]
        columns: Vec<(String, String)>,
        /// End at the first bad record.
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Write the trajectories that a query selects, a dataset, or the tokens of a run to a file.
    Export {
        /// The database.
        db: PathBuf,
        /// Which: a query that gives rows of trajectories or steps.
        #[arg(long, value_name = "SQL", default_value = "FROM trajectories")]
        query: String,
        /// Instead a saved dataset: with its rows, for another machine.
        #[arg(long, value_name = "NAME", conflicts_with_all = ["query", "format"])]
        dataset: Option<String>,
        /// Instead the tokens of a training run, in the order of training.
        #[arg(long, value_name = "NAME", conflicts_with_all = ["query", "format", "dataset"])]
        run: Option<String>,
        /// The file; .gz and .zst compress it.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// The format: swirl (lossless), chat.
        #[arg(long = "as", value_name = "FORMAT", default_value = "swirl")]
        #[arg(value_parser = export_format)]
        format: ExportFormat,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Train as a file says, or go on with a run that was stopped or killed.
    Train(training::TrainArguments),
    /// Let a policy answer questions with tools as a file says, and store its trajectories.
    Generate(training::RolloutArguments),
    /// The same, and measure its answers against gold; judge = .. also has its steps judged, and
    /// report = .. writes what was measured as Markdown and HTML.
    Eval(training::RolloutArguments),
    /// Let a policy propose actions at stored states as a file says, and store them as samples.
    Resample(training::RolloutArguments),
    /// Let a judge label steps or answers as a file says.
    Judge(training::RolloutArguments),
    /// Write the model of a run whole, its adapters added to the weights.
    Merge(training::MergeArguments),
    /// Write a finished run as a folder with all that is needed to make it again.
    Bundle(training::BundleArguments),
    /// Make the run of a bundle again and compare every number and the weights.
    Rerun(training::RerunArguments),
    /// Sample actions at stored states, and write them to standard output as JSON lines.
    Sample(training::SampleArguments),
    /// Make a small model from nothing: a tokenizer trained on the database, random weights.
    Model(training::ModelArguments),
    /// Carry out a study as a file says, or go on with it, and write its report.
    Study(study::FileArguments),
    /// Check everything stored against everything else.
    Verify(keeping::DatabaseArguments),
    /// Print what a database holds, and what it takes on disk.
    Stats(keeping::DatabaseArguments),
    /// Write a backup: everything that is not derived, with a hash of every file.
    Backup(keeping::BackupArguments),
    /// Make a database from a backup, comparing every file with its hash.
    Restore(keeping::RestoreArguments),
    /// Make anew all that is derived: columns, full text, indices of corpora.
    Repair(keeping::DatabaseArguments),
    /// Merge the files of a database, which gives back the space of what was replaced.
    Compact(keeping::DatabaseArguments),
    /// Make, search, measure and carry corpora: documents behind a search tool.
    Corpus {
        #[command(subcommand)]
        command: corpus::CorpusCommand,
    },
    /// Serve corpora and tools over HTTP and the Model Context Protocol.
    Serve(serving::ServeArguments),
    /// Make recorded calls again and show what has drifted.
    Replay(serving::ReplayArguments),
    /// Carry recorded calls from one database to another.
    Recordings {
        #[command(subcommand)]
        command: serving::RecordingsCommand,
    },
    /// Write data made from a seed to standard output.
    Synth(SynthArguments),
    /// Show a round of step-wise RL on a small world: generate, judge, filter, train, evaluate.
    Demo {
        /// The folder to write.
        #[arg(default_value = "demo")]
        directory: PathBuf,
    },
}

#[derive(Args)]
struct SynthArguments {
    /// What: world (trajectories), documents, questions, or bench (bulk data); of a world to study
    /// training in: study (trajectories), study-questions, study-documents, study-counterfactuals,
    /// study-copying.
    #[arg(long, default_value = "world", value_parser = shape)]
    shape: Shape,
    /// The seed; the same seed gives the same bytes.
    #[arg(long)]
    seed: Option<u64>,
    /// Questions of the world.
    #[arg(long)]
    questions: Option<usize>,
    /// Trajectories for each question.
    #[arg(long)]
    samples: Option<usize>,
    /// Steps of bulk data, about.
    #[arg(long)]
    steps: Option<u64>,
    #[command(flatten)]
    study: StudyArguments,
}

#[derive(Args)]
struct StudyArguments {
    /// Study: questions of each part that is not trained on.
    #[arg(long)]
    held_out: Option<usize>,
    /// Study: of 100 questions of train, dev and test, those with a calculation.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    arithmetic: Option<u8>,
    /// Study: the part of facts that documents do not tell as they are, 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    trouble: Option<f64>,
    /// Study: the part of the demonstrator's steps that are bad, 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    noise: Option<f64>,
    /// Study: how actions are written: tags or calls.
    #[arg(long, value_parser = action_form)]
    form: Option<ActionForm>,
    /// Study: the documents of this tool only: search, records or atlas.
    #[arg(long, value_parser = ["search", "records", "atlas"])]
    tool: Option<String>,
}

fn format(word: &str) -> Result<Format, String> {
    let known = Format::ALL.map(Format::as_str).join(", ");
    Format::parse(word).ok_or_else(|| format!("expected one of {known}"))
}

/// Reads `name=value`.
fn parameter(text: &str) -> Result<(String, Literal), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let name = name.trim().trim_start_matches('$');
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Err(format!("'{name}' is no name of a parameter"));
    }
    Ok((name.to_owned(), given(value.trim())))
}

fn exchange_format(word: &str) -> Result<exchange::Format, String> {
    let known = exchange::Format::names().join(", ");
    exchange::Format::parse(word).ok_or_else(|| format!("expected one of {known}"))
}

fn export_format(word: &str) -> Result<ExportFormat, String> {
    let known = ExportFormat::ALL.map(ExportFormat::as_str).join(", ");
    ExportFormat::parse(word).ok_or_else(|| format!("expected one of {known}"))
}

fn shape(word: &str) -> Result<Shape, String> {
    let known = Shape::ALL.map(Shape::as_str).join(", ");
    Shape::parse(word).ok_or_else(|| format!("expected one of {known}"))
}

fn action_form(word: &str) -> Result<ActionForm, String> {
    let known = ActionForm::ALL.map(ActionForm::as_str).join(", ");
    ActionForm::parse(word).ok_or_else(|| format!("expected one of {known}"))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1, such as 0.2".to_owned())
}

/// Reads a size such as `512MB`, `4GB` or `1000000`.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: usize = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        _ => return Err("expected a size such as 512MB or 4GB".to_owned()),
    };
    const SMALLEST: usize = 64 << 20;
    let bytes = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(unit));
    match bytes {
        Some(bytes) if bytes >= SMALLEST => Ok(bytes),
        Some(_) => Err("at least 64MB are needed".to_owned()),
        None => Err("expected a size such as 512MB or 4GB".to_owned()),
    }
}

impl OpenArguments {
    fn threads(&self) -> usize {
        let there = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(there, usize::from)
    }

    fn session(&self, db: &Path, create: bool) -> Result<Session, SessionError> {
        let mut session = Session::open(db, self.options(), create)?;
        if let Some(path) = &self.slow_log {
            session = session.logging(SlowLog::open(path, Duration::from_millis(self.slow_ms))?);
        }
        interrupt(session.cancel())?;
        Ok(session)
    }

    /// Opens a database and leaves the signals to whoever asks.
    fn quiet_session(&self, db: &Path) -> Result<Session, SessionError> {
        Session::open(db, self.options(), false)
    }

    fn options(&self) -> SessionOptions {
        SessionOptions {
            memory_bytes: self.memory_limit,
            threads: self.threads(),
            read_only: self.read_only,
        }
    }
}

fn main() -> ExitCode {
    few_arenas();
    let arguments = Arguments::parse();
    // A panic is a bug; it has an exit code of its own.
    let ran = std::panic::catch_unwind(|| run(arguments));
    match ran {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => fail(&error),
        Err(_) => ExitCode::from(70),
    }
}

/// Lets the C library, from which RocksDB has its memory, keep few pools of it: one for each of
/// many threads holds on to what another could use, and grows with the length of an import.
fn few_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "it sets a number and is called before there are threads")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

fn fail(error: &SessionError) -> ExitCode {
    // Whoever read the output has seen enough, as with `| head`.
    if matches!(error, SessionError::Output(e) if e.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let _ = std::io::stderr().write_all(error.render().as_bytes());
    ExitCode::from(error.exit_code())
}

fn run(arguments: Arguments) -> Result<ExitCode, SessionError> {
    match arguments.command {
        None => query(&arguments.query)?,
        Some(Command::Import { db, files, format, source, split, columns, strict, open }) => {
            // A file that is not there, or is of no format that is read, leaves no database behind.
            let read = exchange::ReadOptions {
                format,
                columns: columns.clone(),
                ..exchange::ReadOptions::default()
            };
            for file in files.iter().filter(|file| !file.exists() || file.is_file()) {
                exchange::open(file, &read)?;
            }
            let session = open.session(&db, true)?;
            let threads = open.threads();
            let options = ImportOptions { format, source, split, columns, strict, threads };
            let total = import_files(&session, &files, &options)?;
            if files.len() > 1 {
                print_import_report("in all", &total, std::time::Duration::ZERO);
            }
        }
        Some(Command::Export { db, dataset: Some(name), to, open, .. }) => {
            let session = open.session(&db, false)?;
            let dataset = export_dataset(&session, &name, &to)?;
            print_export(&dataset, &to.display().to_string());
        }
        Some(Command::Export { db, run: Some(run), to, open, .. }) => {
            let session = open.session(&db, false)?;
            let passes = watched(&session, || export_batches(&session, &run, &to))?;
            note(&format!("{}: {passes} forward passes", to.display()));
        }
        Some(Command::Export { db, query, to, format, open, .. }) => {
            let session = open.session(&db, false)?;
            let written = watched(&session, || export(&session, &query, format, &to))?;
            note(&format!("{}: {written} trajectories", to.display()));
        }
        Some(Command::Train(arguments)) => training::train(arguments)?,
        Some(Command::Generate(arguments)) => {
            training::roll_out(arguments, ConfigVerb::Rollout(RolloutVerb::Generate))?;
        }
        Some(Command::Resample(arguments)) => {
            training::roll_out(arguments, ConfigVerb::Rollout(RolloutVerb::Resample))?;
        }
        Some(Command::Judge(arguments)) => training::roll_out(arguments, ConfigVerb::Judge)?,
        Some(Command::Eval(arguments)) => {
            training::roll_out(arguments, ConfigVerb::Rollout(RolloutVerb::Evaluate))?;
        }
        Some(Command::Merge(arguments)) => training::write_merged(arguments)?,
        Some(Command::Bundle(arguments)) => training::write_bundle(arguments)?,
        Some(Command::Rerun(arguments)) => return training::make_again(arguments),
        Some(Command::Sample(arguments)) => training::write_samples(arguments)?,
        Some(Command::Model(arguments)) => training::make_model(arguments)?,
        Some(Command::Study(arguments)) => study::study(arguments)?,
        Some(Command::Verify(arguments)) => return keeping::verify(&arguments),
        Some(Command::Stats(arguments)) => keeping::stats(&arguments)?,
        Some(Command::Backup(arguments)) => keeping::backup(&arguments)?,
        Some(Command::Restore(arguments)) => keeping::restore(&arguments)?,
        Some(Command::Repair(arguments)) => keeping::repair(&arguments)?,
        Some(Command::Compact(arguments)) => keeping::compact(&arguments)?,
        Some(Command::Corpus { command }) => return corpus::corpus(command),
        Some(Command::Serve(arguments)) => serving::serve(arguments)?,
        Some(Command::Replay(arguments)) => return serving::replay(arguments),
        Some(Command::Recordings { command }) => serving::recordings(command)?,
        Some(Command::Synth(arguments)) => write_synth(&arguments)?,
        Some(Command::Demo { directory }) => swirldb::repl::demo(&directory)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn query(arguments: &QueryArguments) -> Result<(), SessionError> {
    let db = arguments.db.clone().unwrap_or_default();
    let session = arguments.open.session(&db, false)?;
    for (name, value) in &arguments.parameters {
        session.set_parameter(name, Some(value.clone()));
    }
    let mut console = Console::new(arguments.format);
    if !arguments.command.is_empty() {
        for text in &arguments.command {
            script(&session, &mut console, text)?;
        }
        return Ok(());
    }
    let from_file = match arguments.file.as_deref() {
        Some(path) if path != Path::new("-") => Some(path),
        Some(_) => None,
        None if std::io::stdin().is_terminal() => return prompt(&session, &mut console),
        None => None,
    };
    let text = match from_file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| SessionError::mistake("file", format!("{}: {e}", path.display())))?,
        None => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| SessionError::mistake("file", format!("standard input: {e}")))?;
            return script_with_answers(&session, &mut console, &text);
        }
    };
    script(&session, &mut console, &text)
}

fn write_synth(arguments: &SynthArguments) -> Result<(), SessionError> {
    let default = SynthOptions { shape: arguments.shape, ..SynthOptions::default() };
    let options = SynthOptions {
        seed: arguments.seed.unwrap_or(default.seed),
        questions: arguments.questions.unwrap_or(default.questions),
        samples: arguments.samples.unwrap_or(default.samples),
        steps: arguments.steps.unwrap_or(default.steps),
        study: study_options(arguments),
        tool: arguments.study.tool.clone(),
        ..default
    };
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout());
    synth::write(&options, &mut out).and_then(|()| out.flush()).map_err(SessionError::Output)
}

fn study_options(arguments: &SynthArguments) -> StudyOptions {
    let (default, given) = (StudyOptions::default(), &arguments.study);
    let permille = |share: Option<f64>, default: usize| {
        share.map_or(default, |share| (share * 1_000.0).round() as usize)
    };
    StudyOptions {
        seed: arguments.seed.unwrap_or(default.seed),
        questions: arguments.questions.unwrap_or(default.questions),
        samples: arguments.samples.unwrap_or(default.samples),
        held_out: given.held_out.unwrap_or(default.held_out),
        arithmetic_percent: given.arithmetic.map_or(default.arithmetic_percent, usize::from),
        trouble_permille: permille(given.trouble, default.trouble_permille),
        noise_permille: permille(given.noise, default.noise_permille),
        form: given.form.unwrap_or(default.form),
        ..default
    }
}

fn note(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
