//! Vectors as whole numbers, and their products.

use super::error::VectorsError;

/// What 1 is stored as.
const ONE: f64 = 32_767.0;

/// How far the length of a vector may be from 1.
const TOLERANCE: f64 = 5e-4;

/// Returns the stored numbers of a unit vector.
///
/// # Errors
/// `Dimensions`; `NotUnit`.
pub fn quantise(vector: &[f32], dimensions: usize) -> Result<Vec<i16>, VectorsError> {
    if vector.len() != dimensions {
        return Err(VectorsError::Dimensions { found: vector.len(), expected: dimensions });
    }
    let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = square.sqrt();
    // Not a number is not near 1 either.
    let is_unit = (length - 1.0).abs() <= TOLERANCE;
    if !is_unit {
        return Err(VectorsError::NotUnit { length });
    }
    let stored = |x: &f32| (f64::from(*x) * ONE).round().clamp(-ONE, ONE) as i16;
    Ok(vector.iter().map(stored).collect())
}

/// Returns the number that a stored one stands for.
pub fn restore(stored: i16) -> f32 {
    (f64::from(stored) / ONE) as f32
}

/// Returns the score of a product.
pub fn score(product: i32) -> f64 {
    f64::from(product) / (ONE * ONE)
}

/// Calls `each` with the number of every row in `rows` and its product with `query`.
///
/// Products of rows that [`quantise`] made fit into 32 bits (see the head of the module); what
/// stands in a damaged file wraps around.
pub fn for_products(rows: &[u8], query: &[i16], mut each: impl FnMut(usize, i32)) {
    struct Run<'a, F>(&'a [u8], &'a [i16], &'a mut F);
    impl<F: FnMut(usize, i32)> pulp::NullaryFnOnce for Run<'_, F> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            let Run(rows, query, each) = self;
            let numbers = rows.as_chunks::<2>().0;
            for (row, stored) in numbers.chunks_exact(query.len()).enumerate() {
                each(row, product(stored, query));
            }
        }
    }
    pulp::Arch::new().dispatch(Run(rows, query, &mut each));
}

#[inline(always)]
fn product(row: &[[u8; 2]], query: &[i16]) -> i32 {
    row.iter().zip(query).fold(0, |sum: i32, (bytes, y)| {
        let x = i32::from(i16::from_le_bytes(*bytes));
        sum.wrapping_add(x.wrapping_mul(i32::from(*y)))
    })
}
