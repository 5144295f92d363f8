//! How far a decoder's next-token distributions are from another one's.

use candle_core::{DType, Tensor};

use super::ops::{self, Reference};
use super::{Decoder, LmError};

impl Decoder {
    /// Returns log p(targets[i] | the state in row rows[i] of `hidden`) and the divergence
    /// KL(p || q) of the whole distribution there from that of `reference`, each `[rows.len()]`
    /// in f32. `reference_hidden` are the states of `reference` for the same tokens; it gets no
    /// gradient.
    ///
    /// # Errors
    /// If rows and targets differ in number or are out of range, or the vocabularies differ.
    pub fn log_probs_and_divergence(
        &self,
        hidden: &Tensor,
        rows: &[u32],
        targets: &[u32],
        reference: &Decoder,
        reference_hidden: &Tensor,
    ) -> Result<(Tensor, Tensor), LmError> {
        // f32 as it is, but for states and frozen weights of a decoder that works in bf16.
        let f32 = |x: &Tensor| x.to_dtype(DType::F32);
        let states = ops::gather_rows(&f32(hidden)?, rows, &self.sink)?;
        let other = f32(&reference_hidden.detach())?;
        let other = Reference {
            hidden: ops::gather_rows(&other, rows, &reference.sink)?,
            weight: f32(&reference.head().detach())?,
        };
        let head = &f32(self.head())?;
        let cap = self.config().logit_soft_cap.map(|cap| cap as f32);
        let both = ops::log_probs_and_divergence(&states, head, targets, &other, cap, &self.sink)?;
        Ok((both.get(0)?, both.get(1)?))
    }
}
