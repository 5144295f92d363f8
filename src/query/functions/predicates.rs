//! What is asked of rows and of all steps of a trajectory: `matches`, `every`, `sample_key`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use crate::codec::TableId;
use crate::query::syntax::SAMPLE_KEY;
use crate::store::View;
use crate::text::TextQuery;

/// The name of the full-text predicate.
const MATCHES: &str = "matches";

/// The name of the predicate over all steps of a trajectory.
pub(in crate::query) const EVERY: &str = "every";

/// Returns `matches(text, 'words')`: all words in any order, quotes make a phrase. Evaluated by
/// row here; the scan asks the index where it can, with equal answers.
pub(in crate::query) fn matches() -> ScalarUDF {
    ScalarUDF::from(Matches { signature: Signature::string(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Matches {
    signature: Signature,
}

impl ScalarUDFImpl for Matches {
    fn name(&self) -> &str {
        MATCHES
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [texts, words] = args.args.as_slice() else {
            return Err(exec_datafusion_err!("matches(column, 'words') takes two arguments"));
        };
        let ColumnarValue::Scalar(words) = words else {
            return Err(exec_datafusion_err!("the words of matches() are written out, no column"));
        };
        let Some(words) = words.try_as_str().flatten() else {
            return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None)));
        };
        let query =
            TextQuery::parse(words).map_err(|d| words_error("a text", words, &d.message))?;
        let texts = cast(&texts.to_array(args.number_rows)?, &DataType::Utf8View)?;
        let held = texts.as_string_view().iter().map(|t| t.map(|t| query.matches(t)));
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from_iter(held))))
    }
}

/// Returns the error of words that are no full-text query.
pub(in crate::query) fn words_error(column: &str, words: &str, message: &str) -> DataFusionError {
    exec_datafusion_err!("full text of {column}, '{words}': {message}")
}

/// Returns `every(p)`: whether `p` is true of all rows. A row where `p` is null makes its group
/// undecided: null, and counted in `undecided`.
pub(in crate::query) fn every(undecided: Arc<AtomicU64>) -> AggregateUDF {
    let signature = Signature::exact(vec![DataType::Boolean], Volatility::Immutable);
    AggregateUDF::from(Every { signature, undecided: Undecided(undecided) })
}

/// A counter that makes no difference to which function it is.
#[derive(Debug, Clone)]
struct Undecided(Arc<AtomicU64>);

impl PartialEq for Undecided {
    fn eq(&self, other: &Undecided) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Undecided {}

impl std::hash::Hash for Undecided {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Every {
    signature: Signature,
    undecided: Undecided,
}

impl AggregateUDFImpl for Every {
    fn name(&self) -> &str {
        EVERY
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn is_nullable(&self) -> bool {
        true
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Boolean(Some(true)))
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let undecided = Some(self.undecided.0.clone());
        Ok(Box::new(EveryState { all: true, unknown: false, undecided }))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name| Arc::new(Field::new(name, DataType::Boolean, false));
        Ok(vec![field("all"), field("unknown")])
    }
}

#[derive(Debug)]
struct EveryState {
    all: bool,
    unknown: bool,
    /// Taken when this group is counted, so that it is counted once.
    undecided: Option<Arc<AtomicU64>>,
}

impl Accumulator for EveryState {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first().and_then(|v| v.as_boolean_opt()) else { return Ok(()) };
        self.unknown |= values.null_count() > 0;
        self.all &= values.true_count() + values.null_count() == values.len();
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [all, unknown] = states else { return Ok(()) };
        self.all &= all.as_boolean().true_count() == all.len();
        self.unknown |= unknown.as_boolean().true_count() > 0;
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.all.into(), self.unknown.into()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.unknown
            && let Some(undecided) = self.undecided.take()
        {
            undecided.fetch_add(1, Ordering::Relaxed);
        }
        // Undecided is neither: what says NOT every(p) does not keep it either.
        Ok(ScalarValue::Boolean((!self.unknown).then_some(self.all)))
    }

    fn size(&self) -> usize {
        size_of::<EveryState>()
    }
}

/// Returns `sample_key(seed, _trajectory [, _step])`: the place of a trajectory or step in the draw
/// of a seed, the first 16 bytes of BLAKE3, in hexadecimal digits, over seed, source, id and step.
/// It depends on nothing
/// else, so that a seed draws the same rows in every database, for ever.
pub(in crate::query) fn sample_key(view: &View) -> ScalarUDF {
    let integers = |n| TypeSignature::Exact(vec![DataType::Int64; n]);
    let signature = Signature::one_of(vec![integers(2), integers(3)], Volatility::Immutable);
    ScalarUDF::from(SampleKey { signature, view: view.clone() })
}

#[derive(Debug)]
struct SampleKey {
    signature: Signature,
    view: View,
}

impl PartialEq for SampleKey {
    fn eq(&self, other: &SampleKey) -> bool {
        self.view.sequence() == other.view.sequence()
    }
}

impl Eq for SampleKey {}

impl std::hash::Hash for SampleKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.view.sequence().hash(state);
    }
}

const KEY_BYTES: usize = 16;

impl ScalarUDFImpl for SampleKey {
    fn name(&self) -> &str {
        SAMPLE_KEY
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays: Result<Vec<ArrayRef>> =
            args.args.iter().map(|a| a.to_array(args.number_rows)).collect();
        let arrays = arrays?;
        let (seeds, ordinals) = match arrays.as_slice() {
            [seeds, ordinals, ..] => {
                (seeds.as_primitive::<Int64Type>(), ordinals.as_primitive::<Int64Type>())
            }
            _ => return Err(exec_datafusion_err!("sample_key takes a seed and a trajectory")),
        };
        let steps = arrays.get(2).map(|s| s.as_primitive::<Int64Type>());
        let text = |name: &str| {
            let column = self.view.stored(TableId::Trajectories, name);
            let column = column.ok_or_else(|| exec_datafusion_err!("no column '{name}'"))?;
            let found = self.view.of_trajectories(column, ordinals.values());
            found.map_err(|e| DataFusionError::External(Box::new(e)))
        };
        let (sources, ids) = (text("source")?, text("trajectory_id")?);
        let mut keys = StringViewBuilder::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&seeds.value(row).to_be_bytes());
            for texts in [&sources, &ids] {
                let text = texts.as_string_view().value(row);
                hasher.update(&(text.len() as u64).to_be_bytes());
                hasher.update(text.as_bytes());
            }
            if let Some(steps) = steps {
                hasher.update(&steps.value(row).to_be_bytes());
            }
            keys.append_value(&hasher.finalize().to_hex()[..2 * KEY_BYTES]);
        }
        Ok(ColumnarValue::Array(Arc::new(keys.finish())))
    }
}
