//! The part that SPLIT puts a row into: `part_of`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use datafusion::common::{Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::query::syntax::PART_OF;

/// Bits of the hash that are compared with the shares.
const BITS: u32 = 53;

/// What is hashed before all else, so that no other draw of the same seed looks at the same hash.
const DRAW: &[u8] = b"swirldb split";

/// Returns `part_of(seed, n, part, shares, ..., keys...)`: the name of one of `n` parts. A part
/// gets the keys whose BLAKE3 over seed and keys lies in its share of the numbers below 2^53. It
/// depends on nothing else, so that a key is in the same part in every database, for ever. Null
/// where a key is null.
pub(in crate::query) fn part_of() -> ScalarUDF {
    ScalarUDF::from(PartOf { signature: Signature::variadic_any(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PartOf {
    signature: Signature,
}

/// A key's values in a form whose bytes never change.
enum Key {
    Text(ArrayRef),
    Integer(ArrayRef),
    Float(ArrayRef),
    Null,
}

impl ScalarUDFImpl for PartOf {
    fn name(&self) -> &str {
        PART_OF
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        for kind in kinds {
            if form(kind).is_none() {
                return plan_err!(
                    "SPLIT parts by texts, numbers, booleans and timestamps, and this key is of \
                     type {kind}"
                );
            }
        }
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let wrong = || exec_datafusion_err!("{PART_OF} is what SPLIT writes");
        let number = |at: usize| match args.args.get(at) {
            Some(ColumnarValue::Scalar(value)) => match value.cast_to(&DataType::Int64)? {
                datafusion::common::ScalarValue::Int64(Some(number)) => Ok(number),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        };
        let seed = number(0)?;
        let count = usize::try_from(number(1)?).ok().filter(|count| *count < args.args.len());
        let count = count.ok_or_else(wrong)?;
        let mut parts = Vec::with_capacity(count);
        for at in (2..).step_by(2).take(count) {
            let Some(ColumnarValue::Scalar(name)) = args.args.get(at) else { return Err(wrong()) };
            let name = name.try_as_str().flatten().ok_or_else(wrong)?;
            let shares = u64::try_from(number(at + 1)?).ok().filter(|shares| *shares < 1 << BITS);
            parts.push((name.to_owned(), u128::from(shares.ok_or_else(wrong)?)));
        }
        let bounds = bounds(&parts);
        let keys = args.args.get(2 + 2 * count..).ok_or_else(wrong)?;
        let keys: Result<Vec<Key>> =
            keys.iter().map(|key| Key::new(&key.to_array(args.number_rows)?)).collect();
        let keys = keys?;
        let mut found = StringViewBuilder::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let mut hasher = blake3::Hasher::new();
            hasher.update(DRAW).update(&seed.to_be_bytes());
            let is_whole = keys.iter().all(|key| key.hash(row, &mut hasher));
            let place = place(&hasher);
            let part = bounds.iter().position(|bound| place < *bound);
            found.append_option(part.filter(|_| is_whole).map(|at| parts[at].0.as_str()));
        }
        Ok(ColumnarValue::Array(Arc::new(found.finish())))
    }
}

/// Returns the first `BITS` bits of a hash.
fn place(hasher: &blake3::Hasher) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_be_bytes(first) >> (u64::BITS - BITS)
}

/// Returns where each part ends among the numbers below 2^53. Whole numbers are divided, so that
/// no rounding differs between machines.
fn bounds(parts: &[(String, u128)]) -> Vec<u64> {
    let all: u128 = parts.iter().map(|(_, shares)| shares).sum::<u128>().max(1);
    let mut sum = 0;
    let end = |(_, shares): &(String, u128)| {
        sum += shares;
        ((sum << BITS) / all) as u64
    };
    parts.iter().map(end).collect()
}

/// Returns the type that values of a type are hashed as.
fn form(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
        DataType::Dictionary(_, values) => return form(values),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        // Beyond the other integers: as its digits.
        DataType::UInt64 => DataType::Utf8View,
        kind if kind.is_integer() => DataType::Int64,
        DataType::Boolean => DataType::Int64,
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Null => DataType::Null,
        _ => return None,
    })
}

impl Key {
    fn new(values: &ArrayRef) -> Result<Key> {
        Ok(match form(values.data_type()) {
            Some(DataType::Utf8View) => Key::Text(cast(values, &DataType::Utf8View)?),
            Some(DataType::Float64) => Key::Float(cast(values, &DataType::Float64)?),
            Some(DataType::Int64) => Key::Integer(cast(values, &DataType::Int64)?),
            Some(kind @ DataType::Timestamp(..)) => {
                Key::Integer(cast(&cast(values, &kind)?, &DataType::Int64)?)
            }
            _ => Key::Null,
        })
    }

    /// Hashes the value of a row; false where it is null.
    fn hash(&self, row: usize, hasher: &mut blake3::Hasher) -> bool {
        match self {
            Key::Text(values) if values.is_valid(row) => {
                let text = values.as_string_view().value(row);
                hasher.update(b"t").update(&(text.len() as u64).to_be_bytes());
                hasher.update(text.as_bytes());
            }
            Key::Integer(values) if values.is_valid(row) => {
                let number = values.as_primitive::<Int64Type>().value(row);
                hasher.update(b"i").update(&number.to_be_bytes());
            }
            Key::Float(values) if values.is_valid(row) => {
                let number = values.as_primitive::<Float64Type>().value(row);
                // Zero has two signs, and no number has many forms.
                let number = match number {
                    _ if number == 0.0 => 0.0,
                    _ if number.is_nan() => f64::NAN,
                    number => number,
                };
                hasher.update(b"f").update(&number.to_bits().to_be_bytes());
            }
            _ => return false,
        }
        true
    }
}
