//! Causal attention by one kernel forward and three backward (`../flash.cu`): scores stay on the
//! chip, and all sequences of a packed batch are one launch, whatever their lengths.

use std::sync::PoisonError;

use candle_core::{DType, Result, Tensor};

use super::attention::Mixed;
use super::engine::{Argument, Grid};
use super::operations::{Operations, THREADS};
use crate::lm::ops::AttentionForm;

use Argument::{Float, Int, Long, Tensor as At};

/// Width of a head that the kernels are made for.
const HEAD: usize = 64;

/// Rows or keys that a block works on.
const TILE: usize = 64;

/// The tiles of a packed batch, each as the first token of its sequence, its length, and the first
/// row or key of the tile.
#[derive(Clone)]
pub(super) struct Tiles {
    lengths: Vec<usize>,
    group: usize,
    /// Tiles of rows, of which each token has one for each query head of a key head.
    rows: Tensor,
    /// Tiles of keys.
    keys: Tensor,
}

impl Operations {
    /// Returns whether the kernels fit.
    pub(super) fn has_flash(&self, form: AttentionForm) -> bool {
        self.dtype() == DType::BF16 && form.heads.width == HEAD && self.engine.has_warps()
    }

    /// Returns attention by heads.
    pub(super) fn flash(
        &self,
        [query, key, value]: [&Tensor; 3],
        lengths: &[usize],
        form: AttentionForm,
    ) -> Result<Mixed> {
        let (keys, tokens, group, _) = query.dims4()?;
        let tiles = self.tiles(lengths, group)?;
        let out = self.empty(query.shape())?;
        let normalizers = self.empty_f32(keys * tokens * group)?;
        let tensors = [At(query), At(key), At(value), At(&tiles.rows), At(&out), At(&normalizers)];
        self.tiled("flash_forward", &tiles.rows, &tensors, query, form)?;
        Ok(Mixed { out, normalizers: Some(normalizers) })
    }

    /// Returns the gradients of query, key and value.
    pub(super) fn flash_backward(
        &self,
        [query, key, value]: [&Tensor; 3],
        lengths: &[usize],
        form: AttentionForm,
        (out, normalizers): (&Tensor, &Tensor),
        grad: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let tiles = self.tiles(lengths, query.dim(2)?)?;
        let rows = query.elem_count() / HEAD;
        let products = self.empty_f32(rows)?;
        let arguments = [At(grad), At(out), At(&products), Long(rows as i64)];
        self.elements("flash_products", rows, &arguments)?;
        let [d_query, d_key, d_value] =
            [self.empty(query.shape())?, self.empty(key.shape())?, self.empty(value.shape())?];
        let inputs = [query, key, value, grad, normalizers, &products].map(At);
        let queries = [At(&tiles.rows), At(&d_query)];
        let queries = [&inputs[..], &queries].concat();
        self.tiled("flash_queries", &tiles.rows, &queries, query, form)?;
        let keys = [At(&tiles.keys), At(&d_key), At(&d_value)];
        let keys = [&inputs[..], &keys].concat();
        self.tiled("flash_keys", &tiles.keys, &keys, query, form)?;
        Ok([d_query, d_key, d_value])
    }

    /// Runs a kernel with a block for each tile and key head.
    fn tiled(
        &self,
        kernel: &str,
        tiles: &Tensor,
        tensors: &[Argument<'_>],
        query: &Tensor,
        form: AttentionForm,
    ) -> Result<()> {
        let (keys, tokens, group, _) = query.dims4()?;
        let window = form.window.unwrap_or(0);
        let sizes = [tokens, group, window].map(|size| Int(size as i32));
        let cap = form.soft_cap.unwrap_or(0.0);
        let factors = [Float(form.scale as f32), Float(cap as f32)];
        let grid = Grid { blocks: [tiles.dim(0)?, keys], threads: THREADS };
        self.engine.launch(kernel, grid, &[tensors, &sizes, &factors].concat())
    }

    /// Returns the tiles of a batch, those with most to do first.
    fn tiles(&self, lengths: &[usize], group: usize) -> Result<Tiles> {
        let mut known = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tiles) = &*known
            && tiles.lengths == lengths
            && tiles.group == group
        {
            return Ok(tiles.clone());
        }
        let (mut rows, mut keys) = (Vec::new(), Vec::new());
        let mut first = 0;
        for length in lengths {
            let tile = |start: usize| [first as u32, *length as u32, start as u32];
            rows.extend((0..length * group).step_by(TILE).map(tile));
            keys.extend((0..*length).step_by(TILE).map(tile));
            first += length;
        }
        // A row sees the keys before it, a key is seen by the rows behind it.
        rows.sort_by_key(|[_, _, start]| u32::MAX - start);
        keys.sort_by_key(|[_, length, start]| u32::MAX - (length - start));
        let list = |tiles: Vec<[u32; 3]>| {
            Tensor::from_vec(tiles.concat(), (tiles.len(), 3), self.device())
        };
        let tiles =
            Tiles { lengths: lengths.to_vec(), group, rows: list(rows)?, keys: list(keys)? };
        *known = Some(tiles.clone());
        Ok(tiles)
    }
}
