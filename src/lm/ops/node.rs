//! How something computed without a graph stands in candle's graph: a node that hands out what is
//! known already, and goes back by hand.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Storage, Tensor, Var,
};

use super::GradientSink;

/// The backward pass of a node.
pub(in crate::lm) trait Backward: Send + Sync + 'static {
    /// Returns the node's name.
    fn name(&self) -> &'static str;

    /// Returns where the gradients of weights go.
    fn sink(&self) -> &GradientSink;

    /// Gives the gradients of weights to the sink and returns that of the input, if it is wanted.
    ///
    /// # Errors
    /// Those of the operations.
    fn backward(&self, grad: &Tensor, want_input: bool) -> Result<Option<Tensor>>;
}

struct Node<B> {
    /// The result, until it is handed out.
    out: Mutex<Option<Tensor>>,
    body: B,
}

/// Returns `out` as computed from `x`. If x needs no gradient and nothing else does (`trains`), it
/// is no node. The `anchor`, a variable, is a second input, so that candle visits the node even if
/// nothing before it is trained.
pub(in crate::lm) fn attach(
    x: &Tensor,
    anchor: &Var,
    out: Tensor,
    trains: bool,
    body: impl Backward,
) -> Result<Tensor> {
    if !x.track_op() && !trains {
        return Ok(out);
    }
    let node = Node { out: Mutex::new(Some(out)), body };
    x.apply_op2(anchor.as_tensor(), node)
}

/// Returns `out` as computed from `x`, itself trained or computed from what is.
pub(in crate::lm) fn attach_first(x: &Tensor, out: Tensor, body: impl Backward) -> Result<Tensor> {
    if !x.track_op() {
        return Ok(out);
    }
    x.apply_op1(Node { out: Mutex::new(Some(out)), body })
}

impl<B: Backward> Node<B> {
    fn take(&self) -> Result<Tensor> {
        match self.out.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(out) => Ok(out),
            None => candle_core::bail!("{} was run forward twice", self.body.name()),
        }
    }

    fn host(&self) -> Result<(CpuStorage, Shape)> {
        let out = self.take()?;
        let (storage, layout) = out.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.clone(), layout.shape().clone())),
            _ => candle_core::bail!("{} of the CPU gave a tensor elsewhere", self.body.name()),
        }
    }

    fn device(&self) -> Result<(CudaStorage, Shape)> {
        let out = self.take()?;
        let (storage, layout) = out.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => candle_core::bail!("{} of a card gave a tensor elsewhere", self.body.name()),
        }
    }

    fn back(&self, x: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !self.body.sink().is_collecting() {
            candle_core::bail!(
                "the gradients of a decoder are computed by Decoder::backward(&loss), not by \
                 loss.backward()"
            );
        }
        self.body.backward(&grad.contiguous()?, x.track_op())
    }
}

impl<B: Backward> CustomOp1 for Node<B> {
    fn name(&self) -> &'static str {
        self.body.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.host()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.device()
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.back(x, grad)
    }
}

impl<B: Backward> CustomOp2 for Node<B> {
    fn name(&self) -> &'static str {
        self.body.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.host()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.device()
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.back(x, grad)?, None))
    }
}
