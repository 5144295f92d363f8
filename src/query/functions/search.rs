//! The score of a step in a search.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::query::syntax::SEARCH_SCORE;
use crate::query::table::RowFinder;

/// Returns `search_score('words', 'column, ...', _trajectory, _step)`: the score of the step in the
/// search, 0 where it is not found.
pub(in crate::query) fn search_score(finder: Arc<dyn RowFinder>) -> ScalarUDF {
    let (text, integer) = (DataType::Utf8View, DataType::Int64);
    let types = vec![text.clone(), text, integer.clone(), integer];
    let signature = Signature::new(TypeSignature::Exact(types), Volatility::Immutable);
    ScalarUDF::from(SearchScore { finder: Asked(finder), signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SearchScore {
    finder: Asked,
    signature: Signature,
}

/// Who is asked; there is one for each statement.
struct Asked(Arc<dyn RowFinder>);

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asked")
    }
}

impl PartialEq for Asked {
    fn eq(&self, other: &Asked) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Asked {}

impl std::hash::Hash for Asked {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl ScalarUDFImpl for SearchScore {
    fn name(&self) -> &str {
        SEARCH_SCORE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [words, columns, ordinals, steps] = args.args.as_slice() else {
            return exec_err!("{SEARCH_SCORE} takes words, columns, a trajectory and a step");
        };
        let written = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(text) => text.try_as_str().flatten().map(str::to_owned),
            ColumnarValue::Array(_) => None,
        };
        let (Some(words), Some(columns)) = (written(words), written(columns)) else {
            return exec_err!("the words of a search are a text that is written out");
        };
        let scores = self.finder.0.scores(&columns, &words)?.ok_or_else(|| {
            exec_datafusion_err!(
                "scores come from the full-text index, which lacks rows and cannot be written \
                 here: open the database once without --read-only"
            )
        })?;
        let array =
            |value: &ColumnarValue| -> Result<ArrayRef> { value.to_array(args.number_rows) };
        let (ordinals, steps) = (array(ordinals)?, array(steps)?);
        let (ordinals, steps) =
            (ordinals.as_primitive::<Int64Type>(), steps.as_primitive::<Int64Type>());
        let places = ordinals.values().iter().zip(steps.values());
        let score = |(ordinal, step): (&i64, &i64)| {
            scores.by_step.get(&(*ordinal, *step)).copied().unwrap_or(0.0)
        };
        Ok(ColumnarValue::Array(Arc::new(Float64Array::from_iter_values(places.map(score)))))
    }
}
