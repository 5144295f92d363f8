//! What happens to rows between the products.

use crate::lm::ops::sum_of;

/// Runs a loop under the best vector instructions of this machine.
pub(super) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    struct Run<F>(F);
    impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Run<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Run(body))
}

/// Returns the error function of x to 4e-7, never beyond 1.
///
/// x times a ratio of polynomials in x^2 on [-4, 4], beyond which it is 1 in f32; the coefficients
/// are those of Eigen 3.3 (`generic_fast_erf_float`).
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let bounded = if x < -4.0 { -4.0 } else { x };
    let x = if bounded > 4.0 { 4.0 } else { bounded };
    let square = x * x;
    let mut upper = -2.726_142_4e-10_f32;
    upper = upper * square + 2.770_681_5e-8;
    upper = upper * square - 2.101_024e-6;
    upper = upper * square - 5.692_506_3e-5;
    upper = upper * square - 7.349_906e-4;
    upper = upper * square - 2.954_6e-3;
    upper = upper * square - 1.609_603_3e-2;
    let mut lower = -1.456_607_15e-5_f32;
    lower = lower * square - 2.133_740_6e-4;
    lower = lower * square - 1.682_827e-3;
    lower = lower * square - 7.373_329_3e-3;
    lower = lower * square - 1.426_474e-2;
    let ratio = x * upper / lower;
    let ratio = if x <= -4.0 || ratio < -1.0 { -1.0 } else { ratio };
    if x >= 4.0 || ratio > 1.0 { 1.0 } else { ratio }
}

/// Adds the bias to every row and replaces each x by x Phi(x), the Gaussian error linear unit
/// without approximation (Hendrycks and Gimpel 2016).
pub(super) fn add_and_gelu(rows: &mut [f32], bias: &[f32]) {
    vectorised(|| {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (x, bias) in row.iter_mut().zip(bias) {
                let value = *x + bias;
                *x = 0.5 * value * (1.0 + erf(value * std::f32::consts::FRAC_1_SQRT_2));
            }
        }
    });
}

/// Adds the bias to every row.
pub(super) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (x, bias) in row.iter_mut().zip(bias) {
            *x += bias;
        }
    }
}

/// A layer norm: mean 0 and variance 1 of every row, then a scale and a shift for each column (Ba
/// et al. 2016).
pub(super) struct Norm {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) epsilon: f32,
}

impl Norm {
    /// Replaces every row x by norm(x + delta + bias).
    pub(super) fn of_sum(&self, rows: &mut [f32], delta: &[f32], bias: &[f32]) {
        let width = self.scale.len();
        vectorised(|| {
            for (row, delta) in rows.chunks_exact_mut(width).zip(delta.chunks_exact(width)) {
                for ((x, delta), bias) in row.iter_mut().zip(delta).zip(bias) {
                    *x += delta + bias;
                }
                self.normalise(row);
            }
        });
    }

    /// Replaces every row by its norm.
    pub(super) fn of(&self, rows: &mut [f32]) {
        vectorised(|| {
            for row in rows.chunks_exact_mut(self.scale.len()) {
                self.normalise(row);
            }
        });
    }

    #[inline(always)]
    fn normalise(&self, row: &mut [f32]) {
        let width = row.len() as f32;
        let mean = sum_of(row, |x| x) / width;
        let variance = sum_of(row, |x| (x - mean) * (x - mean)) / width;
        let scale = 1.0 / (variance + self.epsilon).sqrt();
        for ((x, gain), shift) in row.iter_mut().zip(&self.scale).zip(&self.shift) {
            *x = (*x - mean) * scale * gain + shift;
        }
    }
}
