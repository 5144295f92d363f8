//! Products of matrices that are windows into larger tensors.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result, Shape};

/// A matrix inside a storage: rows and columns at fixed distances.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) storage: &'a CpuStorage,
    /// The place of the first element.
    pub(super) offset: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Returns the dense matrix `[rows, columns]` that begins at `offset`.
    pub(super) fn dense(
        storage: &'a CpuStorage,
        offset: usize,
        rows: usize,
        columns: usize,
    ) -> Matrix<'a> {
        Matrix { storage, offset, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Returns the rows `start..end`.
    pub(super) fn rows(self, start: usize, end: usize) -> Matrix<'a> {
        Matrix { offset: self.offset + start * self.row_stride, rows: end - start, ..self }
    }

    /// Returns the transpose.
    pub(super) fn transposed(self) -> Matrix<'a> {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn layout(&self) -> Layout {
        let shape = Shape::from((self.rows, self.columns));
        Layout::new(shape, vec![self.row_stride, self.column_stride], self.offset)
    }

    /// Returns the product with `other`, dense, as numbers.
    ///
    /// # Errors
    /// If the inner sizes differ.
    pub(super) fn times(&self, other: Matrix<'_>) -> Result<Vec<f32>> {
        match self.times_into_storage(other)? {
            CpuStorage::F32(values) => Ok(values),
            _ => candle_core::bail!("a product of f32 matrices is not f32"),
        }
    }

    /// Returns the product with `other`, dense, as a storage.
    ///
    /// # Errors
    /// If the inner sizes differ.
    pub(super) fn times_into_storage(&self, other: Matrix<'_>) -> Result<CpuStorage> {
        if self.columns != other.rows {
            candle_core::bail!(
                "product of [{}, {}] and [{}, {}]",
                self.rows,
                self.columns,
                other.rows,
                other.columns
            );
        }
        let sizes = (1, self.rows, other.columns, self.columns);
        if self.rows == 0 || other.columns == 0 || self.columns == 0 {
            return Ok(CpuStorage::F32(vec![0.0; self.rows * other.columns]));
        }
        self.storage.matmul(other.storage, sizes, &self.layout(), &other.layout())
    }
}
