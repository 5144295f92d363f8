//! A picture as shapes and texts at places, x to the right and y downward, in points.

/// A colour: red, green and blue, 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

/// Of texts and axes.
pub(super) const INK: Colour = Colour(34, 34, 34);
/// Of what is said on the side.
pub(super) const QUIET: Colour = Colour(105, 105, 105);
/// Of lines that lead the eye.
pub(super) const RULE: Colour = Colour(226, 226, 226);
/// Of bars that stand for other things than their neighbours: a tail, the rest.
pub(super) const PALE: Colour = Colour(160, 185, 208);
/// Of the ground.
pub(super) const WHITE: Colour = Colour(255, 255, 255);

/// Of series. The first ones are those of Okabe and Ito (2008), which most people who see fewer
/// colours can tell apart, without the yellow, which is too pale for lines on white.
pub(super) const SERIES: [Colour; 8] = [
    Colour(0, 114, 178),
    Colour(213, 94, 0),
    Colour(0, 158, 115),
    Colour(204, 121, 167),
    Colour(230, 159, 0),
    Colour(86, 180, 233),
    Colour(112, 72, 160),
    Colour(90, 90, 90),
];

/// The colours of a picture that is no matrix, each with what it is on dark ground: as clear to see
/// and as far from its neighbours.
pub const PALETTE: [(Colour, Colour); 13] = [
    (INK, Colour(224, 224, 222)),
    (QUIET, Colour(160, 162, 164)),
    (RULE, Colour(58, 61, 65)),
    (PALE, Colour(92, 116, 140)),
    (WHITE, Colour(22, 24, 27)),
    (SERIES[0], Colour(74, 158, 222)),
    (SERIES[1], Colour(240, 128, 48)),
    (SERIES[2], Colour(40, 184, 140)),
    (SERIES[3], Colour(222, 148, 188)),
    (SERIES[4], Colour(236, 176, 48)),
    (SERIES[5], Colour(140, 208, 246)),
    (SERIES[6], Colour(168, 132, 216)),
    (SERIES[7], Colour(160, 160, 160)),
];

/// From nothing to most: ColorBrewer's Blues.
const BLUES: [Colour; 9] = [
    Colour(247, 251, 255),
    Colour(222, 235, 247),
    Colour(198, 219, 239),
    Colour(158, 202, 225),
    Colour(107, 174, 214),
    Colour(66, 146, 198),
    Colour(33, 113, 181),
    Colour(8, 81, 156),
    Colour(8, 48, 107),
];

/// The same for what is below 0: ColorBrewer's Reds.
const REDS: [Colour; 9] = [
    Colour(255, 245, 240),
    Colour(254, 224, 210),
    Colour(252, 187, 161),
    Colour(252, 146, 114),
    Colour(251, 106, 74),
    Colour(239, 59, 44),
    Colour(203, 24, 29),
    Colour(165, 15, 21),
    Colour(103, 0, 13),
];

impl Colour {
    /// Returns it as CSS and SVG write it: `#0072b2`.
    pub fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }

    /// Returns the colour of a share between -1 and 1: white for 0, darker for more, red below 0.
    pub fn shade(share: f64) -> Colour {
        let colours = if share < 0.0 { &REDS } else { &BLUES };
        let at = share.abs().clamp(0.0, 1.0) * (colours.len() - 1) as f64;
        let (before, part) = (at.floor(), at.fract());
        let (a, b) = (colours[before as usize], colours[at.ceil() as usize]);
        let mix =
            |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8;
        Colour(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
    }

    /// Returns whether light letters are read better on it than dark ones.
    pub fn is_dark(self) -> bool {
        let light =
            0.299 * f64::from(self.0) + 0.587 * f64::from(self.1) + 0.114 * f64::from(self.2);
        light < 140.0
    }
}

/// Which end of a text its place names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// A shape or a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A filled rectangle.
    Rect {
        /// Its left edge.
        x: f64,
        /// Its upper edge.
        y: f64,
        /// From left to right.
        width: f64,
        /// From top to bottom.
        height: f64,
        /// Its colour.
        fill: Colour,
    },
    /// A line through points.
    Line {
        /// The points.
        points: Vec<(f64, f64)>,
        /// Its colour.
        stroke: Colour,
        /// How thick it is.
        width: f64,
    },
    /// A filled circle.
    Dot {
        /// Its middle.
        x: f64,
        /// Its middle.
        y: f64,
        /// Half of how wide it is.
        radius: f64,
        /// Its colour.
        fill: Colour,
    },
    /// A line of letters.
    Text {
        /// The place of the anchor.
        x: f64,
        /// The line on which the letters stand.
        y: f64,
        /// The letters.
        text: String,
        /// The size of the font.
        size: f64,
        /// Which end is at x.
        anchor: Anchor,
        /// Its colour.
        fill: Colour,
        /// Whether it is bold.
        is_bold: bool,
        /// By how many degrees it is turned clockwise around its place.
        turn: f64,
    },
}

/// A picture on white ground.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// What it shows, for those who do not see it.
    pub title: String,
    /// From left to right.
    pub width: f64,
    /// From top to bottom.
    pub height: f64,
    /// What is drawn, later items over earlier ones.
    pub items: Vec<Item>,
}

impl Scene {
    pub(super) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: Colour) {
        self.items.push(Item::Rect { x, y, width, height, fill });
    }

    pub(super) fn line(&mut self, points: Vec<(f64, f64)>, stroke: Colour, width: f64) {
        self.items.push(Item::Line { points, stroke, width });
    }

    pub(super) fn dot(&mut self, x: f64, y: f64, radius: f64, fill: Colour) {
        self.items.push(Item::Dot { x, y, radius, fill });
    }

    /// Writes a text of a size, in ink, level.
    pub(super) fn text(&mut self, place: (f64, f64), text: &str, size: f64, anchor: Anchor) {
        self.styled(place, text, TextStyle { size, anchor, ..TextStyle::default() });
    }

    pub(super) fn styled(&mut self, place: (f64, f64), text: &str, style: TextStyle) {
        let TextStyle { size, anchor, fill, is_bold, turn } = style;
        let ((x, y), text) = (place, text.to_owned());
        self.items.push(Item::Text { x, y, text, size, anchor, fill, is_bold, turn });
    }
}

/// How a text is written.
#[derive(Clone, Copy)]
pub(super) struct TextStyle {
    pub size: f64,
    pub anchor: Anchor,
    pub fill: Colour,
    pub is_bold: bool,
    pub turn: f64,
}

impl Default for TextStyle {
    fn default() -> TextStyle {
        TextStyle { size: 11.0, anchor: Anchor::Start, fill: INK, is_bold: false, turn: 0.0 }
    }
}
