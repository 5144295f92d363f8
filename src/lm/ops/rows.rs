//! Rows of a matrix by number: the embedding of tokens, the states at chosen positions.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::GradientSink;
use super::storage::{on_cpu, slice, with_values};

/// Returns the rows `ids` of `table`, `[rows, width]`, in that order; a row may come repeatedly.
///
/// # Errors
/// If an id is not below the number of rows.
pub fn gather_rows(table: &Tensor, ids: &[u32], sink: &GradientSink) -> Result<Tensor> {
    let rows = table.dim(0)?;
    if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
        candle_core::bail!("row {id} of a table of {rows} rows");
    }
    if !on_cpu(table) {
        let ids = Tensor::new(ids, table.device())?;
        return table.index_select(&ids, 0);
    }
    let ids = Arc::new(ids.to_vec());
    table.contiguous()?.apply_op1(GatherRows { ids, sink: sink.clone() })
}

struct GatherRows {
    ids: Arc<Vec<u32>>,
    sink: GradientSink,
}

impl GatherRows {
    /// Adds the rows of `grad` to the rows of `sum` that they came from, in order.
    fn scatter(&self, grad: &[f32], width: usize, sum: &mut [f32]) {
        for (id, grad) in self.ids.iter().zip(grad.chunks_exact(width)) {
            let at = *id as usize * width;
            for (sum, grad) in sum[at..at + width].iter_mut().zip(grad) {
                *sum += grad;
            }
        }
    }
}

impl CustomOp1 for GatherRows {
    fn name(&self) -> &'static str {
        "gather-rows"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = layout.shape().dims2()?.1;
        let table = slice(table, layout)?;
        let mut out = Vec::with_capacity(self.ids.len() * width);
        for id in self.ids.iter() {
            let at = *id as usize * width;
            out.extend_from_slice(&table[at..at + width]);
        }
        Ok((CpuStorage::F32(out), Shape::from((self.ids.len(), width))))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = table.dim(1)?;
        with_values(grad, |grad| {
            if self.sink.update(table, |sum| self.scatter(grad, width, sum)) {
                return Ok(None);
            }
            let mut sum = vec![0f32; table.elem_count()];
            self.scatter(grad, width, &mut sum);
            Tensor::from_vec(sum, table.shape().clone(), table.device()).map(Some)
        })
    }
}
