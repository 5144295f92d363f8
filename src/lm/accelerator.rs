//! A device with kernels of its own, as a decoder uses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use super::LmError;
use super::compute::{Compute, Pass, Turn};
use super::ops::device::{Angles, Operations};
use super::ops::{Frequencies, Rotation, Span};
use super::weights::Weights;

/// The operations of a device, and tables of angles that are made once.
#[derive(Clone)]
pub(super) struct Accelerator {
    pub(super) operations: Operations,
    tables: Arc<Mutex<Vec<Table>>>,
}

/// Cosines and sines of positions from 0 on.
struct Table {
    frequencies: Frequencies,
    positions: usize,
    cosine: Tensor,
    sine: Tensor,
}

impl Accelerator {
    pub(super) fn new(operations: Operations) -> Accelerator {
        Accelerator { operations, tables: Arc::default() }
    }

    /// Returns that of a device; none where there are no kernels for it.
    ///
    /// # Errors
    /// Kernels that cannot be compiled.
    pub(super) fn of(device: &Device) -> Result<Option<Accelerator>, LmError> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(card) = device {
            let engine = Arc::new(super::ops::device::CudaEngine::new(card)?);
            return Ok(Some(Accelerator::new(Operations::new(engine, DType::F32)?)));
        }
        let _ = device;
        Ok(None)
    }

    /// Returns the same device in another type of numbers.
    pub(super) fn in_dtype(&self, dtype: DType) -> candle_core::Result<Accelerator> {
        let operations = self.operations.in_dtype(dtype)?;
        Ok(Accelerator { operations, tables: self.tables.clone() })
    }

    /// Returns what computes a pass, with copies of the matrices as they are now.
    pub(super) fn pass(&self, weights: &Weights) -> candle_core::Result<Compute> {
        let dtype = self.operations.dtype();
        let mut copies = HashMap::new();
        for matrix in weights.layer_matrices() {
            if matrix.dtype() != dtype {
                copies.insert(matrix.id(), self.operations.cast(matrix, dtype)?);
            }
        }
        let pass = Pass { operations: self.operations.clone(), copies: Arc::new(copies) };
        Ok(Compute::Device(pass))
    }

    /// Returns the angles of sequences that lie in `spans`.
    pub(super) fn turn(
        &self,
        spans: &[Span],
        frequencies: &Frequencies,
    ) -> candle_core::Result<Turn> {
        let device = self.operations.device();
        let longest = spans.iter().map(Span::keys).max().unwrap_or(0);
        let positions: Vec<u32> =
            spans.iter().flat_map(Span::positions).map(|position| position as u32).collect();
        let positions = Tensor::new(positions.as_slice(), device)?;
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |table: &&Table| table.frequencies == *frequencies && table.positions >= longest;
        if let Some(Table { cosine, sine, .. }) = tables.iter().find(fits) {
            let (cosine, sine) = (cosine.clone(), sine.clone());
            return Ok(Turn::Device(Angles { cosine, sine, positions }));
        }
        tables.retain(|table| table.frequencies != *frequencies);
        let count = longest.next_power_of_two();
        let (cosine, sine) = Rotation::new(&[count], frequencies).tensors(device)?;
        let (cosine, sine) = (cosine.squeeze(1)?, sine.squeeze(1)?);
        tables.push(Table {
            frequencies: frequencies.clone(),
            positions: count,
            cosine: cosine.clone(),
            sine: sine.clone(),
        });
        Ok(Turn::Device(Angles { cosine, sine, positions }))
    }
}
