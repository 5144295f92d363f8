//! The product with a weight matrix.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, InplaceOp3, Layout, Result, Shape, Tensor};

use super::GradientSink;
use super::matrix::{Matrix, with_matrix};
use super::storage::on_cpu;

/// Returns x W^T for `x` `[rows, in]` and a weight `[out, in]`, on the CPU in f32 alone.
///
/// If the weight is frozen (no variable and not computed from one), its gradient is never computed;
/// candle's own product always computes both.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, sink: &GradientSink) -> Result<Tensor> {
    x.contiguous()?.apply_op2(weight, Linear { sink: sink.clone() })
}

struct Linear {
    sink: GradientSink,
}

/// Returns rows, in and out of a product, or an error if the shapes do not fit.
fn sizes(x: &Layout, weight: &Layout) -> Result<(usize, usize, usize)> {
    let ((rows, width), (out, inner)) = (x.shape().dims2()?, weight.shape().dims2()?);
    if width != inner {
        candle_core::bail!("linear of {:?} by a weight of {:?}", x.dims(), weight.dims());
    }
    Ok((rows, width, out))
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, _, out) = sizes(x_layout, weight_layout)?;
        let weight = Matrix::of(weight, weight_layout)?;
        let product = Matrix::of(x, x_layout)?.times(weight.transposed())?;
        Ok((CpuStorage::F32(product), Shape::from((rows, out))))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (rows, inner, out) = sizes(x_layout, weight_layout)?;
        let transposed = weight_layout.transpose(0, 1)?;
        let product = x.matmul(weight, (1, rows, out, inner), x_layout, &transposed)?;
        Ok((product, Shape::from((rows, out))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let dx = match x.track_op() {
            false => None,
            true if on_cpu(weight) => Some(input_gradient(&grad, weight, None)?),
            true => Some(grad.matmul(&weight.detach())?),
        };
        let dw = if !weight.track_op() {
            None
        } else if on_cpu(weight) {
            self.sink
                .take(weight, weight_gradient(&grad, x)?)
                .map(|values| Tensor::from_vec(values, weight.shape().clone(), weight.device()))
                .transpose()?
        } else {
            Some(grad.t()?.matmul(x)?)
        };
        Ok((dx, dw))
    }
}

/// Returns grad W, the gradient of the input of [`linear`], on the CPU; added to `sum`, in its own
/// memory, if there is one.
pub(in crate::lm) fn input_gradient(
    grad: &Tensor,
    weight: &Tensor,
    sum: Option<Tensor>,
) -> Result<Tensor> {
    if let Some(sum) = sum {
        sum.inplace_op3(grad, weight, &AddProduct)?;
        return Ok(sum);
    }
    let shape = (grad.dim(0)?, weight.dim(1)?);
    let product = with_matrix(grad, |grad| with_matrix(weight, |weight| grad.times(weight)))?;
    Tensor::from_vec(product, shape, grad.device())
}

/// Adds the product of two matrices to a third.
struct AddProduct;

impl InplaceOp3 for AddProduct {
    fn name(&self) -> &'static str {
        "add-product"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        left: &CpuStorage,
        left_layout: &Layout,
        right: &CpuStorage,
        right_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(sum), Some((start, end))) = (sum, sum_layout.contiguous_offsets())
        else {
            candle_core::bail!("products are added to dense f32 matrices")
        };
        let (left, right) = (Matrix::of(left, left_layout)?, Matrix::of(right, right_layout)?);
        if sum_layout.dims() != [left.rows, right.columns] {
            candle_core::bail!(
                "a product of [{}, {}] is to be added to {:?}",
                left.rows,
                right.columns,
                sum_layout.dims()
            );
        }
        left.add_times(right, &mut sum[start..end])
    }
}

/// Returns grad^T x, the gradient of the weight of [`linear`], on the CPU.
pub(in crate::lm) fn weight_gradient(grad: &Tensor, x: &Tensor) -> Result<Vec<f32>> {
    with_matrix(grad, |grad| with_matrix(x, |x| grad.transposed().times(x)))
}
