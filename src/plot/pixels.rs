//! A scene as pixels.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform,
};
use ttf_parser::OutlineBuilder;

use super::font::Font;
use super::scene::{Anchor, Colour, Item, Scene};

/// Pixels of a point, so that letters are sharp in print and on dense screens.
const PIXELS: f32 = 2.0;

/// The longest side of a picture in pixels; a chart bounds its bars and cells far below that.
const SIDE_MAX: f64 = 20_000.0;

/// A picture in pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Png {
    /// The file.
    pub bytes: Vec<u8>,
    /// Letters that the font does not have; they are drawn as boxes.
    pub boxes: usize,
}

/// Returns the scene as a PNG file of two pixels a point.
///
/// # Errors
/// The picture is larger than 20,000 pixels on a side.
pub fn png(scene: &Scene) -> std::io::Result<Png> {
    let side = |points: f64| (points * f64::from(PIXELS)).ceil().clamp(1.0, SIDE_MAX + 1.0);
    let (width, height) = (side(scene.width), side(scene.height));
    let too_large = || std::io::Error::other(format!("a picture of {width} by {height} pixels"));
    if width > SIDE_MAX || height > SIDE_MAX {
        return Err(too_large());
    }
    let pixmap = Pixmap::new(width as u32, height as u32).ok_or_else(too_large)?;
    let mut canvas = Canvas { pixmap, boxes: 0 };
    canvas.pixmap.fill(Color::WHITE);
    for item in &scene.items {
        canvas.draw(item);
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    // Every pixel is opaque: the ground is.
    let rgb: Vec<u8> =
        canvas.pixmap.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
    let mut writer = encoder.write_header().map_err(std::io::Error::other)?;
    writer.write_image_data(&rgb).map_err(std::io::Error::other)?;
    writer.finish().map_err(std::io::Error::other)?;
    Ok(Png { bytes, boxes: canvas.boxes })
}

struct Canvas {
    pixmap: Pixmap,
    boxes: usize,
}

impl Canvas {
    fn draw(&mut self, item: &Item) {
        let all = Transform::from_scale(PIXELS, PIXELS);
        match item {
            Item::Rect { x, y, width, height, fill } => {
                let rect = Rect::from_xywh(*x as f32, *y as f32, *width as f32, *height as f32);
                if let Some(rect) = rect {
                    self.pixmap.fill_rect(rect, &paint(*fill), all, None);
                }
            }
            Item::Line { points, stroke, width } => {
                let mut path = PathBuilder::new();
                for (at, (x, y)) in points.iter().enumerate() {
                    match at {
                        0 => path.move_to(*x as f32, *y as f32),
                        _ => path.line_to(*x as f32, *y as f32),
                    }
                }
                let style = Stroke {
                    width: *width as f32,
                    line_join: LineJoin::Round,
                    line_cap: LineCap::Butt,
                    ..Stroke::default()
                };
                if let Some(path) = path.finish() {
                    self.pixmap.stroke_path(&path, &paint(*stroke), &style, all, None);
                }
            }
            Item::Dot { x, y, radius, fill } => {
                let circle = PathBuilder::from_circle(*x as f32, *y as f32, *radius as f32);
                if let Some(circle) = circle {
                    self.fill(&circle, *fill, all);
                }
            }
            Item::Text { x, y, text, size, anchor, fill, is_bold, turn } => {
                let font = Font::of(*is_bold);
                let width = font.width(text, *size);
                let start = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => width / 2.0,
                    Anchor::End => width,
                };
                let place = all
                    .pre_translate(*x as f32, *y as f32)
                    .pre_rotate(*turn as f32)
                    .pre_translate(-start as f32, 0.0);
                self.letters(font, text, *size, *fill, place);
            }
        }
    }

    fn letters(&mut self, font: &Font, text: &str, size: f64, fill: Colour, place: Transform) {
        let scale = font.scale(size) as f32;
        let mut path = PathBuilder::new();
        for letter in font.placed(text, size) {
            let mut outline = Outline { path: &mut path, x: letter.x as f32, scale };
            match letter.glyph {
                // A letter without a shape is a space.
                Some(glyph) => drop(font.face().outline_glyph(glyph, &mut outline)),
                None if letter.advance > 0.0 => {
                    outline.frame(letter.advance as f32, size as f32);
                    self.boxes += 1;
                }
                None => {}
            }
        }
        if let Some(path) = path.finish() {
            self.fill(&path, fill, place);
        }
    }

    fn fill(&mut self, path: &Path, colour: Colour, transform: Transform) {
        self.pixmap.fill_path(path, &paint(colour), FillRule::Winding, transform, None);
    }
}

fn paint(colour: Colour) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(colour.0, colour.1, colour.2, 255);
    paint.anti_alias = true;
    paint
}

/// Takes a letter's shape, whose y points upward, into a path.
struct Outline<'a> {
    path: &'a mut PathBuilder,
    x: f32,
    scale: f32,
}

impl Outline<'_> {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }

    /// Draws the box of a letter that the font does not have: a rectangle with a hole, which is
    /// one because its edge turns the other way.
    fn frame(&mut self, advance: f32, size: f32) {
        let (left, right) = (self.x + 0.08 * size, self.x + advance - 0.08 * size);
        let (top, bottom) = (-0.72 * size, 0.0);
        let edge = 0.06 * size;
        self.path.move_to(left, top);
        self.path.line_to(right, top);
        self.path.line_to(right, bottom);
        self.path.line_to(left, bottom);
        self.path.close();
        self.path.move_to(left + edge, top + edge);
        self.path.line_to(left + edge, bottom - edge);
        self.path.line_to(right - edge, bottom - edge);
        self.path.line_to(right - edge, top + edge);
        self.path.close();
    }
}

impl OutlineBuilder for Outline<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) =
            (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
