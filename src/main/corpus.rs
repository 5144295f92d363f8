//! The commands of corpora: `swirl corpus ...`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use swirldb::codec::CorpusField;
use swirldb::db::{Analyzer, Corpus, CorpusDraft, Retrieval};
use swirldb::exchange::DocumentFormat;
use swirldb::repl::{
    Console, Format, interrupt, print_corpus, print_corpus_export, print_evaluation, script,
    watched,
};
use swirldb::score::{Measure, Topics};
use swirldb::session::{
    CorpusReport, Session, SessionError, TopicSearch, corpus_draft, corpus_fields, measured,
    passages, qrels, run,
};

use super::{OpenArguments, note};

/// How documents are ranked.
#[derive(Args)]
pub struct RetrievalArguments {
    /// How documents are ranked: bm25; dense or hybrid, which need `swirl corpus embed`.
    #[arg(long, value_name = "WAY", default_value = "bm25", value_parser = retrieval)]
    retrieval: Retrieval,
    /// The directory of the model that made the vectors, if it was moved.
    #[arg(long, value_name = "DIRECTORY")]
    model: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum CorpusCommand {
    /// Make a corpus of files and folders, and seal it.
    Create(CreateArguments),
    /// List the corpora.
    List {
        /// The database.
        db: PathBuf,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Show what a corpus says of itself.
    Show {
        /// The database.
        db: PathBuf,
        /// The corpus.
        name: String,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Search a corpus.
    Search {
        /// The database.
        db: PathBuf,
        /// The corpus.
        name: String,
        /// The words.
        query: String,
        /// How many documents.
        #[arg(short, default_value_t = 10, value_parser = at_least_one)]
        k: usize,
        /// Show how each document comes by its score.
        #[arg(long)]
        explain: bool,
        #[command(flatten)]
        by: RetrievalArguments,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Make a vector of each document, for --retrieval dense and hybrid; goes on where it stopped.
    Embed {
        /// The database.
        db: PathBuf,
        /// The corpus.
        name: String,
        /// The directory of a sentence encoder: config.json, tokenizer.json, model.safetensors.
        #[arg(long, value_name = "DIRECTORY")]
        model: PathBuf,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Measure how well a corpus is searched, or a run that another program made.
    Eval(EvalArguments),
    /// Compare documents and index with the fingerprint.
    Verify {
        /// The database.
        db: PathBuf,
        /// The corpus; without it all are.
        name: Option<String>,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Show which documents one corpus has and the other has not, or has otherwise.
    Diff {
        /// The database.
        db: PathBuf,
        /// The first corpus.
        first: String,
        /// The second one.
        second: String,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Write a corpus to a file, with its fingerprint.
    Export {
        /// The database.
        db: PathBuf,
        /// The corpus.
        name: String,
        /// The file; .gz and .zst compress it.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Bring back a corpus that was exported; its fingerprint must be the same.
    Import {
        /// The database; made where there is none.
        db: PathBuf,
        /// The file.
        file: PathBuf,
        /// Another name for it.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Remove a corpus with its documents.
    Drop {
        /// The database.
        db: PathBuf,
        /// The corpus.
        name: String,
        #[command(flatten)]
        open: OpenArguments,
    },
}

#[derive(Args)]
pub struct CreateArguments {
    /// The database; made where there is none.
    db: PathBuf,
    /// The corpus.
    name: String,
    /// Files, plain or compressed (.gz, .zst), and folders of text.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The files' format; recognised if not given: documents, passages, tsv, hotpotqa, musique,
    /// text.
    #[arg(long = "as", value_name = "FORMAT", value_parser = document_format)]
    format: Option<DocumentFormat>,
    /// How texts become terms: english (as Lucene's), neutral (any language).
    #[arg(long, default_value = "english", value_parser = analyzer)]
    analyzer: Analyzer,
    /// How soon a term's repetitions stop counting.
    #[arg(long, default_value_t = 0.9, allow_negative_numbers = true)]
    k1: f64,
    /// How much a long document's terms count less, from 0 to 1.
    #[arg(long, default_value_t = 0.4, allow_negative_numbers = true)]
    b: f64,
    /// What is searched: contents (title and text as one), or title and text apart with weights.
    #[arg(long, default_value = "contents", value_name = "title=2,text", value_parser = fields)]
    fields: FieldList,
    /// What is in it, for the agent that searches it.
    #[arg(long, default_value = "")]
    description: String,
    /// Cut documents into passages of so many words.
    #[arg(long, value_name = "N")]
    passage_words: Option<usize>,
    /// Words that a passage repeats of the one before.
    #[arg(long, value_name = "N", default_value_t = 0)]
    passage_overlap: usize,
    /// End at the first record that is no document, and do not seal.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    open: OpenArguments,
}

#[derive(Args)]
pub struct EvalArguments {
    /// The database; not needed with --run.
    #[arg(required_unless_present = "run", requires = "name")]
    db: Option<PathBuf>,
    /// The corpus.
    name: Option<String>,
    /// Topics: TSV, JSON lines (BEIR's queries.jsonl), TREC's.
    #[arg(long, value_name = "FILE", required_unless_present = "run")]
    topics: Option<PathBuf>,
    /// Judgements: TREC's four columns, BEIR's three.
    #[arg(long, value_name = "FILE", required_unless_present = "to")]
    qrels: Option<PathBuf>,
    /// Measure this run instead of searching.
    #[arg(long, value_name = "FILE", requires = "qrels")]
    #[arg(conflicts_with_all = ["db", "topics", "to"])]
    run: Option<PathBuf>,
    /// Measures such as nDCG@10, R@100, AP, RR, P@30.
    #[arg(long = "measure", value_name = "NAME", value_parser = measure)]
    measures: Vec<Measure>,
    /// Topics are called by their identifiers, or by their place in the file, as Cranfield's.
    #[arg(long, default_value = "id", value_parser = ["id", "position"])]
    ids: String,
    /// Documents found for a topic.
    #[arg(short, default_value_t = 1000, value_parser = at_least_one)]
    k: usize,
    /// Write the run to this file too.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Search all topics so often; the times told are those of the last pass.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    passes: usize,
    /// Show the figures of each topic.
    #[arg(short = 'q', long)]
    per_topic: bool,
    /// Leave topics out for which nothing was found (trec_eval without -c).
    #[arg(long)]
    answered_only: bool,
    #[command(flatten)]
    by: RetrievalArguments,
    #[command(flatten)]
    open: OpenArguments,
}

#[derive(Clone)]
pub struct FieldList(Vec<CorpusField>);

fn document_format(word: &str) -> Result<DocumentFormat, String> {
    let known = DocumentFormat::names().join(", ");
    DocumentFormat::parse(word).ok_or_else(|| format!("expected one of {known}"))
}

pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a number from 1 on".to_owned())
}

fn retrieval(word: &str) -> Result<Retrieval, String> {
    let known = Retrieval::ALL.map(Retrieval::as_str).join(", ");
    Retrieval::parse(word).ok_or_else(|| format!("expected one of {known}"))
}

fn analyzer(word: &str) -> Result<Analyzer, String> {
    let known = Analyzer::ALL.map(Analyzer::as_str).join(", ");
    Analyzer::parse(word).ok_or_else(|| format!("expected one of {known}"))
}

fn fields(text: &str) -> Result<FieldList, String> {
    corpus_fields(text).map(FieldList)
}

fn measure(name: &str) -> Result<Measure, String> {
    Measure::parse(name).map_err(|error| error.to_string())
}

/// Runs a command of corpora.
pub fn corpus(command: CorpusCommand) -> Result<ExitCode, SessionError> {
    let done = match command {
        CorpusCommand::Create(arguments) => create(arguments),
        CorpusCommand::List { db, open } => statement(&db, &reading(&open), "SHOW CORPORA"),
        CorpusCommand::Show { db, name, open } => {
            statement(&db, &reading(&open), &format!("SHOW CORPUS {}", quoted(&name)))
        }
        CorpusCommand::Search { db, name, query, k, explain, by, open } => {
            let session = searching(&open, &db, &name)?;
            let corpus = watched(&session, || by.open(&session, &name))?;
            search(&session, &corpus, &query, k, explain)
        }
        CorpusCommand::Embed { db, name, model, open } => embed(&db, &name, &model, &open),
        CorpusCommand::Eval(arguments) => eval(arguments),
        CorpusCommand::Verify { db, name, open } => {
            let session = reading(&open).session(&db, false)?;
            let verified = watched(&session, || session.verify_corpora(name.as_deref()))?;
            for (corpus, wrong) in &verified {
                note(&format!("{corpus}: {}", if wrong.is_empty() { "as sealed" } else { "" }));
                wrong.iter().for_each(|wrong| note(&format!("  {wrong}")));
            }
            let is_good = verified.iter().all(|(_, wrong)| wrong.is_empty());
            return Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(3) });
        }
        CorpusCommand::Diff { db, first, second, open } => {
            let (first, second) = (quoted(&first), quoted(&second));
            statement(&db, &reading(&open), &format!("DIFF CORPUS {first} {second}"))
        }
        CorpusCommand::Export { db, name, to, open } => {
            let session = reading(&open).session(&db, false)?;
            let written = watched(&session, || session.export_corpus(&name, &to))?;
            print_corpus_export(&written, &to.display().to_string());
            Ok(())
        }
        CorpusCommand::Import { db, file, name, open } => {
            let session = open.session(&db, true)?;
            let corpus = watched(&session, || session.import_corpus(&file, name.as_deref()))?;
            print_corpus(&corpus, &CorpusReport::default());
            Ok(())
        }
        CorpusCommand::Drop { db, name, open } => {
            statement(&db, &open, &format!("DROP CORPUS {}", quoted(&name)))
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Returns how a database is opened that is only read: beside others, and where nothing may be
/// written.
fn reading(open: &OpenArguments) -> OpenArguments {
    OpenArguments { read_only: true, ..open.clone() }
}

impl RetrievalArguments {
    /// Opens a corpus to be searched so.
    pub fn open(&self, session: &Session, name: &str) -> Result<Arc<Corpus>, SessionError> {
        if self.model.is_some() && self.retrieval == Retrieval::Bm25 {
            let message = "--model is of use with --retrieval dense or hybrid only";
            return Err(SessionError::mistake("bad-option", message));
        }
        session.open_corpus_by(name, self.retrieval, self.model.as_deref())
    }
}

/// Opens a database to search a corpus: for reading, unless its index has to be built first.
fn searching(
    open: &OpenArguments,
    db: &std::path::Path,
    name: &str,
) -> Result<Session, SessionError> {
    let session = reading(open).quiet_session(db)?;
    if open.read_only || session.database().has_index(name)? {
        interrupt(session.cancel())?;
        return Ok(session);
    }
    drop(session);
    open.session(db, false)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn statement(db: &std::path::Path, open: &OpenArguments, text: &str) -> Result<(), SessionError> {
    let session = open.session(db, false)?;
    script(&session, &mut Console::new(Format::Table), text)
}

fn create(arguments: CreateArguments) -> Result<(), SessionError> {
    let passages = passages(arguments.passage_words, arguments.passage_overlap);
    let passages = passages.map_err(|why| SessionError::mistake("bad-option", why))?;
    let draft = CorpusDraft {
        description: arguments.description,
        analyzer: arguments.analyzer,
        k1: arguments.k1,
        b: arguments.b,
        fields: arguments.fields.0,
        passages,
        ..corpus_draft(&arguments.name)
    };
    let session = arguments.open.session(&arguments.db, true)?;
    let (files, format, strict) = (&arguments.files, arguments.format, arguments.strict);
    let made = watched(&session, || session.create_corpus(draft, files, format, strict, &mut note));
    let (corpus, report) = made?;
    print_corpus(&corpus, &report);
    Ok(())
}

fn embed(
    db: &std::path::Path,
    name: &str,
    model: &std::path::Path,
    open: &OpenArguments,
) -> Result<(), SessionError> {
    let session = reading(open).session(db, false)?;
    let made = watched(&session, || session.embed_corpus(name, model))?;
    let (dimensions, model) = (made.dimensions, made.model.display());
    note(&format!("{name}: vectors of {dimensions} numbers by {model}"));
    Ok(())
}

fn search(
    session: &Session,
    corpus: &Corpus,
    query: &str,
    k: usize,
    explain: bool,
) -> Result<(), SessionError> {
    use std::io::Write as _;
    if explain && corpus.retrieval() != Retrieval::Bm25 {
        let message = "--explain tells scores by words: leave out --retrieval";
        return Err(SessionError::mistake("bad-option", message));
    }
    let found = corpus.search(query, k, &|| session.cancel().is_cancelled())?;
    let mut out = std::io::stdout().lock();
    let mut write = || -> Result<(), SessionError> {
        for (found, place) in found.iter().zip(1..) {
            let title = found.document.title.as_deref().unwrap_or_default();
            let score = found.score;
            let (id, title) = (shown(&found.id, 200), shown(title, 200));
            writeln!(out, "{place}. {score:.4}  {id}  {title}").map_err(SessionError::Output)?;
            writeln!(out, "   {}", shown(&found.document.text, 200))
                .map_err(SessionError::Output)?;
            let explanation = match explain {
                true => corpus.explain(query, &found.id)?,
                false => None,
            };
            for part in explanation.iter().flat_map(|explanation| &explanation.parts) {
                let (token, count, length) = (&part.token, part.frequency, part.length);
                let field = &corpus.record().fields[part.field].name;
                writeln!(
                    out,
                    "   {:.4}  {token} in {field}: {count} times in {length} terms (on average \
                     {:.1}), in {} documents",
                    part.score, part.average_length, part.document_frequency
                )
                .map_err(SessionError::Output)?;
            }
        }
        Ok(())
    };
    write()?;
    if found.is_empty() {
        note("no document has any of these words (stop words are not sought)");
    }
    Ok(())
}

/// Returns the beginning of a text in one line, without what a terminal would act on.
fn shown(text: &str, characters: usize) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(characters * 4);
    let plain: String = plain.collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(characters).collect()
}

fn eval(arguments: EvalArguments) -> Result<(), SessionError> {
    let EvalArguments { measures, qrels: judgements, answered_only, per_topic, .. } = &arguments;
    let measures = match measures.is_empty() {
        false => measures.clone(),
        true => ["nDCG@10", "R@100", "AP", "RR"]
            .into_iter()
            .filter_map(|name| Measure::parse(name).ok())
            .collect(),
    };
    let searches = judgements.is_some() && arguments.run.is_none();
    let deepest = measures.iter().filter_map(|measure| measure.cutoff()).max();
    if let Some(deepest) = deepest.filter(|deepest| searches && *deepest > arguments.k) {
        let message = format!("a measure at {deepest} needs {deepest} documents: -k {deepest}");
        return Err(SessionError::mistake("evaluation", message));
    }
    let judged = judgements.as_deref().map(qrels).transpose()?;
    let found = match (&arguments.run, &arguments.db, &arguments.name, &arguments.topics) {
        (Some(file), ..) => run(file)?,
        (None, Some(db), Some(name), Some(topics)) => {
            let session = searching(&arguments.open, db, name)?;
            let search = TopicSearch {
                topics,
                by_position: arguments.ids == "position",
                k: arguments.k,
                run: arguments.to.as_deref(),
                passes: arguments.passes,
            };
            let corpus = watched(&session, || arguments.by.open(&session, name))?;
            let found = watched(&session, || session.search_topics(&corpus, &search))?;
            let time = |share| found.time_of(share).as_secs_f64() * 1e3;
            let (half, most, topics) = (time(0.5), time(0.95), found.times.len());
            note(&format!("searched {topics} topics: p50 {half:.3} ms, p95 {most:.3} ms"));
            found.run
        }
        _ => return Err(SessionError::mistake("evaluation", "eval needs DB, NAME and --topics")),
    };
    let Some(judged) = judged else { return Ok(()) };
    let topics = if *answered_only { Topics::Answered } else { Topics::Judged };
    let evaluation = measured(&judged, &found, &measures, topics)?;
    print_evaluation(&evaluation, &measures, *per_topic, &mut std::io::stdout().lock())
}
