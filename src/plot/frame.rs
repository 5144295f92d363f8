//! The sides of a figure: title above, axes with their marks, notes below.

use super::font::{cut, width, wrapped};
use super::scene::{Anchor, Colour, INK, QUIET, RULE, Scene, TextStyle};

/// The height of a picture's inside for its width, where its content does not decide it.
const INSIDE_SHARE: f64 = 300.0 / 640.0;
pub(super) const TITLE_SIZE: f64 = 14.0;
pub(super) const NAME_SIZE: f64 = 12.0;
pub(super) const MARK_SIZE: f64 = 11.0;
const NOTE_SIZE: f64 = 10.0;
pub(super) const MARGIN: f64 = 16.0;
/// Between the labels of neighbouring marks.
const LABEL_GAP: f64 = 10.0;

/// What a picture is drawn on. The default is 640 points wide, with the title in the picture; a
/// column of a paper is narrower, and letters are legible there too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sheet {
    /// From left to right, in points; from 320 to 4,000.
    pub width: f64,
    /// Whether the title is written in the picture; it may stand above it.
    pub has_title: bool,
}

impl Default for Sheet {
    fn default() -> Sheet {
        Sheet { width: 640.0, has_title: true }
    }
}

impl Sheet {
    /// Returns its width and the height of the inside that goes with it.
    pub(super) fn size(self) -> (f64, f64) {
        (self.width, (self.width * INSIDE_SHARE).round())
    }
}

/// A place along an axis, in points, and its label.
pub(super) struct Mark {
    pub at: f64,
    pub label: String,
}

/// A figure that is being drawn: its inside is the rectangle in which data are.
pub(super) struct Frame {
    pub scene: Scene,
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    /// What is below everything drawn so far.
    bottom: f64,
}

impl Frame {
    /// Returns a frame with its title and legend, whose inside is `left` points from the left edge
    /// and `right` from the right one.
    pub fn new(
        title: &str,
        legend: &[(String, Colour)],
        (left, right): (f64, f64),
        (whole_width, inside_height): (f64, f64),
        sheet: Sheet,
    ) -> Frame {
        let mut scene = Scene { title: title.to_owned(), width: whole_width, ..Scene::default() };
        let shown = cut(title, TITLE_SIZE, (whole_width - 2.0 * MARGIN) / 1.08);
        let style = TextStyle { size: TITLE_SIZE, is_bold: true, ..TextStyle::default() };
        let mut y = if sheet.has_title { 26.0 } else { -8.0 };
        if sheet.has_title {
            scene.styled((MARGIN, y), &shown, style);
        }
        let mut x = MARGIN;
        for (name, colour) in legend {
            let name = cut(name, MARK_SIZE, 240.0);
            let extent = 24.0 + width(&name, MARK_SIZE) + 18.0;
            if x == MARGIN || x + extent > whole_width - MARGIN {
                (x, y) = (MARGIN, y + 19.0);
            }
            scene.line(vec![(x, y - 4.0), (x + 18.0, y - 4.0)], *colour, 3.0);
            scene.text((x + 24.0, y), &name, MARK_SIZE, Anchor::Start);
            x += extent;
        }
        let top = y + 18.0;
        let inside_width = (whole_width - left - right).max(40.0);
        Frame {
            scene,
            left,
            top,
            width: inside_width,
            height: inside_height,
            bottom: top + inside_height,
        }
    }

    /// Draws the side of the numbers: lines through the inside, labels at the left, and the name
    /// along them.
    pub fn side(&mut self, marks: &[Mark], name: &str) {
        for mark in marks {
            let line = vec![(self.left, mark.at), (self.left + self.width, mark.at)];
            self.scene.line(line, RULE, 1.0);
            let place = (self.left - 8.0, mark.at + 4.0);
            self.scene.text(place, &mark.label, MARK_SIZE, Anchor::End);
        }
        self.side_name(name);
    }

    /// Writes the name along the left edge.
    pub fn side_name(&mut self, name: &str) {
        let style = TextStyle {
            size: NAME_SIZE,
            anchor: Anchor::Middle,
            turn: -90.0,
            ..TextStyle::default()
        };
        let name = cut(name, NAME_SIZE, self.height.max(80.0));
        let place = (MARGIN + 8.0, self.top + self.height / 2.0);
        self.scene.styled(place, &name, style);
    }

    /// Draws the lower side: a line, short strokes and labels, as many as fit, and the name.
    /// Labels end before `label_end`.
    pub fn foot(&mut self, marks: &[Mark], name: &str, label_end: f64) {
        let y = self.top + self.height;
        let (left, right) = (self.left, self.left + self.width);
        self.scene.line(vec![(left, y), (right, y)], INK, 1.0);
        let widest = marks.iter().map(|mark| width(&mark.label, MARK_SIZE)).fold(0.0, f64::max);
        let between = marks.windows(2).map(|two| two[1].at - two[0].at).fold(f64::MAX, f64::min);
        let stride = ((widest + LABEL_GAP) / between.max(1e-9)).ceil().clamp(1.0, 1e6) as usize;
        for mark in marks.iter().step_by(stride) {
            if mark.at + width(&mark.label, MARK_SIZE) / 2.0 > label_end {
                continue;
            }
            self.scene.line(vec![(mark.at, y), (mark.at, y + 4.0)], INK, 1.0);
            self.scene.text((mark.at, y + 17.0), &mark.label, MARK_SIZE, Anchor::Middle);
        }
        self.bottom = y + 20.0;
        self.foot_name(name);
    }

    /// Writes the name of what is along the foot, below everything so far.
    pub fn foot_name(&mut self, name: &str) {
        let name = cut(name, NAME_SIZE, self.scene.width - 2.0 * MARGIN);
        // In the middle of the inside, unless it would leave the picture.
        let half = width(&name, NAME_SIZE) / 2.0;
        let middle =
            (self.left + self.width / 2.0).min(self.scene.width - MARGIN - half).max(MARGIN + half);
        self.bottom += 18.0;
        self.scene.text((middle, self.bottom), &name, NAME_SIZE, Anchor::Middle);
    }

    /// Says that something was drawn down to there.
    pub fn reach(&mut self, bottom: f64) {
        self.bottom = self.bottom.max(bottom);
    }

    /// Writes the notes and returns the picture.
    pub fn finished<'n>(mut self, notes: impl IntoIterator<Item = &'n str>) -> Scene {
        let mut y = self.bottom + 10.0;
        for note in notes {
            for line in wrapped(note, NOTE_SIZE, self.scene.width - 2.0 * MARGIN) {
                y += 14.0;
                let style = TextStyle { size: NOTE_SIZE, fill: QUIET, ..TextStyle::default() };
                self.scene.styled((MARGIN, y), &line, style);
            }
        }
        self.scene.height = (y + 14.0).ceil();
        self.scene
    }
}

/// Returns the room that labels and a name at the left side need.
pub(super) fn side_room<'l>(labels: impl Iterator<Item = &'l str>, most: f64) -> f64 {
    let widest = labels.map(|label| width(label, MARK_SIZE)).fold(0.0, f64::max);
    MARGIN + 20.0 + widest.min(most) + 8.0
}
