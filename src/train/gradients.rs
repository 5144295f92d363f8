//! Gradients of one optimiser step, summed over the batches it is cut into.

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Storage, Tensor, Var};
use rayon::prelude::*;

use crate::lm::ops::device::Operations;

/// Elements that one task works on. Sums are made per chunk and then in order, so no result
/// depends on the number of threads.
const CHUNK: usize = 1 << 16;

/// The gradients of one optimiser step, summed over its batches.
#[derive(Default)]
pub struct Gradients {
    sums: Vec<Option<Sum>>,
}

struct Sum {
    tensor: Tensor,
    /// Whether the memory is ours alone; a first gradient may share the memory of another.
    owned: bool,
}

impl Gradients {
    /// Returns the sum of nothing, for as many variables.
    pub fn new(variables: usize) -> Gradients {
        Gradients { sums: (0..variables).map(|_| None).collect() }
    }

    /// Adds a gradient of variable `index`, cut off from the graph that made it.
    ///
    /// # Errors
    /// A shape that is not that of the gradients before.
    pub fn add(&mut self, index: usize, gradient: &Tensor) -> Result<()> {
        let gradient = gradient.detach().to_dtype(DType::F32)?.contiguous()?;
        self.sums[index] = Some(match self.sums[index].take() {
            None => Sum { tensor: gradient, owned: false },
            Some(sum) if sum.owned && matches!(gradient.device(), Device::Cpu) => {
                sum.tensor.inplace_op2(&gradient, &AddInPlace)?;
                sum
            }
            Some(sum) => Sum { tensor: (sum.tensor + gradient)?, owned: true },
        });
        Ok(())
    }

    /// Returns the index of the variables that got no gradient.
    pub fn missing(&self) -> Vec<usize> {
        let missing = |(index, sum): (usize, &Option<Sum>)| sum.is_none().then_some(index);
        self.sums.iter().enumerate().filter_map(missing).collect()
    }

    /// Returns the gradients, zeros where a variable got none, and the norm of each; by kernels
    /// where the variables' device has `operations`.
    ///
    /// # Errors
    /// A device that fails.
    pub fn finish(
        self,
        variables: &[&Var],
        operations: Option<&Operations>,
    ) -> Result<(Vec<Tensor>, Vec<f64>)> {
        let mut tensors = Vec::new();
        for (sum, variable) in self.sums.into_iter().zip(variables) {
            tensors.push(match sum {
                Some(sum) => sum.tensor,
                None => variable.as_tensor().zeros_like()?.to_dtype(DType::F32)?,
            });
        }
        let squares = match operations {
            // The device is waited for once, not for every variable.
            Some(operations) => operations.sums_of_squares(&tensors)?,
            None => tensors.iter().map(sum_of_squares).collect::<Result<Vec<f64>>>()?,
        };
        Ok((tensors, squares.into_iter().map(f64::sqrt).collect()))
    }
}

struct AddInPlace;

impl InplaceOp2 for AddInPlace {
    fn name(&self) -> &'static str {
        "add-in-place"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        layout: &Layout,
        other: &CpuStorage,
        other_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(sum), CpuStorage::F32(other)) = (sum, other) else {
            candle_core::bail!("gradients are summed in f32")
        };
        let whole = (layout.contiguous_offsets(), other_layout.contiguous_offsets());
        let (Some((start, end)), Some((from, to))) = whole else {
            candle_core::bail!("gradients are summed where they are contiguous")
        };
        let add = |(sum, other): (&mut [f32], &[f32])| {
            sum.iter_mut().zip(other).for_each(|(s, o)| *s += o);
        };
        sum[start..end].par_chunks_mut(CHUNK).zip(other[from..to].par_chunks(CHUNK)).for_each(add);
        Ok(())
    }
}

/// Returns the sum of squares of a contiguous f32 tensor, in f64 on the CPU.
fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => {
            let square = |chunk: &[f32]| chunk.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            let sums: Vec<f64> = values[start..end].par_chunks(CHUNK).map(square).collect();
            Ok(sums.iter().sum())
        }
        _ => {
            drop(storage);
            Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?))
        }
    }
}
