//! Norms, gates, products, sums and casts on a device.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Shape, Tensor};

use super::engine::{Argument, Engine, Grid, Product, Side};
use super::flash::Tiles;
use crate::lm::ops::{Activation, GradientSink};

use Argument::{Float, Int, Long, Nothing, Tensor as At};

/// Numbers that a wide kernel takes at a time.
pub(super) const WIDE: usize = 8;

/// Threads of a block, but for very long rows.
pub(super) const THREADS: usize = 128;

/// Blocks of element-wise kernels at most; each then works on several stretches.
const BLOCKS_MAX: usize = 1 << 16;

/// Rows whose column sums one block makes.
const CHUNK: usize = 128;

/// The operations of one device in one type of numbers.
#[derive(Clone)]
pub struct Operations {
    pub(super) engine: Arc<dyn Engine>,
    dtype: DType,
    /// Those of the last batch.
    pub(super) tiles: Arc<Mutex<Option<Tiles>>>,
}

/// A norm's epsilon, and what it adds to its weights.
pub type Normed = (f64, f32);

impl Operations {
    /// Returns the operations of `engine` in f32 or bf16.
    ///
    /// # Errors
    /// Another type of numbers.
    pub fn new(engine: Arc<dyn Engine>, dtype: DType) -> Result<Operations> {
        if !matches!(dtype, DType::F32 | DType::BF16) {
            candle_core::bail!("{} on a device: expected f32 or bf16", dtype.as_str());
        }
        Ok(Operations { engine, dtype, tiles: Arc::default() })
    }

    /// Returns the type of activations and of the sides of products.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Returns where tensors lie.
    pub fn device(&self) -> &Device {
        self.engine.device()
    }

    /// Returns the same operations in another type of numbers.
    ///
    /// # Errors
    /// As [`Operations::new`].
    pub fn in_dtype(&self, dtype: DType) -> Result<Operations> {
        Operations::new(self.engine.clone(), dtype)
    }

    pub(super) fn empty(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        self.engine.empty(&shape.into(), self.dtype)
    }

    pub(super) fn empty_f32(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        self.engine.empty(&shape.into(), DType::F32)
    }

    /// Returns the name of a kernel for rows of `width` in `tensors`.
    pub(super) fn kernel(&self, name: &str, width: usize, tensors: &[&Tensor]) -> String {
        format!("{name}_{}{}", short(self.dtype), wide(width, tensors))
    }

    /// Runs a kernel element by element, or eight by eight, over `count` elements.
    pub(super) fn elements(
        &self,
        kernel: &str,
        count: usize,
        arguments: &[Argument<'_>],
    ) -> Result<()> {
        let pack = if kernel.ends_with("_wide") { WIDE } else { 1 };
        let blocks = count.div_ceil(THREADS * pack).clamp(1, BLOCKS_MAX);
        self.engine.launch(kernel, Grid { blocks: [blocks, 1], threads: THREADS }, arguments)
    }

    /// Runs a kernel with a block for each row.
    pub(super) fn rows(&self, kernel: &str, rows: usize, arguments: &[Argument<'_>]) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        self.engine.launch(kernel, Grid { blocks: [rows, 1], threads: THREADS }, arguments)
    }

    /// Returns `x` in another type of numbers.
    ///
    /// # Errors
    /// Those of the device.
    pub fn cast(&self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        if x.dtype() == dtype {
            return Ok(x.detach());
        }
        let x = x.detach().contiguous()?;
        let count = x.elem_count();
        let out = self.engine.empty(x.shape(), dtype)?;
        let pair = format!("{}_{}", short(x.dtype()), short(dtype));
        let kernel = format!("cast_{pair}{}", wide(count, &[&x]));
        self.elements(&kernel, count, &[At(&x), At(&out), Long(count as i64)])?;
        Ok(out)
    }

    /// Returns the sum of two tensors of one shape.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn sum(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        if a.shape() != b.shape() {
            candle_core::bail!("sum of {:?} and {:?}", a.dims(), b.dims());
        }
        let out = self.empty(a.shape())?;
        let count = a.elem_count();
        let kernel = self.kernel("sum", count, &[a, b]);
        self.elements(&kernel, count, &[At(a), At(b), At(&out), Long(count as i64)])?;
        Ok(out)
    }

    /// Returns x W^T, see [`crate::lm::ops::linear`]; `weight` in the operations' numbers.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn linear(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let ((rows, inner), (columns, width)) = (x.dims2()?, weight.dims2()?);
        if inner != width {
            candle_core::bail!("linear of {:?} by a weight of {:?}", x.dims(), weight.dims());
        }
        let out = self.empty((rows, columns))?;
        self.engine.multiply(&Product {
            left: Side::rows(x, 0, inner, 0),
            right: Side::rows(weight, 0, inner, 0).transposed(),
            out: Side::rows(&out, 0, columns, 0),
            batch: 1,
            rows,
            inner,
            columns,
            accumulate: false,
        })?;
        Ok(out)
    }

    /// Returns grad W, the gradient of the input of [`Operations::linear`], added to `sum` if there
    /// is one, in its memory.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn input_gradient(
        &self,
        grad: &Tensor,
        weight: &Tensor,
        sum: Option<Tensor>,
    ) -> Result<Tensor> {
        let ((rows, inner), (out_width, columns)) = (grad.dims2()?, weight.dims2()?);
        if inner != out_width {
            candle_core::bail!("gradient {:?} by a weight of {:?}", grad.dims(), weight.dims());
        }
        let accumulate = sum.is_some();
        let out = match sum {
            Some(sum) => sum,
            None => self.empty((rows, columns))?,
        };
        self.engine.multiply(&Product {
            left: Side::rows(grad, 0, inner, 0),
            right: Side::rows(weight, 0, columns, 0),
            out: Side::rows(&out, 0, columns, 0),
            batch: 1,
            rows,
            inner,
            columns,
            accumulate,
        })?;
        Ok(out)
    }

    /// Adds grad^T x, the gradient of `weight` in [`Operations::linear`], to what the sink has of
    /// it in f32.
    ///
    /// # Errors
    /// A sink that is not collecting, shapes that do not fit.
    pub(in crate::lm) fn weight_gradient(
        &self,
        weight: &Tensor,
        grad: &Tensor,
        x: &Tensor,
        sink: &GradientSink,
    ) -> Result<()> {
        let ((inner, rows), columns) = (grad.dims2()?, x.dim(1)?);
        let place = sink.place(weight, || self.empty_f32(weight.shape()))?;
        self.engine.multiply(&Product {
            left: Side::rows(grad, 0, rows, 0).transposed(),
            right: Side::rows(x, 0, columns, 0),
            out: Side::rows(&place.sum, 0, columns, 0),
            batch: 1,
            rows,
            inner,
            columns,
            accumulate: !place.is_new,
        })
    }

    /// Adds a bias, f32, to every row of `x`, in its memory.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn add_bias(&self, x: Tensor, bias: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        if bias.dims() != [width] {
            candle_core::bail!("{:?} with a bias of {:?}", x.dims(), bias.dims());
        }
        let kernel = self.kernel("add_bias", width, &[&x, bias]);
        self.rows(&kernel, rows, &[At(&x), At(bias), Int(width as i32)])?;
        Ok(x)
    }

    /// Returns the rows of `x` normed, see [`crate::lm::ops::rms_norm`]; the weight is f32.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn norm(&self, x: &Tensor, weight: &Tensor, (epsilon, offset): Normed) -> Result<Tensor> {
        let (rows, width) = rows_of(x, weight)?;
        let out = self.empty(x.shape())?;
        let kernel = self.kernel("rms_norm", width, &[x, weight]);
        let arguments = [At(x), Nothing, At(weight), Nothing, At(&out), Int(width as i32)];
        let constants = [Float(epsilon as f32), Float(offset)];
        self.rows(&kernel, rows, &[&arguments[..], &constants].concat())?;
        Ok(out)
    }

    /// Returns x + y and its rows normed.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn sum_and_norm(
        &self,
        x: &Tensor,
        y: &Tensor,
        weight: &Tensor,
        (epsilon, offset): Normed,
    ) -> Result<(Tensor, Tensor)> {
        let (rows, width) = rows_of(x, weight)?;
        if x.shape() != y.shape() {
            candle_core::bail!("sum of {:?} and {:?}", x.dims(), y.dims());
        }
        let (sum, out) = (self.empty(x.shape())?, self.empty(x.shape())?);
        let kernel = self.kernel("rms_norm", width, &[x, y, weight]);
        let arguments = [At(x), At(y), At(weight), At(&sum), At(&out), Int(width as i32)];
        let constants = [Float(epsilon as f32), Float(offset)];
        self.rows(&kernel, rows, &[&arguments[..], &constants].concat())?;
        Ok((sum, out))
    }

    /// Returns the gradient of x of [`Operations::norm`], with `residual` added if there is one.
    /// With a sink that of the weight is added to what the sink has of it.
    ///
    /// # Errors
    /// Shapes that do not fit, a sink that is not collecting.
    pub fn norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        (epsilon, offset): Normed,
        grad: &Tensor,
        residual: Option<&Tensor>,
        sink: Option<&GradientSink>,
    ) -> Result<Tensor> {
        let (rows, width) = rows_of(x, weight)?;
        let (dx, scales) = (self.empty(x.shape())?, self.empty_f32(rows)?);
        let all = [x, weight, grad, residual.unwrap_or(x)];
        let kernel = self.kernel("rms_norm_backward", width, &all);
        let residual = residual.map_or(Nothing, At);
        let arguments = [At(x), At(weight), At(grad), residual, At(&dx), At(&scales)];
        let constants = [Int(width as i32), Float(epsilon as f32), Float(offset)];
        self.rows(&kernel, rows, &[&arguments[..], &constants].concat())?;
        if let Some(sink) = sink {
            self.column_sums(weight, Some((x, &scales)), grad, width, sink)?;
        }
        Ok(dx)
    }

    /// Adds the sum of the rows of `grad`, the gradient of `bias`, to what the sink has of it.
    ///
    /// # Errors
    /// A sink that is not collecting.
    pub(in crate::lm) fn bias_gradient(
        &self,
        bias: &Tensor,
        grad: &Tensor,
        sink: &GradientSink,
    ) -> Result<()> {
        self.column_sums(bias, None, grad, bias.elem_count(), sink)
    }

    /// Sums columns of grad, times x and its rows' scales if they are given, in chunks of rows and
    /// then the chunks in order.
    fn column_sums(
        &self,
        weight: &Tensor,
        scaled: Option<(&Tensor, &Tensor)>,
        grad: &Tensor,
        width: usize,
        sink: &GradientSink,
    ) -> Result<()> {
        let rows = grad.elem_count() / width.max(1);
        let chunks = rows.div_ceil(CHUNK).max(1);
        let partial = self.empty_f32((chunks, width))?;
        let (x, scales) = scaled.map_or((Nothing, Nothing), |(x, s)| (At(x), At(s)));
        let kernel = self.kernel("column_partial", width, &[grad]);
        let pack = if kernel.ends_with("_wide") { WIDE } else { 1 };
        let threads = 64;
        let grid = Grid { blocks: [width.div_ceil(threads * pack), chunks], threads };
        let sizes = [Int(rows as i32), Int(width as i32), Int(CHUNK as i32)];
        let arguments = [x, At(grad), scales, At(&partial)];
        self.engine.launch(&kernel, grid, &[&arguments[..], &sizes].concat())?;
        let place = sink.place(weight, || self.empty_f32(weight.shape()))?;
        let threads = 32;
        let grid = Grid { blocks: [width.div_ceil(threads), 1], threads };
        let sizes = [Int(chunks as i32), Int(width as i32), Int(i32::from(!place.is_new))];
        let arguments = [At(&partial), At(&place.sum)];
        self.engine.launch("column_total", grid, &[&arguments[..], &sizes].concat())
    }

    /// Returns activation(gate) * up.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn gated(&self, gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
        if gate.shape() != up.shape() {
            candle_core::bail!("gate {:?} of {:?}", gate.dims(), up.dims());
        }
        let out = self.empty(gate.shape())?;
        let count = gate.elem_count();
        let kernel = self.kernel("gated", count, &[gate, up]);
        let numbers = [Int(number_of(activation)), Long(count as i64)];
        self.elements(&kernel, count, &[At(gate), At(up), At(&out), numbers[0], numbers[1]])?;
        Ok(out)
    }

    /// Returns the gradients of gate and up of [`Operations::gated`].
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn gated_backward(
        &self,
        gate: &Tensor,
        up: &Tensor,
        activation: Activation,
        grad: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        if gate.shape() != up.shape() || gate.shape() != grad.shape() {
            candle_core::bail!("gate {:?} of {:?}", gate.dims(), up.dims());
        }
        let (d_gate, d_up) = (self.empty(gate.shape())?, self.empty(gate.shape())?);
        let count = gate.elem_count();
        let kernel = self.kernel("gated_backward", count, &[gate, up, grad]);
        let tensors = [At(gate), At(up), At(grad), At(&d_gate), At(&d_up)];
        let numbers = [Int(number_of(activation)), Long(count as i64)];
        self.elements(&kernel, count, &[&tensors[..], &numbers].concat())?;
        Ok((d_gate, d_up))
    }
}

/// Returns the part of a kernel's name for a type of numbers.
pub(super) fn short(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "bf16",
        _ => "f32",
    }
}

/// Returns the end of a kernel's name: rows of `width` are taken eight numbers at a time if they
/// begin at a multiple of that.
pub(super) fn wide(width: usize, tensors: &[&Tensor]) -> &'static str {
    let aligned = |x: &&Tensor| x.layout().start_offset().is_multiple_of(WIDE);
    if width.is_multiple_of(WIDE) && tensors.iter().all(aligned) { "_wide" } else { "" }
}

fn number_of(activation: Activation) -> i32 {
    match activation {
        Activation::Silu => 0,
        Activation::GeluTanh => 1,
    }
}

/// Returns the number of rows of `x` that are as wide as the weight, and their width.
fn rows_of(x: &Tensor, weight: &Tensor) -> Result<(usize, usize)> {
    let width = weight.elem_count();
    if width == 0 || !x.elem_count().is_multiple_of(width) || weight.dtype() != DType::F32 {
        candle_core::bail!("norm of {:?} by a weight of {:?}", x.dims(), weight.dims());
    }
    Ok((x.elem_count() / width, width))
}
