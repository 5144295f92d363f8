//! What a device does for the operations.

use candle_core::{DType, Device, Result, Shape, Tensor};

/// An argument of a kernel, in the order of its parameters.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// The memory of a contiguous tensor, read or written as the kernel does.
    Tensor(&'a Tensor),
    /// A null pointer, where a parameter may be left out.
    Nothing,
    /// A 32-bit whole number.
    Int(i32),
    /// A 64-bit whole number.
    Long(i64),
    /// A 32-bit float.
    Float(f32),
}

/// How many blocks run a kernel, and how many threads each has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks in two directions.
    pub blocks: [usize; 2],
    /// Threads of a block: a power of two, at most 512.
    pub threads: usize,
}

/// The matrices of one side of a [`Product`], windows into a tensor's memory.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The tensor.
    pub tensor: &'a Tensor,
    /// The place of the first element, from the tensor's own beginning.
    pub offset: usize,
    /// From a row to the next.
    pub row_stride: usize,
    /// From a column to the next; one of the two strides is 1.
    pub column_stride: usize,
    /// From a matrix of the batch to the next.
    pub batch_stride: usize,
}

impl<'a> Side<'a> {
    /// Returns dense rows of `width` from row `first` on, in matrices `batch_stride` apart.
    pub fn rows(tensor: &'a Tensor, first: usize, width: usize, batch_stride: usize) -> Side<'a> {
        Side { tensor, offset: first * width, row_stride: width, column_stride: 1, batch_stride }
    }

    /// Returns the transposes.
    #[must_use]
    pub fn transposed(self) -> Side<'a> {
        Side { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }
}

/// A batch of products `out = left right`, each `[rows, inner]` by `[inner, columns]`.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// The left matrices.
    pub left: Side<'a>,
    /// The right matrices, of the same type of numbers.
    pub right: Side<'a>,
    /// Where the products go, by dense columns; may be wider numbers than the sides'.
    pub out: Side<'a>,
    /// How many there are.
    pub batch: usize,
    /// Rows of the left and of the product.
    pub rows: usize,
    /// Columns of the left and rows of the right.
    pub inner: usize,
    /// Columns of the right and of the product.
    pub columns: usize,
    /// Whether the products are added to what is there.
    pub accumulate: bool,
}

/// A device: memory, kernels by name, products of matrices, all in the order they are asked for.
pub trait Engine: Send + Sync {
    /// Returns where its tensors lie.
    fn device(&self) -> &Device;

    /// Returns whether warps have the tensor cores' products of bf16, which `flash.cu` is made of.
    fn has_warps(&self) -> bool;

    /// Returns a tensor whose numbers are not set.
    ///
    /// # Errors
    /// A device without memory for it.
    fn empty(&self, shape: &Shape, dtype: DType) -> Result<Tensor>;

    /// Runs a kernel of `kernels.cu` or `flash.cu`.
    ///
    /// # Errors
    /// A kernel that does not exist, a tensor elsewhere or with gaps, a device that fails.
    fn launch(&self, kernel: &str, grid: Grid, arguments: &[Argument<'_>]) -> Result<()>;

    /// Multiplies matrices.
    ///
    /// # Errors
    /// Types of numbers that it does not multiply, a device that fails.
    fn multiply(&self, product: &Product<'_>) -> Result<()>;
}
