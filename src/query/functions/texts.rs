//! Texts measured: tokens of a model, likeness, a state as a policy reads it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, Int64Builder, ListBuilder,
    StringViewBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::lm::Tokenizer;
use crate::model::Message;
use crate::render::{TagRenderer, Vocabulary};
use crate::text::minhash;

/// Returns `render(state)`, `minhash_similarity(text, text)` and `minhash_bands(text)`
/// ([`minhash`]); null of null, and of texts without a word.
pub(in crate::query) fn texts() -> Vec<ScalarUDF> {
    let of = |kind: Kind| {
        let signature = Signature::any(kind.arguments(), Volatility::Immutable);
        ScalarUDF::from(OfText { kind, signature })
    };
    [Kind::Render, Kind::Similarity, Kind::Bands].map(of).into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Render,
    Similarity,
    Bands,
}

impl Kind {
    fn arguments(self) -> usize {
        match self {
            Kind::Similarity => 2,
            Kind::Render | Kind::Bands => 1,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfText {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for OfText {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Render => "render",
            Kind::Similarity => "minhash_similarity",
            Kind::Bands => "minhash_bands",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        texts_only(self.name(), types)?;
        Ok(match self.kind {
            Kind::Render => DataType::Utf8View,
            Kind::Similarity => DataType::Float64,
            Kind::Bands => DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = |value: &ColumnarValue| -> Result<ArrayRef> {
            Ok(cast(&value.to_array(args.number_rows)?, &DataType::Utf8View)?)
        };
        let array: ArrayRef = match (self.kind, args.args.as_slice()) {
            (Kind::Render, [state]) => rendered(&texts(state)?)?,
            (Kind::Similarity, [one, other]) => Arc::new(similarity(&texts(one)?, &texts(other)?)),
            (Kind::Bands, [text]) => bands(&texts(text)?),
            (_, given) => {
                return exec_err!("{}() was given {} arguments", self.name(), given.len());
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// Demands texts as arguments.
fn texts_only(function: &str, types: &[DataType]) -> Result<()> {
    match types.iter().find(|kind| !kind.is_string() && !kind.is_null()) {
        Some(other) => plan_err!("{function}() takes texts, and one is of type {other}"),
        None => Ok(()),
    }
}

/// Returns each state, messages as JSON, in the tag form with ChatML's marks: the text that the
/// policy's next action follows.
fn rendered(states: &ArrayRef) -> Result<ArrayRef> {
    let control_tokens = ["<|im_start|>", "<|im_end|>"].map(str::to_owned).to_vec();
    let vocabulary = Vocabulary { control_tokens, ..Vocabulary::default() };
    let renderer =
        TagRenderer::new(&vocabulary).map_err(|e| exec_datafusion_err!("render: {e}"))?;
    let mut texts = StringViewBuilder::with_capacity(states.len());
    for state in states.as_string_view() {
        let Some(state) = state else {
            texts.append_null();
            continue;
        };
        let messages: Vec<Message> = serde_json::from_str(state).map_err(|e| {
            exec_datafusion_err!(
                "render() takes messages as a JSON array, as column 'state' has: {e}"
            )
        })?;
        let messages: Vec<&Message> = messages.iter().collect();
        let text = renderer.state(&messages, None);
        texts.append_value(text.map_err(|e| exec_datafusion_err!("render: {e}"))?.text());
    }
    Ok(Arc::new(texts.finish()))
}

fn similarity(one: &ArrayRef, other: &ArrayRef) -> Float64Array {
    // The same text stands beside many others, mostly row after row.
    let mut last: Option<(String, Option<minhash::Signature>)> = None;
    let mut of_first = |text: &str| match &last {
        Some((known, signature)) if known == text => signature.clone(),
        _ => {
            let signature = minhash::Signature::of(text);
            last = Some((text.to_owned(), signature.clone()));
            signature
        }
    };
    let pairs = one.as_string_view().iter().zip(other.as_string_view());
    let alike = pairs
        .map(|(one, other)| Some(of_first(one?)?.similarity(&minhash::Signature::of(other?)?)));
    alike.collect()
}

fn bands(texts: &ArrayRef) -> ArrayRef {
    let mut lists = ListBuilder::new(Int64Builder::new());
    for text in texts.as_string_view() {
        match text.and_then(minhash::Signature::of) {
            Some(signature) => {
                lists.values().append_slice(&signature.bands());
                lists.append(true);
            }
            None => lists.append(false),
        }
    }
    Arc::new(lists.finish())
}

/// Returns `tokens(text, 'model')`: how many tokens the text is to a model, without marks around
/// it. The model is a path as TRAIN takes it, or a tokenizer.json. Tokenizers are read once and
/// kept as long as the function: a statement.
pub(in crate::query) fn tokens() -> ScalarUDF {
    let signature = Signature::any(2, Volatility::Immutable);
    ScalarUDF::from(Tokens { tokenizers: Tokenizers::default(), signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Tokens {
    tokenizers: Tokenizers,
    signature: Signature,
}

/// The tokenizers that were read, by model; they make no difference to which function it is.
#[derive(Default)]
struct Tokenizers(Mutex<HashMap<String, Arc<Tokenizer>>>);

impl std::fmt::Debug for Tokenizers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokenizers")
    }
}

impl PartialEq for Tokenizers {
    fn eq(&self, _: &Tokenizers) -> bool {
        true
    }
}

impl Eq for Tokenizers {}

impl std::hash::Hash for Tokenizers {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl Tokenizers {
    fn of(&self, model: &str) -> Result<Arc<Tokenizer>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokenizer) = known.get(model) {
            return Ok(tokenizer.clone());
        }
        let opened = Tokenizer::open(Path::new(model));
        let tokenizer = opened.map_err(|e| exec_datafusion_err!("tokens(text, '{model}'): {e}"))?;
        let tokenizer = Arc::new(tokenizer);
        known.insert(model.to_owned(), tokenizer.clone());
        Ok(tokenizer)
    }
}

impl ScalarUDFImpl for Tokens {
    fn name(&self) -> &str {
        "tokens"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        texts_only(self.name(), types)?;
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [texts, ColumnarValue::Scalar(model)] = args.args.as_slice() else {
            return exec_err!("the model of tokens() is written out: tokens(action, 'models/x')");
        };
        let Some(model) = model.try_as_str().flatten() else {
            return Ok(ColumnarValue::Scalar(ScalarValue::Int64(None)));
        };
        let tokenizer = self.tokenizers.of(model)?;
        let texts = cast(&texts.to_array(args.number_rows)?, &DataType::Utf8View)?;
        let count = |text: &str| tokenizer.encode(text).len() as i64;
        let counts: Int64Array =
            texts.as_string_view().iter().map(|text| text.map(count)).collect();
        Ok(ColumnarValue::Array(Arc::new(counts)))
    }
}
