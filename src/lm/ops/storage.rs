//! Views of tensors as slices.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor};

use super::kernels::for_row_blocks;

/// Returns the numbers of a contiguous f32 tensor on the CPU.
pub(in crate::lm) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("a custom operation was given a tensor with gaps"),
    }
}

/// Runs `body` on the numbers of a f32 tensor on the CPU.
pub(in crate::lm) fn with_values<R>(
    tensor: &Tensor,
    body: impl FnOnce(&[f32]) -> Result<R>,
) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => body(slice(storage, layout)?),
        _ => candle_core::bail!("a custom operation of the CPU was given a tensor elsewhere"),
    }
}

/// Returns whether the custom operations apply: f32 on the CPU.
pub(in crate::lm) fn on_cpu(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// Returns the sum of two tensors of one shape on the CPU, without a graph.
///
/// candle's own addition of larger tensors waits for its helper thread in a loop: on a machine that
/// has other work to do, that wait was measured at several times the addition.
pub(in crate::lm) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape() != b.shape() {
        candle_core::bail!("sum of {:?} and {:?}", a.dims(), b.dims());
    }
    let mut out = vec![0f32; a.elem_count()];
    with_values(a, |a| {
        with_values(b, |b| {
            for_row_blocks(&mut out, 1, |at, block| {
                let range = at..at + block.len();
                let sources = a[range.clone()].iter().zip(&b[range]);
                for (out, (a, b)) in block.iter_mut().zip(sources) {
                    *out = a + b;
                }
            });
            Ok(())
        })
    })?;
    Tensor::from_vec(out, a.shape().clone(), a.device())
}
