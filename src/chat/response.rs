//! What a chat server answers, put together from one object or from the pieces of a stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::{Message, ToolCall, role};

/// Reasons to end that mean that the server gave up.
const GIVEN_UP: [&str; 2] = ["abort", "error"];

/// How many characters are shown of what makes no sense.
const SHOWN_CHARACTERS: usize = 200;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatResponse {
    /// The model that the server says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What the server says of its own settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// The messages, as many as were asked for.
    pub choices: Vec<Choice>,
    /// How many tokens it took, where the server says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// One message that a server answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The message.
    pub message: Message,
    /// Why it ended (`stop`, `length`, `tool_calls`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Its tokens with their log-probabilities, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<ScoredToken>>,
    /// The numbers of its tokens, where the server gives them (vLLM's `return_token_ids`, or
    /// `return_tokens_as_token_ids` beside log-probabilities).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// A token of an answer with its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoredToken {
    /// Its text.
    pub text: String,
    /// The natural logarithm of its probability.
    pub log_prob: f64,
    /// The likeliest tokens of its place with theirs, the token itself perhaps among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<(String, f64)>,
}

/// How many tokens an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u64>,
}

/// Why an answer is none.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It makes no sense: what was found, what was expected.
    Wrong(String),
    /// It is not whole.
    Cut(String),
    /// The server says in it that something failed, perhaps with a status.
    Said(String, Option<u16>),
}

/// An answer as far as it has come.
#[derive(Default)]
pub(super) struct Draft {
    model: Option<String>,
    system_fingerprint: Option<String>,
    choices: BTreeMap<u64, ChoiceDraft>,
    usage: Option<Usage>,
}

#[derive(Default)]
struct ChoiceDraft {
    content: Option<String>,
    reasoning: String,
    /// The calls with the number that a stream gives them.
    calls: Vec<(Option<u64>, ToolCall)>,
    finish_reason: Option<String>,
    tokens: Option<Vec<ScoredToken>>,
    token_ids: Option<Vec<u32>>,
}

impl Draft {
    /// Adds an object: the whole answer (`part` is `message`) or a piece of a stream (`delta`).
    pub fn add(&mut self, object: &Value, part: &'static str) -> Result<(), Unfit> {
        if let Some(error) = object.get("error").filter(|error| !error.is_null()) {
            let status = error.get("code").or_else(|| error.get("status_code"));
            let status = status.and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
            return Err(Unfit::Said(words_of(error), status));
        }
        let place = |name: &str| format!("'{name}'");
        if let Some(model) = text(object, "model", &place)? {
            self.model = Some(model.to_owned());
        }
        if let Some(settings) = text(object, "system_fingerprint", &place)? {
            self.system_fingerprint = Some(settings.to_owned());
        }
        if let Some(usage) = object.get("usage").filter(|usage| usage.is_object()) {
            let count = |name: &str| usage.get(name).and_then(Value::as_u64);
            self.usage = Some(Usage {
                prompt_tokens: count("prompt_tokens"),
                completion_tokens: count("completion_tokens"),
            });
        }
        let choices = match object.get("choices") {
            Some(Value::Array(choices)) => choices,
            // The piece that holds the usage.
            None | Some(Value::Null) if part == "delta" && self.usage.is_some() => return Ok(()),
            found => return Err(wrong("'choices'", "a list", found)),
        };
        for (position, choice) in choices.iter().enumerate() {
            let index = match choice.get("index") {
                None | Some(Value::Null) => position as u64,
                Some(index) => index.as_u64().ok_or_else(|| {
                    wrong("the index of a choice", "a number from 0", Some(index))
                })?,
            };
            let is_again = part == "message" && self.choices.contains_key(&index);
            if is_again {
                return Err(Unfit::Wrong(format!("the choice {index} is there twice")));
            }
            self.choices.entry(index).or_default().add(choice, part, index)?;
        }
        Ok(())
    }

    /// Returns the answer; with `ended` every choice must have said why it ended.
    pub fn finish(self, n: u32, ended: bool) -> Result<ChatResponse, Unfit> {
        if ended {
            let open = self.choices.iter().find(|(_, choice)| choice.finish_reason.is_none());
            if let Some((index, choice)) = open {
                let length = choice.content.as_deref().unwrap_or("").chars().count();
                return Err(Unfit::Cut(format!(
                    "choice {index} has no finish_reason after {length} characters"
                )));
            }
            if (self.choices.len() as u64) < u64::from(n) {
                let found = self.choices.len();
                return Err(Unfit::Cut(format!("{found} of {n} choices have come")));
            }
        }
        let given_up = self.choices.iter().find_map(|(index, choice)| {
            let reason = choice.finish_reason.as_deref()?;
            GIVEN_UP.contains(&reason).then(|| format!("choice {index} ended with '{reason}'"))
        });
        given_up.map_or(Ok(()), |problem| Err(Unfit::Cut(problem)))?;
        let is_whole = self.choices.keys().copied().eq(0..u64::from(n));
        if !is_whole {
            let indices: Vec<String> = self.choices.keys().map(u64::to_string).collect();
            let found = self.choices.len();
            return Err(Unfit::Wrong(format!(
                "found {found} choices ({}), expected {n}, counted from 0",
                indices.join(", ")
            )));
        }
        Ok(ChatResponse {
            model: self.model,
            system_fingerprint: self.system_fingerprint,
            choices: self.choices.into_values().map(|choice| choice.finish(ended)).collect(),
            usage: self.usage,
        })
    }
}

impl ChoiceDraft {
    fn add(&mut self, choice: &Value, part: &'static str, index: u64) -> Result<(), Unfit> {
        let place = |name: &str| format!("'{name}' of choice {index}");
        if let Some(reason) = text(choice, "finish_reason", &place)? {
            self.finish_reason = Some(reason.to_owned());
        }
        self.add_tokens(choice, &place)?;
        let message = match choice.get(part) {
            Some(message @ Value::Object(_)) => message,
            None | Some(Value::Null) if part == "delta" => return Ok(()),
            found => return Err(wrong(&place(part), "an object", found)),
        };
        if let Some(content) = content(message, &place)? {
            self.content.get_or_insert_default().push_str(&content);
        }
        if let Some(refusal) = text(message, "refusal", &place)? {
            self.content.get_or_insert_default().push_str(refusal);
        }
        let reasoning = match text(message, "reasoning_content", &place)? {
            Some(reasoning) => Some(reasoning),
            None => text(message, "reasoning", &place)?,
        };
        self.reasoning.push_str(reasoning.unwrap_or_default());
        match message.get("tool_calls") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Array(calls)) => {
                calls.iter().try_for_each(|call| self.add_call(call, &place))
            }
            found => Err(wrong(&place("tool_calls"), "a list", found)),
        }
    }

    /// Adds a call, or a piece of one. A piece belongs to the call with its number; without a
    /// number an identifier begins a call, and anything else goes on with the last one.
    fn add_call(&mut self, piece: &Value, place: &dyn Fn(&str) -> String) -> Result<(), Unfit> {
        let number = piece.get("index").and_then(Value::as_u64);
        let id = text(piece, "id", place)?.filter(|id| !id.is_empty());
        let function = match piece.get("function") {
            Some(function @ Value::Object(_)) => function,
            found => return Err(wrong(&place("function"), "an object", found)),
        };
        let name = text(function, "name", place)?.unwrap_or_default();
        let at = match (number, id) {
            (Some(_), id) => self.calls.iter().rposition(|(other, _)| *other == number).filter(
                // Some servers give every call the number 0.
                |at| !is_whole_and_other(&self.calls[*at].1, id, name),
            ),
            (None, Some(id)) => self.calls.iter().position(|(_, c)| c.id.as_deref() == Some(id)),
            (None, None) if name.is_empty() => self.calls.len().checked_sub(1),
            (None, None) => None,
        };
        let at = at.unwrap_or_else(|| {
            self.calls.push((number, ToolCall::default()));
            self.calls.len() - 1
        });
        let call = &mut self.calls[at].1;
        if call.id.is_none() {
            call.id = id.map(str::to_owned);
        }
        // Some servers say the whole name in every piece.
        if call.name != name {
            call.name.push_str(name);
        }
        match function.get("arguments") {
            None | Some(Value::Null) => {}
            Some(Value::String(arguments)) => call.arguments.push_str(arguments),
            Some(object @ Value::Object(_)) => call.arguments.push_str(&object.to_string()),
            found => return Err(wrong(&place("arguments"), "a text", found)),
        }
        Ok(())
    }

    fn add_tokens(&mut self, choice: &Value, place: &dyn Fn(&str) -> String) -> Result<(), Unfit> {
        if let Some(Value::Array(ids)) = choice.get("token_ids") {
            let of = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
            let ids: Option<Vec<u32>> = ids.iter().map(of).collect();
            let ids = ids.ok_or_else(|| {
                wrong(&place("token_ids"), "numbers of tokens", choice.get("token_ids"))
            })?;
            self.token_ids.get_or_insert_default().extend(ids);
        }
        let Some(list) = choice.get("logprobs").and_then(|found| found.get("content")) else {
            return Ok(());
        };
        let Some(list) = list.as_array() else { return Ok(()) };
        let scored = self.tokens.get_or_insert_default();
        for token in list {
            let top = token.get("top_logprobs").and_then(Value::as_array);
            let top: Option<Vec<(String, f64)>> =
                top.into_iter().flatten().map(scored_text).collect();
            let read = scored_text(token).zip(top);
            let ((text, log_prob), top) = read.ok_or_else(|| {
                wrong(&place("logprobs"), "tokens with a 'token' and a 'logprob'", Some(token))
            })?;
            scored.push(ScoredToken { text, log_prob, top });
        }
        Ok(())
    }

    fn finish(self, streamed: bool) -> Choice {
        let tool_calls: Vec<ToolCall> = self.calls.into_iter().map(|(_, call)| call).collect();
        // A stream begins with an empty text also where there is none.
        let is_none = |text: &String| streamed && text.is_empty() && !tool_calls.is_empty();
        let content = self.content.filter(|text| !is_none(text));
        let message = Message {
            role: role::ASSISTANT.to_owned(),
            content,
            reasoning: Some(self.reasoning).filter(|text| !text.is_empty()),
            tool_calls,
            ..Message::default()
        };
        let token_ids = self.token_ids.or_else(|| ids_in_texts(self.tokens.as_deref()?));
        Choice { message, finish_reason: self.finish_reason, tokens: self.tokens, token_ids }
    }
}

/// Whether a call has all its arguments, and a piece with this identifier and name begins another
/// one.
fn is_whole_and_other(call: &ToolCall, id: Option<&str>, name: &str) -> bool {
    let is_other = id.is_some() && call.id.as_deref() != id && !name.is_empty();
    let is_object = call.arguments.trim_start().starts_with('{');
    is_other && is_object && serde_json::from_str::<&RawValue>(&call.arguments).is_ok()
}

/// Returns the numbers where every token's text is `token_id:` and a number.
fn ids_in_texts(tokens: &[ScoredToken]) -> Option<Vec<u32>> {
    if tokens.is_empty() {
        return None;
    }
    tokens.iter().map(|token| token.text.strip_prefix("token_id:")?.parse().ok()).collect()
}

fn scored_text(token: &Value) -> Option<(String, f64)> {
    Some((token.get("token")?.as_str()?.to_owned(), token.get("logprob")?.as_f64()?))
}

/// Returns the content of a message: a text, or the texts of its parts.
fn content(message: &Value, place: &dyn Fn(&str) -> String) -> Result<Option<String>, Unfit> {
    match message.get("content") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(found @ Value::Array(parts)) => {
            let texts: Option<Vec<&str>> =
                parts.iter().map(|part| part.get("text").and_then(Value::as_str)).collect();
            let texts = texts.ok_or_else(|| wrong(&place("content"), "parts of text", Some(found)));
            Ok(Some(texts?.concat()))
        }
        found => Err(wrong(&place("content"), "a text", found)),
    }
}

/// Returns a field that is a text, `None` where it is missing or null.
fn text<'v>(
    object: &'v Value,
    name: &str,
    place: &dyn Fn(&str) -> String,
) -> Result<Option<&'v str>, Unfit> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        found => Err(wrong(&place(name), "a text", found)),
    }
}

fn wrong(place: &str, expected: &str, found: Option<&Value>) -> Unfit {
    let found = found.map_or_else(|| "nothing".to_owned(), |found| shown(&found.to_string()));
    Unfit::Wrong(format!("{place} is {found}, expected {expected}"))
}

/// Returns what an error of a server says.
pub(super) fn words_of(error: &Value) -> String {
    let message = error.get("message").or_else(|| error.get("detail")).unwrap_or(error);
    match message {
        Value::String(text) => shown(text),
        other => shown(&other.to_string()),
    }
}

/// Returns the beginning of a text on one line, for a message.
pub(super) fn shown(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
