//! A matrix in a terminal: numbers on shades, or beside them where there are no colours.

use super::label::{cut, left, readable, right, shown_width};
use super::matrix::{Matrix, strength};
use super::terminal::Pen;

/// Rows at most.
const ROWS_MAX: usize = 40;
/// Columns at most: as many as there are letters to name them.
const COLUMNS_MAX: usize = 26;
/// The widest label of a row.
const LABEL_MAX: usize = 28;

/// Shades from nothing to most: levels of blue in the palette of 256 colours, with the colour of
/// the letters on them.
const BLUES: [(u8, u8); 6] = [(195, 16), (153, 16), (111, 16), (68, 231), (26, 231), (18, 231)];
/// The same for what is below 0.
const REDS: [(u8, u8); 6] = [(224, 16), (217, 16), (210, 16), (167, 231), (124, 231), (88, 231)];
/// The same without colours.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// Writes a matrix.
pub(super) fn matrix(matrix: &Matrix, pen: Pen, out: &mut Vec<String>, notes: &mut Vec<String>) {
    let labels = matrix.rows.iter().map(|name| shown_width(name)).max().unwrap_or(0);
    // Room for '… 1234 more'.
    let labels = if matrix.rows.len() > ROWS_MAX { labels.max(11) } else { labels };
    let labels = labels.min(LABEL_MAX).min(pen.width / 3).max(shown_width(&matrix.row_name).min(8));
    let told = |matrix: &Matrix| {
        matrix.cells.values().map(|value| shown_width(&readable(*value))).max().unwrap_or(1)
    };
    let labels = labels.min(pen.width.saturating_sub(3 + 2 * (told(matrix) + 1)).max(4));
    // A space, a shade and the number; without the space where more columns fit then.
    let roomy = |matrix: &Matrix| (told(matrix) + 2).max(4);
    let tight = |matrix: &Matrix| (told(matrix) + 1).max(3);
    let room = |cell_width: usize| ((pen.width - labels - 3) / cell_width).clamp(2, COLUMNS_MAX);
    let mut cell_width = roomy(matrix);
    let (mut fitted, mut note) = matrix.fitted(ROWS_MAX, room(cell_width));
    if note.is_some() {
        // Sums of what does not fit may be wider than any one of it.
        (fitted, _) = matrix.fitted(ROWS_MAX, room(tight(matrix)));
        cell_width = tight(matrix).max(tight(&fitted));
        (fitted, note) = matrix.fitted(ROWS_MAX, room(cell_width));
        cell_width = cell_width.max(tight(&fitted));
    }
    let widest = fitted.columns.iter().map(|name| shown_width(name)).max().unwrap_or(0);
    let whole = widest + 1;
    let has_room = labels + 3 + whole.max(cell_width) * fitted.columns.len() <= pen.width;
    if has_room {
        cell_width = cell_width.max(whole);
    }
    let heads: Vec<String> = match has_room {
        true => fitted.columns.clone(),
        false => (0..fitted.columns.len()).map(|at| letter(at).to_string()).collect(),
    };
    let is_same = !has_room && fitted.rows.starts_with(&fitted.columns[..same(&fitted)]);
    let mut head = format!("{}   ", left(&matrix.row_name, labels));
    heads.iter().for_each(|name| head.push_str(&pen.cell(name, cell_width)));
    out.push(pen.styled(head.trim_end(), "1"));
    let most = fitted.size_max();
    for (row, name) in fitted.rows.iter().enumerate() {
        let is_lettered = is_same && row < same(&fitted);
        let sign = if is_lettered { letter(row) } else { ' ' };
        let mut line = format!("{} {sign} ", left(name, labels));
        for column in 0..fitted.columns.len() {
            let most = if fitted.is_rest(row, column) { None } else { Some(most) };
            line.push_str(&cell(fitted.cell(row, column), most, cell_width, pen));
        }
        out.push(line);
    }
    if !has_room {
        // Those that the rows' letters do not name.
        let from = if is_same { same(&fitted) } else { 0 };
        // The space that no line is broken at.
        let rest = fitted.columns.iter().enumerate().skip(from);
        let named: Vec<String> = rest
            .map(|(at, name)| format!("{}\u{a0}{}", letter(at), cut(name, LABEL_MAX)))
            .collect();
        if !named.is_empty() {
            notes.push(format!("columns: {}", named.join("  ")));
        }
    }
    notes.push(format!("rows: {}, columns: {}", matrix.row_name, matrix.column_name));
    notes.extend(note);
}

/// Returns how many names at the beginning are the same in rows and columns.
fn same(matrix: &Matrix) -> usize {
    let both = matrix.rows.iter().zip(&matrix.columns);
    both.take_while(|(row, column)| row == column).count()
}

fn letter(at: usize) -> char {
    (b'a' + (at % COLUMNS_MAX) as u8) as char
}

impl Pen {
    /// Returns a cell's text at its right; a coloured cell has some of its ground behind it.
    fn cell(self, text: &str, width: usize) -> String {
        match self.is_coloured {
            true => right(text, width.saturating_sub(1)) + " ",
            false => right(text, width),
        }
    }
}

/// Returns a cell; without `most`, the number that has the strongest shade, it has none.
fn cell(value: Option<f64>, most: Option<f64>, width: usize, pen: Pen) -> String {
    let Some(value) = value else {
        return pen.cell("·", width);
    };
    let told = readable(value);
    let Some(most) = most else {
        return pen.cell(&told, width);
    };
    let share = strength(value, most).abs();
    let level = |levels: usize| ((share * levels as f64).ceil() as usize).clamp(1, levels) - 1;
    if pen.is_coloured {
        let (ground, letters) =
            if value < 0.0 { REDS[level(REDS.len())] } else { BLUES[level(BLUES.len())] };
        let text = pen.cell(&told, width);
        return format!("\x1b[48;5;{ground};38;5;{letters}m{text}\x1b[0m");
    }
    let shade = if value == 0.0 { ' ' } else { SHADES[level(SHADES.len())] };
    // The shade stands before the number, two letters of it where there is room.
    let room = width.saturating_sub(shown_width(&told));
    let shades = room.saturating_sub(1).clamp(1, 2).min(room);
    " ".repeat(room - shades) + &shade.to_string().repeat(shades) + &told
}
