//! Topics: the questions of a retrieval experiment.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::super::error::Fault;
use super::super::scan;
use super::columns::not_empty;
use super::error::TrecError;
use super::lines::each_line;

/// A question, with what its authors say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its identifier, as the file has it. Judgements may name topics otherwise: those of Cranfield
    /// by `position`, since the identifiers there have gaps.
    pub id: String,
    /// Its place in the file, counted from 1.
    pub position: usize,
    /// The question: white space is one blank, none at its ends.
    pub query: String,
    /// A sentence or two that describe what is looked for.
    pub description: Option<String>,
    /// What makes a document relevant.
    pub narrative: Option<String>,
    /// The line it begins on, counted from 1.
    pub line: u64,
}

const EXPECTED: &str = "'id<TAB>query', JSON lines with _id and text, TREC's <top>, <DOC> with \
                        <DOCNO>, or SMART's .I and .W";

/// The most text of one topic, in bytes.
const TOPIC_BYTES_MAX: usize = 4 << 20;

/// How the topics of a file are written.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Tabs,
    Json,
    /// Between two tags.
    Tagged,
    Smart,
}

/// Reads topics, in the order of the file.
///
/// # Errors
/// The file cannot be read, is empty or begins with none of the known shapes; a topic without
/// identifier or text; two topics with one identifier.
pub fn read_topics(path: &Path) -> Result<Vec<Topic>, TrecError> {
    let mut reading = Reading::default();
    each_line(path, &mut |text, line| reading.line(text, line))?;
    let line = reading.block.as_ref().map_or(0, |block| block.line);
    reading.end().map_err(|fault| TrecError::line(path, line, fault))?;
    not_empty(path, reading.topics.is_empty(), EXPECTED)?;
    Ok(reading.topics)
}

#[derive(Default)]
struct Reading {
    shape: Option<Shape>,
    /// The topic at hand, where one takes several lines.
    block: Option<Block>,
    topics: Vec<Topic>,
    /// The line of each identifier.
    lines: HashMap<String, u64>,
}

/// The text of one topic.
struct Block {
    text: String,
    line: u64,
}

/// The fields of a topic, as they were found.
#[derive(Default)]
struct Found {
    id: Option<String>,
    query: Option<String>,
    description: Option<String>,
    narrative: Option<String>,
}

impl Reading {
    fn line(&mut self, text: &str, line: u64) -> Result<(), Fault> {
        let shape = match self.shape {
            Some(shape) => shape,
            None => *self.shape.insert(recognise(text)?),
        };
        match shape {
            Shape::Tabs if self.topics.is_empty() && is_header(text) => Ok(()),
            Shape::Tabs => self.add(tabs(text)?, line),
            Shape::Json => self.add(json(text)?, line),
            Shape::Smart => {
                if let Some(id) = text.strip_prefix(".I") {
                    self.end()?;
                    self.block = Some(Block { text: id.trim().to_owned(), line });
                    return Ok(());
                }
                self.append(text)
            }
            Shape::Tagged => self.tagged(text, line),
        }
    }

    /// Takes a line of a file whose topics stand between two tags.
    fn tagged(&mut self, text: &str, line: u64) -> Result<(), Fault> {
        let opens = tags(text).find(|tag| tag.opens_topic());
        match (&self.block, opens) {
            (Some(block), Some(tag)) => Err(Fault::of(
                format!("<{}>", tag.name),
                format!("found another topic within the one of line {}: it has no end", block.line),
            )),
            (None, Some(_)) => {
                self.block = Some(Block { text: String::new(), line });
                self.append(text)
            }
            (Some(_), None) => self.append(text),
            // What stands around topics, such as <xml> or <topics>.
            (None, None) => Ok(()),
        }?;
        let closes = |tag: Tag| tag.closes_topic();
        if self.block.is_some() && tags(text).any(closes) { self.end() } else { Ok(()) }
    }

    fn append(&mut self, text: &str) -> Result<(), Fault> {
        let Some(block) = &mut self.block else {
            return Err(Fault::whole(format!("found text before the first topic; {EXPECTED}")));
        };
        if block.text.len() + text.len() > TOPIC_BYTES_MAX {
            return Err(Fault::whole(format!(
                "the topic of line {} is longer than {TOPIC_BYTES_MAX} bytes; is its end missing?",
                block.line
            )));
        }
        block.text.push('\n');
        block.text.push_str(text);
        Ok(())
    }

    /// Makes a topic of the block at hand, if there is one.
    fn end(&mut self) -> Result<(), Fault> {
        let Some(block) = self.block.take() else { return Ok(()) };
        let found = match self.shape {
            Some(Shape::Smart) => smart(&block.text),
            _ => fields(&block.text)?,
        };
        self.add(found, block.line)
    }

    fn add(&mut self, found: Found, line: u64) -> Result<(), Fault> {
        let id = found.id.filter(|id| !id.is_empty()).ok_or_else(|| {
            Fault::of("id", format!("the topic that begins on line {line} has no identifier"))
        })?;
        let query = found.query.map(|query| one_line(&query)).filter(|query| !query.is_empty());
        let query = query.ok_or_else(|| {
            Fault::of("query", format!("topic '{id}', which begins on line {line}, has no text"))
        })?;
        if let Some(first) = self.lines.insert(id.clone(), line) {
            let message = format!("found '{id}' again, which is the topic of line {first}");
            return Err(Fault::of("id", message));
        }
        let text =
            |text: Option<String>| text.map(|text| one_line(&text)).filter(|text| !text.is_empty());
        let (description, narrative) = (text(found.description), text(found.narrative));
        let position = self.topics.len() + 1;
        self.topics.push(Topic { id, position, query, description, narrative, line });
        Ok(())
    }
}

/// Returns the shape of a file that begins with this line.
fn recognise(text: &str) -> Result<Shape, Fault> {
    let begins = text.trim_start();
    match begins.as_bytes() {
        [b'{', ..] => Ok(Shape::Json),
        [b'.', b'I', rest @ ..] if rest.first().is_none_or(u8::is_ascii_whitespace) => {
            Ok(Shape::Smart)
        }
        [b'<', ..] if !text.contains('\t') => Ok(Shape::Tagged),
        _ if text.contains('\t') => Ok(Shape::Tabs),
        _ => {
            let found = scan::excerpt(text.as_bytes());
            Err(Fault::whole(format!("found {found}; expected {EXPECTED}")))
        }
    }
}

/// Whether the first line of a table names its columns.
fn is_header(text: &str) -> bool {
    let Some((id, query)) = text.split_once('\t') else { return false };
    let is_one_of = |name: &str, names: &[&str]| names.contains(&name.trim());
    is_one_of(id, &["id", "_id", "qid", "query_id", "query-id", "topic"])
        && is_one_of(query, &["query", "text", "title", "question"])
}

fn tabs(text: &str) -> Result<Found, Fault> {
    let columns: Vec<&str> = text.split('\t').take(3).collect();
    let [id, query] = columns[..] else {
        let message = match columns.len() {
            1 => "found no tab; expected 'id<TAB>query'",
            _ => "found more than one tab; expected 'id<TAB>query'",
        };
        return Err(Fault::whole(message));
    };
    let id = Some(id.trim().to_owned());
    Ok(Found { id, query: Some(query.to_owned()), ..Found::default() })
}

fn json(text: &str) -> Result<Found, Fault> {
    let object: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| super::super::json::fault(&error, text, ""))?;
    let field = |names: &[&str]| {
        let named = names.iter().find_map(|name| Some((*name, object.get(*name)?)));
        match named {
            None | Some((_, Value::Null)) => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text.clone())),
            Some((_, Value::Number(number))) => Ok(Some(number.to_string())),
            Some((name, other)) => Err(Fault::of(name, format!("found {other}; expected text"))),
        }
    };
    Ok(Found {
        id: field(&["_id", "id", "qid", "query_id", "query-id"])?.map(|id| id.trim().to_owned()),
        query: field(&["text", "query", "title", "question"])?,
        description: field(&["description", "desc"])?,
        narrative: field(&["narrative", "narr"])?,
    })
}

/// Reads SMART's fields behind `.I`: the first line is the identifier.
fn smart(text: &str) -> Found {
    let (id, rest) = text.split_once('\n').unwrap_or((text, ""));
    let mut query = String::new();
    let mut in_query = false;
    for line in rest.lines() {
        match line.as_bytes() {
            [b'.', b'A'..=b'Z'] => in_query = line == ".W",
            _ if in_query => query.extend([line, "\n"]),
            _ => {}
        }
    }
    Found { id: Some(id.to_owned()), query: Some(query), ..Found::default() }
}

/// A tag in a text.
#[derive(Clone, Copy)]
struct Tag<'a> {
    name: &'a str,
    /// What stands behind the name.
    rest: &'a str,
    closes: bool,
    start: usize,
    end: usize,
}

impl Tag<'_> {
    fn is(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.name.eq_ignore_ascii_case(name))
    }

    fn is_topic(&self) -> bool {
        self.is(&["top", "topic", "doc"])
    }

    fn opens_topic(&self) -> bool {
        self.is_topic() && !self.closes
    }

    fn closes_topic(&self) -> bool {
        self.is_topic() && self.closes
    }
}

/// Returns the tags of a text: `<`, perhaps `/`, letters, perhaps attributes, `>`.
fn tags(text: &str) -> impl Iterator<Item = Tag<'_>> {
    let opening = memchr::memchr_iter(b'<', text.as_bytes());
    opening.filter_map(move |start| {
        let inner = text.get(start + 1..)?;
        let inner = inner.get(..inner.find(['<', '>'])?)?;
        let end = start + 1 + inner.len();
        if text.as_bytes().get(end) != Some(&b'>') {
            return None;
        }
        let closes = inner.starts_with('/');
        let inner = inner.strip_prefix('/').unwrap_or(inner);
        let (name, rest) = match inner.find(|c: char| !c.is_ascii_alphabetic()) {
            Some(at) => inner.split_at(at),
            None => (inner, ""),
        };
        let is_tag = !name.is_empty() && (rest.is_empty() || rest.starts_with([' ', '\t', '\n']));
        is_tag.then_some(Tag { name, rest, closes, start, end: end + 1 })
    })
}

/// Reads the fields of a topic between tags. A field ends with the next tag.
fn fields(text: &str) -> Result<Found, Fault> {
    let mut found = Found::default();
    let all: Vec<Tag> = tags(text).collect();
    if !all.iter().any(Tag::closes_topic) {
        return Err(Fault::whole("found the end of the file within this topic; is it cut off?"));
    }
    for (at, tag) in all.iter().enumerate() {
        let end = all.get(at + 1).map_or(text.len(), |next| next.start);
        let content = text.get(tag.end..end).unwrap_or_default();
        let target = match () {
            () if tag.opens_topic() => {
                found.id = found.id.or_else(|| attribute(tag.rest, "number"));
                continue;
            }
            () if tag.is(&["docno"]) && tag.closes => (&mut found.query, ""),
            () if tag.closes => continue,
            () if tag.is(&["num", "docno"]) => (&mut found.id, "Number:"),
            () if tag.is(&["title", "query"]) => (&mut found.query, "Topic:"),
            () if tag.is(&["desc", "description", "question"]) => {
                (&mut found.description, "Description:")
            }
            () if tag.is(&["narr", "narrative"]) => (&mut found.narrative, "Narrative:"),
            () => continue,
        };
        let (field, label) = target;
        let content = content.trim();
        let unlabelled = content
            .get(..label.len())
            .filter(|start| start.eq_ignore_ascii_case(label))
            .and_then(|_| content.get(label.len()..));
        let content = unlabelled.unwrap_or(content).trim();
        if field.is_none() && !content.is_empty() {
            *field = Some(content.to_owned());
        }
    }
    Ok(found)
}

/// Returns the value of an attribute, `name="value"`.
fn attribute(attributes: &str, name: &str) -> Option<String> {
    let rest = attributes.split_once(name)?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, _) = rest.get(1..)?.split_once(quote)?;
    Some(value.trim().to_owned())
}

/// Returns a text with one blank for white space, and none at its ends.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
