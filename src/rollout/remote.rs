//! A policy behind a chat server, recorded and replayed like a tool.
//!
//! A call is the model with its revision, and the canonical JSON of what it is asked: messages as
//! they are sent, tools, sampling, seed. Neither address nor key is part of it. Equal calls are
//! numbered in the order of their requests before any is made, so that threads cannot exchange
//! their answers. What fails for one request is recorded too, since a replay must meet it; what
//! fails for all is not.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Value, json};

use super::policy::{
    ActRequest, OnProposed, Policy, PolicyError, PolicyIdentity, PolicyKind, Proposed,
};
use super::protocol::StopTags;
use super::tag_form::open_tag;
use crate::chat::{ChatClient, ChatError, ChatRequest, ChatResponse, Choice, Completed, Sampling};
use crate::model::{Json, Message};
use crate::tools::{Call, CallKind, RecordError, Recorder, ToolOutput, canonical_json};

/// A request that has to be made: its index, and its call where it is recorded.
type Missing = (usize, Option<Call>);

/// A policy behind a chat server.
pub struct RemotePolicy {
    identity: PolicyIdentity,
    client: Arc<ChatClient>,
    sampling: Sampling,
    /// The closing tags that the server stops at and keeps to itself.
    withheld: Vec<String>,
    recorder: Option<(Arc<Recorder>, CallKind)>,
}

impl RemotePolicy {
    /// Returns the policy that a client asks. `revision` says which weights the server has: other
    /// weights under the same name need another one.
    ///
    /// # Errors
    /// Another number of answers than one is asked for.
    pub fn new(
        client: Arc<ChatClient>,
        revision: &str,
        sampling: Sampling,
    ) -> Result<RemotePolicy, PolicyError> {
        if sampling.n != 1 {
            return Err(PolicyError::Setting {
                setting: "n".to_owned(),
                problem: format!("is {}", sampling.n),
                expected: "1: ask for several actions with several requests and seeds",
            });
        }
        let identity = PolicyIdentity {
            name: client.options().model.clone(),
            version: revision.to_owned(),
            kind: PolicyKind::Remote,
            sampling: sampling_json(&sampling),
        };
        Ok(RemotePolicy { identity, client, sampling, withheld: Vec::new(), recorder: None })
    }

    /// Returns the policy behind a recorder, its calls recorded as `kind`: as a policy's, or as a
    /// judge's.
    #[must_use]
    pub fn recorded(mut self, recorder: Arc<Recorder>, kind: CallKind) -> RemotePolicy {
        self.recorder = Some((recorder, kind));
        self
    }

    /// Returns the policy whose server is asked to end an action at the first of these closing
    /// tags. Where it keeps the tag to itself, an action that ends with `stop` within a tag gets
    /// the tag back; recordings hold what the server said.
    #[must_use]
    pub fn stopping_at(mut self, closing: Vec<String>, how: StopTags) -> RemotePolicy {
        if how == StopTags::None {
            return self;
        }
        self.sampling.stop.clone_from(&closing);
        match how {
            StopTags::Included => {
                self.sampling.extra.insert("include_stop_str_in_output".to_owned(), true.into());
            }
            _ => self.withheld = closing,
        }
        self.identity.sampling = sampling_json(&self.sampling);
        self
    }

    fn request(&self, asked: &ActRequest) -> ChatRequest {
        let mut sampling = self.sampling.clone();
        sampling.seed = asked.seed.or(sampling.seed);
        ChatRequest { messages: asked.messages.clone(), tools: asked.tools.clone(), sampling }
    }

    /// Returns the call that a request is.
    fn call(&self, kind: CallKind, request: &ChatRequest) -> Result<Call, PolicyError> {
        let fields = request.to_fields(self.client.options().send_reasoning)?;
        let name = self.identity.name.clone();
        let arguments = canonical_json(&Value::Object(fields).to_string())
            .map_err(|source| RecordError::Arguments { name: name.clone(), source })?;
        let version = self.identity.version.clone();
        Ok(Call { kind, name, version, corpus: None, arguments, occurrence: 0 })
    }

    /// Hands on what is recorded; returns the requests that have to be made, none after a
    /// `Break`.
    fn replay(
        &self,
        requests: &[ActRequest],
        on_done: &mut OnProposed<'_>,
    ) -> Result<Vec<Missing>, PolicyError> {
        let Some((recorder, kind)) = &self.recorder else {
            return Ok((0..requests.len()).map(|index| (index, None)).collect());
        };
        let mut missing = Vec::new();
        for (index, asked) in requests.iter().enumerate() {
            let call = recorder.numbered(self.call(*kind, &self.request(asked))?);
            match recorder.recorded(&call)? {
                None => missing.push((index, Some(call))),
                Some(output) => {
                    let outcome = self.replayed(&call, &output)?;
                    if on_done(index, outcome).is_break() {
                        return Ok(Vec::new());
                    }
                }
            }
        }
        Ok(missing)
    }

    /// Keeps what came of a call and returns it as it is kept.
    fn keep(
        &self,
        call: Option<&Call>,
        outcome: Result<Completed, ChatError>,
    ) -> Result<Result<Proposed, PolicyError>, PolicyError> {
        let (Some((recorder, _)), Some(call)) = (&self.recorder, call) else {
            return Ok(outcome
                .map(|completed| self.proposed(completed.response, false))
                .map_err(PolicyError::from));
        };
        match outcome {
            Ok(Completed { response, latency, .. }) => {
                let structured = serde_json::to_value(&response)
                    .map_err(|error| unreadable(call, error.to_string()))?;
                let text = response.choices.first().map_or("", |choice| choice.message.text());
                let output = ToolOutput::text(text).with_structured(structured);
                let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                recorder.keep(call.clone(), output, microseconds)?;
                Ok(Ok(self.proposed(response, false)))
            }
            Err(error) => {
                recorder.keep(call.clone(), ToolOutput::error(error.to_string()), 0)?;
                Ok(Err(error.into()))
            }
        }
    }

    /// Returns the outcome that a recording holds.
    fn replayed(
        &self,
        call: &Call,
        output: &ToolOutput,
    ) -> Result<Result<Proposed, PolicyError>, PolicyError> {
        if output.is_error {
            return Ok(Err(PolicyError::Recorded { message: output.text.clone() }));
        }
        let structured = output.structured.clone();
        let structured =
            structured.ok_or_else(|| unreadable(call, "it is a text only".to_owned()))?;
        let response: ChatResponse = serde_json::from_value(structured)
            .map_err(|error| unreadable(call, error.to_string()))?;
        match response.choices.len() {
            1 => Ok(Ok(self.proposed(response, true))),
            n => Err(unreadable(call, format!("it has {n} choices, not one"))),
        }
    }

    /// Returns the action that a response is.
    fn proposed(&self, response: ChatResponse, is_replayed: bool) -> Proposed {
        let usage = response.usage;
        // The client returns as many choices as were asked for: one.
        let mut choice = response.choices.into_iter().next().unwrap_or_default();
        let restored = self.restore(&mut choice);
        let log_probs = choice.tokens.as_ref();
        Proposed {
            text: choice.message.text().to_owned(),
            unread: None,
            log_probs: log_probs.map(|tokens| tokens.iter().map(|t| t.log_prob as f32).collect()),
            message: choice.message,
            state_ids: None,
            token_ids: choice.token_ids,
            tokens: choice.tokens,
            finish_reason: choice.finish_reason,
            restored,
            usage,
            is_replayed,
        }
    }

    /// Puts back the closing tag that a server kept to itself; returns whether there was one.
    fn restore(&self, choice: &mut Choice) -> bool {
        let Message { content: Some(text), tool_calls, .. } = &mut choice.message else {
            return false;
        };
        if choice.finish_reason.as_deref() != Some("stop") || !tool_calls.is_empty() {
            return false;
        }
        let Some(tag) = open_tag(text, &self.withheld) else { return false };
        text.push_str(tag);
        true
    }
}

impl Policy for RemotePolicy {
    fn identity(&self) -> &PolicyIdentity {
        &self.identity
    }

    fn act(
        &mut self,
        requests: &[ActRequest],
        cancelled: &dyn Fn() -> bool,
        on_done: &mut OnProposed<'_>,
    ) -> Result<(), PolicyError> {
        let missing = self.replay(requests, on_done)?;
        let mut asked = missing.iter().map(|(index, _)| self.request(&requests[*index]));
        let mut failed = None;
        let ended = self.client.run_all(&mut asked, cancelled, &mut |place, outcome| {
            let (index, call) = &missing[place];
            match self.keep(call.as_ref(), outcome) {
                Ok(outcome) => on_done(*index, outcome),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        failed.map_or(Ok(()), Err)?;
        Ok(ended?)
    }
}

/// Returns how a policy is sampled, as its identity says it.
pub fn sampling_json(sampling: &Sampling) -> Json {
    Json::of(&json!(sampling))
}

fn unreadable(call: &Call, problem: String) -> PolicyError {
    PolicyError::Recording { key: call.key().to_string(), name: call.name.clone(), problem }
}
