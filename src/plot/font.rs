//! The letters of pictures: Noto Sans, which comes with the program.
//!
//! It has the letters of Latin, Greek and Cyrillic script. SVG names the font family only, so that
//! its reader's fonts show the others; their places are reckoned with the widths of this font.

use std::sync::LazyLock;

use ttf_parser::{Face, GlyphId};
use unicode_width::UnicodeWidthChar;

/// Letters of one weight.
pub(super) struct Font {
    face: Face<'static>,
}

static REGULAR: LazyLock<Font> = LazyLock::new(|| Font::new(notosans::REGULAR_TTF));
static BOLD: LazyLock<Font> = LazyLock::new(|| Font::new(notosans::BOLD_TTF));

/// A letter of a text, in its place.
pub(super) struct PlacedGlyph {
    /// The shape; `None` for a letter that the font does not have, which is drawn as a box.
    pub glyph: Option<GlyphId>,
    /// Where it begins, from the beginning of the text.
    pub x: f64,
    /// How far the next one is.
    pub advance: f64,
}

impl Font {
    fn new(bytes: &'static [u8]) -> Font {
        let face = Face::parse(bytes, 0).expect("the font that is compiled in is sound");
        Font { face }
    }

    /// Returns the font of a weight.
    pub fn of(is_bold: bool) -> &'static Font {
        if is_bold { &BOLD } else { &REGULAR }
    }

    /// Returns the font's shapes.
    pub fn face(&self) -> &Face<'static> {
        &self.face
    }

    /// Returns the points that a unit of the font's shapes measures at a size.
    pub fn scale(&self, size: f64) -> f64 {
        size / f64::from(self.face.units_per_em())
    }

    /// Returns the letters of a text at a size, side by side.
    pub fn placed(&self, text: &str, size: f64) -> Vec<PlacedGlyph> {
        let mut x = 0.0;
        let mut out = Vec::new();
        for letter in text.chars() {
            let glyph = self.face.glyph_index(letter);
            let advance = match glyph {
                Some(glyph) => {
                    let units = self.face.glyph_hor_advance(glyph).unwrap_or(0);
                    f64::from(units) * self.scale(size)
                }
                // As wide as on a terminal: two columns are the width of a letter of Chinese.
                None => size * 0.5 * letter.width().unwrap_or(0) as f64,
            };
            out.push(PlacedGlyph { glyph, x, advance });
            x += advance;
        }
        out
    }

    /// Returns how wide a text is at a size.
    pub fn width(&self, text: &str, size: f64) -> f64 {
        self.placed(text, size).last().map_or(0.0, |last| last.x + last.advance)
    }
}

/// Returns how wide a text of the regular weight is at a size.
pub(super) fn width(text: &str, size: f64) -> f64 {
    Font::of(false).width(text, size)
}

/// Returns a text of at most so many points, what is cut marked by `…`.
pub(super) fn cut(text: &str, size: f64, most: f64) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let room = most - width("…", size);
    let placed = Font::of(false).placed(text, size);
    let kept = placed.iter().take_while(|letter| letter.x + letter.advance <= room).count();
    text.chars().take(kept).chain(['…']).collect()
}

/// Returns a text in lines of at most so many points, broken between words.
pub(super) fn wrapped(text: &str, size: f64, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size) <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| cut(line, size, most)).collect()
}
