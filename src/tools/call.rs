//! One call of something outside, its key, and the record of what came back.

use std::fmt;

use serde_json::Value;

use super::canonical::{CanonicalError, canonical_json};
use super::tool::{ToolOutput, ToolSpec};

/// Begins the bytes that a key is the hash of; another layout of them begins otherwise.
const KEY_DOMAIN: &[u8] = b"swirl recording 1";

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallKind {
    /// A tool of an agent.
    Tool,
    /// A judge of steps or answers.
    Judge,
    /// A policy that runs elsewhere.
    Policy,
    /// What there was to call.
    Listing,
}

impl CallKind {
    /// Every kind.
    pub const ALL: [CallKind; 4] =
        [CallKind::Tool, CallKind::Judge, CallKind::Policy, CallKind::Listing];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            CallKind::Tool => "tool",
            CallKind::Judge => "judge",
            CallKind::Policy => "policy",
            CallKind::Listing => "listing",
        }
    }

    /// Returns the kind that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<CallKind> {
        CallKind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The name of a recording: a hash of everything that the answer may depend on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey([u8; 32]);

impl CallKey {
    /// Returns the key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> CallKey {
        CallKey(bytes)
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the key that 64 hexadecimal digits write.
    pub fn parse(text: &str) -> Option<CallKey> {
        blake3::Hash::from_hex(text).ok().map(|hash| CallKey(*hash.as_bytes()))
    }
}

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallKey({self})")
    }
}

/// One call: who was asked, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was called.
    pub kind: CallKind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The fingerprint of the sealed corpus it answers from, if it does.
    pub corpus: Option<String>,
    /// The arguments as canonical JSON; see [`canonical_json`].
    pub arguments: String,
    /// How many equal calls came before it, where the answer may depend on them; else 0.
    pub occurrence: u32,
}

impl Call {
    /// Returns the first call of a tool with these arguments.
    ///
    /// # Errors
    /// The arguments have no canonical form.
    pub fn of_tool(spec: &ToolSpec, arguments: &Value) -> Result<Call, CanonicalError> {
        Ok(Call {
            kind: CallKind::Tool,
            name: spec.name.clone(),
            version: spec.version.clone(),
            corpus: spec.corpus.clone(),
            arguments: canonical_json(&arguments.to_string())?,
            occurrence: 0,
        })
    }

    /// Returns the name of its recording: BLAKE3 over kind, name, version, fingerprint, arguments
    /// and occurrence, each with its length before it.
    pub fn key(&self) -> CallKey {
        let mut hasher = blake3::Hasher::new();
        let corpus = self.corpus.as_deref();
        let parts = [
            KEY_DOMAIN,
            self.kind.as_str().as_bytes(),
            self.name.as_bytes(),
            self.version.as_bytes(),
            // No corpus is not the corpus without a name.
            if corpus.is_some() { b"corpus" } else { b"" },
            corpus.unwrap_or("").as_bytes(),
            self.arguments.as_bytes(),
            &self.occurrence.to_le_bytes(),
        ];
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        CallKey(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for Call {
    /// Writes `tool search {"query":"..."}`, with the occurrence where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        write!(f, "{} '{}' {}", self.kind.as_str(), self.name, shortened(&self.arguments, SHOWN))?;
        if self.occurrence > 0 {
            write!(f, " (after {} equal calls)", self.occurrence)?;
        }
        Ok(())
    }
}

/// Returns a text cut behind `characters` characters.
pub(super) fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a call came to, kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The key of the call.
    pub key: CallKey,
    /// The call.
    pub call: Call,
    /// What came back, errors and time-outs too.
    pub output: ToolOutput,
    /// How long it took, in microseconds.
    pub latency_microseconds: u64,
    /// When it ended, in microseconds since 1970.
    pub recorded_at_microseconds: i64,
}
