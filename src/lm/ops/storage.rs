//! Views of tensors as slices.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor};

/// Returns the numbers of a contiguous f32 tensor on the CPU.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("a custom operation was given a tensor with gaps"),
    }
}

/// Runs `body` on the numbers of a f32 tensor on the CPU.
pub(super) fn with_values<R>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => body(slice(storage, layout)?),
        _ => candle_core::bail!("a custom operation of the CPU was given a tensor elsewhere"),
    }
}

/// Returns whether the custom operations apply: f32 on the CPU.
pub(super) fn on_cpu(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}
