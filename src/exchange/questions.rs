//! Questions with their gold answers, as sets for evaluation are published.
//!
//! One JSON object a line or the elements of one array, plain or compressed, or rows of Parquet:
//! HotpotQA, 2WikiMultihopQA, MuSiQue, Bamboogle, BeerQA, CofCA, StrategyQA, GSM8K, FlashRAG's sets
//! and this program's own. They differ in the names of their fields only, which are told apart one
//! by one, and in two rules: an answer of GSM8K stands behind `####`, and BeerQA's questions are a
//! list under `data`.

use std::collections::VecDeque;
use std::path::Path;

use serde_json::{Map, Value};

use super::blocks::{BLOCK_BYTES, Blocks, Content};
use super::error::{BadRecord, ExchangeError, Fault, Place};
use super::format::Framing;
use super::input::Input;
use super::scan;
use crate::model::Json;

/// The longest record that is read, in bytes: questions with all their paragraphs.
const RECORD_BYTES_MAX: usize = 64 << 20;

const IDS: [&str; 7] = ["id", "_id", "question_id", "qid", "idx", "task_id", "index"];
const TEXTS: [&str; 4] = ["question", "query", "problem", "Question"];
const ANSWERS: [&str; 7] =
    ["answer", "answers", "golden_answers", "gold", "ground_truth", "target", "Answer"];
const ALIASES: [&str; 2] = ["answer_aliases", "aliases"];
const HOPS: [&str; 4] = ["hops", "hop", "num_hops", "n_hops"];
const TYPES: [&str; 3] = ["type", "kind", "question_type"];

/// A question of a set for evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AskedQuestion {
    /// Its identifier; where the set has none, its place, such as `line-7`.
    pub id: String,
    /// Its text.
    pub question: String,
    /// The answers accepted as right, the set's own first.
    pub gold: Vec<String>,
    /// Its split.
    pub split: Option<String>,
    /// What else is known of it: `hops`, `type`, `titles` of supporting documents.
    pub meta: Option<Json>,
}

/// Reads the questions of a file in their order; ends after the first error.
pub struct AskedQuestions {
    blocks: Blocks,
    waiting: VecDeque<Result<AskedQuestion, BadRecord>>,
}

impl AskedQuestions {
    /// Opens a file of questions.
    ///
    /// # Errors
    /// It cannot be opened, holds nothing, or is damaged before its first text.
    pub fn open(path: &Path) -> Result<AskedQuestions, ExchangeError> {
        let mut input = Input::open(path)?;
        let mut head = Vec::new();
        let ended = match input.fill(&mut head, BLOCK_BYTES) {
            Err(error) if head.is_empty() => return Err(error),
            ended => ended,
        };
        let text = scan::trim_start(&head);
        if text.is_empty() {
            let found = "the file holds no text";
            return Err(ExchangeError::Empty { path: path.to_owned(), found });
        }
        let is_array = text.first() == Some(&b'[') && !input.is_parquet();
        let framing = if is_array { Framing::Array } else { Framing::Lines };
        let blocks = Blocks::new(input, (head, ended), framing, RECORD_BYTES_MAX);
        Ok(AskedQuestions { blocks, waiting: VecDeque::new() })
    }

    fn take(&mut self, bytes: &[u8], place: Place) {
        let text = scan::trim_start(bytes).trim_ascii_end();
        if text.is_empty() {
            return;
        }
        match parsed(text, place) {
            Ok(questions) => self.waiting.extend(questions.into_iter().map(Ok)),
            Err(fault) => self.waiting.push_back(Err(fault.at(place))),
        }
    }
}

impl Iterator for AskedQuestions {
    type Item = Result<Result<AskedQuestion, BadRecord>, ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() {
            let block = match self.blocks.next_block() {
                Ok(Some(block)) => block,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            match block.content {
                Content::Lines { bytes, first, place } => {
                    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(first..) {
                        self.take(line, place(number));
                    }
                }
                Content::Entries { bytes, spans, first } => {
                    for (span, index) in spans.into_iter().zip(first..) {
                        self.take(&bytes[span], Place::Entry(index));
                    }
                }
                Content::Bad(bad) => self.waiting.push_back(Err(bad)),
            }
        }
        self.waiting.pop_front().map(Ok)
    }
}

/// Returns the questions of a record: one, or those of its list `data`.
fn parsed(text: &[u8], place: Place) -> Result<Vec<AskedQuestion>, Fault> {
    let value: Value =
        serde_json::from_slice(text).map_err(|error| Fault::whole(error.to_string()))?;
    let Value::Object(fields) = value else {
        return Err(Fault::whole("expected an object with a question and its answer"));
    };
    if let Some(Value::Array(list)) =
        fields.get("data").filter(|_| !fields.contains_key("question"))
    {
        let each = list.iter().enumerate().map(|(at, value)| match value {
            Value::Object(fields) => {
                question(fields, &format!("{}-{at}", named(place))).map_err(|fault| Fault {
                    field: fault.field.map(|field| format!("data[{at}].{field}")),
                    ..fault
                })
            }
            _ => Err(Fault::of(format!("data[{at}]"), "expected an object")),
        });
        return each.collect();
    }
    Ok(vec![question(&fields, &named(place))?])
}

fn named(place: Place) -> String {
    place.to_string().replace(' ', "-")
}

fn question(fields: &Map<String, Value>, place: &str) -> Result<AskedQuestion, Fault> {
    let text = match found(fields, &TEXTS) {
        Some((_, Value::String(text))) if !text.trim().is_empty() => text.trim().to_owned(),
        Some((name, other)) => {
            return Err(Fault::of(name, format!("found {}; expected a text", kind(other))));
        }
        None => return Err(Fault::of("question", "missing; expected a text")),
    };
    let id = match found(fields, &IDS) {
        Some((_, Value::String(id))) if !id.is_empty() => id.clone(),
        Some((_, Value::Number(id))) => id.to_string(),
        _ => place.to_owned(),
    };
    let mut gold = Vec::new();
    for name in ANSWERS {
        if gold.is_empty()
            && let Some(value) = fields.get(name)
        {
            answers(name, value, &mut gold)?;
        }
    }
    if gold.is_empty() {
        return Err(Fault::of("answer", "missing; expected a text or a list of texts"));
    }
    for name in ALIASES {
        if let Some(value) = fields.get(name) {
            answers(name, value, &mut gold)?;
        }
    }
    let mut seen = std::collections::HashSet::new();
    gold.retain(|answer| seen.insert(answer.clone()));
    let split = fields.get("split").and_then(Value::as_str).map(str::to_owned);
    Ok(AskedQuestion { id, question: text, gold, split, meta: meta(fields) })
}

/// Returns the first of the fields that is there and not null.
fn found<'a>(
    fields: &'a Map<String, Value>,
    names: &[&'static str],
) -> Option<(&'static str, &'a Value)> {
    let of = |name: &&'static str| fields.get(*name).map(|value| (*name, value));
    names.iter().filter_map(of).find(|(_, value)| !value.is_null())
}

/// Adds the answers that a field holds.
fn answers(name: &str, value: &Value, gold: &mut Vec<String>) -> Result<(), Fault> {
    match value {
        Value::Null => {}
        Value::String(text) => gold.push(final_answer(text)),
        Value::Bool(is_true) => gold.push(if *is_true { "yes" } else { "no" }.to_owned()),
        Value::Number(number) => gold.push(number.to_string()),
        Value::Array(list) => {
            for (at, one) in list.iter().enumerate() {
                answers(&format!("{name}[{at}]"), one, gold)?;
            }
        }
        Value::Object(fields) => match found(fields, &["target", "value", "text"]) {
            Some((inner, value)) => answers(&format!("{name}.{inner}"), value, gold)?,
            None => {
                let message = "found an object; expected a text or a list of texts";
                return Err(Fault::of(name, message));
            }
        },
    }
    Ok(())
}

/// Returns the answer of a solution: what stands behind GSM8K's mark, without its commas, or all.
fn final_answer(text: &str) -> String {
    match text.rsplit_once("####") {
        Some((_, answer)) => answer.trim().replace(',', ""),
        None => text.trim().to_owned(),
    }
}

/// Returns what else is known of a question.
fn meta(fields: &Map<String, Value>) -> Option<Json> {
    let mut meta = Map::new();
    let steps = fields.get("question_decomposition").and_then(Value::as_array).map(Vec::len);
    let hops = found(fields, &HOPS).and_then(|(_, value)| value.as_u64());
    if let Some(hops) = hops.or(steps.map(|steps| steps as u64)) {
        meta.insert("hops".to_owned(), hops.into());
    }
    if let Some((_, Value::String(kind))) = found(fields, &TYPES) {
        meta.insert("type".to_owned(), kind.as_str().into());
    }
    let titles = titles(fields);
    if !titles.is_empty() {
        meta.insert("titles".to_owned(), titles.into());
    }
    (!meta.is_empty()).then(|| Json::of(&Value::Object(meta)))
}

/// Returns the titles of the documents that support the answer.
fn titles(fields: &Map<String, Value>) -> Vec<String> {
    let mut titles: Vec<String> = Vec::new();
    let mut add = |title: Option<&str>| {
        if let Some(title) = title
            && !titles.iter().any(|known| known == title)
        {
            titles.push(title.to_owned());
        }
    };
    match fields.get("supporting_facts") {
        Some(Value::Array(facts)) => facts.iter().for_each(|fact| add(fact[0].as_str())),
        Some(Value::Object(facts)) => {
            let list = facts.get("title").and_then(Value::as_array);
            list.into_iter().flatten().for_each(|title| add(title.as_str()));
        }
        _ => {}
    }
    let own = fields.get("titles").and_then(Value::as_array);
    own.into_iter().flatten().for_each(|title| add(title.as_str()));
    let paragraphs = fields.get("paragraphs").and_then(Value::as_array);
    for paragraph in paragraphs.into_iter().flatten() {
        if paragraph["is_supporting"].as_bool() == Some(true) {
            add(paragraph["title"].as_str());
        }
    }
    titles
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "an empty text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
