//! The optimiser's step and the norms of gradients.

use candle_core::{DType, Result, Tensor};

use super::engine::{Argument, Grid};
use super::operations::{Operations, WIDE, wide};

use Argument::{Float, Int, Long, Tensor as At};

/// Threads of a block here.
const THREADS: usize = 256;

/// Parts of an array whose squares are summed apart.
const PARTS: usize = 512;

/// The numbers of one step of AdamW that all elements share.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Decay of the gradient's mean.
    pub beta1: f32,
    /// Decay of the gradient's square.
    pub beta2: f32,
    /// Added to the root of the gradient's square.
    pub epsilon: f32,
    /// What gradients are multiplied by: clipping.
    pub scale: f32,
    /// The learning rate, corrected for the mean's start at zero.
    pub rate: f32,
    /// The correction of the root for the square's start at zero.
    pub root: f32,
    /// What is left of the variable after decay.
    pub keep: f32,
}

impl Operations {
    /// Moves a variable and its moments, all f32 and contiguous, in their memory.
    ///
    /// # Errors
    /// Shapes or types that do not fit.
    pub fn adamw(
        &self,
        variable: &Tensor,
        gradient: &Tensor,
        [mean, square]: [&Tensor; 2],
        step: AdamStep,
    ) -> Result<()> {
        let count = variable.elem_count();
        for other in [gradient, mean, square] {
            if other.elem_count() != count || other.dtype() != DType::F32 {
                candle_core::bail!("adamw of {:?} by {:?}", variable.dims(), other.dims());
            }
        }
        let kernel = format!("adamw_f32{}", wide(count, &[variable, gradient, mean, square]));
        let AdamStep { beta1, beta2, epsilon, scale, rate, root, keep } = step;
        let tensors = [At(variable), At(gradient), At(mean), At(square), Long(count as i64)];
        let numbers = [beta1, beta2, epsilon, scale, rate, root, keep].map(Float);
        self.elements(&kernel, count, &[&tensors[..], &numbers].concat())
    }

    /// Returns the sum of squares of each tensor, f32 and contiguous, summed in f64; the device is
    /// waited for once.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sums_of_squares(&self, tensors: &[Tensor]) -> Result<Vec<f64>> {
        if tensors.is_empty() {
            return Ok(Vec::new());
        }
        let engine = &self.engine;
        let out = engine.empty(&tensors.len().into(), DType::F64)?;
        let partial = engine.empty(&PARTS.into(), DType::F64)?;
        for (place, tensor) in tensors.iter().enumerate() {
            let count = tensor.elem_count();
            let kernel = format!("squares_f32{}", wide(count, &[tensor]));
            let blocks = count.div_ceil(THREADS * WIDE).clamp(1, PARTS);
            let grid = Grid { blocks: [blocks, 1], threads: THREADS };
            engine.launch(&kernel, grid, &[At(tensor), At(&partial), Long(count as i64)])?;
            let arguments = [At(&partial), At(&out), Int(blocks as i32), Int(place as i32)];
            let grid = Grid { blocks: [1, 1], threads: THREADS };
            engine.launch("squares_total", grid, &arguments)?;
        }
        out.to_vec1()
    }
}
