//! Rows of a table by number: the embedding of tokens, the states at chosen positions.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor};

use super::engine::Argument;
use super::operations::{Operations, short, wide};
use crate::lm::ops::GradientSink;
use crate::lm::ops::node::{Backward, attach_first};

use Argument::{Int, Tensor as At};

/// What the backward pass needs.
struct Rows {
    operations: Operations,
    table: Tensor,
    ids: Vec<u32>,
    sink: GradientSink,
}

impl Operations {
    /// Returns the rows `ids` of `table`, `[rows, width]`, in the operations' numbers, as a node of
    /// the graph. The gradient of a variable goes to the sink, that of anything else on.
    ///
    /// # Errors
    /// An id that is not below the number of rows.
    pub(in crate::lm) fn gather_rows(
        &self,
        table: &Tensor,
        ids: &[u32],
        sink: &GradientSink,
    ) -> Result<Tensor> {
        let (rows, width) = table.dims2()?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
            candle_core::bail!("row {id} of a table of {rows} rows");
        }
        let out = self.empty((ids.len(), width))?;
        let index = Tensor::new(ids, self.device())?;
        let pair = format!("{}_{}", short(table.dtype()), short(self.dtype()));
        let kernel = format!("gather_{pair}{}", wide(width, &[table]));
        let arguments = [At(table), At(&index), At(&out), Int(width as i32)];
        self.rows(&kernel, ids.len(), &arguments)?;
        let node = Rows {
            operations: self.clone(),
            table: table.clone(),
            ids: ids.to_vec(),
            sink: sink.clone(),
        };
        attach_first(table, out, node)
    }
}

impl Rows {
    /// Adds the rows of `grad` to the rows of `sum` that they came from.
    fn scatter(&self, grad: &Tensor, sum: &Tensor) -> Result<()> {
        let mut places: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (place, id) in self.ids.iter().enumerate() {
            places.entry(*id).or_default().push(place as u32);
        }
        if places.is_empty() {
            return Ok(());
        }
        let device = self.operations.device();
        let ids: Vec<u32> = places.keys().copied().collect();
        let mut starts = vec![0u32];
        let mut order = Vec::with_capacity(self.ids.len());
        for rows in places.values() {
            order.extend_from_slice(rows);
            starts.push(order.len() as u32);
        }
        let count = ids.len();
        let index = [ids, starts, order].map(|list| Tensor::new(list, device));
        let [ids, starts, order] = index;
        let (ids, starts, order) = (ids?, starts?, order?);
        let width = grad.dim(1)?;
        let pair = format!("{}_{}", short(grad.dtype()), short(sum.dtype()));
        let kernel = format!("scatter_{pair}{}", wide(width, &[grad]));
        let arguments = [At(grad), At(&ids), At(&starts), At(&order), At(sum), Int(width as i32)];
        self.operations.rows(&kernel, count, &arguments)
    }
}

impl Backward for Rows {
    fn name(&self) -> &'static str {
        "gather-rows"
    }

    fn sink(&self) -> &GradientSink {
        &self.sink
    }

    fn backward(&self, grad: &Tensor, _: bool) -> Result<Option<Tensor>> {
        let zeros =
            |dtype: DType| Tensor::zeros(self.table.shape(), dtype, self.operations.device());
        if self.table.is_variable() {
            let place = self.sink.place(&self.table, || zeros(DType::F32))?;
            self.scatter(grad, &place.sum)?;
            return Ok(None);
        }
        let sum = zeros(self.table.dtype())?;
        self.scatter(grad, &sum)?;
        Ok(Some(sum))
    }
}
