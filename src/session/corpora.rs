//! Corpora: made from files or rows, shown, compared, written to a file, removed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::error::SessionError;
use super::listing::list;
use super::statement::{Outcome, Session, Sink, mistake, worded};
use crate::codec::{CorpusField, CorpusRecord, DocumentRecord};
use crate::db::{
    Analyzer, BuildOptions, CORPUS_FIELDS, Chunking, Corpus, CorpusDraft, DbError, Embedding,
    Retrieval,
};
use crate::diag::{Diagnostic, did_you_mean, hexadecimal, nearest};
use crate::exchange::{
    CorpusFile, CorpusManifest, Document, DocumentBatch, DocumentFormat, DocumentOptions,
    Documents, create, derived_id, write_document,
};
use crate::query::Scope;
use crate::query::syntax::{
    CorpusStatement, Literal, Name, QueryStatement, SavedStatement, WithOption,
};

/// Bytes of documents stored together.
const BATCH_BYTES: usize = 4 << 20;

/// Batches that are read before the one that is stored is done.
const BATCHES_AHEAD: usize = 2;

/// What is told one by one of records that are no documents, and of conflicts.
const TOLD_MAX: u64 = 10;

/// What came of documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorpusReport {
    /// Documents, or passages of them, that are new.
    pub new: u64,
    /// Those that were there with the same content.
    pub same: u64,
    /// Those that were there with other content: they were left out.
    pub conflicts: u64,
    /// Records that are no documents: they were left out.
    pub bad: u64,
}

/// Returns the draft of a corpus of that name, as of now.
pub fn corpus_draft(name: &str) -> CorpusDraft {
    let program = super::host::PROGRAM_VERSION;
    CorpusDraft { created_at: super::now_micros(), program, ..CorpusDraft::new(name) }
}

/// Reads searched fields such as `contents` or `title=2,text`.
///
/// # Errors
/// What is wrong with it.
pub fn corpus_fields(text: &str) -> Result<Vec<CorpusField>, String> {
    let field = |part: &str| {
        let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
        let weight: f64 = weight.trim().parse().map_err(|_| format!("'{weight}' is no weight"))?;
        let name = name.trim().to_owned();
        match CORPUS_FIELDS.contains(&name.as_str()) && (0.0..=1e6).contains(&weight) {
            true => Ok(CorpusField { name, weight }),
            false => Err(format!(
                "expected one of {} with a weight from 0 to 1000000, such as title=2,text",
                CORPUS_FIELDS.join(", ")
            )),
        }
    };
    text.split(',').map(field).collect()
}

impl Session {
    /// Makes a corpus from files and folders and seals it. `told` hears of each record that was
    /// left out, up to some. With `strict` the first one ends it, unsealed.
    ///
    /// # Errors
    /// A file cannot be read; the name is taken; a setting is out of bounds; nothing to seal.
    pub fn create_corpus(
        &self,
        draft: CorpusDraft,
        files: &[PathBuf],
        format: Option<DocumentFormat>,
        strict: bool,
        told: &mut dyn FnMut(&str),
    ) -> Result<(CorpusRecord, CorpusReport), SessionError> {
        let made_from = files.iter().map(|file| file.display().to_string()).collect();
        // A file that is not there, or is none of documents, leaves no corpus behind.
        let options = DocumentOptions { format, ..DocumentOptions::default() };
        for file in files {
            Documents::open(file, &options).map_err(DbError::from)?;
        }
        let corpus = self.database().begin_corpus(&CorpusDraft { made_from, ..draft })?;
        let mut filling = Filling {
            session: self,
            corpus: &corpus,
            told,
            strict,
            report: CorpusReport::default(),
        };
        for file in files {
            let documents = Documents::open(file, &options).map_err(DbError::from)?;
            self.progress().begin("reading documents", documents.bytes_total());
            // One thread reads while this one stores; it ends when nobody takes its batches.
            std::thread::scope(|scope| {
                let (sender, batches) = sync_channel(BATCHES_AHEAD);
                scope.spawn(move || {
                    let mut documents = documents;
                    documents.try_for_each(|batch| sender.send(batch)).is_ok()
                });
                batches.into_iter().try_for_each(|batch| {
                    self.go_on()?;
                    filling.fill(batch.map_err(DbError::from)?)
                })
            })?;
        }
        let report = filling.report;
        Ok((self.seal(&corpus.name)?, report))
    }

    /// Brings back a corpus that EXPORT CORPUS wrote, under its name or another one, and sees that
    /// it has the same fingerprint.
    ///
    /// # Errors
    /// The file is not that of a corpus, or its documents are not those it names; the name is
    /// taken.
    pub fn import_corpus(
        &self,
        file: &Path,
        name: Option<&str>,
    ) -> Result<CorpusRecord, SessionError> {
        let documents = CorpusFile::open(file).map_err(DbError::from)?;
        let manifest = documents.manifest().clone();
        let name = name.unwrap_or(&manifest.name);
        let refused = |why: String| DbError::Corpus { name: name.to_owned(), why };
        let (found, version) = (&manifest.analyzer, manifest.analyzer_version);
        let Some(analyzer) = Analyzer::of_version(found, version) else {
            let why = format!("it needs analyzer {found} {version}, which this program has not");
            return Err(refused(why).into());
        };
        let field =
            |(name, weight): &(String, f64)| CorpusField { name: name.clone(), weight: *weight };
        let passages =
            manifest.passages.map(|(words, shared)| Chunking::new(words as usize, shared as usize));
        let passages = passages.transpose();
        let draft = CorpusDraft {
            description: manifest.description.clone(),
            analyzer,
            k1: manifest.k1,
            b: manifest.b,
            fields: manifest.fields.iter().map(field).collect(),
            passages: passages.map_err(|error| refused(error.to_string()))?,
            made_from: manifest.made_from.clone(),
            ..corpus_draft(name)
        };
        // Its documents are cut already.
        let corpus = CorpusRecord { passages: None, ..self.database().begin_corpus(&draft)? };
        self.progress().begin("reading documents", manifest.documents);
        let mut waiting = Vec::new();
        let mut bytes = 0;
        for document in documents {
            let document = document.map_err(DbError::from)?;
            self.progress().advance(1);
            bytes += document.text.len();
            waiting.push(document);
            if bytes >= BATCH_BYTES {
                self.go_on()?;
                self.database().add_documents(&corpus, std::mem::take(&mut waiting))?;
                bytes = 0;
            }
        }
        self.database().add_documents(&corpus, waiting)?;
        let sealed = self.seal(name)?;
        let found = sealed.fingerprint.map(|f| hexadecimal(&f)).unwrap_or_default();
        if found != manifest.fingerprint {
            self.database().drop_corpus(name)?;
            let why = format!(
                "the file names the fingerprint {} and its documents have {found}: it was changed \
                 or damaged; nothing was kept",
                manifest.fingerprint
            );
            return Err(refused(why).into());
        }
        Ok(sealed)
    }

    /// Writes a corpus to a file, compressed as its name says.
    ///
    /// # Errors
    /// There is none of that name, or it is not sealed; the file cannot be written.
    pub fn export_corpus(&self, name: &str, path: &Path) -> Result<CorpusRecord, SessionError> {
        let corpus = self.known_corpus(name)?;
        let Some(fingerprint) = corpus.fingerprint else {
            let why = "it is not sealed".to_owned();
            return Err(DbError::Corpus { name: name.to_owned(), why }.into());
        };
        let manifest = CorpusManifest {
            name: corpus.name.clone(),
            description: corpus.description.clone(),
            analyzer: corpus.analyzer.0.clone(),
            analyzer_version: corpus.analyzer.1,
            k1: corpus.k1,
            b: corpus.b,
            fields: corpus.fields.iter().map(|f| (f.name.clone(), f.weight)).collect(),
            passages: corpus.passages,
            made_from: corpus.made_from.clone(),
            documents: corpus.documents,
            fingerprint: hexadecimal(&fingerprint),
        };
        let mut out = create(path).map_err(DbError::from)?;
        manifest.write(&mut out).map_err(SessionError::Output)?;
        self.progress().begin("writing documents", corpus.documents);
        let mut failed = None;
        let written = self.database().each_document(&corpus, &mut self.watch(), |id, document| {
            let DocumentRecord { title, text, metadata } = document;
            let document = Document { id: id.to_owned(), title, text, metadata };
            write_document(&mut out, &document).map_err(|error| {
                failed = Some(error);
                DbError::Stopped
            })
        });
        if let Some(error) = failed {
            return Err(SessionError::Output(error));
        }
        written?;
        out.finish().map_err(DbError::from)?;
        Ok(corpus)
    }

    /// Opens a corpus; its index is built again first where that is needed.
    ///
    /// # Errors
    /// There is none of that name; it is not sealed; damage, or what the disk says.
    pub fn open_corpus(&self, name: &str) -> Result<Arc<Corpus>, SessionError> {
        self.open_corpus_by(name, Retrieval::Bm25, None)
    }

    /// Opens a sealed corpus to rank documents in this way. The model of its vectors is sought in
    /// `model`, or where it was when they were made.
    ///
    /// # Errors
    /// As [`Session::open_corpus`]; it has no vectors, or their model is not there.
    pub fn open_corpus_by(
        &self,
        name: &str,
        retrieval: Retrieval,
        model: Option<&Path>,
    ) -> Result<Arc<Corpus>, SessionError> {
        self.known_corpus(name)?;
        self.progress().begin("indexing documents", 0);
        let opened = self.database().open_corpus(name, &self.build_options(), &mut self.watch());
        self.progress().end();
        Ok(Arc::new(self.database().with_retrieval(opened?, retrieval, model)?))
    }

    /// Makes a vector for each document of a sealed corpus, or goes on where that was interrupted.
    ///
    /// # Errors
    /// There is no such corpus, or it is not sealed; the directory holds no encoder; it was
    /// cancelled.
    pub fn embed_corpus(&self, name: &str, model: &Path) -> Result<Embedding, SessionError> {
        self.known_corpus(name)?;
        self.progress().begin("encoding documents", 0);
        let made = self.database().embed_corpus(name, model, &mut self.watch());
        self.progress().end();
        Ok(made?)
    }

    /// Returns what a corpus says of itself.
    ///
    /// # Errors
    /// There is none of that name; the message names the nearest.
    pub fn known_corpus(&self, name: &str) -> Result<CorpusRecord, SessionError> {
        let place = Name { text: name.to_owned(), span: crate::diag::Span::new(0, name.len()) };
        known(self, &place, name)
    }

    /// Compares the documents and the index of a corpus, or of all that are sealed, with the
    /// fingerprint. Returns what is wrong with each.
    ///
    /// # Errors
    /// Damage that cannot be read past, or what the disk says; it was cancelled.
    pub fn verify_corpora(
        &self,
        name: Option<&str>,
    ) -> Result<Vec<(String, Vec<String>)>, SessionError> {
        let mut corpora = match name {
            Some(name) => vec![self.known_corpus(name)?],
            None => self.database().store().corpora()?,
        };
        // One that is begun is no damage: making it again goes on.
        corpora.retain(|corpus| name.is_some() || corpus.fingerprint.is_some());
        let verified = corpora.into_iter().map(|corpus| {
            let wrong = self.verify_corpus(&corpus)?;
            Ok((corpus.name, wrong))
        });
        verified.collect()
    }

    fn verify_corpus(&self, corpus: &CorpusRecord) -> Result<Vec<String>, SessionError> {
        self.progress().begin("verifying documents", corpus.documents);
        let wrong = self.database().verify_corpus(&corpus.name, &mut self.watch());
        self.progress().end();
        Ok(wrong?)
    }

    fn seal(&self, name: &str) -> Result<CorpusRecord, SessionError> {
        self.progress().begin("indexing documents", 0);
        let sealed = self.database().seal_corpus(name, &self.build_options(), &mut self.watch());
        self.progress().end();
        Ok(sealed?)
    }

    fn build_options(&self) -> BuildOptions {
        BuildOptions {
            threads: self.options().threads,
            memory_bytes: self.options().memory_bytes / 4,
            ..BuildOptions::default()
        }
    }

    /// Returns what moves the progress on and stops when the session is cancelled.
    fn watch(&self) -> impl FnMut(u64, u64) -> ControlFlow<()> + '_ {
        |done, total| {
            self.progress().set(done, total);
            match self.cancel().is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }

    fn go_on(&self) -> Result<(), SessionError> {
        if self.cancel().is_cancelled() { Err(SessionError::Cancelled) } else { Ok(()) }
    }
}

/// Documents on their way into a corpus.
struct Filling<'a> {
    session: &'a Session,
    corpus: &'a CorpusRecord,
    told: &'a mut dyn FnMut(&str),
    strict: bool,
    report: CorpusReport,
}

impl Filling<'_> {
    /// Adds what a batch holds.
    fn fill(&mut self, batch: DocumentBatch) -> Result<(), SessionError> {
        self.session.progress().advance(batch.bytes as u64);
        let mut good = Vec::with_capacity(batch.documents.len());
        for document in batch.documents {
            match document {
                Ok(placed) => good.push((placed.document, placed.place.to_string())),
                Err(bad) => self.leave_out(&bad.to_string(), |r| &mut r.bad)?,
            }
        }
        self.add(good)
    }

    /// Adds documents, each with the place it comes from.
    fn add(&mut self, documents: Vec<(Document, String)>) -> Result<(), SessionError> {
        let places: BTreeMap<String, String> =
            documents.iter().map(|(d, place)| (d.id.clone(), place.clone())).collect();
        let documents = documents.into_iter().map(|(document, _)| document).collect();
        let (added, ids) = self.session.database().add_documents(self.corpus, documents)?;
        self.report.new += added.new;
        self.report.same += added.same;
        for at in added.conflicts {
            let id = &ids[at];
            let whole = id.rsplit_once('#').map_or(id.as_str(), |(whole, _)| whole);
            let place = places.get(id).or_else(|| places.get(whole));
            let message = format!(
                "{}: document '{id}' is there already with other content",
                place.map_or("", String::as_str)
            );
            self.leave_out(&message, |report| &mut report.conflicts)?;
        }
        Ok(())
    }

    fn leave_out(
        &mut self,
        message: &str,
        count: fn(&mut CorpusReport) -> &mut u64,
    ) -> Result<(), SessionError> {
        if self.strict {
            return Err(SessionError::mistake("document", message));
        }
        *count(&mut self.report) += 1;
        if self.report.bad + self.report.conflicts <= TOLD_MAX {
            (self.told)(message);
        }
        Ok(())
    }
}

/// Runs a statement about corpora.
pub(super) fn run(
    session: &Session,
    scope: &Scope<'_>,
    statement: &CorpusStatement,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let text = scope.text;
    match statement {
        CorpusStatement::Create { name, options, query } => {
            let draft = with_options(corpus_draft(&name.text), options, text)?;
            from_rows(session, scope, draft, query, sink)
        }
        CorpusStatement::Saved(statement) => run_saved(session, statement, text, sink),
    }
}

fn run_saved(
    session: &Session,
    statement: &SavedStatement,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    match statement {
        SavedStatement::Diff { first, second } => {
            let (first, second) = (known(session, first, text)?, known(session, second, text)?);
            diff(session, &first, &second, sink)
        }
        SavedStatement::Verify { name } => {
            let corpora = match name {
                Some(name) => vec![known(session, name, text)?],
                None => session.database().store().corpora()?,
            };
            let mut rows = Vec::new();
            for corpus in corpora {
                let wrong = session.verify_corpus(&corpus)?;
                let verdict =
                    if wrong.is_empty() { "as sealed".to_owned() } else { wrong.join("; ") };
                rows.push([corpus.name, corpus.documents.to_string(), verdict]);
            }
            list(sink, ["corpus", "documents", "verdict"], rows)
        }
        SavedStatement::Export { name, path } => {
            known(session, name, text)?;
            let corpus = session.export_corpus(&name.text, Path::new(&path.text))?;
            Ok(Outcome::CorpusExported { corpus: Box::new(corpus), path: path.text.clone() })
        }
        SavedStatement::Drop { name } => {
            known(session, name, text)?;
            Ok(Outcome::CorpusDropped(Box::new(session.database().drop_corpus(&name.text)?)))
        }
    }
}

/// `SHOW CORPUS name`: what it says of itself.
pub(super) fn show(
    session: &Session,
    name: &Name,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let corpus = known(session, name, text)?;
    let fields = corpus.fields.iter().map(|f| format!("{} x {}", f.name, f.weight));
    let passages = corpus.passages.map(|(words, overlap)| match overlap {
        0 => format!("of {words} words"),
        _ => format!("of {words} words, {overlap} of them those before"),
    });
    let row = |key: &str, value: String| [key.to_owned(), value];
    let rows = vec![
        row("corpus", corpus.name.clone()),
        row("description", corpus.description.clone()),
        row("documents", corpus.documents.to_string()),
        row("bytes of text", corpus.text_bytes.to_string()),
        row("fingerprint", fingerprint(&corpus)),
        row("analyzer", format!("{} {}", corpus.analyzer.0, corpus.analyzer.1)),
        row("ranking", format!("BM25, k1 = {}, b = {}", corpus.k1, corpus.b)),
        row("fields", fields.collect::<Vec<_>>().join(", ")),
        row("passages", passages.unwrap_or_else(|| "whole documents".to_owned())),
        row("made from", corpus.made_from.join(", ")),
        row("made by", corpus.program.clone()),
    ];
    list(sink, ["what", "value"], rows)
}

fn fingerprint(corpus: &CorpusRecord) -> String {
    corpus.fingerprint.map_or_else(|| "not sealed".to_owned(), |f| hexadecimal(&f))
}

/// Returns the corpus of a name.
pub(super) fn known(
    session: &Session,
    name: &Name,
    text: &str,
) -> Result<CorpusRecord, SessionError> {
    let store = session.database().store();
    if let Some(found) = store.corpus(&name.text)? {
        return Ok(found);
    }
    let names: Vec<String> = store.corpora()?.into_iter().map(|corpus| corpus.name).collect();
    let message = format!("unknown corpus '{}'", name.text);
    let unknown = Diagnostic::new("unknown-corpus", message).at(name.span);
    let none = "swirl corpus create DB NAME FILES makes one";
    Err(mistake(unknown.help(nearest(&name.text, &names, "corpora", none)), text))
}

/// Returns the draft with the options of `WITH (...)`.
fn with_options(
    mut draft: CorpusDraft,
    options: &[WithOption],
    text: &str,
) -> Result<CorpusDraft, SessionError> {
    const NAMES: [&str; 7] =
        ["analyzer", "k1", "b", "fields", "description", "passage_words", "passage_overlap"];
    let (mut words, mut overlap) = (None, 0);
    for option in options {
        let wrong =
            |message: String| mistake(Diagnostic::new("bad-option", message).at(option.span), text);
        let count = |value: f64| match value.fract() == 0.0 && (0.0..=1e6).contains(&value) {
            true => Ok(value as usize),
            false => Err(wrong(format!("'{}' is a whole number up to 1000000", option.name.text))),
        };
        match (option.name.text.as_str(), &option.value) {
            ("analyzer", Literal::Text(name)) => {
                let known = Analyzer::ALL.map(Analyzer::as_str).join(", ");
                draft.analyzer = Analyzer::parse(name)
                    .ok_or_else(|| wrong(format!("unknown analyzer '{name}': {known}")))?;
            }
            ("k1", Literal::Number(value)) => draft.k1 = *value,
            ("b", Literal::Number(value)) => draft.b = *value,
            ("fields", Literal::Text(fields)) => {
                draft.fields = corpus_fields(fields).map_err(wrong)?;
            }
            ("description", Literal::Text(description)) => {
                draft.description = description.clone();
            }
            ("passage_words", Literal::Number(value)) => words = Some(count(*value)?),
            ("passage_overlap", Literal::Number(value)) => overlap = count(*value)?,
            (name, _) if NAMES.contains(&name) => {
                let kind = match name {
                    "analyzer" | "fields" | "description" => "a text in single quotes",
                    _ => "a number",
                };
                return Err(wrong(format!("'{name}' is {kind}")));
            }
            (name, _) => {
                let message = format!("unknown option '{name}' of CREATE CORPUS");
                let diagnostic = Diagnostic::new("unknown-option", message).at(option.name.span);
                let help = match did_you_mean(name, NAMES) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("options: {}", NAMES.join(", ")),
                };
                return Err(mistake(diagnostic.help(help), text));
            }
        }
    }
    draft.passages =
        passages(words, overlap).map_err(|why| SessionError::mistake("bad-option", why))?;
    Ok(draft)
}

/// Returns how documents are cut: into passages of `words` words, if that is given.
///
/// # Errors
/// What is wrong with the numbers.
pub fn passages(words: Option<usize>, overlap: usize) -> Result<Option<Chunking>, String> {
    match words {
        Some(words) => Chunking::new(words, overlap).map(Some).map_err(|e| e.to_string()),
        None if overlap > 0 => Err("an overlap needs the words of a passage".to_owned()),
        None => Ok(None),
    }
}

/// Makes a corpus of the rows of a query.
fn from_rows(
    session: &Session,
    scope: &Scope<'_>,
    draft: CorpusDraft,
    query: &QueryStatement,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let prepared = session.prepare(scope, query)?;
    let schema = prepared.schema();
    const COLUMNS: [&str; 4] = ["id", "title", "text", "metadata"];
    let unknown = schema.fields().iter().find(|f| !COLUMNS.contains(&f.name().as_str()));
    if schema.index_of("text").is_err() || unknown.is_some() {
        let found: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let message =
            format!("a corpus is made of id, title, text, metadata; found {}", found.join(", "));
        let diagnostic = Diagnostic::new("corpus-columns", message)
            .at(query.selection)
            .help("|> SELECT output AS text; without an id, documents are called by their content");
        return Err(mistake(diagnostic, scope.text));
    }
    let made_from = vec![scope.text[query.selection.start..query.selection.end].to_owned()];
    let corpus = session.database().begin_corpus(&CorpusDraft { made_from, ..draft })?;
    let mut notes = Vec::new();
    let mut told = |message: &str| notes.push(message.to_owned());
    let report = CorpusReport::default();
    let mut filling = Filling { session, corpus: &corpus, told: &mut told, strict: false, report };
    let mut failed = None;
    let mut row = 0;
    let ran = session.engine().run(&prepared, session.cancel(), &mut |batch| {
        let shown = prepared.shown(batch)?;
        let added = documents(&shown, &mut row).and_then(|documents| filling.add(documents));
        Ok(match added {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })
    });
    let report = filling.report;
    let ran = match failed {
        Some(error) => Err(error),
        None => ran.map(drop).map_err(|error| worded(error, scope.text)),
    };
    if let Err(error) = ran {
        // What a statement began and could not end is not gone on with.
        session.database().drop_corpus(&corpus.name)?;
        return Err(error);
    }
    for note in &notes {
        sink.note(note);
    }
    let corpus = session.seal(&corpus.name)?;
    Ok(Outcome::CorpusSealed { corpus: Box::new(corpus), report })
}

/// Returns the documents of rows, each with the number of its row. Rows without a text are none.
fn documents(rows: &RecordBatch, row: &mut u64) -> Result<Vec<(Document, String)>, SessionError> {
    let text = |name: &str| {
        let column = rows.column_by_name(name).map(|column| cast(column, &DataType::Utf8));
        column.transpose().map_err(|error| SessionError::Environment(error.to_string()))
    };
    let columns = [text("id")?, text("title")?, text("text")?, text("metadata")?];
    let value = |column: usize, at: usize| {
        let texts = columns[column].as_ref().filter(|texts| texts.is_valid(at))?;
        Some(texts.as_string::<i32>().value(at).to_owned()).filter(|text| !text.is_empty())
    };
    let mut documents = Vec::with_capacity(rows.num_rows());
    for at in 0..rows.num_rows() {
        *row += 1;
        let (title, metadata) = (value(1, at), value(3, at));
        let Some(text) = value(2, at) else { continue };
        let id = value(0, at).unwrap_or_else(|| derived_id(title.as_deref(), &text));
        documents.push((Document { id, title, text, metadata }, format!("row {row}")));
    }
    Ok(documents)
}

/// `DIFF CORPUS first second`: documents that one has and the other has not, or has otherwise.
fn diff(
    session: &Session,
    first: &CorpusRecord,
    second: &CorpusRecord,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let setting = |corpus: &CorpusRecord| {
        (corpus.analyzer.clone(), corpus.k1, corpus.b, corpus.fields.clone())
    };
    let mut rows = Vec::new();
    if setting(first) != setting(second) {
        rows.push(["".to_owned(), "settings differ: see SHOW CORPUS of both".to_owned()]);
    }
    session.progress().begin("comparing documents", first.documents);
    let store = session.database().store();
    // The ids and hashes of the first are held while the second is read: some 100 bytes each.
    let mut hashes: BTreeMap<String, [u8; 32]> = BTreeMap::new();
    session.database().each_document(first, &mut session.watch(), |id, document| {
        hashes.insert(id.to_owned(), document.hash(id));
        Ok(())
    })?;
    store.scan_documents(&second.name, |id, document| {
        match hashes.remove(id) {
            None => rows.push([id.to_owned(), "added".to_owned()]),
            Some(hash) if hash != document.hash(id) => {
                rows.push([id.to_owned(), "changed".to_owned()]);
            }
            Some(_) => {}
        }
        Ok(!session.cancel().is_cancelled())
    })?;
    session.go_on()?;
    rows.extend(hashes.into_keys().map(|id| [id, "removed".to_owned()]));
    rows.sort();
    list(sink, ["id", "difference"], rows)
}
