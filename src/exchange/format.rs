//! The formats, and how a file's own is recognised.

use super::{r1searcher, scan, tagged, verifiers};

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Chat JSONL: `messages` of OpenAI, TRL and Hugging Face; see [`super`].
    Chat,
    /// AgentProcessBench: chat JSONL with step labels, and judges' label files.
    AgentProcess,
    /// tau-bench results: `task_id`, `trial`, `reward`, `info`, `traj`.
    TauBench,
    /// R1-Searcher, Search-R1: `question`, `answer` and a transcript in one tagged text.
    R1Searcher,
    /// verifiers results: `prompt`, `completion`, `reward` and the rubric's numbers.
    Verifiers,
    /// A table of steps: a row a step, with `trajectory_id`; see [`super`].
    Steps,
    /// The project's own JSONL, lossless.
    Swirl,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 7] = [
        Format::Chat,
        Format::AgentProcess,
        Format::TauBench,
        Format::R1Searcher,
        Format::Verifiers,
        Format::Steps,
        Format::Swirl,
    ];

    /// Returns the word used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Chat => "chat",
            Format::AgentProcess => "agentprocess",
            Format::TauBench => "taubench",
            Format::R1Searcher => "r1searcher",
            Format::Verifiers => "verifiers",
            Format::Steps => "steps",
            Format::Swirl => "swirl",
        }
    }

    /// Returns the format that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.as_str() == word)
    }

    /// Returns the words of all formats.
    pub fn names() -> Vec<&'static str> {
        Format::ALL.iter().map(|format| format.as_str()).collect()
    }
}

/// How the records of a file are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One a line.
    Lines,
    /// The elements of one JSON array.
    Array,
    /// The elements of the first array within one JSON object.
    Within,
}

/// Magic numbers of files that are no text, with what they are.
const BINARY: [(&[u8], &str); 6] = [
    (b"PK\x03\x04", "a ZIP archive (an inspect .eval file is one)"),
    (b"PAR1", "a Parquet file within a compressed one"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (b"\xfd7zXZ", "an xz file"),
    (b"BZh", "a bzip2 file"),
];

/// What gives the formats away, for messages.
const EXPECTED: &str = "expected chat (messages, or prompt and completion), agentprocess \
                        (step_labels too), taubench (task_id and traj), r1searcher (question and \
                        a tagged text), verifiers (prompt, completion, reward and example_id), \
                        steps (a row a step: trajectory_id, step and action or tool) or swirl";

/// Returns the format and framing of a file that begins with `head`.
///
/// # Errors
/// A sentence that says what was found, where no format or more than one fits.
pub(super) fn recognise(head: &[u8], told: Option<Format>) -> Result<(Format, Framing), String> {
    if let Some((_, name)) = BINARY.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(format!("found {name}, which is not read; {EXPECTED}"));
    }
    let mut first_found: Option<String> = None;
    let mut several: Option<String> = None;
    let mut first = true;
    for line in scan::lines_from(head) {
        if first && scan::is_spread(line) {
            return Err(format!(
                "found one JSON object over several lines, with the fields {}; expected one \
                 record a line or a list of records",
                crate::diag::list_some(scan::top_keys(line).iter().map(String::as_str))
            ));
        }
        let framing = if first { framing_of(line) } else { Framing::Lines };
        first = false;
        if let Some(format) = told {
            return Ok((format, framing));
        }
        let text = if framing == Framing::Array { scan::after_bracket(line) } else { line };
        // Of a list, everything that was read; elements may be spread over lines.
        let end = memchr::memchr(b'\n', text).filter(|_| framing == Framing::Lines);
        match classify(text, &text[..end.unwrap_or(text.len())]) {
            Class::One(format) => return Ok((format, framing)),
            Class::Several(found) => several = several.or(Some(found)),
            Class::None(found) => first_found = first_found.or(Some(found)),
        }
        if framing == Framing::Array {
            break;
        }
    }
    let found = several.or(first_found).unwrap_or_else(|| "found no record".to_owned());
    Err(format!("{found}; {EXPECTED}"))
}

/// Returns how the records of a file are told apart that begins with `text`, which starts at its
/// first character that is no white space. A list of messages is a record, other lists hold them.
fn framing_of(text: &[u8]) -> Framing {
    if text.first() != Some(&b'[') {
        return Framing::Lines;
    }
    let inner = scan::after_bracket(text);
    match inner.first() {
        Some(b'{') if is_message(&scan::top_keys(inner)) => Framing::Lines,
        _ => Framing::Array,
    }
}

/// Whether an object with these fields is a message.
fn is_message(keys: &[String]) -> bool {
    keys.iter().any(|key| key == "role") && !keys.iter().any(|key| key == "messages")
}

/// Which formats the record fits that a text begins with.
enum Class {
    One(Format),
    Several(String),
    None(String),
}

/// Returns what the record is that `text` begins with; `record` is the part of the text in which
/// its tags would be.
fn classify(text: &[u8], record: &[u8]) -> Class {
    let inner = scan::after_bracket(text);
    match (text.first(), inner.first()) {
        (Some(b'['), Some(b'{')) if is_message(&scan::top_keys(inner)) => {
            return Class::One(Format::Chat);
        }
        (Some(b'['), _) => return Class::None("found a list".to_owned()),
        (Some(b'{'), _) => {}
        _ => return Class::None(format!("found {}", scan::excerpt(text))),
    }
    let keys = scan::top_keys(text);
    let has = |name: &str| keys.iter().any(|key| key == name);
    if has("swirl") {
        return Class::One(Format::Swirl);
    }
    let labels = has("step_labels") || has("final_label");
    let completed = has("prompt") && has("completion");
    let chat = has("messages") || completed;
    // What this program writes as chat may carry the fields of results, and has `question_id`.
    let gives_away = verifiers::GIVEAWAYS.into_iter().any(has) && !has("question_id");
    let results = completed && has("reward") && gives_away && !has("messages") && !labels;
    let tau = has("traj") && has("task_id");
    // A transcript may stand beside messages, which may hold such tags themselves.
    let may_be_tagged = has("gen_text_store") || !chat && !tau;
    let tagged = may_be_tagged && is_tagged(has, record);
    let chat_by = if has("messages") { "messages" } else { "prompt" };
    let several = |one: &str, other: &str, formats: &str| {
        Class::Several(format!(
            "found records with both {one} and {other}, which could be {formats}"
        ))
    };
    match (chat, tau, tagged) {
        (true, true, _) => several(chat_by, "traj", "chat or taubench"),
        (true, _, true) => several(chat_by, "gen_text_store", "chat or r1searcher"),
        (_, true, true) => several("traj", "gen_text_store", "taubench or r1searcher"),
        (_, true, _) => Class::One(Format::TauBench),
        (_, _, true) => Class::One(Format::R1Searcher),
        (true, ..) if results => Class::One(Format::Verifiers),
        (true, ..) if labels || has("query_index") => Class::One(Format::AgentProcess),
        (true, ..) => Class::One(Format::Chat),
        _ if labels && has("record_id") => Class::One(Format::AgentProcess),
        _ if has("trajectory_id") && has("step") && (has("action") || has("tool")) => {
            Class::One(Format::Steps)
        }
        _ if keys.is_empty() => {
            Class::None("found an object without fields on its first line".to_owned())
        }
        _ => Class::None(format!(
            "found records with the fields {}",
            crate::diag::list_some(keys.iter().map(String::as_str))
        )),
    }
}

/// Whether a record has a tagged transcript, or only says how one ended. Files of questions have
/// the field for it too, empty.
fn is_tagged(has: impl Fn(&str) -> bool, record: &[u8]) -> bool {
    let is_named = r1searcher::TRANSCRIPT.into_iter().any(&has);
    has("question") && (has(r1searcher::STOP) || is_named && tagged::has_tag(record))
}
