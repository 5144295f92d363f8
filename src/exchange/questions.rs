//! The questions of evaluations, as their authors release them.
//!
//! | set | what gives a record away | gold | hops |
//! |---|---|---|---|
//! | HotpotQA | `supporting_facts` | `answer` | titles of the facts |
//! | 2WikiMultihopQA | `evidences` too | `answer`, `answer_aliases` | `evidences` |
//! | MuSiQue | `paragraphs`, `question_decomposition` | as before | the decomposition's |
//! | BeerQA | `src` and `answers` | `answers` | paragraphs of `context` |
//! | GSM8K | `####` in `answer` | what stands behind it | |
//! | Bamboogle, others | `question` and an answer | `answer`, `gold`, .. | `hops` |
//!
//! The kind is the record's `type`, BeerQA's `src`, and `arithmetic` for GSM8K.
//!
//! A file is JSON lines, one array, an object whose `data` is one (BeerQA), the rows of a Parquet
//! file, or comma-separated values with a first line that names `Question` and `Answer`
//! (Bamboogle). It is recognised from its content, and so is each record.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::blocks::{BLOCK_BYTES, Blocks, Content, too_long};
use super::error::{BadRecord, ExchangeError, Fault, Place};
use super::fields::{Fields, wrong};
use super::format::Framing;
use super::input::Input;
use super::lines::not_utf8;
use super::scan;

/// The longest record that is read, in bytes; the longest file of comma-separated values too.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// Names of answers in files of no release known here.
const ANSWERS: [&str; 6] =
    ["answers", "answer", "gold", "golden_answers", "ground_truth", "Answer"];

/// A question of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Its identifier; where the file has none, 16 digits of BLAKE3 over its text.
    pub id: String,
    /// Its text.
    pub question: String,
    /// The answers accepted as right, aliases behind the answer; never empty.
    pub gold: Vec<String>,
    /// The searches it takes, where the file tells.
    pub hops: Option<u32>,
    /// What kind it is, in the file's own word.
    pub kind: Option<String>,
    /// The titles of the documents that carry the answer, none twice.
    pub supporting_titles: Vec<String>,
    /// The part of its set, where the record tells.
    pub split: Option<String>,
}

/// Reads the questions of one file, in its order, plain or compressed with gzip or zstd; ends after
/// the first error of the file. About 4 MiB of its text are held.
pub struct Questions {
    source: Source,
    waiting: VecDeque<Result<(Place, Question), BadRecord>>,
}

enum Source {
    Blocks(Box<Blocks>),
    Ended,
}

impl Questions {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened, is damaged before its first text, or begins with nothing that is read.
    pub fn open(path: &Path) -> Result<Questions, ExchangeError> {
        let mut input = Input::open(path)?;
        let mut head = Vec::new();
        let ended = match input.fill(&mut head, BLOCK_BYTES) {
            Err(error) if head.is_empty() => return Err(error),
            ended => ended,
        };
        let text = scan::trim_start(&head);
        if matches!(ended, Ok(true)) && text.trim_ascii_end().is_empty() {
            let found = "the file holds no text";
            return Err(ExchangeError::Empty { path: path.to_owned(), found });
        }
        let framing = match text.first() {
            Some(b'[') => Framing::Array,
            Some(b'{') if wraps(text) => Framing::Within,
            Some(b'{') => Framing::Lines,
            _ => {
                let (is_last, mut head) = (ended?, head);
                if !is_last && !input.fill(&mut head, RECORD_BYTES_MAX)? {
                    return Err(unrecognised(path, &head));
                }
                let waiting = comma_separated(path, &head)?;
                return Ok(Questions { source: Source::Ended, waiting });
            }
        };
        let blocks = Blocks::new(input, (head, ended), framing, RECORD_BYTES_MAX);
        Ok(Questions { source: Source::Blocks(Box::new(blocks)), waiting: VecDeque::new() })
    }
}

impl Iterator for Questions {
    type Item = Result<Result<(Place, Question), BadRecord>, ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() {
            let Source::Blocks(blocks) = &mut self.source else { return None };
            match blocks.next_block() {
                Ok(Some(block)) => queue(block.cut.content(), &mut self.waiting),
                Ok(None) => self.source = Source::Ended,
                Err(error) => {
                    self.source = Source::Ended;
                    return Some(Err(error));
                }
            }
        }
        self.waiting.pop_front().map(Ok)
    }
}

/// Whether a text begins with an object whose first list is its `data`.
fn wraps(text: &[u8]) -> bool {
    let Some(list) = memchr::memchr(b'[', text) else { return false };
    let before = text[..list].trim_ascii_end();
    let name = before.strip_suffix(b":").unwrap_or_default().trim_ascii_end();
    name.ends_with(b"\"data\"")
}

fn unrecognised(path: &Path, head: &[u8]) -> ExchangeError {
    let excerpt = scan::excerpt(scan::trim_start(head));
    let found = format!(
        "found {excerpt}; expected questions as JSON lines, a list, an object with data, or \
         comma-separated values with Question and Answer in the first line"
    );
    ExchangeError::UnrecognisedQuestions { path: PathBuf::from(path), found }
}

type Waiting = VecDeque<Result<(Place, Question), BadRecord>>;

fn queue(content: Content, waiting: &mut Waiting) {
    let mut add = |bytes: &[u8], place: Place| {
        let bytes = scan::trim_start(bytes).trim_ascii_end();
        if bytes.is_empty() {
            return;
        }
        let text = match std::str::from_utf8(bytes) {
            _ if bytes.len() > RECORD_BYTES_MAX => Err(too_long(RECORD_BYTES_MAX)),
            Ok(text) => Ok(text),
            Err(error) => Err(not_utf8(bytes, error)),
        };
        let read = text.and_then(question).map(|question| (place, question));
        waiting.push_back(read.map_err(|fault| fault.at(place)));
    };
    match content {
        Content::Lines { bytes, first, place } => {
            for (line, number) in bytes.split(|byte| *byte == b'\n').zip(first..) {
                add(line, place(number));
            }
        }
        Content::Entries { bytes, spans, first } => {
            for (span, index) in spans.into_iter().zip(first..) {
                add(&bytes[span], Place::Entry(index));
            }
        }
        Content::Bad(bad) => waiting.push_back(Err(bad)),
    }
}

/// Reads comma-separated values.
fn comma_separated(path: &Path, bytes: &[u8]) -> Result<Waiting, ExchangeError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(scan::trim_start(bytes));
    let headers = reader.headers().map_err(|_| unrecognised(path, bytes))?;
    let column = |name: &str| headers.iter().position(|h| h.trim().eq_ignore_ascii_case(name));
    let (Some(question), Some(answer)) = (column("question"), column("answer")) else {
        return Err(unrecognised(path, bytes));
    };
    let mut waiting = Waiting::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                let fault = Fault::whole(format!("cannot be read: {error}"));
                waiting.push_back(Err(fault.at(Place::Line(line))));
                continue;
            }
        };
        let place = Place::Line(record.position().map_or(0, csv::Position::line));
        let field = |at: usize, name: &str| match record.get(at).map(str::trim) {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(Fault::of(name, "missing; expected a text").at(place)),
        };
        let read = field(question, "Question").and_then(|question| {
            let gold = vec![field(answer, "Answer")?];
            let id = derived(&question);
            Ok((place, Question { id, question, gold, ..Question::default() }))
        });
        waiting.push_back(read);
    }
    Ok(waiting)
}

/// Returns the question that a record is.
fn question(text: &str) -> Result<Question, Fault> {
    let mut fields = Fields::parse(text)?;
    let read = match () {
        () if fields.has("evidences") => two_wiki(&mut fields)?,
        () if fields.has("supporting_facts") => hotpotqa(&mut fields)?,
        () if fields.has("paragraphs") || fields.has("question_decomposition") => {
            musique(&mut fields)?
        }
        () if fields.has("src") && fields.has("answers") => beerqa(&mut fields)?,
        () => other(&mut fields)?,
    };
    let id = fields.identifier(&["_id", "id", "qid", "idx"])?;
    let question = fields.text_if(&["question", "Question"]).filter(|text| !text.trim().is_empty());
    let question =
        question.ok_or_else(|| Fault::of("question", "found no text; expected the question"))?;
    let split = fields.text_if(&["split"]);
    let id = id.unwrap_or_else(|| derived(&question));
    Ok(Question { id, question, split, ..read })
}

fn derived(question: &str) -> String {
    blake3::hash(question.as_bytes()).to_hex()[..16].to_owned()
}

/// Takes the answers under the first of these names.
fn answers(fields: &mut Fields<'_>, names: &[&'static str]) -> Result<Vec<String>, Fault> {
    let mut gold = fields.answers_if(names);
    gold.retain(|answer| !answer.trim().is_empty());
    if gold.is_empty() {
        let name = names[0];
        return Err(Fault::of(name, "found no answer; expected a text or a list of texts"));
    }
    Ok(gold)
}

/// Takes the answer, and aliases behind it.
fn with_aliases(fields: &mut Fields<'_>) -> Result<Vec<String>, Fault> {
    let mut gold = answers(fields, &["answer"])?;
    for alias in fields.answers_if(&["answer_aliases"]) {
        if !alias.trim().is_empty() && !gold.contains(&alias) {
            gold.push(alias);
        }
    }
    Ok(gold)
}

fn hotpotqa(fields: &mut Fields<'_>) -> Result<Question, Fault> {
    let supporting_titles = supporting_facts(fields)?;
    let hops = count(supporting_titles.len());
    let kind = fields.text_if(&["type"]);
    let gold = with_aliases(fields)?;
    Ok(Question { gold, hops, kind, supporting_titles, ..Question::default() })
}

fn two_wiki(fields: &mut Fields<'_>) -> Result<Question, Fault> {
    let hops = match fields.raw("evidences") {
        None => None,
        Some(raw) => count(list(raw, "evidences", "a list of [subject, relation, object]")?.len()),
    };
    let with_facts = fields.has("supporting_facts");
    let supporting_titles = if with_facts { supporting_facts(fields)? } else { Vec::new() };
    let kind = fields.text_if(&["type"]);
    let gold = with_aliases(fields)?;
    Ok(Question { gold, hops, kind, supporting_titles, ..Question::default() })
}

/// Takes the titles of `supporting_facts`: a list of a title and a number of a sentence, or an
/// object of the list `title`.
fn supporting_facts(fields: &mut Fields<'_>) -> Result<Vec<String>, Fault> {
    #[derive(Deserialize)]
    struct Columns {
        title: Vec<String>,
    }
    const NAME: &str = "supporting_facts";
    let Some(raw) = fields.raw(NAME) else { return Ok(Vec::new()) };
    if raw.get().starts_with('{') {
        let columns: Columns = serde_json::from_str(raw.get())
            .map_err(|_| wrong(NAME, raw, "an object with title[] and sent_id[]"))?;
        return Ok(unlike(columns.title));
    }
    let facts = list(raw, NAME, "a list of [title, sentence]")?;
    let mut titles = Vec::with_capacity(facts.len());
    for (index, fact) in facts.into_iter().enumerate() {
        let (title, _): (String, i64) = serde_json::from_str(fact.get())
            .map_err(|_| wrong(&format!("{NAME}[{index}]"), fact, "[title, sentence]"))?;
        titles.push(title);
    }
    Ok(unlike(titles))
}

fn musique(fields: &mut Fields<'_>) -> Result<Question, Fault> {
    #[derive(Deserialize)]
    struct Paragraph {
        title: String,
        #[serde(default)]
        is_supporting: bool,
    }
    if let Some(raw) = fields.raw("answerable").filter(|raw| raw.get() != "true") {
        return Err(wrong("answerable", raw, "true: questions without an answer are not read"));
    }
    let hops = match fields.raw("question_decomposition") {
        None => None,
        Some(raw) => count(list(raw, "question_decomposition", "a list of questions")?.len()),
    };
    let mut titles = Vec::new();
    if let Some(raw) = fields.raw("paragraphs") {
        let expected = "an object with the string title";
        for (index, one) in list(raw, "paragraphs", "a list of paragraphs")?.iter().enumerate() {
            let paragraph: Paragraph = serde_json::from_str(one.get())
                .map_err(|_| wrong(&format!("paragraphs[{index}]"), one, expected))?;
            titles.extend(Some(paragraph.title).filter(|_| paragraph.is_supporting));
        }
    }
    let gold = with_aliases(fields)?;
    Ok(Question { gold, hops, supporting_titles: unlike(titles), ..Question::default() })
}

fn beerqa(fields: &mut Fields<'_>) -> Result<Question, Fault> {
    let mut titles = Vec::new();
    if let Some(raw) = fields.raw("context") {
        for (index, one) in list(raw, "context", "a list of [title, text]")?.iter().enumerate() {
            let (title, _): (String, String) = serde_json::from_str(one.get())
                .map_err(|_| wrong(&format!("context[{index}]"), one, "[title, text]"))?;
            titles.push(title);
        }
    }
    let (hops, kind) = (count(titles.len()), fields.text_if(&["src"]));
    let gold = answers(fields, &["answers"])?;
    Ok(Question { gold, hops, kind, supporting_titles: unlike(titles), ..Question::default() })
}

/// Reads GSM8K, and what has a question and an answer.
fn other(fields: &mut Fields<'_>) -> Result<Question, Fault> {
    let mut gold = match ANSWERS.iter().find(|name| fields.has(name)) {
        Some(name) => answers(fields, &[*name])?,
        None => return Err(Fault::of("answer", "missing; expected the answer to the question")),
    };
    let mut kind = fields.text_if(&["type", "kind"]);
    if let [solution] = gold.as_slice()
        && let Some((_, result)) = solution.rsplit_once("####")
    {
        let result = result.trim().to_owned();
        if result.is_empty() {
            return Err(Fault::of("answer", "found nothing behind '####'; expected the result"));
        }
        gold = vec![result];
        kind = kind.or_else(|| Some("arithmetic".to_owned()));
    }
    let hops = match fields.raw("hops") {
        None => None,
        Some(raw) => {
            let hops = serde_json::from_str(raw.get());
            Some(hops.map_err(|_| wrong("hops", raw, "a whole number from 0 on"))?)
        }
    };
    let supporting_titles = unlike(fields.answers_if(&["supporting_titles"]));
    Ok(Question { gold, hops, kind, supporting_titles, ..Question::default() })
}

fn list<'a>(raw: &'a RawValue, name: &str, expected: &str) -> Result<Vec<&'a RawValue>, Fault> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(name, raw, expected))
}

/// Returns a number of searches, `None` where there is nothing to count.
fn count(length: usize) -> Option<u32> {
    u32::try_from(length).ok().filter(|length| *length > 0)
}

/// Returns titles without those that stood before.
fn unlike(titles: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(titles.len());
    for title in titles {
        if !out.contains(&title) {
            out.push(title);
        }
    }
    out
}
