//! The product with a weight matrix.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Storage, Tensor};

use super::GradientSink;
use super::matrix::Matrix;
use super::storage::on_cpu;

/// Returns x W^T for `x` `[rows, in]` and a weight `[out, in]`.
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

/// Returns x W^T on any device.
fn product<S: BackendStorage>(x: &S, x_l: &Layout, w: &S, w_l: &Layout) -> Result<(S, Shape)> {
    let (rows, inner, out) = sizes(x_l, w_l)?;
    let product = x.matmul(w, (1, rows, out, inner), x_l, &w_l.transpose(0, 1)?)?;
    Ok((product, Shape::from((rows, out))))
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
        product(x, x_layout, weight, weight_layout)
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        product(x, x_layout, weight, weight_layout)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let dx = if x.track_op() { Some(input_gradient(&grad, weight)?) } else { None };
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

/// Returns grad W, the gradient of the input of [`linear`].
pub(in crate::lm) fn input_gradient(grad: &Tensor, weight: &Tensor) -> Result<Tensor> {
    grad.matmul(&weight.detach())
}

/// Returns grad^T x, the gradient of the weight of [`linear`], on the CPU.
pub(in crate::lm) fn weight_gradient(grad: &Tensor, x: &Tensor) -> Result<Vec<f32>> {
    let ((rows, out), inner) = (grad.dims2()?, x.dim(1)?);
    let (grad, grad_layout) = grad.storage_and_layout();
    let (x, x_layout) = x.storage_and_layout();
    let (Storage::Cpu(grad), Storage::Cpu(x)) = (&*grad, &*x) else {
        candle_core::bail!("a gradient of the CPU was given a tensor elsewhere");
    };
    let grad = Matrix::dense(grad, grad_layout.start_offset(), rows, out);
    let x = Matrix::dense(x, x_layout.start_offset(), rows, inner);
    grad.transposed().times(x)
}
