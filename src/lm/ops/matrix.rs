//! Products of matrices that are windows into larger tensors.
//!
//! They are those of the crate `gemm`, which candle's own are too, but into memory that nothing has
//! filled with zeros before, and added to what is there already where a sum is wanted.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor};
use gemm::Parallelism;

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

    /// Returns a tensor with two dimensions.
    ///
    /// # Errors
    /// If it has another number of them.
    pub(super) fn of(storage: &'a CpuStorage, layout: &Layout) -> Result<Matrix<'a>> {
        let (rows, columns) = layout.shape().dims2()?;
        let [row_stride, column_stride] = [layout.stride()[0], layout.stride()[1]];
        let offset = layout.start_offset();
        Ok(Matrix { storage, offset, rows, columns, row_stride, column_stride })
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

    /// Returns the product with `other`, dense.
    ///
    /// # Errors
    /// If the inner sizes differ, or a matrix does not lie within its storage.
    pub(super) fn times(&self, other: Matrix<'_>) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        self.multiply(other, &mut Place::New(&mut out))?;
        Ok(out)
    }

    /// Adds the product with `other` to the beginning of `sum`, dense.
    ///
    /// # Errors
    /// As [`Matrix::times`], and a `sum` that is too short.
    pub(super) fn add_times(&self, other: Matrix<'_>, sum: &mut [f32]) -> Result<()> {
        self.multiply(other, &mut Place::Sum(sum))
    }

    /// Returns the numbers from the first element to the last.
    fn values(&self) -> Result<&'a [f32]> {
        let last = |count: usize, stride: usize| count.saturating_sub(1).checked_mul(stride);
        let reach = last(self.rows, self.row_stride)
            .zip(last(self.columns, self.column_stride))
            .and_then(|(rows, columns)| rows.checked_add(columns));
        let values = self.storage.as_slice::<f32>()?.get(self.offset..);
        match values.zip(reach).and_then(|(values, reach)| values.get(..=reach)) {
            Some(values) => Ok(values),
            None => candle_core::bail!("a matrix reaches beyond the numbers it is made of"),
        }
    }

    #[expect(
        unsafe_code,
        reason = "gemm takes pointers and writes into memory never written before"
    )]
    fn multiply(&self, other: Matrix<'_>, place: &mut Place<'_>) -> Result<()> {
        let (rows, columns, inner) = (self.rows, other.columns, self.columns);
        if inner != other.rows {
            candle_core::bail!("product of [{rows}, {inner}] and [{}, {columns}]", other.rows);
        }
        let Some(count) = rows.checked_mul(columns) else {
            candle_core::bail!("a product of [{rows}, {columns}] is larger than any memory")
        };
        if let Place::New(out) = place {
            match rows <= 1 || columns <= 1 || inner == 0 {
                // gemm makes slices of vectors, which have to be numbers.
                true => out.resize(count, 0.0),
                false => out.reserve_exact(count),
            }
        }
        if count == 0 || inner == 0 {
            return Ok(());
        }
        let (left, right) = (self.values()?, other.values()?);
        let (out, adds) = match place {
            Place::New(out) => (out.as_mut_ptr(), false),
            Place::Sum(sum) if sum.len() >= count => (sum.as_mut_ptr(), true),
            Place::Sum(sum) => candle_core::bail!(
                "a product of [{rows}, {columns}] is to be added to {} numbers",
                sum.len()
            ),
        };
        // SAFETY: `values` are the numbers of both matrices up to their last elements, so all
        // places that their strides lead to are in them. `out` has room for the rows and columns,
        // by its capacity or its length, and overlaps neither, as it is borrowed mutably. Where it
        // has only the capacity nothing is read from it, and all of it is written.
        unsafe {
            gemm::gemm(
                rows,
                columns,
                inner,
                out,
                1,
                columns as isize,
                adds,
                left.as_ptr(),
                self.column_stride as isize,
                self.row_stride as isize,
                right.as_ptr(),
                other.column_stride as isize,
                other.row_stride as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                Parallelism::Rayon(0),
            );
            if let Place::New(out) = place {
                out.set_len(count);
            }
        }
        Ok(())
    }
}

/// Runs `body` on a matrix of the CPU.
pub(super) fn with_matrix<R>(x: &Tensor, body: impl FnOnce(Matrix<'_>) -> Result<R>) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => body(Matrix::of(storage, layout)?),
        _ => candle_core::bail!("a product of the CPU was given a tensor elsewhere"),
    }
}

/// Where a product goes.
enum Place<'a> {
    /// Into a vector that is empty yet.
    New(&'a mut Vec<f32>),
    /// On top of what is there.
    Sum(&'a mut [f32]),
}
