//! Commands about training runs and models.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use swirldb::lm::Distribution;
use swirldb::render::RendererChoice;
use swirldb::repl::{Console, Format, script, watched};
use swirldb::session::{
    ConfigVerb, NewModel, SampleOptions, SessionError, bundle, config_statement, create_model,
    merge, sample,
};

use super::{OpenArguments, note};

/// Arguments of `swirl train`.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["config", "resume"]))]
pub struct TrainArguments {
    /// The database.
    db: PathBuf,
    /// The run as TOML: query or dataset, name, model, and the options of TRAIN.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The run to go on with.
    #[arg(long, value_name = "RUN")]
    resume: Option<String>,
    #[command(flatten)]
    open: OpenArguments,
}

/// Arguments of `swirl generate`, `eval`, `resample` and `judge`.
#[derive(Args)]
pub struct RolloutArguments {
    /// The database.
    db: PathBuf,
    /// The run as TOML: model, questions or query, name, and the options of the statement.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    open: OpenArguments,
}

/// Arguments of `swirl merge`.
#[derive(Args)]
pub struct MergeArguments {
    /// The database.
    db: PathBuf,
    /// The run.
    run: String,
    /// The folder to write.
    directory: PathBuf,
    /// The checkpoint, by its optimiser steps; what the run ended with, if not given.
    #[arg(long, value_name = "STEPS")]
    checkpoint: Option<u64>,
    #[command(flatten)]
    open: OpenArguments,
}

/// Arguments of `swirl bundle`.
#[derive(Args)]
pub struct BundleArguments {
    /// The database.
    db: PathBuf,
    /// The run.
    run: String,
    /// The folder to write.
    directory: PathBuf,
    /// Put the model that it began with into the folder too.
    #[arg(long)]
    with_model: bool,
    #[command(flatten)]
    open: OpenArguments,
}

/// Arguments of `swirl rerun`.
#[derive(Args)]
pub struct RerunArguments {
    /// The folder that `swirl bundle` wrote.
    bundle: PathBuf,
    /// The database to make it in; made where there is none.
    db: PathBuf,
    /// The model that the run began with, where it lies elsewhere now.
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    #[command(flatten)]
    open: OpenArguments,
}

/// Arguments of `swirl sample`.
#[derive(Args)]
pub struct SampleArguments {
    /// The database.
    db: PathBuf,
    /// A .gguf file, a model's directory, or an adapter's.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// The states: a query whose rows are steps.
    #[arg(long, value_name = "SQL", default_value = "FROM steps")]
    query: String,
    /// Samples of each state.
    #[arg(short, default_value_t = 1)]
    n: usize,
    /// 0 takes the most probable token.
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// The most probable tokens that are left; 0 for all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// The smallest set of tokens with this probability together is left.
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Tokens with less than this part of the greatest probability are left out.
    #[arg(long, default_value_t = 0.0)]
    min_p: f64,
    /// A sample ends with this many tokens at the latest.
    #[arg(long, default_value_t = 256)]
    max_new_tokens: usize,
    /// A text that ends a sample; may be given several times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Where random numbers come from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many samples are drawn at a time; it shows in none of them.
    #[arg(long, default_value_t = 8)]
    slots: usize,
    /// How messages become text: auto, tags, template.
    #[arg(long, default_value = "auto", value_parser = renderer)]
    renderer: RendererChoice,
    #[command(flatten)]
    open: OpenArguments,
}

/// Arguments of `swirl model`.
#[derive(Args)]
pub struct ModelArguments {
    /// The database whose texts the tokenizer is trained on.
    db: PathBuf,
    /// The folder to write.
    directory: PathBuf,
    /// Tokens of the vocabulary.
    #[arg(long, default_value_t = NewModel::default().vocab_size)]
    vocab_size: usize,
    /// Width.
    #[arg(long, default_value_t = NewModel::default().hidden_size)]
    hidden_size: usize,
    /// Layers.
    #[arg(long, default_value_t = NewModel::default().n_layers)]
    layers: usize,
    /// Heads of attention.
    #[arg(long, default_value_t = NewModel::default().n_heads)]
    heads: usize,
    /// Longest sequence in tokens.
    #[arg(long, default_value_t = NewModel::default().context_length)]
    context: usize,
    /// Where the weights come from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    open: OpenArguments,
}

fn renderer(word: &str) -> Result<RendererChoice, String> {
    match word {
        "auto" => Ok(RendererChoice::Auto),
        "tags" => Ok(RendererChoice::Tags),
        "template" => Ok(RendererChoice::Template),
        _ => Err("expected auto, tags or template".to_owned()),
    }
}

/// Trains as a file says, or goes on with a run.
pub fn train(arguments: TrainArguments) -> Result<(), SessionError> {
    let TrainArguments { db, config, resume, open } = arguments;
    let statement =
        config.as_deref().map(|path| config_statement(path, ConfigVerb::Train)).transpose()?;
    let session = open.session(&db, false)?;
    let mut console = Console::new(Format::Table);
    match (statement, resume) {
        (Some(statement), _) => script(&session, &mut console, &statement),
        (None, run) => console.resume(&session, &run.unwrap_or_default()),
    }
}

/// Does what a file says, or goes on where that was stopped.
pub fn roll_out(arguments: RolloutArguments, verb: ConfigVerb) -> Result<(), SessionError> {
    let RolloutArguments { db, config, open } = arguments;
    let statement = config_statement(&config, verb)?;
    let session = open.session(&db, false)?;
    script(&session, &mut Console::new(Format::Table), &statement)
}

/// Writes a run's model whole.
pub fn write_merged(arguments: MergeArguments) -> Result<(), SessionError> {
    let MergeArguments { db, run, directory, checkpoint, open } = arguments;
    let session = open.session(&db, false)?;
    let steps = merge(&session, &run, checkpoint, &directory)?;
    note(&format!("{}: the model after {steps} steps", directory.display()));
    Ok(())
}

/// Writes a run as a folder.
pub fn write_bundle(arguments: BundleArguments) -> Result<(), SessionError> {
    let BundleArguments { db, run, directory, with_model, open } = arguments;
    let session = open.session(&db, false)?;
    watched(&session, || bundle(&session, &run, &directory, with_model))?;
    note(&format!("{}: run '{run}'", directory.display()));
    Ok(())
}

/// Makes a run again; a difference is exit code 1.
pub fn make_again(arguments: RerunArguments) -> Result<ExitCode, SessionError> {
    let RerunArguments { bundle, db, model, open } = arguments;
    let session = open.session(&db, true)?;
    let is_same = Console::new(Format::Table).rerun(&session, &bundle, model.as_deref())?;
    Ok(ExitCode::from(u8::from(!is_same)))
}

/// Writes samples to standard output, a JSON object a line.
pub fn write_samples(arguments: SampleArguments) -> Result<(), SessionError> {
    let SampleArguments { temperature, top_k, top_p, min_p, .. } = arguments;
    let options = SampleOptions {
        model: arguments.model,
        n: arguments.n.max(1),
        distribution: Distribution { temperature, top_k, top_p, min_p },
        max_new_tokens: arguments.max_new_tokens,
        stop: arguments.stop,
        seed: arguments.seed,
        slots: arguments.slots.max(1),
        renderer: arguments.renderer,
    };
    let session = arguments.open.session(&arguments.db, false)?;
    let began = Instant::now();
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let report = watched(&session, || {
        sample(&session, &arguments.query, &options, &mut |line| {
            writeln!(out, "{line}").map_err(SessionError::Output)
        })
    })?;
    out.flush().map_err(SessionError::Output)?;
    let seconds = began.elapsed().as_secs_f64().max(1e-9);
    let counts = report.counts;
    note(&format!(
        "{} samples of {} states: {} tokens drawn, {} read, {:.0} tokens/s",
        report.samples,
        report.states,
        counts.new_tokens,
        counts.prompt_tokens,
        (counts.new_tokens + counts.prompt_tokens) as f64 / seconds
    ));
    if report.too_long > 0 {
        note(&format!("{} states fill the model's context and were left out", report.too_long));
    }
    Ok(())
}

/// Makes a small model from nothing.
pub fn make_model(arguments: ModelArguments) -> Result<(), SessionError> {
    let session = arguments.open.session(&arguments.db, false)?;
    let new = NewModel {
        vocab_size: arguments.vocab_size,
        hidden_size: arguments.hidden_size,
        n_layers: arguments.layers,
        n_heads: arguments.heads,
        context_length: arguments.context,
        seed: arguments.seed,
        ..NewModel::default()
    };
    let weights = create_model(&session, &arguments.directory, &new)?;
    note(&format!("{}: {weights} weights", arguments.directory.display()));
    Ok(())
}
