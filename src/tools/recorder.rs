//! The door that calls go through to be recorded and replayed.
//!
//! ```text
//!                 find            new_episodes, or once and a new cassette
//! call -> key -> cassette -> miss --------------------------------------> made -> insert
//!                   |          \-> none, or once and an old cassette: MissingRecording
//!                   \-> hit: replayed            (all: made without a look, replaced)
//! ```
//!
//! Errors and time-outs of what is called are recorded like results: a replay must meet them too.
//! A call that the caller itself cancelled is not: it says nothing about what was called.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::call::{Call, CallKey, CallKind, Recording, shortened};
use super::canonical::CanonicalError;
use super::cassette::{Cassette, CassetteError, Lookup, RecordMode};
use super::tool::{Tool, ToolOutput, ToolSpec};

/// How many recorded calls are compared with one that is missing.
const COMPARED_MAX: usize = 2_000;

/// How many characters of their arguments are compared.
const COMPARED_CHARACTERS: usize = 300;

/// The clocks of a recording, handed in.
pub trait Clock: Send + Sync {
    /// Returns the time in microseconds since 1970.
    fn now_microseconds(&self) -> i64;

    /// Returns microseconds since some fixed moment; it never goes back.
    fn elapsed_microseconds(&self) -> u64;
}

/// Why a call has no output.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The mode allows no new calls, and this one is not recorded.
    #[error(transparent)]
    Missing(#[from] MissingRecording),
    /// The arguments have no canonical form.
    #[error("the arguments of '{name}' cannot be recorded: {source}")]
    Arguments {
        /// What was called.
        name: String,
        /// What is wrong with them.
        source: CanonicalError,
    },
    /// Recordings cannot be read or written.
    #[error(transparent)]
    Cassette(#[from] CassetteError),
}

/// A call that is not recorded, in a mode that makes no new ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this call is not recorded, and mode '{}' makes no new ones: {call}; {}",
    mode.as_str(),
    nearest.as_deref().unwrap_or("no call of this name is recorded")
)]
pub struct MissingRecording {
    /// The call.
    pub call: Box<Call>,
    /// The mode.
    pub mode: RecordMode,
    /// The nearest call that is recorded, and in what it differs.
    pub nearest: Option<String>,
}

/// What came of a call that went through the door.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// The output.
    pub output: ToolOutput,
    /// Whether it was replayed.
    pub is_replayed: bool,
}

/// Records and replays calls of tools, judges and policies.
pub struct Recorder {
    cassette: Arc<dyn Cassette>,
    clock: Arc<dyn Clock>,
    mode: RecordMode,
    /// How often each call with state was made.
    occurrences: Mutex<HashMap<CallKey, u32>>,
}

impl Recorder {
    /// Returns a recorder that keeps its recordings in `cassette`.
    pub fn new(cassette: Arc<dyn Cassette>, clock: Arc<dyn Clock>, mode: RecordMode) -> Recorder {
        Recorder { cassette, clock, mode, occurrences: Mutex::default() }
    }

    /// Returns the mode.
    pub fn mode(&self) -> RecordMode {
        self.mode
    }

    /// Returns what there was to call when calls were recorded; `None` where nobody kept it.
    ///
    /// # Errors
    /// Recordings cannot be read.
    pub fn listing(&self, name: &str) -> Result<Option<Value>, CassetteError> {
        let kept = self.cassette.find(&listing_call(name).key())?;
        Ok(kept.and_then(|recording| recording.output.structured))
    }

    /// Keeps what there is to call beside the recordings, unless the mode keeps nothing new:
    /// without it a replay that opens nothing could not offer anything. `join` is given what is
    /// kept so far.
    ///
    /// # Errors
    /// Recordings cannot be read or written.
    pub fn keep_listing(
        &self,
        name: &str,
        join: impl FnOnce(Option<Value>) -> Value,
    ) -> Result<(), CassetteError> {
        let keeps = match self.mode {
            RecordMode::Once => self.cassette.is_new(),
            RecordMode::NewEpisodes | RecordMode::All => true,
            RecordMode::None => false,
        };
        if !keeps {
            return Ok(());
        }
        let call = listing_call(name);
        let listing = join(self.listing(name)?);
        self.cassette.replace(Recording {
            key: call.key(),
            call,
            output: ToolOutput::text("").with_structured(listing),
            latency_microseconds: 0,
            recorded_at_microseconds: self.clock.now_microseconds(),
        })
    }

    /// Returns the output of a call: the recorded one, or what `make` gives.
    ///
    /// With `has_state` the call's occurrence is counted here, from when this recorder was made;
    /// else it is taken as it is.
    ///
    /// # Errors
    /// The mode allows no new call, or recordings cannot be read or written. Then nothing was made,
    /// or what was made is not kept.
    pub fn call(
        &self,
        call: Call,
        has_state: bool,
        cancelled: &dyn Fn() -> bool,
        make: &mut dyn FnMut() -> ToolOutput,
    ) -> Result<Played, RecordError> {
        let call = if has_state { self.numbered(call) } else { call };
        if let Some(output) = self.recorded(&call)? {
            return Ok(Played { output, is_replayed: true });
        }
        let began = self.clock.elapsed_microseconds();
        let output = make();
        let latency_microseconds = self.clock.elapsed_microseconds().saturating_sub(began);
        if cancelled() {
            return Ok(Played { output, is_replayed: false });
        }
        let output = self.keep(call, output, latency_microseconds)?;
        Ok(Played { output, is_replayed: false })
    }

    /// Returns a call with the number of equal calls before it, and counts it. Who makes many
    /// calls at once numbers them first: their order is then not that of threads.
    #[must_use]
    pub fn numbered(&self, mut call: Call) -> Call {
        call.occurrence = self.next_occurrence(&call);
        call
    }

    /// Returns the recorded output of a call, `None` where it has to be made.
    ///
    /// # Errors
    /// It is not recorded and the mode allows no new call, or recordings cannot be read.
    pub fn recorded(&self, call: &Call) -> Result<Option<ToolOutput>, RecordError> {
        let key = call.key();
        if self.mode != RecordMode::All
            && let Some(recording) = self.cassette.find(&key)?
        {
            self.cassette.count(call, &key, Lookup::Hit)?;
            return Ok(Some(recording.output));
        }
        let is_allowed = match self.mode {
            RecordMode::Once => self.cassette.is_new(),
            RecordMode::NewEpisodes | RecordMode::All => true,
            RecordMode::None => false,
        };
        if is_allowed {
            return Ok(None);
        }
        self.cassette.count(call, &key, Lookup::Miss)?;
        let nearest = self.nearest(call)?;
        let call = Box::new(call.clone());
        Err(MissingRecording { call, mode: self.mode, nearest }.into())
    }

    /// Keeps the output of a call that was made, and returns the one that is kept now: of two
    /// equal calls at once, both get the answer of the first.
    ///
    /// # Errors
    /// Recordings cannot be written.
    pub fn keep(
        &self,
        call: Call,
        output: ToolOutput,
        latency_microseconds: u64,
    ) -> Result<ToolOutput, RecordError> {
        let recording = Recording {
            key: call.key(),
            call,
            output,
            latency_microseconds,
            recorded_at_microseconds: self.clock.now_microseconds(),
        };
        if self.mode == RecordMode::All {
            let output = recording.output.clone();
            self.cassette.replace(recording)?;
            return Ok(output);
        }
        Ok(self.cassette.insert(recording)?.output)
    }

    /// Returns how many equal calls came before, and counts this one.
    fn next_occurrence(&self, call: &Call) -> u32 {
        let key = Call { occurrence: 0, ..call.clone() }.key();
        let mut occurrences = self.occurrences.lock().unwrap_or_else(PoisonError::into_inner);
        let count = occurrences.entry(key).or_default();
        let found = *count;
        *count = count.saturating_add(1);
        found
    }

    /// Returns the recorded call that is most like one that is missing, and in what it differs.
    fn nearest(&self, call: &Call) -> Result<Option<String>, CassetteError> {
        let mut best: Option<((usize, usize, u32), Call)> = None;
        let mut seen = 0;
        let wanted = shortened(&call.arguments, COMPARED_CHARACTERS);
        self.cassette.scan_calls(call.kind, &call.name, &mut |other| {
            seen += 1;
            // Arguments weigh most: what the call meant is in them.
            let found = shortened(&other.arguments, COMPARED_CHARACTERS);
            let arguments = match other.arguments == call.arguments {
                true => 0,
                false => strsim::osa_distance(&wanted, &found).max(1),
            };
            let settings = usize::from(other.version != call.version)
                + usize::from(other.corpus != call.corpus);
            let distance = (arguments, settings, other.occurrence.abs_diff(call.occurrence));
            let is_nearer = best.as_ref().is_none_or(|(least, nearest)| {
                (distance, &other.arguments, &other.version)
                    < (*least, &nearest.arguments, &nearest.version)
            });
            if is_nearer {
                best = Some((distance, other.clone()));
            }
            seen < COMPARED_MAX
        })?;
        Ok(best.map(|(_, other)| difference(call, &other)))
    }
}

/// Returns the call whose recording says what there was to call.
fn listing_call(name: &str) -> Call {
    Call {
        kind: CallKind::Listing,
        name: name.to_owned(),
        version: "1".to_owned(),
        corpus: None,
        arguments: "{}".to_owned(),
        occurrence: 0,
    }
}

/// Returns in what a recorded call differs from one that is missing.
fn difference(call: &Call, other: &Call) -> String {
    let mut parts = Vec::new();
    if call.version != other.version {
        parts
            .push(format!("version '{}' was recorded, '{}' is asked", other.version, call.version));
    }
    if call.corpus != other.corpus {
        let name = |corpus: &Option<String>| corpus.clone().unwrap_or_else(|| "none".to_owned());
        let (was, is) = (name(&other.corpus), name(&call.corpus));
        parts.push(format!("corpus {was} was recorded, {is} is asked"));
    }
    if call.occurrence != other.occurrence {
        let (was, is) = (other.occurrence, call.occurrence);
        parts.push(format!("after {was} equal calls it was recorded, after {is} it is asked"));
    }
    if call.arguments != other.arguments {
        parts.push(format!("the arguments {} were recorded", shortened(&other.arguments, 200)));
    }
    format!("of the nearest recorded call, {}", parts.join(", "))
}

/// A tool behind a [`Recorder`].
pub struct RecordedTool<T: Tool> {
    tool: T,
    recorder: Arc<Recorder>,
}

impl<T: Tool> RecordedTool<T> {
    /// Returns `tool` behind `recorder`, which other tools may share.
    pub fn new(tool: T, recorder: Arc<Recorder>) -> RecordedTool<T> {
        RecordedTool { tool, recorder }
    }

    /// Returns the output of a call. Unlike [`Tool::call`] it keeps what went wrong with the
    /// recordings apart from what the tool itself answers: a run in mode `none` has to stop at a
    /// call that is not recorded, and not to show that to its agent.
    ///
    /// # Errors
    /// See [`Recorder::call`].
    pub fn play(
        &self,
        arguments: &Value,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Played, RecordError> {
        let spec = self.tool.spec();
        let call = Call::of_tool(spec, arguments)
            .map_err(|source| RecordError::Arguments { name: spec.name.clone(), source })?;
        let mut make = || self.tool.call(arguments, cancelled);
        self.recorder.call(call, spec.has_state, cancelled, &mut make)
    }
}

impl<T: Tool> Tool for RecordedTool<T> {
    fn spec(&self) -> &ToolSpec {
        self.tool.spec()
    }

    fn call(&self, arguments: &Value, cancelled: &dyn Fn() -> bool) -> ToolOutput {
        match self.play(arguments, cancelled) {
            Ok(played) => played.output,
            Err(error) => ToolOutput::error(error.to_string()),
        }
    }
}

impl Tool for Arc<dyn Tool> {
    fn spec(&self) -> &ToolSpec {
        (**self).spec()
    }

    fn call(&self, arguments: &Value, cancelled: &dyn Fn() -> bool) -> ToolOutput {
        (**self).call(arguments, cancelled)
    }
}
