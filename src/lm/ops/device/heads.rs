//! Features moved between tokens and heads, and rotated on the way.
//!
//! Packed rows are `[tokens, heads * width]`. By heads they are `[key heads, tokens, group, width]`
//! with `group` query heads to a key head, so that what one key head needs of any stretch of tokens
//! is one dense matrix, and sequences of equal length lie at equal distances.

use candle_core::{Result, Tensor};

use super::engine::Argument;
use super::operations::Operations;
use crate::lm::ops::Heads;

use Argument::{Float, Int, Nothing, Tensor as At};

/// How features turn: cosines and sines of every position, and the position of each token.
#[derive(Clone)]
pub(in crate::lm) struct Angles {
    /// Cosines, `[positions, width / 2]` in f32.
    pub(in crate::lm) cosine: Tensor,
    /// Sines, of the same shape.
    pub(in crate::lm) sine: Tensor,
    /// The position of each token, `[tokens]`.
    pub(in crate::lm) positions: Tensor,
}

/// Which way features move.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToHeads,
    ToPacked,
}

impl Operations {
    /// Returns `x`, packed, by heads; rotated if there are angles. `heads` are those of `x`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(in crate::lm) fn to_heads(
        &self,
        x: &Tensor,
        heads: usize,
        of: Heads,
        angles: Option<&Angles>,
    ) -> Result<Tensor> {
        let (tokens, row) = x.dims2()?;
        if row != heads * of.width {
            candle_core::bail!("{:?} as {heads} heads of {}", x.dims(), of.width);
        }
        let out = self.empty((of.keys, tokens, heads / of.keys, of.width))?;
        self.turn(x, &out, (tokens, heads), of, angles, Way::ToHeads)?;
        Ok(out)
    }

    /// Returns `x`, by heads, packed; rotated back if there are angles.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(in crate::lm) fn to_packed(
        &self,
        x: &Tensor,
        of: Heads,
        angles: Option<&Angles>,
    ) -> Result<Tensor> {
        let (keys, tokens, group, width) = x.dims4()?;
        if keys != of.keys || width != of.width {
            candle_core::bail!("{:?} as heads {of:?}", x.dims());
        }
        let heads = keys * group;
        let out = self.empty((tokens, heads * width))?;
        self.turn(x, &out, (tokens, heads), of, angles, Way::ToPacked)?;
        Ok(out)
    }

    fn turn(
        &self,
        from: &Tensor,
        to: &Tensor,
        (tokens, heads): (usize, usize),
        of: Heads,
        angles: Option<&Angles>,
        way: Way,
    ) -> Result<()> {
        let half = of.width / 2;
        let tables = match angles {
            Some(Angles { cosine, sine, positions }) => {
                if positions.dims() != [tokens] || cosine.dim(1)? != half {
                    candle_core::bail!("{tokens} tokens turned by {:?}", positions.dims());
                }
                [At(cosine), At(sine), At(positions)]
            }
            None => [Nothing; 3],
        };
        let kernel = self.kernel("rope", half, &[from]);
        let pack = if kernel.ends_with("_wide") { super::operations::WIDE } else { 1 };
        let back = way == Way::ToPacked;
        let sizes = [tokens, heads, heads / of.keys, half].map(|size| Int(size as i32));
        let direction = [Float(if back { -1.0 } else { 1.0 }), Int(i32::from(!back))];
        let arguments = [&[At(from), At(to)], &tables[..], &sizes, &direction].concat();
        // The kernel counts packs of features, one for each thread.
        let threads = tokens * heads * (half / pack);
        self.elements(&kernel, threads * pack, &arguments)
    }
}
