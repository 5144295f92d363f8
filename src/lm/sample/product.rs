//! Products of a few rows with whole weight matrices, in an order of sums that nothing but the
//! inner width decides.
//!
//! A weight `[columns, inner]` lies as the model keeps it, so each element of the product is a dot
//! product of two contiguous rows:
//!
//! ```text
//!          inner: 16 lanes at a time                 tile: a few weight rows by a few rows of x,
//! x row    |----|----|----|--|                       their sums in registers over the whole
//! weight   |----|----|----|--|                       inner dimension
//!           fma  fma  fma  tail
//! ```
//!
//! Lane n sums the elements n, n + 16, n + 32 and so on by fused multiplications and additions; the
//! lanes are folded in halves, and the elements behind the last sixteen are added one by one.
//! Neither the size of a tile, which follows the registers of the machine, nor the number of rows,
//! nor threads show in an element. A weight is read from memory once for all rows: with few rows
//! that read is the whole cost.
//!
//! Rows of x are packed in groups, lanes of one after those of the other, so that a tile reads one
//! stream of x.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Elements that are summed apart, lane by lane.
const LANES: usize = 16;

/// Rows of x in a group.
const GROUP: usize = 6;

/// Weight rows of one task: enough for a thread to be worth its while, few enough that all threads
/// end together.
const TASK_COLUMNS: usize = 48;

/// Up to this many rows, all are worked off with a few weight rows before the next ones, so that
/// computing overlaps with the read from memory; beyond, a few rows with all weight rows of a task,
/// which then come from the cache.
const FEW_ROWS: usize = 48;

/// How far ahead weights are asked for, in numbers, so that they are on their way from memory while
/// the rows at hand are computed with.
const AHEAD: usize = 4096;

/// A weight and where its product goes.
pub(super) struct Target<'a> {
    /// `[columns, inner]`.
    pub(super) weight: &'a [f32],
    /// `[rows, columns]`.
    pub(super) out: &'a mut [f32],
}

/// Writes the products of `x`, `[rows, inner]`, with the weight of every target.
pub(super) fn products(x: &[f32], inner: usize, targets: Vec<Target<'_>>) {
    let rows = x.len().checked_div(inner).unwrap_or(0);
    if rows == 0 {
        return;
    }
    let packed = packed(x, inner);
    let left = Left { x, inner, packed: &packed };
    let mut tasks = Vec::new();
    for target in targets {
        let columns = target.weight.len() / inner;
        let first = tasks.len();
        for weight in target.weight.chunks(TASK_COLUMNS * inner) {
            tasks.push(Task { left, weight, out: Vec::with_capacity(rows) });
        }
        for row in target.out.chunks_mut(columns.max(1)) {
            for (task, part) in tasks[first..].iter_mut().zip(row.chunks_mut(TASK_COLUMNS)) {
                task.out.push(part);
            }
        }
    }
    tasks.into_par_iter().for_each(|task| Arch::new().dispatch(task));
}

/// Returns the whole lanes of x group by group: `[inner / 16, rows of the group, 16]` each.
fn packed(x: &[f32], inner: usize) -> Vec<f32> {
    let mut packed = Vec::with_capacity(x.len());
    for group in x.chunks(GROUP * inner) {
        for at in 0..inner / LANES {
            for row in group.chunks_exact(inner) {
                packed.extend_from_slice(&row[at * LANES..][..LANES]);
            }
        }
    }
    packed
}

/// The left side of products.
#[derive(Clone, Copy)]
struct Left<'a> {
    /// `[rows, inner]`.
    x: &'a [f32],
    inner: usize,
    packed: &'a [f32],
}

impl Left<'_> {
    /// Returns the numbers of a row that are in whole lanes.
    #[inline(always)]
    fn whole(self) -> usize {
        self.inner - self.inner % LANES
    }
}

/// Some rows of a weight, and their columns of every row of the product.
struct Task<'a> {
    left: Left<'a>,
    weight: &'a [f32],
    out: Vec<&'a mut [f32]>,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many weight rows as there are registers for.
        match S::F32_LANES {
            16 => self.by_tiles::<S, 4, 1>(simd),
            8 => self.by_tiles::<S, 1, 2>(simd),
            4 => self.by_tiles::<S, 1, 4>(simd),
            _ => self.by_tiles::<S, 1, LANES>(simd),
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn by_tiles<S: Simd, const WIDE: usize, const REGISTERS: usize>(mut self, simd: S) {
        let (rows, columns) = (self.out.len(), self.weight.len() / self.left.inner);
        let block = if rows <= FEW_ROWS { rows } else { GROUP };
        for first in (0..rows).step_by(block) {
            let end = (first + block).min(rows);
            let whole = columns - columns % WIDE;
            for column in (0..whole).step_by(WIDE) {
                self.groups::<S, WIDE, REGISTERS>(simd, column, first, end);
            }
            for column in whole..columns {
                self.groups::<S, 1, REGISTERS>(simd, column, first, end);
            }
        }
    }

    /// Works off the rows `first..end` with the weight rows from `column` on.
    #[inline(always)]
    fn groups<S: Simd, const WIDE: usize, const REGISTERS: usize>(
        &mut self,
        simd: S,
        column: usize,
        first: usize,
        end: usize,
    ) {
        for row in (first..end).step_by(GROUP) {
            match end - row {
                1 => self.tile::<S, WIDE, 1, REGISTERS>(simd, column, row),
                2 => self.tile::<S, WIDE, 2, REGISTERS>(simd, column, row),
                3 => self.tile::<S, WIDE, 3, REGISTERS>(simd, column, row),
                4 => self.tile::<S, WIDE, 4, REGISTERS>(simd, column, row),
                5 => self.tile::<S, WIDE, 5, REGISTERS>(simd, column, row),
                _ => self.tile::<S, WIDE, GROUP, REGISTERS>(simd, column, row),
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const WIDE: usize, const HIGH: usize, const REGISTERS: usize>(
        &mut self,
        simd: S,
        column: usize,
        row: usize,
    ) {
        let Left { x, inner, packed } = self.left;
        let whole = self.left.whole();
        let weights = &self.weight[column * inner..][..WIDE * inner];
        let packed = &packed[row * whole..][..HIGH * whole];
        // The weights are read from memory with the first rows alone.
        let first = row == 0;
        let sums = sums::<S, WIDE, HIGH, REGISTERS>(simd, weights, packed, inner, first);
        let x = &x[row * inner..][..HIGH * inner];
        let rows = x.chunks_exact(inner).zip(&mut self.out[row..row + HIGH]);
        for ((x, out), sums) in rows.zip(sums) {
            let out = &mut out[column..column + WIDE];
            for ((out, weight), sums) in out.iter_mut().zip(weights.chunks_exact(inner)).zip(sums) {
                let tail = x[whole..].iter().zip(&weight[whole..]);
                *out = tail.fold(fold(simd, sums), |sum, (x, weight)| x.mul_add(*weight, sum));
            }
        }
    }
}

/// Asks for the line of the cache at `place`, which may be anywhere: nothing is read.
#[inline(always)]
fn prefetch(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    if let Some(sse) = pulp::core_arch::x86::Sse::try_new() {
        const ALL_LEVELS: i32 = 3;
        sse._mm_prefetch::<ALL_LEVELS>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Returns the sums of a tile, lane by lane: of `WIDE` weight rows and `HIGH` packed rows. Weights
/// that come from memory are asked for in advance.
#[inline(always)]
fn sums<S: Simd, const WIDE: usize, const HIGH: usize, const REGISTERS: usize>(
    simd: S,
    weights: &[f32],
    packed: &[f32],
    inner: usize,
    from_memory: bool,
) -> [[[S::f32s; REGISTERS]; WIDE]; HIGH] {
    let mut sums = [[[simd.splat_f32s(0.0); REGISTERS]; WIDE]; HIGH];
    let packed = S::as_simd_f32s(packed).0.as_chunks::<REGISTERS>().0.as_chunks::<HIGH>().0;
    let length = packed.len();
    let mut rows: [&[[S::f32s; REGISTERS]]; WIDE] = [&[]; WIDE];
    for (row, weight) in rows.iter_mut().zip(weights.chunks_exact(inner)) {
        *row = &S::as_simd_f32s(&weight[..inner - inner % LANES]).0.as_chunks().0[..length];
    }
    for (at, x) in packed.iter().enumerate() {
        let mut weights = [[simd.splat_f32s(0.0); REGISTERS]; WIDE];
        for (weight, row) in weights.iter_mut().zip(&rows) {
            *weight = row[at];
            if from_memory {
                prefetch(row[at].as_ptr().cast::<f32>().wrapping_add(AHEAD));
            }
        }
        for (x, sums) in x.iter().zip(sums.iter_mut()) {
            for (weight, sums) in weights.iter().zip(sums.iter_mut()) {
                for ((sum, x), weight) in sums.iter_mut().zip(x).zip(weight) {
                    *sum = simd.mul_add_f32s(*x, *weight, *sum);
                }
            }
        }
    }
    sums
}

/// Returns the sum of all lanes, folded in halves.
#[inline(always)]
fn fold<S: Simd, const REGISTERS: usize>(simd: S, mut sums: [S::f32s; REGISTERS]) -> f32 {
    let mut half = REGISTERS / 2;
    while half > 0 {
        for at in 0..half {
            sums[at] = simd.add_f32s(sums[at], sums[at + half]);
        }
        half /= 2;
    }
    simd.reduce_sum_f32s(sums[0])
}
