//! Loops over rows of numbers, written so that the compiler makes vector code of them.
//!
//! A sum of floats may not be reordered by the compiler, so sums run in [`LANES`] fixed lanes: the
//! order is part of the code, the same on every machine and for every number of threads. Each
//! public function picks the vector instructions at run time and runs one inlined loop under them.

use pulp::Arch;
use rayon::prelude::*;

/// Number of independent partial sums: two registers of AVX2.
const LANES: usize = 16;

/// Rows are handed to threads in blocks of about this many numbers; less is not worth a thread.
const BLOCK_ELEMENTS: usize = 1 << 14;

/// Runs `body` on blocks of rows of `out`, in parallel; `body` gets the number of the first row of
/// the block and the block. Rows are independent, so the result does not depend on threads.
pub(super) fn for_row_blocks(
    out: &mut [f32],
    width: usize,
    body: impl Fn(usize, &mut [f32]) + Sync,
) {
    let rows = (BLOCK_ELEMENTS / width.max(1)).max(1);
    if out.len() <= rows * width {
        if !out.is_empty() {
            run_block(0, out, &body);
        }
        return;
    }
    out.par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(block, chunk)| run_block(block * rows, chunk, &body));
}

/// Runs one block under the best vector instructions of this machine.
fn run_block(first_row: usize, block: &mut [f32], body: &(impl Fn(usize, &mut [f32]) + Sync)) {
    struct Run<'a, F>(usize, &'a mut [f32], &'a F);
    impl<F: Fn(usize, &mut [f32])> pulp::NullaryFnOnce for Run<'_, F> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            (self.2)(self.0, self.1);
        }
    }
    Arch::new().dispatch(Run(first_row, block, body));
}

/// Returns the sum of `f` over `a` in fixed lanes.
#[inline(always)]
pub(in crate::lm) fn sum_of(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += f(*x);
        }
    }
    rest.iter().fold(fold_lanes(sums), |sum, x| sum + f(*x))
}

/// Returns the sum of `f` over pairs of `a` and `b` in fixed lanes.
#[inline(always)]
pub(super) fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += f(*x, *y);
        }
    }
    a_rest.iter().zip(b_rest).fold(fold_lanes(sums), |sum, (x, y)| sum + f(*x, *y))
}

#[inline(always)]
fn fold_lanes(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Returns the largest number of `a`, or minus infinity if it is empty.
#[inline(always)]
pub(in crate::lm) fn max_of(a: &[f32]) -> f32 {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let mut maxima = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (max, x) in maxima.iter_mut().zip(chunk) {
            *max = if *x > *max { *x } else { *max };
        }
    }
    maxima.iter().chain(rest).fold(f32::NEG_INFINITY, |max, x| if *x > max { *x } else { max })
}

/// Returns e^x to within two units in the last place for x in [-87, 88]; below it returns about
/// 1e-38 and above about 1e38, never infinity. NaN stays NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by the polynomial of Cephes' `expf`, 2^n by its bits.
#[inline(always)]
pub(in crate::lm) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let bounded = if x < -87.0 { -87.0 } else { x };
    let bounded = if bounded > 88.0 { 88.0 } else { bounded };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let r = bounded - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let fraction = p * r * r + r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    fraction * power
}

/// Returns the logistic function of x.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Replaces `row` by its softmax.
#[inline(always)]
pub(in crate::lm) fn softmax(row: &mut [f32]) {
    let max = max_of(row);
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let scale = 1.0 / sum_of(row, |x| x);
    for x in row.iter_mut() {
        *x *= scale;
    }
}

/// Returns tanh x to within a few units in the last place, by Eigen's rational function of x on
/// [-7.9, 7.9]; beyond it the result is 1 in f32. NaN stays NaN.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    const END: f32 = 7.905_311;
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let beyond = x.abs() >= END;
    let x = if beyond { 0.0 } else { x };
    let square = x * x;
    let mut above = -2.760_768_5e-16_f32;
    above = above * square + 2.000_188e-13;
    above = above * square - 8.604_672e-11;
    above = above * square + 5.122_297e-8;
    above = above * square + 1.485_722_3e-5;
    above = above * square + 6.372_619e-4;
    above = above * square + 4.893_524_6e-3;
    let mut below = 1.198_258_4e-6_f32;
    below = below * square + 1.185_347e-4;
    below = below * square + 2.268_434_6e-3;
    below = below * square + 4.893_525e-3;
    let inside = x * above / below;
    if beyond { sign } else { inside }
}

/// Returns cap tanh(x / cap): x where it is small, and never beyond the cap.
#[inline(always)]
pub(in crate::lm) fn soft_cap(x: f32, cap: f32) -> f32 {
    cap * tanh(x / cap)
}
