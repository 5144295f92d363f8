//! Products of matrices whose elements depend on nothing but their row and their column.
//!
//! The right side is packed once into panels of [`WIDTH`] columns, zero behind the last one:
//!
//! ```text
//!            panel 0        panel 1
//!         +------------+ +------------+
//! inner 0 | 32 columns | | 32 columns |     a tile is a few rows of the left side by one panel;
//! inner 1 |            | |            |     its sums stay in registers over the whole inner
//!   ...   +------------+ +------------+     dimension
//! ```
//!
//! Each element is `fma(a[n], b[n], .. fma(a[1], b[1], fma(a[0], b[0], 0)))`. Neither the height
//! of a tile, which follows the vector registers of the machine, nor the number of rows shows in
//! it.

use pulp::{Arch, Simd, WithSimd};

/// Columns of a panel: two registers of AVX-512, four of AVX2.
const WIDTH: usize = 32;

/// Rows worked off with all panels before the next ones: their left side stays in the cache of the
/// second level. A multiple of every height of a tile.
const ROWS: usize = 96;

/// The right side of a product, `[inner, columns]`, packed.
pub(super) struct Panels {
    values: Vec<f32>,
    inner: usize,
    columns: usize,
}

impl Panels {
    /// Packs the transpose of `count` rows of `inner` numbers that begin `stride` apart: the weight
    /// `[out, in]` of a linear layer, or the keys of a head.
    pub(super) fn of_rows(rows: &[f32], count: usize, inner: usize, stride: usize) -> Panels {
        let mut values = vec![0.0; count.next_multiple_of(WIDTH) * inner];
        for (panel, values) in values.chunks_exact_mut(WIDTH * inner).enumerate() {
            for column in 0..WIDTH.min(count - panel * WIDTH) {
                let row = &rows[(panel * WIDTH + column) * stride..][..inner];
                for (slot, value) in values[column..].iter_mut().step_by(WIDTH).zip(row) {
                    *slot = *value;
                }
            }
        }
        Panels { values, inner, columns: count }
    }

    /// Packs `inner` rows of `columns` numbers that begin `stride` apart: the values of a head.
    pub(super) fn of_columns(rows: &[f32], inner: usize, columns: usize, stride: usize) -> Panels {
        let mut values = vec![0.0; columns.next_multiple_of(WIDTH) * inner];
        for (panel, values) in values.chunks_exact_mut(WIDTH * inner).enumerate() {
            let first = panel * WIDTH;
            let count = WIDTH.min(columns - first);
            for (row, slots) in values.chunks_exact_mut(WIDTH).enumerate() {
                slots[..count].copy_from_slice(&rows[row * stride + first..][..count]);
            }
        }
        Panels { values, inner, columns }
    }

    /// Returns the number of columns.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }
}

/// Rows in a slice, the first number of each `stride` behind that of the one before.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) count: usize,
    pub(super) stride: usize,
}

impl<'a> Rows<'a> {
    /// Returns the rows of a dense matrix.
    pub(super) fn dense(values: &'a [f32], width: usize) -> Rows<'a> {
        Rows { values, count: values.len() / width.max(1), stride: width }
    }
}

/// Writes the product of `left` and `right` to `out`, whose rows begin `stride` apart.
pub(super) fn product(left: Rows<'_>, right: &Panels, out: &mut [f32], stride: usize) {
    if right.inner == 0 || right.columns == 0 {
        return;
    }
    Arch::new().dispatch(Product { left, right, out, stride });
}

struct Product<'a> {
    left: Rows<'a>,
    right: &'a Panels,
    out: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many rows as there are registers for: 24 sums of 32 with AVX-512, 8 of 16 with AVX2.
        match S::F32_LANES {
            16 => self.by_tiles::<S, 12, 2>(simd),
            8 => self.by_tiles::<S, 2, 4>(simd),
            4 => self.by_tiles::<S, 2, 8>(simd),
            _ => self.by_tiles::<S, 1, WIDTH>(simd),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn by_tiles<S: Simd, const HEIGHT: usize, const REGISTERS: usize>(self, simd: S) {
        let Product { left, right, out, stride } = self;
        for block in (0..left.count).step_by(ROWS) {
            let end = (block + ROWS).min(left.count);
            for (number, panel) in right.values.chunks_exact(WIDTH * right.inner).enumerate() {
                let column = number * WIDTH;
                let columns = WIDTH.min(right.columns - column);
                for first in (block..end).step_by(HEIGHT) {
                    // Behind the last row the last one is computed again and left out.
                    let rows: [&[f32]; HEIGHT] = std::array::from_fn(|row| {
                        let row = (first + row).min(end - 1);
                        &left.values[row * left.stride..][..right.inner]
                    });
                    let sums = tile::<S, HEIGHT, REGISTERS>(simd, rows, panel);
                    for (row, sums) in sums.iter().take(end - first).enumerate() {
                        let mut values = [0f32; WIDTH];
                        let slots = S::as_mut_simd_f32s(&mut values).0;
                        for (slot, sum) in slots.iter_mut().zip(sums) {
                            *slot = *sum;
                        }
                        out[(first + row) * stride + column..][..columns]
                            .copy_from_slice(&values[..columns]);
                    }
                }
            }
        }
    }
}

/// Returns the products of a few rows with the columns of a panel.
#[inline(always)]
fn tile<S: Simd, const HEIGHT: usize, const REGISTERS: usize>(
    simd: S,
    rows: [&[f32]; HEIGHT],
    panel: &[f32],
) -> [[S::f32s; REGISTERS]; HEIGHT] {
    let mut sums = [[simd.splat_f32s(0.0); REGISTERS]; HEIGHT];
    let panel = S::as_simd_f32s(panel).0.as_chunks::<REGISTERS>().0;
    let inner = panel.len();
    let rows = rows.map(|row| &row[..inner]);
    for at in 0..inner {
        for (row, sums) in rows.iter().zip(sums.iter_mut()) {
            let value = simd.splat_f32s(row[at]);
            for (column, sum) in panel[at].iter().zip(sums) {
                *sum = simd.mul_add_f32s(value, *column, *sum);
            }
        }
    }
    sums
}
