//! A raster of dots, eight to a letter of braille.

/// Dots across a letter.
pub(super) const ACROSS: usize = 2;
/// Dots down a letter.
pub(super) const DOWN: usize = 4;

/// The bits of a letter's dots, row by row (Unicode, block Braille Patterns).
const BITS: [[u8; ACROSS]; DOWN] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// Dots in letters; each letter knows which series drew in it.
pub(super) struct Raster {
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
}

/// The dots of a letter.
#[derive(Clone, Copy, Default)]
pub(super) struct Cell {
    bits: u8,
    /// The series that drew last.
    pub series: usize,
    /// Whether several series drew.
    pub is_shared: bool,
}

impl Cell {
    /// Returns the letter; `None` where nothing is drawn.
    pub fn letter(self) -> Option<char> {
        if self.bits == 0 {
            return None;
        }
        char::from_u32(0x2800 + u32::from(self.bits))
    }
}

impl Raster {
    pub fn new(columns: usize, rows: usize) -> Raster {
        Raster { columns, rows, cells: vec![Cell::default(); columns * rows] }
    }

    /// Returns the letters of a row.
    pub fn row(&self, row: usize) -> &[Cell] {
        &self.cells[row * self.columns..(row + 1) * self.columns]
    }

    /// Draws a dot, counted from the upper left corner.
    pub fn dot(&mut self, x: usize, y: usize, series: usize) {
        let (column, row) = (x / ACROSS, y / DOWN);
        if column >= self.columns || row >= self.rows {
            return;
        }
        let cell = &mut self.cells[row * self.columns + column];
        cell.is_shared |= cell.bits != 0 && cell.series != series;
        cell.bits |= BITS[y % DOWN][x % ACROSS];
        cell.series = series;
    }

    /// Draws a line of dots, both ends included (Bresenham, 1965).
    pub fn line(&mut self, from: (usize, usize), to: (usize, usize), series: usize) {
        let signed = |place: (usize, usize)| (place.0 as i64, place.1 as i64);
        let ((mut x, mut y), (to_x, to_y)) = (signed(from), signed(to));
        let (across, down) = ((to_x - x).abs(), -(to_y - y).abs());
        let (right, lower) = ((to_x - x).signum(), (to_y - y).signum());
        let mut error = across + down;
        loop {
            self.dot(x as usize, y as usize, series);
            if (x, y) == (to_x, to_y) {
                return;
            }
            let doubled = 2 * error;
            if doubled >= down {
                error += down;
                x += right;
            }
            if doubled <= across {
                error += across;
                y += lower;
            }
        }
    }
}
