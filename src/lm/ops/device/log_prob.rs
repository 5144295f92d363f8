//! The log-probability of targets under the output layer, in chunks of rows: the logits of a chunk
//! exist in f32, forward and again backward, those of all rows never do.

use candle_core::{Result, Tensor, Var};

use super::engine::{Argument, Grid, Product, Side};
use super::operations::{Operations, WIDE, short, wide};
use crate::lm::ops::GradientSink;
use crate::lm::ops::node::{Backward, attach};

use Argument::{Float, Int, Tensor as At};

/// Logits that exist at a time.
const CHUNK_LOGITS: usize = 1 << 28;

/// Threads for a row as long as the vocabulary.
const THREADS: usize = 512;

/// What the backward pass needs.
struct LogProb {
    operations: Operations,
    hidden: Tensor,
    /// The output layer, and the same in the operations' numbers.
    weight: Tensor,
    working: Tensor,
    targets: Tensor,
    /// log sum exp of each row.
    normalizers: Tensor,
    cap: f32,
    sink: GradientSink,
}

impl Operations {
    /// Returns log p(target) of each row, `[rows]` in f32, as a node of the graph: `hidden`
    /// `[rows, width]` and `working`, the output layer `weight` `[vocabulary, width]`, in the
    /// operations' numbers.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(in crate::lm) fn log_probs(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        working: Tensor,
        targets: &[u32],
        cap: Option<f64>,
        sink: &GradientSink,
    ) -> Result<Tensor> {
        let ((rows, width), (_, inner)) = (hidden.dims2()?, working.dims2()?);
        if rows != targets.len() || width != inner {
            candle_core::bail!(
                "log-probabilities of {} targets from {:?} by {:?}",
                targets.len(),
                hidden.dims(),
                working.dims()
            );
        }
        let node = LogProb {
            operations: self.clone(),
            hidden: hidden.detach(),
            weight: weight.clone(),
            working,
            targets: Tensor::new(targets, self.device())?,
            normalizers: self.empty_f32(rows)?,
            cap: cap.unwrap_or(0.0) as f32,
            sink: sink.clone(),
        };
        let out = self.empty_f32(rows)?;
        for (first, count) in node.chunks()? {
            let logits = node.logits(first, count)?;
            let part = |x: &Tensor| x.narrow(0, first, count);
            let (targets, out) = (part(&node.targets)?, part(&out)?);
            let normalizers = part(&node.normalizers)?;
            let vocabulary = logits.dim(1)?;
            let kernel = format!("log_softmax_f32{}", wide(vocabulary, &[]));
            let tensors = [At(&logits), At(&targets), At(&out), At(&normalizers)];
            let numbers = [Int(vocabulary as i32), Float(node.cap)];
            let grid = Grid { blocks: [count, 1], threads: THREADS };
            self.engine.launch(&kernel, grid, &[&tensors[..], &numbers].concat())?;
        }
        let anchor = Var::from_vec(vec![0f32], 1, self.device())?;
        attach(hidden, &anchor, out, weight.is_variable(), node)
    }
}

impl LogProb {
    /// Returns the first row and the number of rows of each chunk.
    fn chunks(&self) -> Result<Vec<(usize, usize)>> {
        let (rows, vocabulary) = (self.hidden.dim(0)?, self.working.dim(0)?);
        // A multiple of the wide kernels' step, so that parts of arrays begin where they may.
        let size = (CHUNK_LOGITS / vocabulary.max(1) / WIDE * WIDE).max(WIDE);
        Ok((0..rows).step_by(size).map(|first| (first, size.min(rows - first))).collect())
    }

    /// Returns the logits of a chunk before any cap, `[count, vocabulary]` in f32.
    fn logits(&self, first: usize, count: usize) -> Result<Tensor> {
        let (vocabulary, width) = self.working.dims2()?;
        let logits = self.operations.empty_f32((count, vocabulary))?;
        self.operations.engine.multiply(&Product {
            left: Side::rows(&self.hidden, first, width, 0),
            right: Side::rows(&self.working, 0, width, 0).transposed(),
            out: Side::rows(&logits, 0, vocabulary, 0),
            batch: 1,
            rows: count,
            inner: width,
            columns: vocabulary,
            accumulate: false,
        })?;
        Ok(logits)
    }

    /// Returns the gradient of the logits of a chunk, in the operations' numbers.
    fn logit_gradient(&self, grad: &Tensor, first: usize, count: usize) -> Result<Tensor> {
        let logits = self.logits(first, count)?;
        let vocabulary = logits.dim(1)?;
        let d_logits = match self.operations.dtype() == logits.dtype() {
            true => logits.clone(),
            false => self.operations.empty(logits.shape())?,
        };
        let part = |x: &Tensor| x.narrow(0, first, count);
        let (targets, grad) = (part(&self.targets)?, part(grad)?);
        let normalizers = part(&self.normalizers)?;
        let name = short(self.operations.dtype());
        let kernel = format!("logit_gradient_{name}{}", wide(vocabulary, &[]));
        let tensors = [At(&logits), At(&targets), At(&grad), At(&normalizers), At(&d_logits)];
        let numbers = [Int(vocabulary as i32), Float(self.cap)];
        let grid = Grid { blocks: [count, 1], threads: THREADS };
        self.operations.engine.launch(&kernel, grid, &[&tensors[..], &numbers].concat())?;
        Ok(d_logits)
    }
}

impl Backward for LogProb {
    fn name(&self) -> &'static str {
        "log-prob"
    }

    fn sink(&self) -> &GradientSink {
        &self.sink
    }

    fn backward(&self, grad: &Tensor, want_input: bool) -> Result<Option<Tensor>> {
        let operations = &self.operations;
        let (vocabulary, width) = self.working.dims2()?;
        let d_hidden = operations.empty(self.hidden.shape())?;
        for (first, rows) in self.chunks()? {
            let d_logits = self.logit_gradient(grad, first, rows)?;
            let product = Product {
                left: Side::rows(&d_logits, 0, vocabulary, 0),
                right: Side::rows(&self.working, 0, width, 0),
                out: Side::rows(&d_hidden, first, width, 0),
                batch: 1,
                rows,
                inner: vocabulary,
                columns: width,
                accumulate: false,
            };
            if want_input {
                operations.engine.multiply(&product)?;
            }
            if self.weight.is_variable() {
                let empty = || operations.empty_f32(self.weight.shape());
                let place = self.sink.place(&self.weight, empty)?;
                operations.engine.multiply(&Product {
                    left: product.left.transposed(),
                    right: Side::rows(&self.hidden, first, width, 0),
                    out: Side::rows(&place.sum, 0, width, 0),
                    rows: vocabulary,
                    inner: rows,
                    accumulate: !place.is_new,
                    ..product
                })?;
            }
        }
        Ok(want_input.then_some(d_hidden))
    }
}
